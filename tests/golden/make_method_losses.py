"""Golden values of Unlike, DRL, RRHF, DPO and SLiC, and of ESO over the mean length: tests/golden/method_losses.json.

An implementation of its own in PyTorch with automatic differentiation. Run it with a Python that
has torch:

    python tests/golden/make_method_losses.py
"""

import itertools
import json
import pathlib
import random

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def make_batch(rng, prompts):
    """Ragged responses of every kind, in no order; the last prompt has no sample and no rejected response."""
    responses = []
    for p in range(prompts):
        last = p == prompts - 1
        counts = {"target": 1, "sample": 0 if last else rng.randint(2, 4), "greedy": 1, "chosen": 1, "rejected": int(not last)}
        for kind, count in counts.items():
            for _ in range(count):
                length = rng.randint(1, 5)
                draw = lambda low, high: [round(rng.uniform(low, high), 4) for _ in range(length)]
                responses.append({"prompt": p, "kind": kind, "length": length, "reward": round(rng.random(), 4),
                                  "logp": draw(-4, -0.02), "reference": draw(-4, -0.02), "weights": draw(-1, 1)})
    rng.shuffle(responses)
    return {"prompts": prompts, "responses": responses}


def rows(batch, p, kind):
    return [n for n, r in enumerate(batch["responses"]) if r["prompt"] == p and r["kind"] == kind]


def rewards(batch, index):
    return torch.tensor([batch["responses"][n]["reward"] for n in index])


def unlike(batch, lines, objective, select, weight, threshold, floor):
    total = torch.zeros(())
    for p in range(batch["prompts"]):
        index = rows(batch, p, "sample")
        if not index:
            continue
        r = rewards(batch, index)
        chosen = {"below_mean": r < r.mean(), "all": r > -1, "threshold": r < threshold,
                  "lowest": torch.arange(len(index)) == r.argmin()}[select]
        for j, n in enumerate(index):
            if not chosen[j]:
                continue
            if objective == "plain_logp":
                term = lines[n].sum()
            else:
                term = -torch.log(torch.clamp(1 - lines[n].exp(), min=floor)).sum()
            total = total + (torch.clamp(r.mean() - r[j], min=0) if weight == "gap" else 1.0) * term
    return total / batch["prompts"]


def drl(batch, lines, length_norm):
    total = torch.zeros(())
    for p in range(batch["prompts"]):
        for n in rows(batch, p, "sample"):
            lp = lines[n].mean() if length_norm else lines[n].sum()
            greedy = batch["responses"][rows(batch, p, "greedy")[0]]["reward"]
            total = total - (batch["responses"][n]["reward"] - greedy) * lp
    return total / batch["prompts"]


def rrhf(batch, lines, mode, exponent, include_reference, best_weight):
    total = torch.zeros(())
    for p in range(batch["prompts"]):
        index = rows(batch, p, "sample")
        if not index:
            continue
        r = rewards(batch, index)
        if include_reference:
            index = index + rows(batch, p, "target")
            r = torch.cat([r, torch.ones(1)])
        row = 1 + max(len(lines[n]) for n in index)  # a prompt has one token
        score = torch.stack([lines[n].sum() / (len(lines[n]) if mode == "response" else row) ** exponent for n in index])
        # released code's way: all differences at once, those of better minus worse where negative
        difference = score[None, :] - score[:, None]
        better = (r[None, :] > r[:, None]).double()
        total = total - (torch.clamp(difference, max=0) * better).sum()
        best = lines[index[int(r.argmax())]]
        total = total - best_weight * (best.mean() if mode == "response" else best.sum() / row)
    return total / batch["prompts"]


def dpo(batch, lines, objective, beta, smoothing, reference_free):
    losses = []
    for p in range(batch["prompts"]):
        if not rows(batch, p, "rejected"):
            continue
        w, l = rows(batch, p, "chosen")[0], rows(batch, p, "rejected")[0]
        reference = lambda n: 0.0 if reference_free else sum(batch["responses"][n]["reference"])
        h = (lines[w].sum() - lines[l].sum()) - (reference(w) - reference(l))
        if objective == "ipo":
            losses.append((h - 1 / (2 * beta)) ** 2)
        else:
            losses.append(-F.logsigmoid(beta * h) * (1 - smoothing) - F.logsigmoid(-beta * h) * smoothing)
    return torch.stack(losses).mean()


def slic(batch, lines, margin, weight):
    losses = []
    for p in range(batch["prompts"]):
        if rows(batch, p, "rejected"):
            w, l = lines[rows(batch, p, "chosen")[0]].sum(), lines[rows(batch, p, "rejected")[0]].sum()
            losses.append(F.relu(margin - w + l) - weight * w)
    return torch.stack(losses).mean()


def eso_mean_batch(batch, lines):
    samples = [n for n, r in enumerate(batch["responses"]) if r["kind"] == "sample"]
    mean_length = sum(len(lines[n]) for n in samples) / len(samples)
    total = torch.zeros(())
    for p in range(batch["prompts"]):
        index = rows(batch, p, "sample")
        for n in index:
            total = total + (rewards(batch, index).mean() - batch["responses"][n]["reward"]) * lines[n].sum() / mean_length
    return total / batch["prompts"]


def main():
    rng = random.Random(357)
    batches = [make_batch(rng, 3), make_batch(rng, 5)]
    cases = {
        "unlike": (unlike, itertools.product(("one_minus_p", "plain_logp"), ("below_mean", "lowest", "all", "threshold"),
                                             ("one", "gap"), (0.5,), (1e-5, 0.3))),
        "drl": (drl, itertools.product((False, True))),
        "rrhf": (rrhf, itertools.product(("response", "padded_row"), (1.0, 0.5), (True, False), (0.0, 0.7))),
        "dpo": (dpo, itertools.product(("sigmoid", "ipo"), (0.1, 0.5), (0.0, 0.1), (False, True))),
        "slic": (slic, itertools.product((0.5, 3.0), (0.0, 0.4))),
        "eso_mean_batch": (eso_mean_batch, [()]),
    }
    result = {"batches": batches}
    for name, (function, options) in cases.items():
        result[name] = []
        for choice in options:
            for b, batch in enumerate(batches):
                lines = [torch.tensor(r["logp"], requires_grad=True) for r in batch["responses"]]
                value = function(batch, lines, *choice)
                gradient = torch.autograd.grad(value, lines, allow_unused=True)
                projection = sum(float((g * torch.tensor(r["weights"])).sum())
                                 for g, r in zip(gradient, batch["responses"]) if g is not None)
                result[name].append({"batch": b, "options": list(choice), "value": value.item(), "projection": projection})
    logits = 2 * torch.sin(1.7 * torch.arange(20) + 0.3).reshape(5, 4).T  # by columns
    result["token_unlikelihood"] = []
    for targets, alpha, floor in itertools.product(([3, 1, 3, 0], [2, 2, 2, 2], [0, 1, 2, 3]), (1.0, 0.4), (1e-5, 0.6)):
        leaf = logits.clone().requires_grad_()
        logp = leaf.log_softmax(1)
        value = F.nll_loss(logp, torch.tensor(targets))
        for t, y in enumerate(targets):
            for c in set(targets[:t]) - {y}:
                value = value - alpha / 4 * torch.log(torch.clamp(1 - logp[t, c].exp(), min=floor))
        (gradient,) = torch.autograd.grad(value, leaf)
        result["token_unlikelihood"].append({"targets": targets, "alpha": alpha, "floor": floor, "value": value.item(),
                                             "d_logits": gradient.tolist()})
    path = pathlib.Path(__file__).with_name("method_losses.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


main()
