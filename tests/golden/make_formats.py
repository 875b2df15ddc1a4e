#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes formats.json, the golden values of the data sets' formats and splits.

    python make_formats.py [SHARED_DATA_DIR]

Independent of the library: the prompts of made-up lines are put together here from the templates as they were published,
the splits drawn with the Philox of make_data.py. With SHARED_DATA_DIR, the folder of the data sets' samples, their
counts and checksums are made anew, else kept from the formats.json that is there. No text of theirs is written.
"""

import gzip
import json
import pathlib
import random
import re
import sys
import zlib

from make_data import shuffled

HERE = pathlib.Path(__file__).resolve().parent

WITH_INPUT = """Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
INSTRUCTION

### Input:
INPUT

### Response:
"""
WITHOUT_INPUT = """Below is an instruction that describes a task. Write a response that appropriately completes the request.

### Instruction:
INSTRUCTION

### Response:
"""
ARTICLE = "Summarize the following article in one sentence."


def alpaca(instruction, text):
    template = WITH_INPUT if text else WITHOUT_INPUT
    return re.sub("INSTRUCTION|INPUT", lambda slot: instruction if slot[0] == "INSTRUCTION" else text, template)


class LeftOut(Exception):
    """The line gives no example; the argument says why."""


def one(*texts):
    """The text that stands in one place or in several alike."""
    there = {text for text in texts if text is not None}
    if len(there) > 1:
        raise ValueError("different texts")
    return there.pop() if there else None


def there(text):
    if not isinstance(text, str):
        raise TypeError("no text")
    return text


def example(asked, response, prompt=None):
    """A prompt, of which `asked` is what the row gives, with its response, unless the row says nothing."""
    asked, response = there(asked), there(response)
    if not asked.strip():
        raise LeftOut("empty prompt")
    if not response.strip():
        raise LeftOut("empty response")
    return (prompt(asked) if prompt else asked), response


def pair(prompt, chosen, rejected):
    there(rejected)
    example(prompt, chosen)
    example(prompt, rejected)
    if chosen == rejected:
        raise LeftOut("equal pair")
    return prompt, chosen, rejected


def turn_of(transcript):
    """What is before the answer of the last turn, and the answer."""
    *before, answer = transcript.split("\n\nAssistant:")
    if not before:
        raise LeftOut("no answer")
    return "".join(part + "\n\nAssistant:" for part in before), answer


def strict_pair(row):
    transcripts = there(row["chosen"]), there(row["rejected"])
    (prompt, chosen), (other, rejected) = map(turn_of, transcripts)
    if prompt != other:
        raise LeftOut("other prompt")
    return pair(prompt, chosen, rejected)


def compatible_pair(row):
    chosen, rejected = there(row["chosen"]), there(row["rejected"])
    prompt, chosen = turn_of(chosen)
    return pair(prompt, chosen, rejected[len(prompt) :])


def self_instruct(row):
    instance = row["instances"][0] if "instances" in row else {}
    given = one(instance.get("input"), row.get("input")) or ""
    return example(row["instruction"], one(instance.get("output"), row.get("output")), lambda text: alpaca(text, given))


def vicuna(answers):
    def of(row):
        question = one(row.get("text"), row["turns"][0] if "turns" in row else None)
        return example(question, answers[row["question_id"]], lambda text: alpaca(text, ""))

    return of


def pretraining(row):
    if not there(row["text"]).strip():
        raise LeftOut("empty response")
    return "", row["text"]


def spaced(prompt, response):
    return prompt, " " + response


ANSWERS = {1: "One.", 2: " Two\n", "three": "3"}
FORMATS = {
    "debsum": lambda row: spaced(*example(row["document"], row["summary"], lambda text: text + "\nSynopsis:")),
    "xsum": lambda row: example(row["document"], row["summary"], lambda text: alpaca(ARTICLE, text)),
    "xsum tldr": lambda row: spaced(*example(row["document"], row["summary"], lambda text: text + "\n\nTL;DR:")),
    "dolly": lambda row: example(
        row["instruction"],
        one(row.get("response"), row.get("output")),
        lambda text, given=one(row.get("context"), row.get("input")) or "": alpaca(text, given),
    ),
    "self-instruct": self_instruct,
    "vicuna": vicuna(ANSWERS),
    "hh": strict_pair,
    "hh dpo-compat": compatible_pair,
    "preference": lambda row: pair(row["prompt"], row["chosen"], row["rejected"]),
    "prompt-response": lambda row: example(row["prompt"], row["response"]),
    "text": pretraining,
}


def texts(dice):
    """Made-up words, some of them not there, empty, blank or full of what a template might trip over."""
    odd = [None, "", " ", "\n\u00a0", "{}", "{0} %s \\1", "INPUT", "### Response:\n", "\n\nAssistant:", "\u00e9\U0001f600"]
    words = ["a", "tree", "of", "birds", "\u00fcber", "\n", "10%"]
    return dice.choice(odd) if dice.random() < 0.3 else " ".join(dice.choices(words, k=dice.randint(1, 6)))


def transcript(dice):
    turns = ["\n\nHuman: " + dice.choice("AB\u00e9"), "\n\nAssistant:" + dice.choice([" ", " yes", " no", " \U0001f600"])]
    return "".join(turns * dice.randint(1, 2)) if dice.random() < 0.9 else turns[0]


def made_up(name, dice):
    """A line of the format with some field missing, twice or odd now and then."""
    row = {"id": dice.randint(1, 9), "category": "x"}
    if name.startswith("hh"):
        first = transcript(dice)
        same = first[: first.rfind(":") + 1] + dice.choice(["", " yes", " no", " so"])
        row |= {"chosen": first, "rejected": same if dice.random() < 0.6 else transcript(dice)}
    elif name == "vicuna":
        row |= {"question_id": dice.choice([1, 2, "three", 4, "1"])}
        row |= dice.choice([{"text": texts(dice)}, {"turns": [texts(dice)]}, {"text": "t", "turns": [dice.choice("tu")]}])
    elif name == "self-instruct":
        row |= {"instruction": texts(dice)}
        inside, outside = ({"input": texts(dice), "output": texts(dice)} for _ in range(2))
        ways = [{"instances": [inside]}, outside, {"instances": [inside]} | inside, {"instances": [inside]} | outside]
        row |= dice.choices(ways, weights=[6, 6, 3, 1])[0]
    else:
        fields = {
            "debsum": ["document", "summary"],
            "xsum": ["document", "summary"],
            "xsum tldr": ["document", "summary"],
            "dolly": ["instruction", *dice.choice([["context"], ["input"], [], ["context", "input"]]), *dice.choice([["response"], ["output"]])],
            "preference": ["prompt", "chosen", "rejected"],
            "prompt-response": ["prompt", "response"],
            "text": ["text"],
        }[name]
        row |= {field: texts(dice) for field in fields}
        if "context" in row and "input" in row and dice.random() < 0.5:
            row["input"] = row["context"]
    if dice.random() < 0.1:
        del row[dice.choice(list(row))]
    return row


def verdict(name, row):
    try:
        prompt, response, *rejected = FORMATS[name](row)
        if not all(isinstance(text, str) for text in (prompt, response, *rejected)):
            raise TypeError
    except LeftOut as why:
        return {"left_out": str(why)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {"refused": True}
    return {"prompt": prompt, "response": response} | ({"rejected": rejected[0]} if rejected else {})


def splits():
    drawn = [(10, 3, 0), (252, 50, 0), (100, 99, 2**40 + 7), (15011, 1000, 20)]
    return [
        {"examples": n, "count": count, "seed": seed, "test": sorted(shuffled(n, seed, 0, sample=2)[:count])}
        for n, count, seed in drawn
    ]


def checksum(parts):
    return zlib.crc32("".join(part + "\0" for part in parts).encode())


def sample(make, rows):
    """Counts of a published file, and the checksums of all prompts, responses and rejected responses, a NUL behind each."""
    examples, left_out = [], {"other prompt": [], "empty response": [], "equal pair": []}
    for number, row in enumerate(rows):
        try:
            examples.append((number, *make(row)))
        except LeftOut as why:
            left_out[str(why)].append(number)
    result = {"rows": len(rows), "examples": len(examples), "without_input": sum("### Input" not in e[1] for e in examples)}
    result |= {"other_prompts": left_out["other prompt"], "empty_responses": left_out["empty response"], "equal_pairs": left_out["equal pair"]}
    result |= {name: checksum(e[i] for e in examples) for i, name in enumerate(["prompts", "responses"], 1)}
    return result | ({"rejected": checksum(e[3] for e in examples)} if len(examples[0]) > 3 else {})


def samples(folder):
    def lines(name):
        opened = gzip.open(folder / name, "rt", encoding="utf-8") if name.endswith(".gz") else open(folder / name, encoding="utf-8")
        with opened as file:
            return [json.loads(line) for line in file]

    answers = {row["question_id"]: row["text"] for row in lines("vicuna/answer_gpt35.jsonl")}
    transcripts = lines("hh-rlhf/harmless-base-test.jsonl.gz")
    return {
        "self-instruct": sample(self_instruct, lines("self-instruct/user_oriented_instructions.jsonl")),
        "vicuna": sample(vicuna(answers), lines("vicuna/question.jsonl")),
        "hh": sample(strict_pair, transcripts),
        "hh dpo-compat": sample(compatible_pair, transcripts),
    }


def main():
    path = HERE / "formats.json"
    dice = random.Random(5)
    made = []
    for name in FORMATS:
        for _ in range(40):
            row = made_up(name, dice)
            made.append({"format": name, "line": json.dumps(row), **verdict(name, row)})
    golden = {
        "answers": [json.dumps({"question_id": key, "text": text}) for key, text in ANSWERS.items()],
        "lines": made,
        "splits": splits(),
        "samples": samples(pathlib.Path(sys.argv[1])) if len(sys.argv) > 1 else json.loads(path.read_text())["samples"],
    }
    path.write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
