#!/usr/bin/env python3
"""Makes sampling.json: what transformers' warpers leave of rows of logits, as probabilities. Needs torch, transformers."""
import json
import pathlib

import torch
from transformers.generation.logits_process import (LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper,
                                                    TopPLogitsWarper)


def probabilities(logits, temperature, top_k, top_p):
    warpers = LogitsProcessorList()
    if temperature != 1:
        warpers.append(TemperatureLogitsWarper(temperature))
    if top_k > 0:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    scores = warpers(torch.zeros(1, 1, dtype=torch.long), torch.tensor([logits], dtype=torch.float64))
    return torch.softmax(scores, -1)[0].tolist()


def main():
    generator = torch.Generator().manual_seed(5)
    rows = [[2.0, 1.0, 0.0], [0.0, 3.0, 3.0, 1.0, 3.0, -2.0], [1.5] * 4,
            (2 * torch.randn(40, generator=generator, dtype=torch.float64)).tolist()]
    cases = []
    for logits in rows:
        for temperature in (0.5, 1.0, 1.25, 1.5, 2.0):
            for top_k, top_p in ((0, 1.0), (1, 1.0), (2, 1.0), (1000, 1.0), (0, 0.9), (0, 0.35), (0, 1e-6), (3, 0.8), (2, 0.5)):
                # Where equal logits straddle the mass that is cut, torch's unstable sort decides: not a case.
                if top_p < 1 and len(set(logits)) < len(logits):
                    continue
                cases.append({"logits": logits, "temperature": temperature, "top_k": top_k, "top_p": top_p,
                              "probabilities": probabilities(logits, temperature, top_k, top_p)})
    path = pathlib.Path(__file__).with_name("sampling.json")
    path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
