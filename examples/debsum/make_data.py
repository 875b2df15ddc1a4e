#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the demonstration's subset of debsum: data/train.jsonl.gz and data/validation.jsonl.gz.

    python make_data.py DEBSUM_DIR [--output data] [--tokenizer base]

DEBSUM_DIR holds the whole set, train.jsonl.gz, validation.jsonl.gz and test.jsonl.gz (rebuild_from_apt.py makes
it). Only examples are taken whose prompt "{document}\\nSynopsis:" has at most 96 tokens and whose response
" {summary}" with its end at most 24. The base model is pretrained on the first 24,000 training rows, so the
training examples are the first 2,400 that fit of the rows behind them; the evaluation examples are the first
281 of validation and the first 219 of test. The same input gives the same bytes. Needs PyPI's `tokenizers`.
"""

import argparse
import gzip
import io
import json
import pathlib
import sys

from tokenizers import ByteLevelBPETokenizer

HERE = pathlib.Path(__file__).resolve().parent
PROMPT_TOKENS = 96
RESPONSE_TOKENS = 24  # with the end-of-sequence token


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def fitting(rows, tokenizer):
    """The rows that fit, as document, summary and id, in order."""
    prompts = tokenizer.encode_batch([row["document"] + "\nSynopsis:" for row in rows])
    responses = tokenizer.encode_batch([" " + row["summary"] for row in rows])
    return [
        {"document": row["document"], "summary": row["summary"], "id": row["id"]}
        for row, prompt, response in zip(rows, prompts, responses)
        if len(prompt.ids) <= PROMPT_TOKENS and len(response.ids) + 1 <= RESPONSE_TOKENS
    ]


def first(rows, count, name):
    """The first `count` rows; says how many there are, and gives up where they are too few."""
    print(f"{name}: {len(rows)} fit, {count} are taken")
    if len(rows) < count:
        sys.exit(f"make_data.py: error: {name}: only {len(rows)} examples fit, {count} are needed")
    return rows[:count]


def write(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(text.encode("utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed.getvalue())
    print(f"{path}: {len(rows)} rows, {len(packed.getvalue())} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("debsum", type=pathlib.Path, help="folder of the whole set")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "data", help="default: data beside this file")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=HERE / "base", help="default: base beside this file")
    parser.add_argument("--pretraining-rows", type=int, default=24000, help="training rows left out, default 24000")
    parser.add_argument("--train", type=int, default=2400, help="training examples, default 2400")
    parser.add_argument("--validation", type=int, default=281, help="evaluation examples of validation, default 281")
    parser.add_argument("--test", type=int, default=219, help="evaluation examples of test, default 219")
    arguments = parser.parse_args()

    tokenizer = ByteLevelBPETokenizer(
        str(arguments.tokenizer / "vocab.json"), str(arguments.tokenizer / "merges.txt")
    )
    train = fitting(read(arguments.debsum / "train.jsonl.gz")[arguments.pretraining_rows :], tokenizer)
    validation = fitting(read(arguments.debsum / "validation.jsonl.gz"), tokenizer)
    test = fitting(read(arguments.debsum / "test.jsonl.gz"), tokenizer)

    evaluation = first(validation, arguments.validation, "validation") + first(test, arguments.test, "test")
    write(arguments.output / "train.jsonl.gz", first(train, arguments.train, "train"))
    write(arguments.output / "validation.jsonl.gz", evaluation)


if __name__ == "__main__":
    main()
