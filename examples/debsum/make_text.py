#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the pretraining text of the demonstration to standard output, as JSON lines with the field `text`: each of
the first ROWS rows of a debsum file twice, once as synopsis, line break, description, and once as description, line
break, `In short: ` and synopsis.

usage: make_text.py train.jsonl.gz ROWS
"""
import gzip
import itertools
import json
import sys

with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
    for line in itertools.islice(lines, int(sys.argv[2])):
        row = json.loads(line)
        for text in (f"{row['summary']}\n{row['document']}", f"{row['document']}\nIn short: {row['summary']}"):
            print(json.dumps({"text": text}, ensure_ascii=False))
