"""What the two sides of compare.py have in common: the model, the texts and the conversation with eso_peer."""

import gzip
import json
import random
import subprocess
from pathlib import Path

import tokenizers
import torch
import transformers

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY, LAYERS, WIDTH = 50257, 12, 768


class Eso:
    """A running eso_peer, or torch_peer: answers a request, a dictionary, with a dictionary."""

    def __init__(self, model, program="eso_peer", *arguments):
        self.process = subprocess.Popen([ROOT / "build/release/bench/peers" / program, *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self("load", model=str(model))

    def __call__(self, request, **fields):
        print(json.dumps({"do": request, **fields}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def debsum():
    """The examples in the tree: dictionaries with document and summary."""
    examples = []
    for name in ("train", "validation", "test"):
        path = ROOT / f"examples/debsum/data/{name}.jsonl.gz"
        if path.exists():
            with gzip.open(path, "rt") as lines:
                examples += [json.loads(line) for line in lines]
    return examples


def random_tokens(rows, length, seed):
    draw = random.Random(seed)
    return [[draw.randrange(VOCABULARY) for _ in range(length)] for _ in range(rows)]


def make_model(folder):
    """GPT-2 124M with random weights, and a tokenizer of as many tokens, learnt from debsum and filled up."""
    if (folder / "tokenizer.json").exists():
        return
    torch.manual_seed(0)
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1, min_frequency=1, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator((text for e in debsum() for text in (e["document"], e["summary"])), trainer)
    saved = json.loads(bpe.to_str())
    vocabulary, merges = saved["model"]["vocab"], saved["model"]["merges"]
    tokens = list(vocabulary)
    for left in tokens[256:]:
        for right in tokens[256:]:
            if len(vocabulary) == VOCABULARY - 1:
                break
            if left + right not in vocabulary:
                vocabulary[left + right] = len(vocabulary)
                merges.append([left, right])
    bpe = tokenizers.Tokenizer.from_str(json.dumps(saved))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    config = transformers.GPT2Config(
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=VOCABULARY - 1, eos_token_id=VOCABULARY - 1)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    assert len(fast) == VOCABULARY, len(fast)


def load_transformers(folder, dtype="float32"):
    torch.set_num_threads(2)
    return transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa", dtype=getattr(torch, dtype))


def step_operations(rows, length):
    """Of one training step: 6 a parameter and token, and those of causal attention."""
    parameters = VOCABULARY * WIDTH + 1024 * WIDTH + LAYERS * (12 * WIDTH**2 + 13 * WIDTH) + 2 * WIDTH
    return rows * (6 * parameters * length + 3 * LAYERS * 2 * length * (length + 1) * WIDTH)
