"""What TRL's DPOTrainer makes of pairs: tests/golden/dpo_trl.json.

TRL's own loss runs on log-probabilities that are leaves, so that its automatic differentiation gives the gradient with
respect to each of them. Only what it takes from a model and a trainer is put there by hand. Made with trl 1.16; run it
with a Python that has torch and trl:

    python tests/golden/make_dpo_trl.py

TRL has no label smoothing under "sigmoid". Its "aot" is the same formula with smoothing where a batch is one pair,
because it sorts over the batch; so it is called pair by pair. Its "ipo" takes means over tokens, where DpoLoss takes sums:
those pairs have one token on each side.
"""

import collections
import json
import pathlib
import random
import types

import torch
from trl import DPOTrainer

METRICS = ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")
PROMPT = 2  # tokens before each response


def trl_loss(policy, reference, loss_type, beta, smoothing):
    """Of rows that are the chosen responses and then the rejected ones: loss, gradients, metrics."""
    lengths = [len(row) for row in policy]
    longest = max(lengths)
    mask = torch.tensor([[0] * PROMPT + [1] * n + [0] * (longest - n) for n in lengths])

    def outputs(rows):
        log_probs = torch.stack([torch.cat([torch.zeros(PROMPT - 1), row, torch.zeros(longest - len(row))]) for row in rows])
        nothing = torch.zeros_like(log_probs)
        return types.SimpleNamespace(log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())

    leaves = [row.clone().requires_grad_() for row in policy]
    same = lambda x: x
    trainer = types.SimpleNamespace(
        model=types.SimpleNamespace(training=False), aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        accelerator=types.SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same),
        f_divergence_type="reverse_kl", loss_types=[loss_type], loss_weights=[1.0], beta=beta, label_smoothing=smoothing,
        use_weighting=False, _metrics={"eval": collections.defaultdict(list)}, _total_train_tokens=0)
    sums = torch.stack([row.sum() for row in reference])
    half = len(policy) // 2
    inputs = {"input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask,
              "ref_chosen_logps": sums[:half], "ref_rejected_logps": sums[half:]}
    loss = DPOTrainer._compute_loss(trainer, lambda **_: outputs(leaves), inputs, False)
    loss.backward()
    metrics = {name: trainer._metrics["eval"][name][0] for name in METRICS}
    return loss.item(), [leaf.grad.tolist() for leaf in leaves], metrics


def mean(values):
    return sum(values) / len(values)


def case(rng, loss_type, beta, smoothing, pairs, longest, scale=1.0):
    """Two rows a pair: the chosen response, then the rejected one."""
    lengths = [rng.randint(1, longest) for _ in range(2 * pairs)]
    draw = lambda: [torch.tensor([round(scale * rng.uniform(-4, -0.02), 4) for _ in range(n)], dtype=torch.float64)
                    for n in lengths]
    policy, reference = draw(), draw()
    result = [None] * pairs
    for i in range(pairs):
        rows = slice(2 * i, 2 * i + 2)
        result[i] = trl_loss(policy[rows], reference[rows], loss_type, beta, smoothing)
    if loss_type != "aot":  # the whole batch at once says the same
        order = list(range(0, 2 * pairs, 2)) + list(range(1, 2 * pairs, 2))
        whole, _, _ = trl_loss([policy[i] for i in order], [reference[i] for i in order], loss_type, beta, smoothing)
        assert abs(whole - mean([loss for loss, _, _ in result])) < 1e-12 * (1 + abs(whole))
    return {"objective": "ipo" if loss_type == "ipo" else "sigmoid", "beta": beta, "label_smoothing": smoothing,
            "logp": [row.tolist() for row in policy], "reference": [row.tolist() for row in reference],
            "value": mean([loss for loss, _, _ in result]),
            "d_logp": [[d / pairs for d in row] for _, gradients, _ in result for row in gradients],
            "metrics": {name: mean([metrics[name] for _, _, metrics in result]) for name in METRICS}}


def main():
    torch.set_default_dtype(torch.float64)
    rng = random.Random(2305)
    cases = [case(rng, "sigmoid", beta, 0.0, 4, 6) for beta in (0.1, 0.5)]
    cases += [case(rng, "aot", beta, smoothing, 3, 6) for beta in (0.1, 0.5) for smoothing in (0.1, 0.3)]
    cases += [case(rng, "ipo", beta, 0.0, 4, 1) for beta in (0.1, 0.5)]
    cases.append(case(rng, "sigmoid", 0.5, 0.0, 4, 6, scale=1000.0))
    path = pathlib.Path(__file__).with_name("dpo_trl.json")
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


main()
