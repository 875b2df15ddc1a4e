# SPDX-License-Identifier: MIT
"""Writes optim.json: AdamW, SGD and clipping by torch, schedules by transformers and torch."""

import json
import pathlib

import torch
import transformers


def adamw(dtype, decay, epsilon, steps=10, l2=False):
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(3, 7, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    bias = torch.randn(5, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    optimizer = (torch.optim.Adam if l2 else torch.optim.AdamW)(
        [{"params": [weight], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}],
        lr=1.0, betas=(0.9, 0.95), eps=epsilon, foreach=False, fused=False)
    case = {"type": str(dtype).split(".")[1], "beta1": 0.9, "beta2": 0.95, "epsilon": epsilon, "weight_decay": decay, "l2": l2,
            "weight": weight.flatten().tolist(), "bias": bias.tolist(), "steps": []}
    for step in range(steps):
        rate, scale = 0.01 / (1 + step), [1.0, 0.25][step % 2]
        gradients = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(dtype) for p in (weight, bias)]
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad, bias.grad = (g * scale for g in gradients)
        optimizer.step()
        case["steps"].append({"rate": rate, "scale": scale, "d_weight": gradients[0].flatten().tolist(),
                              "d_bias": gradients[1].tolist(), "weight": weight.flatten().tolist(),
                              "bias": bias.tolist()})
    state = optimizer.state[weight]
    case["first"] = state["exp_avg"].flatten().tolist()
    case["second"] = state["exp_avg_sq"].flatten().tolist()
    return case


def sgd():
    generator = torch.Generator().manual_seed(8)
    value = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.SGD([value], lr=0.1, weight_decay=0.05)
    case = {"rate": 0.1, "weight_decay": 0.05, "scale": 0.5, "value": value.tolist(), "steps": []}
    for _ in range(3):
        gradient = torch.randn(6, generator=generator, dtype=torch.float64)
        value.grad = gradient * 0.5
        optimizer.step()
        case["steps"].append({"gradient": gradient.tolist(), "value": value.tolist()})
    return case


def rates(optimizer, schedule, steps):
    result = []
    for _ in range(steps):
        result.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return result


def schedules():
    cases = []
    for warmup, total in ((0, 100), (10, 100), (3, 7), (0, 1), (5, 5)):
        for kind, make in (("cosine", transformers.get_cosine_schedule_with_warmup),
                           ("linear", transformers.get_linear_schedule_with_warmup),
                           ("constant", None)):
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-5)
            if make is None:
                schedule = transformers.get_constant_schedule_with_warmup(optimizer, warmup)
            else:
                schedule = make(optimizer, warmup, total)
            cases.append({"kind": kind, "peak": 5e-5, "minimum": 0.0, "warmup": warmup, "total": total,
                          "rates": rates(optimizer, schedule, total)})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-7)
    cases.append({"kind": "cosine", "peak": 1e-4, "minimum": 1e-7, "warmup": 0, "total": 50,
                  "rates": rates(optimizer, schedule, 50)})
    return cases


def clipping():
    cases = []
    for norm in (0.0, 0.5, 0.9999995, 1.0, 1.5, 100.0):
        for limit in (0.1, 1.0, 5.0):
            parameter = torch.zeros(2, dtype=torch.float64, requires_grad=True)
            parameter.grad = torch.tensor([0.6 * norm, 0.8 * norm], dtype=torch.float64)
            torch.nn.utils.clip_grad_norm_([parameter], limit)
            cases.append({"norm": norm, "limit": limit, "clipped": parameter.grad.tolist()})
    return cases


if __name__ == "__main__":
    golden = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__},
              "adamw": [adamw(torch.float32, 0.05, 1e-8), adamw(torch.float64, 0.05, 1e-8),
                        adamw(torch.float64, 0.0, 1e-3), adamw(torch.float32, 0.05, 1e-8, l2=True),
                        adamw(torch.float64, 0.05, 1e-8, l2=True)],
              "sgd": sgd(), "schedules": schedules(), "clipping": clipping()}
    path = pathlib.Path(__file__).parent / "optim.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
