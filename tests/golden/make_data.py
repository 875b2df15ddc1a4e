#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes data.json, the golden values of tests/data.

    python make_data.py [DEBSUM_DIR]

Independent of the library: Python's str.strip and json, and Philox written again from its paper. With DEBSUM_DIR,
the folder of the whole debsum set, its checksums are made anew, else kept from the data.json that is there.
"""

import gzip
import json
import pathlib
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
MASK = 0xFFFFFFFF


def philox4x32(counter, key):
    """Ten rounds of Philox4x32 (Salmon et al. 2011, section 3.3)."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (product1 >> 32) ^ x1 ^ k0, product1 & MASK, (product0 >> 32) ^ x3 ^ k1, product0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return x0, x1, x2, x3


assert philox4x32((0,) * 4, (0,) * 2) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)  # Random123's kat_vectors


def shuffled(count, seed, step, sample=0):
    """Fisher-Yates from the back; the number for place i is drawn at position i of the shuffling stream."""
    order = list(range(count))
    for i in range(count, 1, -1):
        words = philox4x32((i, sample << 8 | 1, 0, step), (seed & MASK, seed >> 32))
        uniform = ((words[0] << 32 | words[1]) >> 11) / 2**53
        j = int(uniform * i)
        order[i - 1], order[j] = order[j], order[i - 1]
    return order


def batches(count, size, epochs, seed):
    steps = []
    for epoch in range(epochs):
        order = shuffled(count, seed, epoch)
        steps += [order[i : i + size] for i in range(0, count, size)]
    return {"count": count, "batch_size": size, "epochs": epochs, "seed": seed, "batches": steps}


def windows(texts, eos, size, seed):
    joined = []
    for i in shuffled(len(texts), seed, 0, sample=1):
        joined += texts[i] + [eos]
    cut = [joined[i : i + size] for i in range(0, len(joined), size)]
    return {"texts": texts, "eos": eos, "window": size, "seed": seed, "windows": [w for w in cut if len(w) > 1]}


def refuse_constant(name):
    raise ValueError(name)


def json_verdicts():
    """Lines, and whether Python's json takes them as one object without NaN."""
    lines = [
        '{}', '{"a": 1}', ' {"a": [1, 2.5e-3, -0, true, false, null]} ', '{"a": "\\u00e9\\ud83d\\ude00"}', '{"a": "\\/"}',
        '{"a": 1,}', '{"a" 1}', '{a: 1}', "{'a': 1}", '{"a": 01}', '{"a": 1.}', '{"a": .5}', '{"a": +1}', '{"a": 1e}',
        '{"a": 0x10}', '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": nul}', '{"a": True}', '{"a": "\\x"}',
        '{"a": "\\u12"}', '{"a": "b}', '{"a": "tab\there"}', '{"a": "\u007f"}', '{"a": 1} x', '{"a": 1}{"b": 2}', '[1]',
        '"text"', '1', 'null', '{', '}', '{"a": [}', '{"a": {"b": 1}', '// {}', '{} // comment', '{"a": 1 /* b */}',
        '{"a":1,"a":2}', '{"": ""}', '{"a": 1e10, "b": 123456789012345678901234567890}', '\u00a0{}', '{"a": [1,,2]}',
    ]
    verdicts = []
    for line in lines:
        try:
            accepted = isinstance(json.loads(line, parse_constant=refuse_constant), dict)
        except ValueError:
            accepted = False
        verdicts.append({"line": line, "accepted": accepted})
    return verdicts


def debsum(folder):
    """Rows, and the checksums of all prompts and responses in order, a NUL behind each."""
    result = {}
    for split in ("train", "validation", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        result[split] = {
            "rows": len(rows),
            "prompts": zlib.crc32("".join(row["document"] + "\nSynopsis:\0" for row in rows).encode()),
            "responses": zlib.crc32("".join(" " + row["summary"] + "\0" for row in rows).encode()),
        }
    return result


def main():
    path = HERE / "data.json"
    golden = {
        "white_space": [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and chr(c).strip() == ""],
        "json": json_verdicts(),
        "batches": [batches(10, 4, 3, 0), batches(23, 5, 2, 0x123456789ABCDEF0), batches(1, 16, 2, 7)],
        "windows": [
            windows([[5, 6, 7], [8], [], [9, 10, 11, 12, 13], [14, 15]], 0, 4, 3),
            windows([list(range(100 * i + 1, 100 * i + 2 + i)) for i in range(12)], 0, 7, 2**40 + 5),
        ],
        "debsum": debsum(pathlib.Path(sys.argv[1])) if len(sys.argv) > 1 else json.loads(path.read_text())["debsum"],
    }
    path.write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
