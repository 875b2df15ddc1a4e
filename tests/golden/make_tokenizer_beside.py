#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tokenizer_beside.json: what transformers makes of a tokenizer.json and the files beside it.

Oracle: transformers 5's AutoTokenizer, `add_special_tokens=False`, on random settings and texts.

    python tests/golden/make_tokenizer_beside.py
"""

import json
import os
import pathlib
import random
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

from transformers import AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TOKENS = ["a", "b", "c", "Ġ", "bc", "ab", "Ġa", "<|endoftext|>", "<|padding|>", "Ã", "©", "e", "Ċ", "abc"]
VOCABULARY = {token: i for i, token in enumerate(TOKENS)}
MERGES = [["b", "c"], ["a", "b"], ["Ġ", "a"]]
FREE = ["<p>", "<q>", "</s>", "aé"]
PIECES = ["a", "b", "c", "abc", "bc", "ab", " ", "  ", "\n", " a", "e\u0301", "é", "e", "aé", "ae\u0301"] + FREE + ["<|endoftext|>", "<|padding|>"]
NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]


def flags(generator, special=True):
    names = ["lstrip", "rstrip", "single_word", "normalized"] + (["special"] if special else [])
    return {name: generator.random() < 0.35 for name in names}


def tokenizer_json(generator):
    added = []
    for content in generator.sample(FREE + ["<|endoftext|>", "bc"], generator.randrange(4)):
        known = VOCABULARY.get(content, len(TOKENS) + sum(t["content"] in FREE for t in added))
        added.append({"id": known, "content": content, **flags(generator)})
    byte_level = {"type": "ByteLevel", "add_prefix_space": generator.random() < 0.5, "trim_offsets": True, "use_regex": generator.random() < 0.7}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
             "byte_fallback": False, "ignore_merges": generator.random() < 0.4, "vocab": VOCABULARY,
             "merges": MERGES}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": generator.choice([None, {"type": "NFC"}]),
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}


def token(generator, typed):
    content = generator.choice(FREE + ["<|endoftext|>", "bc"])
    if generator.random() < 0.5:
        return content
    return {**({"__type": "AddedToken"} if typed else {}), "content": content, **flags(generator, typed)}


def named(generator, typed):
    result = {name: token(generator, typed) for name in generator.sample(NAMES, generator.choice([0, 0, 1, 2]))}
    if generator.random() < 0.15:
        result["image_token"] = generator.choice(FREE)
    if generator.random() < 0.15:
        result[generator.choice(NAMES)] = None
    return result


def setting(generator):
    maybe = lambda share: generator.random() < share
    files = {"tokenizer.json": tokenizer_json(generator)}
    config = named(generator, True)
    if maybe(0.7):
        config["tokenizer_class"] = generator.choice(["GPT2Tokenizer", "GPT2TokenizerFast", "GPTNeoXTokenizer", "GPTNeoXTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"])
    if maybe(0.5):
        config["add_prefix_space"] = maybe(0.6)
    for key in ("add_bos_token", "add_eos_token", "clean_up_tokenization_spaces"):
        if maybe(0.3):
            config[key] = maybe(0.7)
    if maybe(0.4):
        config[generator.choice(["additional_special_tokens", "extra_special_tokens"])] = [token(generator, True) for _ in range(generator.randrange(3))]
    if maybe(0.1):
        config["extra_special_tokens"] = {"audio_token": generator.choice(FREE)}
    if maybe(0.3):
        tokens = files["tokenizer.json"]["added_tokens"]
        chosen = {t["content"]: t["id"] for t in tokens if maybe(0.7)}
        for content in generator.sample(FREE, generator.randrange(2)):
            chosen.setdefault(content, len(TOKENS) + len(chosen))
        config["added_tokens_decoder"] = {str(i): {"content": content, **flags(generator)} for content, i in chosen.items()}
    if maybe(0.9):
        files["tokenizer_config.json"] = config
    if maybe(0.5):
        special = named(generator, False)
        if maybe(0.4):
            special["additional_special_tokens"] = generator.sample(FREE, generator.randrange(3))
        files["special_tokens_map.json"] = special
    if maybe(0.25):
        there = {t["content"]: t["id"] for t in files["tokenizer.json"]["added_tokens"]}
        taken = len(TOKENS) + sum(content in FREE for content in there)
        content = generator.choice(FREE)
        files["added_tokens.json"] = {content: there.get(content, taken)}
    if maybe(0.5):
        files["config.json"] = {"model_type": generator.choice(["gpt2", "opt", "gpt_neox", "gpt2"])}
    return files


def declared(files):
    """Every id that a file declares for a token, with the token."""
    for t in files["tokenizer.json"]["added_tokens"]:
        yield t["content"], t["id"]
    for i, t in files.get("tokenizer_config.json", {}).get("added_tokens_decoder", {}).items():
        yield t["content"], int(i)
    yield from files.get("added_tokens.json", {}).items()


def several_names(files):
    """Whether several tokens without an id may be declared by names of their own."""
    config, special = files.get("tokenizer_config.json", {}), files.get("special_tokens_map.json", {})
    further = config.get("extra_special_tokens", [])
    return len({"image_token"} & (set(config) | set(special))) + isinstance(further, dict) > 1


def answer(files, texts):
    with tempfile.TemporaryDirectory() as folder:
        for name, value in files.items():
            (pathlib.Path(folder) / name).write_text(json.dumps(value), encoding="utf-8")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {str(t): i for i, t in tokenizer.added_tokens_decoder.items()}
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    for key in ("vocab", "merges"):  # they stand once, for all
        del files["tokenizer.json"]["model"][key]
    return {"files": files, "ids": encoded, "size": len(tokenizer),
            "without_special": [tokenizer.decode(one, skip_special_tokens=True) for one in encoded],
            "may_be_refused": any(ids.get(content) != i for content, i in declared(files)) or several_names(files)}


def main():
    generator = random.Random(15)
    texts = ["".join(generator.choice(PIECES) for _ in range(generator.randrange(1, 9))) for _ in range(16)]
    texts += ["a <p> b <q> c </s> a", "ab<|endoftext|>ab <|padding|> abc"]
    settings = [setting(generator) for _ in range(140)]
    text = ",\n".join(json.dumps(answer(files, texts), separators=(",", ":")) for files in settings)
    (HERE / "tokenizer_beside.json").write_text(f'{{"texts":{json.dumps(texts)},\n"vocab":{json.dumps(VOCABULARY)},\n"merges":{json.dumps(MERGES)},\n"settings":[\n{text}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
