"""Golden values of the losses: tests/golden/losses.json.

An implementation of its own in PyTorch: padded tensors, masks and automatic differentiation, where the library
has ragged loops and closed forms. Run it with a Python that has torch:

    python tests/golden/make_losses.py
"""

import itertools
import json
import pathlib
import random

import torch

torch.set_default_dtype(torch.float64)


def make_batch(rng, prompts):
    """Ragged: targets, samples (the last prompt has none), greedy responses, in no order."""
    responses = []
    for p in range(prompts):
        samples = 0 if p == prompts - 1 else rng.randint(2, 4)
        for kind, count in (("target", 1), ("sample", samples), ("greedy", 1)):
            for _ in range(count):
                length = rng.randint(1, 5)
                responses.append(
                    {
                        "prompt": p,
                        "kind": kind,
                        "length": length,
                        "finished": rng.random() < 0.6,
                        "reward": round(rng.random(), 4),
                        "logp": [round(rng.uniform(-4, -0.05), 4) for _ in range(length)],
                        "weights": [round(rng.uniform(-1, 1), 4) for _ in range(length)],
                    }
                )
    # A sample that is nothing but its end of sequence.
    first = next(r for r in responses if r["kind"] == "sample")
    first.update(length=1, finished=True, logp=first["logp"][:1], weights=first["weights"][:1])
    rng.shuffle(responses)
    return {"prompts": prompts, "responses": responses}


def tensors(batch):
    rows = batch["responses"]
    longest = max(r["length"] for r in rows)
    pad = lambda values: values + [0.0] * (longest - len(values))
    logp = torch.tensor([pad(r["logp"]) for r in rows], requires_grad=True)
    mask = torch.tensor([pad([1.0] * r["length"]) for r in rows])
    weights = torch.tensor([pad(r["weights"]) for r in rows])
    return logp, mask, weights


def sft(batch, logp, mask, reduction):
    is_target = torch.tensor([float(r["kind"] == "target") for r in batch["responses"]])
    nll = -(logp * mask)
    if reduction == "token_mean":
        return (nll * is_target[:, None]).sum() / (mask * is_target[:, None]).sum()
    per_sequence = nll.sum(1)
    if reduction == "sequence_mean":
        per_sequence = per_sequence / mask.sum(1)
    return (per_sequence * is_target).sum() / batch["prompts"]


def eso(batch, logp, mask, baseline, norm, token, sample, reduce, threshold, include_eos):
    rows = batch["responses"]
    kept_tokens = mask.clone()
    if not include_eos:
        for n, r in enumerate(rows):
            if r["finished"]:
                kept_tokens[n, r["length"] - 1] = 0
    lp = (logp * kept_tokens).sum(1)
    if token == "mean_seq":
        lp = lp / kept_tokens.sum(1).clamp(min=1)
    losses, means = [], []
    for p in range(batch["prompts"]):
        index = [n for n, r in enumerate(rows) if r["prompt"] == p and r["kind"] == "sample"]
        if not index:
            continue
        rewards = torch.tensor([rows[n]["reward"] for n in index])
        if baseline == "mean":
            compared = rewards.mean()
        elif baseline == "leave_one_out":
            compared = (rewards.sum() - rewards) / (len(index) - 1)
        else:
            compared = next(r["reward"] for r in rows if r["prompt"] == p and r["kind"] == "greedy")
        advantage = rewards - compared
        if norm == "std":
            advantage = advantage / (rewards.std() + 1e-4)
        terms = -(advantage * lp[index])
        losses.append(terms.mean() if sample == "mean" else terms.sum())
        means.append(rewards.mean().item())
    losses = torch.stack(losses)
    kept = torch.tensor([float(u > threshold) for u in means])
    if reduce == "mean":
        return losses.sum() / batch["prompts"]
    if reduce == "sum":
        return losses.sum()
    if kept.sum() == 0:
        return 0 * losses.sum()
    return (losses * kept).sum() / kept.sum() if reduce == "mean_kept" else losses.sum()


def ragged(batch, gradient):
    return [[float(f"{g:.15g}") for g in row[: r["length"]]] for row, r in zip(gradient.tolist(), batch["responses"])]


def main():
    rng = random.Random(20250117)
    batches = [make_batch(rng, 3), make_batch(rng, 5)]
    result = {"batches": batches, "sft": [], "eso": [], "combined": []}
    reduces = [("mean", 0), ("sum", 0), ("mean_kept", 0.45), ("mean_kept", 0.99)]
    reduces += [("sum_if_any_above", 0.45), ("sum_if_any_above", 0.99)]
    options = list(
        itertools.product(
            ("mean", "leave_one_out", "greedy"), ("none", "std"), ("sum", "mean_seq"), ("sum", "mean"), reduces, (True, False)
        )
    )
    for b, batch in enumerate(batches):

        def evaluate(function, entry, full):
            logp, mask, weights = tensors(batch)
            value = function(logp, mask)
            (gradient,) = torch.autograd.grad(value, logp)
            entry.update(batch=b, value=value.item(), projection=(gradient * weights).sum().item())
            if full:
                entry["d_logp"] = ragged(batch, gradient)
            return entry

        for reduction in ("token_mean", "sequence_sum_prompt_mean", "sequence_mean"):
            function = lambda logp, mask: sft(batch, logp, mask, reduction)
            result["sft"].append(evaluate(function, {"reduction": reduction}, True))
        for i, (baseline, norm, token, sample, (reduce, threshold), eos) in enumerate(options):
            choice = [baseline, norm, token, sample, reduce, threshold, eos]
            function = lambda logp, mask: eso(batch, logp, mask, *choice)
            result["eso"].append(evaluate(function, {"options": choice}, i % 13 == 0))
        for weight in (0.05, 2.5):
            function = lambda logp, mask: sft(batch, logp, mask, "token_mean") + weight * eso(
                batch, logp, mask, "mean", "none", "sum", "sum", "mean", 0, True
            )
            result["combined"].append(evaluate(function, {"weight": weight}, True))
    path = pathlib.Path(__file__).with_name("losses.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


main()
