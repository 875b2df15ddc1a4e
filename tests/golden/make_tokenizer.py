#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tokenizer_*/ (small tokenizers in every layout), tokenizer.json, nfc.json and unicode.json.

Oracles: PyPI's tokenizers for ids and texts, Python's unicodedata for character classes and normal forms.

    python tests/golden/make_tokenizer.py [--shared ../shared]
"""

import argparse
import gzip
import json
import pathlib
import random
import tempfile
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
END = "<|endoftext|>"

SCRIPTS = {
    "latin": "The quick brown fox jumps over the lazy dog. It's what they're after, isn't it? We'll see; I'd say you've won.",
    "accents": "Où est l'élève naïf? Übergrößenträger, façade, São Paulo, Łódź, señor, İstanbul, Việt Nam, Ærøskøbing.",
    "decomposed": unicodedata.normalize("NFD", "Où est l'élève naïf? Übergrößenträger, Việt Nam, Ångström, 각 나라, が"),
    "greek": "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία. Ὀδυσσεύς",
    "cyrillic": "Съешь же ещё этих мягких французских булок, да выпей чаю. Їжак",
    "armenian": "Բարեւ աշխարհ, ինչպե՞ս ես։",
    "georgian": "გამარჯობა მსოფლიო",
    "hebrew": "שָׁלוֹם עוֹלָם, מה שלומך?",
    "arabic": "مرحبا بالعالم، كيف حالك؟ ١٢٣٤٥ الْعَرَبِيَّة",
    "persian": "سلام دنیا، می‌خواهم ۶۷۸۹۰",
    "devanagari": "नमस्ते दुनिया, क़ानून १२३४५६७८९०",
    "bengali": "ওহে বিশ্ব, কোলকাতা ১২৩",
    "tamil": "வணக்கம் உலகம் கௌ ௧௨௩",
    "telugu": "హలో ప్రపంచం",
    "thai": "สวัสดีชาวโลก ภาษาไทย ๑๒๓",
    "lao": "ສະບາຍດີຊາວໂລກ",
    "tibetan": "བོད་སྐད་ ཨོཾ་མ་ཎི་པདྨེ་ཧཱུྃ ༡༢༣",
    "burmese": "မင်္ဂလာပါ ကမ္ဘာလောက ၁၂၃",
    "khmer": "សួស្តី​ពិភពលោក ១២៣",
    "amharic": "ሰላም ልዑል ፩፪፫",
    "hangul": "안녕하세요 세계, 각 똠방각하 펲시콜라",
    "jamo": "\u1100\u1161\u11a8\u1112\u1161\u11ab\u1100\u1173\u11af \uac00\u11a8 \u1100\u1100\u1161\u11a7",
    "chinese": "你好，世界！今天天气不错。一二三 〇 ㊿ ½",
    "japanese": "こんにちは世界。カタカナ ｶﾞｷﾞ が ぱ \u304b\u3099 ﾊﾟ",
    "mongolian": "ᠮᠣᠩᠭᠣᠯ\u180eᠪᠢᠴᠢᠭ",
    "cherokee": "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ",
    "gothic": "𐌲𐌿𐍄𐌹𐍃𐌺 𝒜𝔅ℂ 𝟘𝟙𝟚 𠀋𪚥",
}

CASES = [
    "",
    " ",
    "  ",
    "a",
    " a",
    "Hello world",
    " Hello world",
    "It's they're I'LL I'll 'S 's ' '' don't 'tis 've'd'm",
    "a  b",
    "a   b\n\n c",
    "tab\there\t\tand\t there",
    "3.14159 12345 1,000,000 0x1F 10% Ⅷ ² ٣ 四",
    "\n\nHuman: hi\n\nAssistant:",
    "trailing  ",
    "trailing \n",
    "trailing\n ",
    "### Response:\n",
    "x" + " " * 26 + "y",
    " " * 49,
    "\t \n \r\n\x0b\x0c",
    "no\u00a0break\u00a0 two\u00a0\u00a0 \u0085next\u2028line\u2029par\u180emvs\u200bzwsp\ufeffbom\u3000wide\u202f\u205f\u1680",
    "\u00a0", "\u0085", "\u2028", "\u180e", "\u200b", "\ufeff", " \u00a0a", "\u00a0 a", "\u3000\u3000", " \u2028x",
    "\x00\x01\x02 \x1b[0m\x7f\x80\x9f\x1c\x1d\x1e\x1f",
    "cafe\u0301 caf\u00e9 \u212b \u2126 \u0344 \u0958 \ufb1f \u1e9b\u0323 a\u0327\u0301\u0323 \u0f73\u0f71",
    "\u0301\u0316\u0301 q\u0307\u0323 \u0323\u0307 \u09c7\u09be \u0b47\u0b57 \u11099\u110ba",
    "🙂 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 1️⃣ ❤️ ☃ 🧑🏿‍🚀",
    "e" + "\u0301" * 40 + "\u0316" * 40 + "o",
    "a" * 47 + " " + "b" * 48 + " " + "ab" * 25 + " " + "t" * 300,
    "1" * 60 + "!" * 60 + "?!" * 40 + "." * 3,
    "the the the" * 30,
    "\ue000 \uffff \U0010ffff \U000e0001 \ufdd0",
    "x<|endoftext|>y <|endoftext|> <|endoftext|><|endoftext|> <|endoftext <|endoftext|",
    "<|padding|> </s><s><pad> <unk> </s > a</s>b [PAD]",
    "<mask>a <mask> b  <mask>  c\u00a0<mask>\u2003\n<mask>x _<mask> <mask>9 é<mask> -<mask>-",
    "word thing words mywordhere word_ word. WORD \u0301word word\u0301",
    "strip  left  strip \t\n right  strip",
    "\u00e5ngstr\u00f6m a\u030angstr\u00f6m \u212bngstr\u00f6m",
    "one \u0120token \u0120\u010a \u0143\u0144 Ġ Ċ",
]


def corpus():
    return [text for text in SCRIPTS.values() for _ in range(3)] + CASES


def trained(vocabulary, special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=2, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def write(path, value, indent=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value, indent=indent) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def model_of(tokenizer):
    return json.loads(tokenizer.to_str())["model"]


def write_vocabulary_and_merges(folder, model):
    write(folder / "vocab.json", dict(sorted(model["vocab"].items(), key=lambda item: item[1])))
    write(folder / "merges.txt", "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]))


def from_vocabulary_and_merges(folder, added):
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(added)
    return tokenizer


def gpt2():
    """GPT-2: the end token is the last id."""
    folder = HERE / "tokenizer_gpt2"
    model = model_of(trained(500, []))
    model["vocab"][END] = len(model["vocab"])
    write_vocabulary_and_merges(folder, model)
    write(folder / "special_tokens_map.json", {"bos_token": END, "eos_token": END, "unk_token": END}, 2)
    return from_vocabulary_and_merges(folder, [AddedToken(END, special=True)])


def opt():
    """OPT: special tokens first, declared as objects; one further token with an id of its own."""
    folder = HERE / "tokenizer_opt"
    model = model_of(trained(450, ["<s>", "<pad>", "</s>", "<unk>"]))
    write_vocabulary_and_merges(folder, model)
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True}
    end = {"content": "</s>", **flags}
    write(folder / "special_tokens_map.json", {"bos_token": end, "eos_token": end, "unk_token": end, "pad_token": "<pad>"}, 2)
    write(folder / "tokenizer_config.json",
          {"add_bos_token": True, "add_prefix_space": False, "additional_special_tokens": ["<mask>"],
           "eos_token": {"__type": "AddedToken", **end}, "tokenizer_class": "GPT2Tokenizer"}, 2)
    write(folder / "added_tokens.json", {"[PAD]": len(model["vocab"])})
    special = [AddedToken("[PAD]", normalized=True), AddedToken("</s>", special=True, normalized=True),
               AddedToken("<pad>", special=True), AddedToken("<mask>", special=True)]
    return from_vocabulary_and_merges(folder, special)


def neox():
    """GPT-NeoX: tokenizer.json with NFC, and runs of spaces as added tokens."""
    tokenizer = trained(500, [END, "<|padding|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    value = json.loads(tokenizer.to_str())
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    for key in ("ignore_merges", "byte_fallback"):  # files of older versions do not have these
        del value["model"][key]
    write(HERE / "tokenizer_neox/tokenizer.json", value)
    return Tokenizer.from_file(str(HERE / "tokenizer_neox/tokenizer.json"))


def flags():
    """Everything else: flags of added tokens, a prefix space, unknown bytes, sequences, pairs as merges."""
    model = model_of(trained(480, ["<unk>"]))
    gone = set("qQ9") | {pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("\x01")[0][0]}
    kept = [t for t in sorted(model["vocab"], key=model["vocab"].get) if t == "<unk>" or not gone & set(t)]
    model["vocab"] = {token: i for i, token in enumerate(kept)}
    model["merges"] = [pair for pair in model["merges"] if not gone & set("".join(pair))]
    model.update(unk_token="<unk>", fuse_unk=True, ignore_merges=True, byte_fallback=False)
    tokens = [("<mask>", "single_word lstrip special"), ("word", "single_word"), ("left", "lstrip normalized"),
              ("right", "rstrip"), ("a\u030ang", "normalized special"), ("\u00e9", "normalized"), ("  ", "rstrip"),
              ("\u0120\u010a", ""), ("the", "special lstrip rstrip"), ("</s>", "special"), (END, "special normalized")]
    added = []
    for content, names in tokens:
        known = {t["content"]: t["id"] for t in added} | model["vocab"]
        flag = {name: name in names.split() for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        added.append({"id": known.get(content, max([len(kept), *[t["id"] + 1 for t in added]])), "content": content, **flag})
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    value = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
             "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [byte_level]},
             "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                "special_tokens": {"</s>": {"id": "</s>", "ids": [next(t["id"] for t in added if t["content"] == "</s>")], "tokens": ["</s>"]}}},
             "decoder": {"type": "Sequence", "decoders": [byte_level]}, "model": model}
    write(HERE / "tokenizer_flags/tokenizer.json", value)
    return Tokenizer.from_file(str(HERE / "tokenizer_flags/tokenizer.json"))


def texts(generator):
    """The cases, the scripts, and mixtures of pieces of both."""
    whole = CASES + list(SCRIPTS.values())
    result = list(whole)
    for _ in range(60):
        pieces = []
        for _ in range(generator.randrange(1, 7)):
            text = generator.choice(whole)
            begin = generator.randrange(len(text) + 1)
            pieces.append(text[begin : begin + generator.randrange(1, 12)])
        result.append("".join(pieces))
    return result


def answers(tokenizer, inputs, generator):
    size = tokenizer.get_vocab_size()
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in inputs]
    random_ids = [[generator.randrange(size + 20) for _ in range(generator.randrange(12))] for _ in range(40)]
    decode = lambda all_ids, skip: [tokenizer.decode(one, skip_special_tokens=skip) for one in all_ids]
    return {"size": size, "ids": ids, "random_ids": random_ids, "random_texts": decode(random_ids, False),
            "texts": [None if a == b else a for a, b in zip(decode(ids, False), inputs)],
            "texts_without_special": [None if a == b else a for a, b in zip(decode(ids, True), inputs)],
            "random_texts_without_special": decode(random_ids, True)}


def real(shared):
    """GPT-2's and Pythia's own files, which are not part of the project."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file, to in (("gpt2-vocab.json.gz", "vocab.json"), ("gpt2-merges.txt.gz", "merges.txt"),
                         ("pythia-tokenizer.json.gz", "tokenizer.json")):
            (folder / to).write_bytes(gzip.decompress((shared / "data/tokenizers" / file).read_bytes()))
        return {"real_gpt2": from_vocabulary_and_merges(folder, [AddedToken(END, special=True)]),
                "real_pythia": Tokenizer.from_file(str(folder / "tokenizer.json"))}


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def nfc_golden(generator):
    """Sequences of characters as old as Unicode 3.2, of which every later version has the same normal form."""
    library = normalizers.NFC().normalize_str
    old = [c for c in range(0x30000) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co")]
    marks = [c for c in old if unicodedata.combining(chr(c))]
    stirring = [c for c in old if unicodedata.normalize("NFD", chr(c)) != chr(c) and not 0xAC00 <= c < 0xD7A4]
    jamo = list(range(0x1100, 0x1113)) + list(range(0x1161, 0x1176)) + list(range(0x11A7, 0x11C3))
    hangul = list(range(0xAC00, 0xD7A4))
    cases = []
    for _ in range(500):
        pools = [marks, marks, stirring, stirring, jamo, hangul, old, [0x61, 0x65, 0x6F]]
        text = "".join(chr(generator.choice(generator.choice(pools))) for _ in range(generator.randrange(1, 9)))
        if generator.random() < 0.3:
            text = unicodedata.normalize("NFD", text)
        normal = unicodedata.normalize("NFC", text)
        assert normal == library(text), ascii(text)
        cases.append([text, normal])
    every = "\n".join(library(chr(c)) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    return {"cases": cases, "hash_of_every_code_point": f"{fnv(every.encode()):016x}"}


def unicode_golden():
    """Runs of one character class, [first, class, ...]: letter, number, space, other, or unknown to this Python."""
    spaces = {9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)}
    runs = []
    for c in range(0x110000):
        category = unicodedata.category(chr(c))
        kind = ("S" if c in spaces else category[0] if category[0] in "LN" else
                "?" if category in ("Cn", "Cs") else "O")
        if not runs or runs[-1] != kind:
            runs += [c, kind]
    return {"unicode": unicodedata.unidata_version, "classes": runs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=pathlib.Path, default=HERE.parents[2] / "shared")
    shared = parser.parse_args().shared
    generator = random.Random(20)
    inputs = texts(generator)
    tokenizers = {"gpt2": gpt2(), "opt": opt(), "neox": neox(), "flags": flags(), **real(shared)}
    golden = {name: answers(tokenizer, inputs, generator) for name, tokenizer in tokenizers.items()}
    write(HERE / "tokenizer.json", {"texts": inputs, **golden})
    write(HERE / "nfc.json", nfc_golden(generator))
    write(HERE / "unicode.json", unicode_golden())


if __name__ == "__main__":
    main()
