"""Golden values of the unlikelihood of repetition: tests/golden/sequence_unlikelihood.json.

Written from the formula in PyTorch with automatic differentiation. Run it with a Python that has torch:

    python tests/golden/make_sequence_unlikelihood.py
"""

import itertools
import json
import pathlib
import random

import torch

torch.set_default_dtype(torch.float64)


def repeats(tokens, n, skip_last):
    """Tests every n-gram against all that began before it."""
    places = len(tokens) - n + (0 if skip_last else 1)
    mask = [0.0] * len(tokens)
    for later in range(max(places, 0)):
        if any(tokens[earlier:earlier + n] == tokens[later:later + n] for earlier in range(later)):
            mask[later:later + n] = [1.0] * n
    return torch.tensor(mask)


def sequence_case(responses, n, floor, skip_last):
    lines = [torch.tensor(r["logp"], requires_grad=True) for r in responses]
    samples = [(r, line) for r, line in zip(responses, lines) if r["kind"] == "sample"]
    terms = [(repeats(r["tokens"], n, skip_last) * -torch.log(torch.clamp(-torch.expm1(line), min=floor))).sum()
             for r, line in samples]
    value = sum(terms) / sum(len(r["tokens"]) for r, _ in samples)
    gradients = torch.autograd.grad(value, lines, allow_unused=True)
    return {"n": n, "floor": floor, "skip_last": skip_last, "value": value.item(),
            "d_logp": [[0.0] * len(r["tokens"]) if g is None else g.tolist() for r, g in zip(responses, gradients)]}


def main():
    rng = random.Random(1908)
    responses = []
    for prompt, kind, length in ((0, "sample", 24), (0, "target", 9), (0, "sample", 3), (1, "sample", 17), (1, "greedy", 12)):
        tokens = [rng.randrange(3) for _ in range(length)]
        logp = [round(rng.choice((rng.uniform(-4, -0.02), -rng.random() * 1e-3)), 6) - 1e-6 for _ in range(length)]
        responses.append({"prompt": prompt, "kind": kind, "tokens": tokens, "logp": logp})
    cases = [sequence_case(responses, n, floor, skip_last)
             for n, floor, skip_last in itertools.product((1, 2, 4), (1e-20, 0.2), (False, True))]
    path = pathlib.Path(__file__).with_name("sequence_unlikelihood.json")
    path.write_text(json.dumps({"responses": responses, "cases": cases}, separators=(",", ":")) + "\n")


main()
