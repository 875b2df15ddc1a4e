#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/fuzz/corpus/TARGET/NAME, what the fuzzers start from: small inputs, most of them hostile.

Inputs that a fuzzer found are kept beside them under names that begin with `found-`; this script leaves those alone.

    python tests/fuzz/make_corpus.py
"""

import gzip
import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
SEPARATOR = b"\xff"


def write(target, seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.name.startswith("found-"):
            old.unlink()
    for name, content in seeds.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def joined(*parts):
    return SEPARATOR.join(part if isinstance(part, bytes) else part.encode() for part in parts)


def safetensors():
    def entry(dtype, shape, begin, end):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    def header(**entries):
        return json.dumps(entries)

    def file(text, values=b"", length=None):
        return struct.pack("<Q", len(text) if length is None else length) + text.encode() + values

    one = entry("F32", [2, 3], 0, 24)
    types = ["F64", "F32", "F16", "BF16", "I64", "I8", "BOOL", "F8_E4M3", "F4"]
    two = header(a=entry("F32", [2], 0, 8), b=entry("BF16", [3], 8, 14), c=entry("I64", [1], 14, 22))
    many = {f"h.{i}.ln_1.weight": entry("F16", [i], i * (i - 1), i * (i + 1)) for i in range(8)}
    return {
        "whole": file(two, bytes(range(22))),
        "padded": file(two + " " * 7, bytes(22)),
        "empty-file": b"",
        "no-tensors": file("{}"),
        "length-absurd": file(two, bytes(22), 2**63),
        "length-100MB": file(two, bytes(22), 100_000_000),
        "length-one-more": file(two, bytes(22), len(two) + 23),
        "length-short": file(two, bytes(22), len(two) - 1),
        "lfs-pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "zip": b"PK\x03\x04" + bytes(30),
        "pickle": b"\x80\x02}q\x00.",
        "xml": "\ufeff \n<?xml version='1.0'?>",
        "text-alone": "not a safetensors file at all",
        "html": "<html><body>404</body></html>",
        "header": joined(two, bytes(22)),
        "header-alone": two,
        "metadata": json.dumps({"__metadata__": {"format": "pt", "k\u00e9y": "\u2028"}, "w": one}),
        "metadata-number": '{"__metadata__":{"format":1}}',
        "metadata-null": '{"__metadata__":null,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "metadata-null-twice": '{"__metadata__":null,"__metadata__":{}}',
        "metadata-twice": '{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}',
        "metadata-key-twice": '{"__metadata__":{"a":"b","a":"c"}}',
        "types": header(**{t: entry(t, [8], 0, 8) for t in types}),
        "many": header(**many),
        "overlap": header(a=entry("F32", [2], 0, 8), b=entry("F32", [2], 4, 12)),
        "hole": header(a=entry("F32", [2], 0, 8), b=entry("F32", [2], 16, 24)),
        "reversed": header(a=entry("F32", [2], 8, 0)),
        "outside": header(a=entry("F32", [2**20], 0, 2**22)),
        "huge-shape": header(a=entry("F32", [2**32, 2**32], 0, 0)),
        "overflow-shape": header(a=entry("F64", [2**61, 8], 0, 0)),
        "zero-shape": header(a=entry("F32", [0, 2**62], 0, 0), b=entry("F32", [], 0, 4)),
        "huge-offsets": header(a=entry("F32", [1], 2**64 - 4, 2**64 - 1)),
        "number-too-large": '{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}}',
        "number-1e999": '{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}',
        "negative": '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        "float-shape": '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        "name-twice": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        "field-twice": '{"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}}',
        "no-dtype": '{"a":{"shape":[1],"data_offsets":[0,4]}}',
        "unknown-dtype": header(a=entry("F12", [1], 0, 4)),
        "half-bytes": header(a=entry("F4", [3], 0, 2)),
        "three-offsets": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}',
        "unknown-field": '{"a":{"dtype":"F32","x":{"y":[1,{"z":null}]},"shape":[1],"data_offsets":[0,4]}}',
        "deep": '{"a":{"x":' + "[" * 300 + "]" * 300 + "}}",
        "lone-surrogate": '{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "bad-utf8": b'{"\xc3(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "zero-byte": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}\0{}',
        "line-feed-name": '{"a\\nb":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        "long-name": json.dumps({"n\u00e4" * 300: {"dtype": "X" * 900}}),
        "trailing": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} {}',
        "array": "{[]}",
    }


def config():
    gpt2 = json.loads((HERE.parent / "golden/gpt2/plain/config.json").read_text())
    general = json.loads((HERE.parent / "golden/gpt2/general/config.json").read_text())
    opt = json.loads((HERE.parent / "golden/opt/after/config.json").read_text())
    neox = json.loads((HERE.parent / "golden/gpt_neox/parallel/config.json").read_text())
    rope = json.loads((HERE.parent / "golden/gpt_neox/sequential/config.json").read_text())

    def changed(**changes):
        return json.dumps(gpt2 | changes)

    return {
        "gpt2": json.dumps(gpt2, indent=1),
        "general": json.dumps(general),
        "both-spellings": changed(hidden_size=25),
        "defaults": '{"model_type":"gpt2"}',
        "opt": json.dumps(opt),
        "opt-defaults": '{"model_type":"opt"}',
        "opt-no-bias": json.dumps(opt | {"enable_bias": False}),
        "opt-dropout": json.dumps(opt | {"dropout": 1, "attention_dropout": -0.0, "layerdrop": 0.1}),
        "gpt-neox": json.dumps(neox),
        "gpt-neox-defaults": '{"model_type":"gpt_neox"}',
        "gpt-neox-odd": json.dumps(neox | {"rotary_pct": 0.4}),
        "gpt-neox-tiny-share": json.dumps(neox | {"rotary_pct": 5e-324}),
        "rope": json.dumps(rope),
        "rope-both": json.dumps(rope | {"rotary_pct": 0.5, "rotary_emb_base": 1e308}),
        "rope-linear": json.dumps(rope | {"rope_scaling": {"type": "linear", "factor": 2}}),
        "rope-number": json.dumps(rope | {"rope_parameters": 5}),
        "no-type": "{}",
        "other-type": '{"model_type":"llama"}',
        "type-number": '{"model_type":2}',
        "not-object": "[]",
        "empty": "",
        "cut": json.dumps(gpt2)[:40],
        "zero": changed(n_layer=0),
        "negative": changed(n_head=-3),
        "huge": changed(vocab_size=2**31 - 1, n_embd=2**31 - 1, n_head=1, n_layer=2**31 - 1, n_inner=2**31 - 1),
        "larger-still": changed(vocab_size=2**64),
        "float": changed(n_embd=24.0),
        "string": changed(n_embd="24"),
        "long-string": changed(n_embd="24" * 600),
        "array": changed(n_embd=[24] * 40),
        "indivisible": changed(n_head=7),
        "epsilon-zero": changed(layer_norm_epsilon=0),
        "epsilon-tiny": changed(layer_norm_epsilon=5e-324),
        "epsilon-1e39": changed(layer_norm_epsilon=1e39),
        "epsilon-1e-46": changed(layer_norm_epsilon=1e-46),
        "not-causal": changed(is_causal=False),
        "quantized": changed(quantization_config={"quant_method": "gptq"}),
        "lfs-pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "html": "<!doctype html><html></html>",
        "epsilon-1e999": '{"model_type":"gpt2","layer_norm_epsilon":1e999}',
        "epsilon-nan": '{"model_type":"gpt2","layer_norm_epsilon":NaN}',
        "switches": changed(
            activation_function="relu",
            scale_attn_weights=False,
            scale_attn_by_inverse_layer_idx=True,
            tie_word_embeddings=False,
            add_cross_attention=False,
        ),
        "cross-attention": changed(add_cross_attention=True),
        "switch-number": changed(tie_word_embeddings=1),
        "activation": changed(activation_function="swish" * 30),
        "nulls": changed(n_inner=None, eos_token_id=None, layer_norm_epsilon=None),
        "eos-list": changed(eos_token_id=[7, 8]),
        "eos-null": changed(eos_token_id=None),
        "eos-empty": changed(eos_token_id=[]),
        "eos-large": changed(eos_token_id=2**31),
        "twice": '{"model_type":"llama","model_type":"gpt2","n_layer":1,"n_layer":2}',
        "deep": '{"model_type":"gpt2","n_layer":' + "[" * 400 + "]" * 400 + "}",
        "deep-elsewhere": '{"model_type":"gpt2","x":' + '{"y":' * 400 + "1" + "}" * 401,
        "zero-byte": '{"model_type":"gpt2"}\0{',
        "bad-utf8": b'{"model_type":"gpt2","x":"\xed\xa0\x80"}',
        "lone-surrogate": '{"model_type":"\\udc00"}',
        "byte-order-mark": b"\xef\xbb\xbf" + b'{"model_type":"gpt2"}',
    }


def weight_index():
    weights = {"x": "a.safetensors", "y": "a.safetensors", "z": "b.safetensors"}

    def index(**weight_map):
        return json.dumps({"metadata": {"total_size": 18}, "weight_map": weight_map})

    return {
        "whole": index(**weights),
        "one-shard": index(x="a.safetensors"),
        "integers": index(n="b.safetensors"),
        "left-out": index(x="a.safetensors", z="b.safetensors"),
        "nobody": index(**weights, nobody="b.safetensors"),
        "dot-slash": index(x="./a.safetensors", y=".//a.safetensors", z="./././b.safetensors"),
        "below": index(x="sub/a.safetensors"),
        "out-and-in": index(x="sub/../a.safetensors", z="sub/../../b.safetensors"),
        "slash-behind": index(x="a.safetensors/"),
        "lfs-pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "missing-shard": index(x="c.safetensors"),
        "missing-tensor": index(q="a.safetensors"),
        "wrong-shard": index(z="a.safetensors"),
        "parent": index(x="../a.safetensors"),
        "absolute": index(x="/dev/zero"),
        "self": index(x="model.safetensors.index.json"),
        "empty-name": index(x=""),
        "dot": index(x="."),
        "long-name": index(x="n" * 1000),
        "zero-byte-name": index(x="a\0.safetensors"),
        "number": index(x=1),
        "empty-map": index(),
        "no-map": "{}",
        "map-array": '{"weight_map":[]}',
        "empty": "",
        "twice": '{"weight_map":{"x":"b.safetensors","x":"a.safetensors"}}',
        "deep": '{"weight_map":' + "[" * 500 + "]" * 500 + "}",
        "zero-byte": index(**weights) + "\0",
        "number-1e999": '{"metadata":1e999,"weight_map":{"x":"a.safetensors"}}',
    }


def json_lines():
    lines = [
        {"document": "A long text.", "summary": "Short."},
        {"document": "A long text.", "summary": "Short.", "extra": [1, {"x": None}]},
        {"instruction": "Say it.", "context": "", "response": "It."},
        {"instruction": "Say it.", "instances": [{"input": "in", "output": "out"}]},
        {"question_id": 1, "turns": ["Why?"]},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Hi\n\nAssistant: No"},
        {"prompt": "Once upon", "chosen": " a time", "rejected": " the time"},
        {"prompt": "Once upon", "response": " a time"},
        {"text": "Once upon a time"},
    ]
    lines = [json.dumps(line) for line in lines]
    good = b'{"prompt":"a","response":"b"}\n'
    texts = {
        "blank": "\n\r\n \t\n" + lines[7] + "\n\n",
        "carriage-return": "\r\r\n" + lines[7] + "\r\n" + lines[7] + "\r",
        "no-last-end": lines[7] + "\n" + lines[7],
        "byte-order-mark": b"\xef\xbb\xbf" + good + b"\xef\xbb\xbf" + good,
        "not-object": good + b"[1]\n",
        "number": good + b"1",
        "cut": good + b'{"prompt":',
        "two-objects": good + b"{}{}",
        "twice": b'{"prompt":1,"prompt":"x","response":"y"}',
        "missing": b'{"prompt":"x"}',
        "wrong-type": b'{"prompt":{},"response":[null]}',
        "ids": b'{"prompt":[0,1,2147483647]}\n{"prompt":[2147483648]}\n{"prompt":[1.0]}\n{"prompt":[-1]}',
        "number-1e999": b'{"prompt":1e999}',
        "large-integer": b'{"prompt":[18446744073709551615,18446744073709551616]}',
        "lone-surrogate": b'{"prompt":"\\ud800","response":"\\udc00\\ud800"}',
        "surrogate-pair": b'{"prompt":"\\ud83d\\ude00","response":""}',
        "bad-utf8": good + b'{"prompt":"\xff\xfe"}',
        "overlong": b'{"prompt":"\xc0\x80"}',
        "zero-byte": good + b'{"prompt":"x"}\0\n' + good,
        "depth-64": b'{"x":' + b"[" * 63 + b"]" * 63 + b"}",
        "depth-65": b'{"x":' + b"[" * 64 + b"]" * 64 + b"}",
        "deep": b"[" * 500,
        "brackets-in-string": b'{"prompt":"' + b"[{" * 60 + b'\\"[[[","response":""}',
        "control": b'{"prompt":"\x01"}',
        "long": b'{"prompt":"' + b"x" * 900 + b'"}',
        "unread-number": b'{"prompt":"a","response":"b","x":[1e400,-1E+99999,' + b"9" * 400 + b"]}",
        "unread-surrogate": b'{"prompt":"a","response":"b","x":{"\\udc00":"\\ud800\\ud800"},"\\ud83d":1}',
        "unread-depth": b'{"x":' + b"[" * 900 + b"]" * 900 + b',"prompt":"a","response":"b"}',
        "escapes": b'{"prompt":"' + rb"\n" * 900 + b'","response":"' + rb"\"" * 900 + b'"}',
        "empty-sides": b'{"prompt":"","response":"a"}\n{"prompt":"a","response":" "}\n' + good,
        "csv": b"prompt,response\na,b\n",
        "array": b'[{"prompt":"a","response":"b"}]',
        "pretty": b'{\n  "prompt": "a"\n}\n',
        "utf-16": '{"prompt":"a"}'.encode("utf-16"),
        "utf-16-no-mark": '{"prompt":"a"}'.encode("utf-16-le"),
        "parquet": b"PAR1\x15\x04\x15",
        "zip": b"PK\x03\x04\x14\x00",
        "line-separator": '{"prompt":"\u2028\u2029\x85","response":"x"}',
    }
    pairs = [
        {"chosen": "\n\nHuman: Hi", "rejected": "\n\nAssistant: No"},
        {"chosen": "\n\nAssistant: a", "rejected": "\n\nAssistant: a"},
        {"chosen": "\n\nHuman: abc\n\nAssistant: ", "rejected": "\n\nHuman: \u00e9\u20ac\U0001f600\n\nAssistant:\u00e9"},
        {"chosen": "\n\nHuman: \u00e9\n\nAssistant: a", "rejected": "\n\nAssistant:"},
    ]
    spellings = [
        {"instruction": "a", "context": "b", "input": "c", "response": "d", "output": "e"},
        {"instruction": "a", "input": "c", "output": "e"},
        {"instruction": "a", "instances": [{"input": "b", "output": "c"}], "input": "b", "output": "d"},
        {"instruction": "a", "instances": [[]], "output": " "},
    ]
    questions = [
        {"question_id": 1, "text": "a", "turns": ["a"]},
        {"question_id": 1, "turns": ["a", "b"]},
        {"question_id": "\u00e9" * 80, "text": "a"},
        {"question_id": 1, "text": "a"},
    ]
    formats = {"spelled-dolly": (2, spellings), "spelled-self-instruct": (3, spellings), "questions": (4, questions)}
    formats |= {"pairs": (5, pairs), "pairs-dpo": (9, pairs), "same": (6, [{"prompt": "a", "chosen": "b", "rejected": "b"}])}
    several = {name: bytes([i]) + "\n".join(map(json.dumps, group)).encode() for name, (i, group) in formats.items()}
    seeds = several | {f"format-{i}": bytes([i]) + line.encode() + b"\n" for i, line in enumerate(lines)}
    seeds |= {f"format-{i}-mixed": bytes([i]) + "\n".join(lines).encode() for i in range(11)}
    for name, text in texts.items():
        seeds[name] = bytes([7]) + (text if isinstance(text, bytes) else text.encode())
    seeds |= {"zipped-" + name: bytes([18]) + seeds[name][1:] for name in ("blank", "byte-order-mark", "zero-byte")}

    whole = gzip.compress(good * 3, mtime=0)
    broken_sum = whole[:-8] + bytes(4) + whole[-4:]
    raw = {
        "whole": whole,
        "two-members": whole + gzip.compress(good, mtime=0),
        "cut": whole[:-9],
        "cut-header": whole[:5],
        "cut-second": whole + whole[:20],
        "padding": whole + bytes(10),
        "garbage-behind": whole + b"xyz",
        "wrong-sum": broken_sum,
        "wrong-length": whole[:-4] + b"\xff\xff\xff\xff",
        "empty": b"",
        "empty-member": gzip.compress(b"", mtime=0),
        "plain": good,
        "zlib": zlib.compress(good),
        "bomb": gzip.compress(b"\n" * 1_000_000, mtime=0),
        "bomb-line": gzip.compress(b'{"x":"' + b" " * 1_000_000, mtime=0),
        "named": whole[:3] + b"\x08" + whole[4:10] + b"name\0" + whole[10:],
        "reserved-flags": whole[:3] + b"\xe0" + whole[4:],
        "stored": gzip.compress(good, 0, mtime=0),
    }
    return seeds | {"gzip-" + name: bytes([29]) + content for name, content in raw.items()}


def tokenizer():
    vocabulary = {"a": 0, "b": 1, "c": 2, "\u0120": 3, "bc": 4, "ab": 5, "\u0120a": 6, "<|endoftext|>": 7}
    merges = "#version: 0.2\nb c\na b\n\u0120 a\n"
    text = "abc ab<|endoftext|> a\u0301\U0001f600 'll 12  \n x"

    def whole(changes=None, added=None, **model):
        value = {
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
            "decoder": {"type": "ByteLevel"},
            "added_tokens": [{"id": 7, "content": "<|endoftext|>", "special": True}] if added is None else added,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": ["b c", ["a", "b"], "\u0120 a"]} | model,
        }
        return json.dumps(value | (changes or {}), ensure_ascii=False)

    def tokens(*names, **flags):
        return [{"id": 8 + i, "content": name, "normalized": False} | flags for i, name in enumerate(names)]

    j = {
        "whole": whole(),
        "nfc": whole({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}}),
        "lowercase": whole({"normalizer": {"type": "Lowercase"}}),
        "sequences": whole(
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": True, "use_regex": False}],
                },
                "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]},
            }
        ),
        "empty-sequence": whole({"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}}),
        "unknown": whole(unk_token="<|endoftext|>", fuse_unk=True, ignore_merges=True),
        "unknown-missing": whole(unk_token="<unk>"),
        "byte-fallback": whole(byte_fallback=True),
        "dropout": whole(dropout=0.1),
        "added": whole(added=tokens(" ", "ab", "<x>", lstrip=True, rstrip=True)),
        "added-words": whole(added=tokens("ab", "c", single_word=True)),
        "added-normalized": whole({"normalizer": {"type": "NFC"}}, added=tokens("\u00e9", "e\u0301x", normalized=True)),
        "added-wrong-id": whole(added=[{"id": 99, "content": "<x>"}]),
        "added-large-id": whole(added=[{"id": 2**31, "content": "<x>"}]),
        "added-empty": whole(added=[{"id": 8, "content": ""}]),
        "added-twice": whole(added=tokens("<x>", "<x>")),
        "id-twice": whole(vocab={"a": 0, "b": 0}),
        "id-negative": whole(vocab={"a": -1}),
        "id-gap": whole(vocab={"a": 0, "b": 2147483647}, merges=[], added=[]),
        "id-full": whole(vocab={"a": 2147483647}, merges=[], added=[{"id": 1, "content": "x"}]),
        "token-empty": whole(vocab={"": 0, "a": 1}, merges=[["", "a"], " a"], added=[]),
        "token-outside": whole(vocab={"\u4e2d": 0, "a": 1, "a\u4e2d": 2}, merges=["a \u4e2d"], added=[]),
        "merge-unknown": whole(merges=["x y"]),
        "merge-three": whole(merges=["a b c"]),
        "merge-number": whole(merges=[1]),
        "merge-short": whole(merges=[["a"]]),
        "no-model": "{}",
        "deep": '{"pre_tokenizer":' + "[" * 500 + "]" * 500 + "}",
        "deep-object": '{"x":' * 500 + "1" + "}" * 500,
        "bad-utf8": whole().encode().replace(b"abc", b"a\x80c"),
        "lone-surrogate": '{"model":{"vocab":{"\\ud800":1}}}',
        "empty": "",
        "zero-byte": whole() + "\0",
    }
    seeds = {"json-" + name: joined(b"j" + (v if isinstance(v, bytes) else v.encode()), text) for name, v in j.items()}
    beside = {
        "class": ("", {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}),
        "class-unknown": ("", {"tokenizer_class": "BertTokenizer"}),
        "split": ("", {"split_special_tokens": True}),
        "named": ({"eos_token": "ab", "pad_token": {"content": " ", "lstrip": True}}, {"mask_token": "<x>", "sep_token": None}),
        "additional": ({"additional_special_tokens": ["a", "<x>"]}, {"extra_special_tokens": {"x_token": "<x>"}}),
        "names": ("", {"x_token": "<x>", "y_token": "<y>"}),
        "decoder": ({"eos_token": "<x>"}, {"added_tokens_decoder": {"7": {"content": "<|endoftext|>", "rstrip": True}, "8": {"content": "\u0301"}}}),
        "decoder-clash": ("", {"added_tokens_decoder": {"3": {"content": "<x>"}}}),
        "added": ("", "", {"<x>": 8, "<y>": 9}),
        "model-type": ("", {"add_prefix_space": True}, "", {"model_type": "gpt_neox"}),
    }
    for name, parts in beside.items():
        files = [json.dumps(part) if part else "" for part in parts]
        seeds["json-beside-" + name] = joined(b"j" + whole().encode(), text, *files)
    seeds["json-added-long"] = joined(b"j" + whole(added=tokens("a" * 900, "a" * 899 + "b", "c" + "a" * 900, "aa")).encode(), "a" * 2000 + "b" + "a" * 899 + "bc")
    seeds["json-bad-text"] = joined(b"j" + whole().encode(), b"a\xc3(\xf0\x9f\xe2\x82\x00b")

    vocab = json.dumps(vocabulary, ensure_ascii=False)
    special = json.dumps({"bos_token": "<|endoftext|>", "pad_token": {"content": "<pad>", "lstrip": True}})
    settings = {"add_prefix_space": True, "added_tokens_decoder": {"8": {"content": "<pad>", "special": True}}}
    v = {
        "whole": (vocab, merges, text),
        "special": (vocab, merges, text, special),
        "settings": (vocab, merges, text, special, json.dumps(settings)),
        "added": (vocab, merges, text, "", "", '{"<pad>": 8, "<x>": 9}'),
        "added-gap": (vocab, merges, text, "", "", '{"<pad>": 9}'),
        "added-twice": (vocab, merges, text, "", "", '{"<pad>": 8, "<x>": 8}'),
        "decoder-name": (vocab, merges, text, "", '{"added_tokens_decoder":{"x":{"content":"y"}}}'),
        "decoder-large": (vocab, merges, text, "", '{"added_tokens_decoder":{"99999999999":{"content":"y"}}}'),
        "additional": (vocab, merges, text, '{"additional_special_tokens":["a","b",{"content":"<q>"}]}'),
        "special-number": (vocab, merges, text, '{"eos_token":1}'),
        "no-merges": (vocab, "", text),
        "no-vocabulary": ("", merges, text),
        "blank-line": (vocab, "b c\n\na b\n", text),
        "blank-end": (vocab, "b c\r\n\r\n\n", text),
        "three": (vocab, "a b c\n", text),
        "one": (vocab, "ab\n", text),
        "spaces": (vocab, "  \n", text),
        "deep": (vocab, merges, text, "[" * 300, '{"x":' * 300),
    }
    seeds |= {"files-" + name: b"v" + joined(*parts) for name, parts in v.items()}

    pairs = "t h\nth e\ni n\n  t\n  th\n e r\ne r\nin g\n\u00c3 \u00a9\n1 2\n' s\n\n \n\n"
    pairs = pairs.encode() + b"\xc3 \xa9\n\xf0 \x9f\n"
    words = "the thing's the 12th in there  \n\n caf\u00e9 cafe\u0301 \U0001f600\ud55c\uae00 \u1112\u1161\u11ab"
    long = "the" * 40 + "ingthe" * 20 + "   "
    b = {
        "whole": ("0", pairs, "", words),
        "long": ("4", pairs, "", long),
        "nfc": ("1", pairs, "", words),
        "prefix": ("2", pairs, "", words),
        "ignore-merges": ("8", pairs, "", words),
        "all": ("?", pairs, "", words),
        "added": ("0", pairs, "@<x>\n@the\n@<x>y\nPxyz\n", words + "<x>y<x><x"),
        "added-flags": ("0", pairs, "A<x>\nB the\nDin\nHcaf\u00e9\nG \n", words + " <x>  <x> in in"),
        "added-nfc": ("1", pairs, "Hcafe\u0301\nH\u0301\n@e\n", words),
        "marks": ("1", "", "", "a" + "\u0301\u0323\u0327" * 20 + "\u1100\u1161\u11a8\uac00\u11a8"),
        "bad-utf8": ("0", pairs, "@\xc3\n", b"a\xf0\x9f\x98 \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80"),
        "white": ("0", pairs, "", " \t\n\r\x0b\x0c\u00a0\u2003\u3000\ufeff a  b"),
    }
    return seeds | {"bytes-" + name: b"b" + joined(*parts) for name, parts in b.items()}


def checkpoint():
    def file(header, values):
        header = header + " " * (-len(header) % 8)
        return struct.pack("<Q", len(header)) + header.encode() + values

    model = file('{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', struct.pack("<ff", 1, 2))
    optimizer = file("{}", b"")

    def files():
        return [
            {"name": f"{name}.safetensors", "size": len(content), "crc32": f"{zlib.crc32(content):08x}"}
            for name, content in (("model", model), ("optimizer", optimizer))
        ]

    def manifest(**changes):
        content = {"version": 1, "step": 7, "counters": {"epoch": 1, "seen": 12}, "files": files()} | changes
        return "," + json.dumps(content, separators=(",", ":"))[1:] + "\n"

    def with_first_file(**changes):
        changed = files()
        changed[0] |= changes
        return manifest(files=changed)

    whole = manifest()
    return {
        "whole": whole,
        "whole-file": f'{{"crc32":"{zlib.crc32(whole[1:].encode()):08x}"' + whole,
        "wrong-sum": '{"crc32":"00000000"' + whole,
        "empty": "",
        "short": '{"crc32":',
        "cut": whole[:60],
        "other-version": manifest(version=2),
        "version-deep": manifest(version=None).replace("null", "[" * 400 + "]" * 400),
        "other-step": manifest(step=8),
        "step-negative": manifest(step=-7),
        "step-float": manifest(step=7.0),
        "step-large": manifest(step=2**64 - 1),
        "step-string": manifest(step="7"),
        "counters-missing": manifest().replace("counters", "x"),
        "counters-array": manifest(counters=[1]),
        "counters-deep": manifest(counters=None).replace("null", "[" * 400 + "]" * 400),
        "files-missing": manifest(files=[]),
        "files-number": manifest(files=1),
        "files-null": manifest(files=[None]),
        "name-missing": manifest(files=[{"size": 1}]),
        "size-wrong": with_first_file(size=1),
        "size-negative": with_first_file(size=-1),
        "size-string": with_first_file(size="80"),
        "size-absurd": with_first_file(size=2**64 - 1),
        "sum-wrong": with_first_file(crc32="00000000"),
        "sum-number": with_first_file(crc32=0),
        "name-parent": with_first_file(name="../model.safetensors"),
        "file-twice": manifest(files=files() + files()),
        "member-twice": manifest().replace('"step":7', '"step":8,"step":7'),
        "zero-byte": whole[:-1] + "\0",
        "number-1e999": manifest().replace('"epoch":1', '"epoch":1e999'),
        "bad-utf8": whole.encode().replace(b"epoch", b"ep\xc3("),
    }


if __name__ == "__main__":
    for make in (safetensors, config, weight_index, json_lines, tokenizer, checkpoint):
        write(make.__name__, make())
