#!/usr/bin/env python3
"""Makes dropout.json: log-probabilities and gradients of transformers' models in training, with the masks of `DropoutMasks`.

Needs torch and transformers. The masks are computed here from the formula in the comment of eso/model/dropout.hpp and
Philox4x32-10 as its authors describe it, and handed to transformers in the order in which it asks for them.
"""
import json
import pathlib

import torch

from make_families import be_exact, load, sequence_log_probs

FOLDER = pathlib.Path(__file__).parent
MODELS = {"gpt2/plain": (0.1, 0.25, 0.3), "opt/before": (0.0, 0.2, 0.15), "opt/after": (0.0, 0.4, 0.1),
          "gpt_neox/parallel": (0.2, 0.3, 0.2), "gpt_neox/sequential": (0.25, 0.1, 0.25)}  # embedding, attention, residual
SEED, STEP, EXAMPLE, SAMPLE, KIND = 0x1234567890ABCDEF, 3, 71, 2, 1
EMBEDDING, ATTENTION, ATTENTION_OUT, FEED_FORWARD = range(4)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Masks:
    def __init__(self, config, prompt_length, rates):
        self.context = config.max_position_embeddings
        self.width, self.heads = config.hidden_size, config.num_attention_heads
        self.prompt_length = prompt_length
        self.rates = dict(zip(range(4), (*rates, rates[-1])))
        self.head_blocks = -(-self.context // 4)
        self.blocks = max(-(-self.width // 4), self.heads * self.head_blocks)

    def units(self, place, layer, position, head, count):
        sample = 0 if position < self.prompt_length else (1 + KIND) * 2**20 + SAMPLE
        first = ((4 * layer + place) * self.context + position) * self.blocks + head * self.head_blocks
        words = []
        for block in range(first, first + -(-count // 4)):
            words += philox((block & 0xFFFFFFFF, sample << 8 | 3, EXAMPLE, STEP),
                            (SEED & 0xFFFFFFFF, SEED >> 32 ^ block >> 32))
        rate = self.rates[place]
        return [0.0 if word < int(rate * 2**32) else 1 / (1 - rate) for word in words[:count]]

    def mask(self, place, layer, shape):
        length = shape[-2]
        if place == ATTENTION:
            rows = [[self.units(place, layer, p, h, length) for p in range(length)] for h in range(self.heads)]
        else:
            rows = [self.units(place, layer, p, 0, self.width) for p in range(length)]
        return torch.tensor(rows, dtype=torch.float64).reshape(shape)


def log_probs(folder, name, rates, prompt, response):
    model = load(folder).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5  # any: the mask is ours
        for rate in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.5)
    masks = Masks(model.config, len(prompt), rates)
    places = [] if name.startswith("opt") else [(EMBEDDING, 0)]
    for layer in range(model.config.num_hidden_layers):
        places += [(ATTENTION, layer), (ATTENTION_OUT, layer), (FEED_FORWARD, layer)]
    calls = iter(places)

    def dropout(x, p=0.5, training=True, inplace=False):
        assert training
        place, layer = next(calls)
        assert (x.dim() == 4) == (place == ATTENTION), (place, x.shape)
        return x * masks.mask(place, layer, x.shape)

    torch.nn.functional.dropout, plain = dropout, torch.nn.functional.dropout
    logp = sequence_log_probs(model, prompt, response)
    torch.nn.functional.dropout = plain
    assert next(calls, None) is None
    weights = [(-1) ** t * (1 + t / 4) for t in range(len(response))]
    (logp * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    norms = {parameter_name: parameter.grad.square().sum().sqrt().item() for parameter_name, parameter in model.named_parameters()}
    return {"logp": logp.tolist(), "norms": {"embed_out.weight" if k == "lm_head.weight" else k: v for k, v in norms.items()}}


def main():
    torch.set_num_threads(1)
    be_exact()
    prompt, response = [5, 90, 33, 2, 33], [60, 7, 7, 12, 45, 3]
    golden = {"seed": SEED, "step": STEP, "example": EXAMPLE, "sample": SAMPLE, "prompt_ids": prompt, "response_ids": response,
              "models": {}}
    for name, rates in MODELS.items():
        case = log_probs(FOLDER / name, name, rates, prompt, response)
        golden["models"][name] = {"rates": rates} | case
    (FOLDER / "dropout.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
