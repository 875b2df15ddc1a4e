#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the nats a token of a model on the rows of a debsum file: of synopsis, line break and description, and of
description, line break, `In short: ` and synopsis; and of the synopsis alone in the latter.

usage: validate_base.py ESO_PROGRAM MODEL_DIR validation.jsonl.gz

A text begins after an end of sequence and is cut to the context of 256 tokens.
"""
import gzip
import json
import subprocess
import sys

END, CONTEXT = 0, 256
program, model, data = sys.argv[1:]


def run(command, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, *command], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def ids(texts):
    return [found["ids"] for found in run(["tokenize", "--tokenizer", model], [{"text": text} for text in texts])]


def nats(pairs):
    scores = run(["score", "--model", model], [{"prompt_ids": p, "response_ids": r} for p, r in pairs])
    return -sum(s["sum"] for s in scores) / sum(len(s["logp"]) for s in scores)


with gzip.open(data, "rt", encoding="utf-8") as lines:
    rows = [json.loads(line) for line in lines]
first = ids([f"{row['summary']}\n{row['document']}" for row in rows])
last = ids([f"{row['document']}\nIn short: {row['summary']}" for row in rows])
heads = ids([f"{row['document']}\nIn short:" for row in rows])
for name, texts in (("synopsis first", first), ("synopsis last", last)):
    print(f"{name}: {nats([([END], (text + [END])[: CONTEXT - 1]) for text in texts]):.3f} nats a token")
pairs = [(head, text[len(head):] + [END]) for head, text in zip(heads, last) if len(text) < CONTEXT]
print(f"the synopsis given the description: {nats(pairs):.3f} nats a token, {len(pairs)} of {len(rows)} rows")
