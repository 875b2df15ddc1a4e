#!/usr/bin/env python3
"""Writes the pretraining text of the demonstration to standard output: of each of the first ROWS rows of a debsum
file the synopsis, a line break and the description, as JSON lines with the field `text`.

usage: make_text.py train.jsonl.gz ROWS
"""
import gzip
import itertools
import json
import sys

with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
    for line in itertools.islice(lines, int(sys.argv[2])):
        row = json.loads(line)
        print(json.dumps({"text": row["summary"] + "\n" + row["document"]}, ensure_ascii=False))
