#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the demonstration's tokenizer: a byte-level BPE with GPT-2's pattern.

    python train_tokenizer.py train.jsonl.gz OUTPUT_DIR [--vocabulary 4096]

Reads `document` and `summary` of every line and writes vocab.json, merges.txt, tokenizer_config.json and
special_tokens_map.json, which transformers' AutoTokenizer reads beside a config.json of model type gpt2. The
id of `<|endoftext|>` is 0, the 256 bytes follow, then the merges in order. The same input gives the same bytes.
Needs PyPI's `tokenizers`.
"""

import argparse
import gzip
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|endoftext|>"


def texts(path):
    """Yields the texts of a JSON-lines file; a response is tokenised with a leading space, so a summary has one."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                example = json.loads(line)
                yield example["document"]
                yield " " + example["summary"]


def train(path, vocabulary):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(path), trainer)
    return json.loads(tokenizer.to_str())["model"]


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path, help="train.jsonl or train.jsonl.gz")
    parser.add_argument("output", type=pathlib.Path, help="folder to write to")
    parser.add_argument("--vocabulary", type=int, default=4096, help="ids in all, default 4096")
    arguments = parser.parse_args()

    model = train(arguments.data, arguments.vocabulary)
    vocabulary = dict(sorted(model["vocab"].items(), key=lambda item: item[1]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]

    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    write(output / "vocab.json", json.dumps(vocabulary, ensure_ascii=False) + "\n")
    write(output / "merges.txt", "#version: 0.2\n" + "".join(merge + "\n" for merge in merges))
    special = {"bos_token": END, "eos_token": END, "unk_token": END}
    write(output / "special_tokens_map.json", json.dumps(special, indent=2) + "\n")
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "clean_up_tokenization_spaces": False}
    write(output / "tokenizer_config.json", json.dumps({**settings, **special}, indent=2) + "\n")
    print(f"{len(vocabulary)} ids, {len(merges)} merges in {output}")


if __name__ == "__main__":
    main()
