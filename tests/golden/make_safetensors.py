# SPDX-License-Identifier: MIT
"""Writes safetensors.json: files written by the safetensors library, with their values, and its verdict on files
that are crafted here. The bytes are hexadecimal."""

import json
import pathlib
import struct

import safetensors
import safetensors.torch
import torch


def written(name, tensors, metadata=None):
    content = safetensors.torch.save(tensors, metadata=metadata)
    back = safetensors.torch.load(content)
    values = {key: {"dtype": str(t.dtype).split(".")[1], "shape": list(t.shape),
                    "values": [repr(float(v)) for v in t.flatten().tolist()]}
              for key, t in back.items() if t.dtype.is_floating_point}
    others = sorted(key for key, t in back.items() if not t.dtype.is_floating_point)
    return {"name": name, "bytes": content.hex(), "metadata": metadata or {}, "tensors": values, "ignored": others}


def every_half():
    bits = torch.arange(-32768, 32768, 37, dtype=torch.int32).to(torch.int16)
    return {"half": bits.view(torch.float16), "brain": bits.clone().view(torch.bfloat16)}


def rounding():
    """float32 bits and the bfloat16 bits that torch rounds them to."""
    generator = torch.Generator().manual_seed(3)
    bits = torch.randint(-2**31, 2**31, (500,), generator=generator, dtype=torch.int64).to(torch.int32)
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001,
                         0x7FFFFFFF, 0x00000001, 0x00008000, 0x00018000, 0], dtype=torch.int64).to(torch.int32)
    bits = torch.cat([bits, ties, ties | -2**31])
    to = bits.view(torch.float32).to(torch.bfloat16).view(torch.int16)
    return {"float32": [b & 0xFFFFFFFF for b in bits.tolist()], "bfloat16": [b & 0xFFFF for b in to.tolist()]}


def crafted():
    one = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    entry = '{"a":{"dtype":"%s","shape":%s,"data_offsets":%s}}'
    cases = [
        ("one", one, 4), ("empty object", "{}", 0), ("empty object, values", "{}", 4), ("no values", one, 0),
        ("a byte more", one, 5), ("a byte less", one, 3), ("scalar", entry % ("F32", "[]", "[0,4]"), 4),
        ("empty tensor", entry % ("F32", "[0]", "[0,0]"), 0), ("spaces after", one + "   ", 4),
        ("line break after", one + "\n", 4), ("text after", one + "x", 4), ("zero byte after", one + "\0", 4),
        ("array", "[]", 0), ("byte order mark", "\ufeff" + one, 4), ("comma at the end", one[:-1] + ",}", 4),
        ("unknown dtype", entry % ("F31", "[1]", "[0,4]"), 4), ("lower case dtype", entry % ("f32", "[1]", "[0,4]"), 4),
        ("negative dimension", entry % ("F32", "[-1]", "[0,4]"), 4), ("minus zero", entry % ("F32", "[-0]", "[0,0]"), 0),
        ("1.0", entry % ("F32", "[1.0]", "[0,4]"), 4), ("1e0", entry % ("F32", "[1e0]", "[0,4]"), 4),
        ("string dimension", entry % ("F32", '["1"]', "[0,4]"), 4), ("null shape", entry % ("F32", "null", "[0,4]"), 4),
        ("nested shape", entry % ("F32", "[[1]]", "[0,4]"), 4), ("2^64", entry % ("F32", "[18446744073709551616]", "[0,4]"), 4),
        ("product 2^64", entry % ("F32", "[4294967296,4294967296]", "[0,0]"), 0),
        ("bytes 2^64", entry % ("F64", "[2305843009213693952]", "[0,0]"), 0),
        ("zero after overflow", entry % ("F32", "[4294967296,4294967296,0]", "[0,0]"), 0),
        ("end before begin", entry % ("F32", "[1]", "[4,0]"), 4), ("one offset", entry % ("F32", "[1]", "[0]"), 4),
        ("three offsets", entry % ("F32", "[1]", "[0,4,4]"), 4), ("past the end", entry % ("F32", "[2]", "[0,8]"), 4),
        ("size differs", entry % ("F32", "[2]", "[0,4]"), 4), ("hole at the start", entry % ("F32", "[1]", "[4,8]"), 8),
        ("hole between", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],'
         '"data_offsets":[2,3]}}', 3),
        ("overlap", '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],'
         '"data_offsets":[1,3]}}', 3),
        ("any order", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],'
         '"data_offsets":[0,1]}}', 2),
        ("no dtype", '{"a":{"shape":[1],"data_offsets":[0,4]}}', 4),
        ("no offsets", '{"a":{"dtype":"F32","shape":[0]}}', 0),
        ("unknown field", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"note":{"x":[1,null]}}}', 4),
        ("dtype twice", '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
        ("metadata", '{"__metadata__":{"k":"v"}}', 0), ("metadata number", '{"__metadata__":{"k":1}}', 0),
        ("metadata nested", '{"__metadata__":{"k":{}}}', 0), ("metadata array", '{"__metadata__":[]}', 0),
        ("tensor is a number", '{"a":1}', 0), ("half a byte", entry % ("F4", "[1]", "[0,1]"), 1),
        ("two halves", entry % ("F4", "[2]", "[0,1]"), 1), ("integers", entry % ("I64", "[1]", "[0,8]"), 8),
        ("invalid escape", '{"\\x":{}}', 0), ("raw line break in a name", '{"\n":{"dtype":"U8","shape":[0],'
         '"data_offsets":[0,0]}}', 0),
    ]
    result = []
    for name, header, size in cases:
        text = header.encode()
        content = struct.pack("<Q", len(text)) + text + bytes(size)
        try:
            safetensors.deserialize(content)
            accepted = True
        except safetensors.SafetensorError:
            accepted = False
        result.append({"name": name, "bytes": content.hex(), "accepted": accepted})
    return result


if __name__ == "__main__":
    files = [
        written("two types", {"z": torch.tensor([[1.5, -2.0, 0.1]]), "a": torch.tensor([3.0, 0.25], dtype=torch.bfloat16)},
                {"format": "pt"}),
        written("names", {"a\"b\\c\n\u00e9\u2028\x7f": torch.tensor(1.0), "": torch.zeros(0, 3)}),
        written("wide", {"d": torch.tensor([0.1, 1e300], dtype=torch.float64), "i": torch.arange(3),
                         "b": torch.tensor([True])}),
        written("halves", every_half()),
    ]
    golden = {"version": safetensors.__version__, "written": files, "crafted": crafted(), "rounding": rounding()}
    path = pathlib.Path(__file__).parent / "safetensors.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
