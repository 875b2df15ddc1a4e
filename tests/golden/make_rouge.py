# SPDX-License-Identifier: MIT
"""Writes rouge.json: words with their stems and texts with their scores, from rouge_score 0.1.2 and NLTK.

    python make_rouge.py [FILE.jsonl.gz]

FILE (field "document") only supplies English words for the stemmer; the rest is made here from a fixed seed.

    stems      "word stem" strings
    pieces     pieces of text
    pairs      [target, prediction, scores, stemmed scores or null if equal]; a text is a list of pieces, joined by a
               space; scores are [p, r, f] of rouge1, rouge2, rougeL in a row
    bytes      [target, prediction, scores]: texts as hexadecimal bytes, malformed UTF-8 included. Python reads them
               with errors="replace".
"""

import gzip
import json
import os
import random
import re
import sys

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer, tokenize

TYPES = ["rouge1", "rouge2", "rougeL"]
PLAIN = rouge_scorer.RougeScorer(TYPES, use_stemmer=False)
STEMMED = rouge_scorer.RougeScorer(TYPES, use_stemmer=True)
RANDOM = random.Random(20250101)

SUFFIXES = """s sses ies ss ied eed ed ing at bl iz y ying yed ational tional enci anci izer bli abli alli entli eli
ousli ization ation ator alism iveness fulness ousness aliti iviti biliti fulli logi ently ously ally fully logy ency
ancy ably ality ivity bility icate ative alize icity iciti ical ful ness al ance ence er ic able ible ant ement ment ent
sion tion ion ou ism ate iti ous ive ize e le ll ell ally ationally rationally izing ated bled ized lling ssing zzed
pping tted ing's 0s 99ed 4ing""".split()

STEMS = """a e y b ay oy by sy tr tree tro troub oat ivy orr falaf archit syz syzyg toy play hop fil fail hiss fizz tan
fall conflat troubl siz rel relat rat radic vietnam vil digit analog decis hope callous form sensit sens triplic electr
good reviv allow infer airlin gyroscop adjust defens irrit replac depend adopt homolog commun activ angular effect
bowdler prob cea contr roll geo theo archaeo philo w x ow ox ax wh str yy yyy ayy bay bayy 1 12 a1 1a y1 1y sk d l t
n inn out cann how proc exc succ generous oper univers i o u ai eio bcd mm ll ss zz all ess izz add off""".split()

PAPER = """caresses ponies ties dies flies spied died agreed feed plastered bled motoring sing conflated troubled sized
hopping tanned falling hissing fizzed failing filing happy sky enjoy fly relational conditional rational valency valenci
hesitancy hesitanci digitizer conformably conformabli radically radicalli differentli vilely vileli analogousli
vietnamization predication operator feudalism decisiveness hopefulness callousness formaliti sensitiviti sensibiliti
sensibility triplicate formative formalize electriciti electricity electrical hopeful goodness revival allowance
inference airliner gyroscopic adjustable defensible irritant replacement adjustment dependent adoption homologou
communism activate angulariti homologous effective bowdlerize probate rate cease controll roll sky skies dying lying
tying news innings inning outings outing cannings canning howe proceed exceed succeed geology theology generously
university being having have uses use aged age owed owe 1990s skis dies yes toy syzygy youth rationalli relationalli
nationally operationally ally ally's""".split()

PIECES = """|the cat sat on the mat|the dog ran after the cat|The QUICK brown fox jumps over the lazy dog!
It isn't the U.S.A., is it?|foo_bar baz-qux|3.14 and 2,000 in the 1990s|e-mail: a.b@example.org
café naïve résumé|Ünïcödé ÀÉÎÕÜ ß ẞ|İstanbul Iğdır ılık|300 K and 5 K|ＡＢＣ １２３ abc 123|ﬁne ﬂow ﬀ
你好 世界|日本語のテキスト test|한국어 문장 42|Привет, мир|Γειά σου Κόσμε ΣΊΣΥΦΟΣ|שלום עולם|مرحبا بالعالم ١٢٣|नमस्ते दुनिया
😀 smile 😃 smiling|— “quoted” … ‘text’|a|A b C|1|...|  |\ttab\tseparated\t|line one
he was running and the flies died lying|generously relational operators|generous relate operate
skies news dying innings|sky new die inning|was has ran|wa ha ran|cat cat cat cat|cat
adjustable adjustments adjusted adjusting|internationalization internationalisations
supercalifragilisticexpialidocious|supercalifragilisticexpialidocioux|abcdefgh abcdefgh1 abcdefg|abcdefghijklmnop
abcdefgh ijklmnop|the|the the|of the people, by the people, for the people|people""".replace("\n", "|").split("|")
PIECES += ["300 \u212a and 5\u212aG", "\u0130stanbul a\u0130b", "two\nlines\r\nor three", "don\u2019t \u017fo"]


def real_words(path):
    counts = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            for word in tokenize.tokenize(json.loads(line)["document"], None):
                counts[word] = counts.get(word, 0) + 1
    return sorted(word for word in counts if 3 <= len(word) <= 20 and re.search("[a-z]", word))


def words():
    made = {stem + suffix for stem in STEMS for suffix in SUFFIXES if "'" not in suffix}
    made = set(RANDOM.sample(sorted(made), 3800))
    made |= {"".join(RANDOM.choice("aeiouybstlrdgn") for _ in range(RANDOM.randint(1, 10))) for _ in range(700)}
    made |= {word for word in PAPER if "'" not in word}
    runs = [stem + "y" * n for stem in ("", "a", "b", "ab") for n in range(1, 6)]
    made |= {run + tail for run in runs for tail in ("", "s", "ing", "ed")}
    for path in sys.argv[1:]:
        found = real_words(path)
        made |= set(RANDOM.sample(found, min(3500, len(found))))
    return sorted(made)


def random_pieces():
    vocabulary = "the of and a to in is was it for on that with as be at by run runs running runner flies fly".split()
    vocabulary += "connect connected connection connections relate relational relating 7 42 1990s x1".split()
    return [" ".join(RANDOM.choice(vocabulary) for _ in range(RANDOM.randint(1, 25))) for _ in range(120)]


def numbers(scorer, target, prediction):
    return [float(x) for kind in TYPES for x in scorer.score(target, prediction)[kind]]


def pair(pieces, target, prediction):
    texts = [" ".join(pieces[i] for i in side) for side in (target, prediction)]
    plain, stemmed = numbers(PLAIN, *texts), numbers(STEMMED, *texts)
    return [target, prediction, plain, None if plain == stemmed else stemmed]


def pairs(pieces):
    made = len(PIECES)
    sides = [([i], [RANDOM.randrange(made)]) for i in range(made)]
    sides += [([RANDOM.randrange(made)], [i]) for i in range(made)]
    sides += [([i], [i]) for i in range(made)]
    for longest, count in ((3, 150), (8, 150), (30, 40)):
        for _ in range(count):
            side = lambda: [RANDOM.randrange(len(pieces)) for _ in range(RANDOM.randint(1, longest))]
            target, prediction = side(), side()
            if RANDOM.random() < 0.5:  # an edited copy
                prediction = [i if RANDOM.random() < 0.8 else RANDOM.randrange(len(pieces)) for i in target]
            sides.append((target, prediction))
    whole = list(range(len(pieces)))
    sides.append((whole, whole[::-1]))
    sides.append((whole, whole[5:] + whole[:5]))
    return [pair(pieces, *both) for both in sides]


def byte_pairs():
    parts = [b"the", b" ", b"cat", b"Sat", b"k", b"i", b"9", b"\x00", b"\x7f", b"\x80", b"\xff", b"\xf0", b"\xc3\xa9"]
    parts += [b"\xc4\xb0", b"\xc4", b"\xb0", b"\xe2\x84\xaa", b"\xe2", b"\xe2\x84", b"\xaa"]
    parts += [b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
    made = []
    for _ in range(120):
        texts = [b"".join(RANDOM.choice(parts) for _ in range(RANDOM.randint(0, 14))) for _ in range(2)]
        scores = numbers(PLAIN, *(text.decode("utf-8", "replace") for text in texts))
        made.append([texts[0].hex(), texts[1].hex(), scores])
    return made


def main():
    stemmer = PorterStemmer()
    pieces = PIECES + random_pieces()
    golden = {
        "stems": [f"{word} {stemmer.stem(word)}" for word in words()],
        "pieces": pieces,
        "pairs": pairs(pieces),
        "bytes": byte_pairs(),
    }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rouge.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
