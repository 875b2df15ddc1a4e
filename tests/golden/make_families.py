#!/usr/bin/env python3
"""Makes opt/ and gpt_neox/: tiny random folders of both families, families.json, what transformers computes with them, and
steps/, the gradients of one training step by autograd for them and for gpt2/plain.

Needs torch, transformers and safetensors. As in make_gpt2.py everything is computed in float64 from the stored weights.
For that two places where transformers goes through float32 whatever the model's type are replaced: the softmax of
attention and the angles of rotary positions. The script fails if the untouched model in float32 says anything else.
"""
import itertools
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig, OPTConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding

from make_gpt2 import END, VOCABULARY, greedy_cases, log_probs, score_cases, write_tokenizer

FOLDER = pathlib.Path(__file__).parent
SIZES = dict(vocab_size=VOCABULARY, hidden_size=24, num_attention_heads=3, num_hidden_layers=2, eos_token_id=END, bos_token_id=END)

MODELS = {
    # As OPT-125m: normalisation before each part, one file with all its prefixes.
    "opt/before": dict(
        config=OPTConfig(**SIZES, ffn_dim=49, max_position_embeddings=20),
        dtype=torch.float32, strip="", ending=3.0, shards=1, extra={}, edit={}),
    # As OPT-350m: after each part, projections, none at the end; float16 shards whose names lack "model.".
    "opt/after": dict(
        config=OPTConfig(**SIZES, ffn_dim=49, max_position_embeddings=19, word_embed_proj_dim=10, do_layer_norm_before=False),
        dtype=torch.float16, strip="model.", ending=1.5, shards=3, extra={}, edit={"dtype": None, "torch_dtype": "float16"}),
    # As Pythia: a quarter of each head is turned, both parts from one input; the old spelling and the old buffers.
    "gpt_neox/parallel": dict(
        config=GPTNeoXConfig(**SIZES, intermediate_size=49, max_position_embeddings=20,
                             rope_parameters={"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.25}),
        dtype=torch.float16, strip="", ending=3.0, shards=1,
        extra={"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
               "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9, dtype=torch.float32),
               "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.tensor([1.0])},
        edit={"dtype": None, "torch_dtype": "float16", "rope_parameters": None, "rotary_pct": 0.25, "rotary_emb_base": 10000}),
    # One part after the other, whole heads turned, another base and epsilon.
    "gpt_neox/sequential": dict(
        config=GPTNeoXConfig(**SIZES, intermediate_size=49, max_position_embeddings=17, use_parallel_residual=False,
                             layer_norm_eps=1e-3,
                             rope_parameters={"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 1.0}),
        dtype=torch.bfloat16, strip="", ending=1.5, shards=2, extra={}, edit={}),
}


def perturb(model, ending, generator):
    """Every parameter random, the norms' weights around 1: a part that is left out or swapped shows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            spread = 0.35 if parameter.dim() > 1 or norm else 0.1
            parameter.copy_((1.0 if norm else 0.0) + spread * torch.randn(parameter.shape, generator=generator))
        model.get_output_embeddings().weight[END] *= ending  # so that some greedy responses end


def write_model(name, setting, generator):
    """With the names that transformers writes."""
    folder = FOLDER / name
    folder.mkdir(parents=True)
    model = AutoModelForCausalLM.from_config(setting["config"])
    perturb(model, setting["ending"], generator)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    weights = {key.removeprefix(setting["strip"]): value.to(setting["dtype"]).contiguous()
               for key, value in load_file(folder / "model.safetensors").items()}
    weights |= setting["extra"]
    config = json.loads((folder / "config.json").read_text()) | {"dtype": str(setting["dtype"]).split(".")[1]} | setting["edit"]
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=1) + "\n")
    if setting["shards"] == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        (folder / "model.safetensors").unlink()
        shards, places = [{} for _ in range(setting["shards"])], {}
        for i, (key, value) in enumerate(weights.items()):
            shards[i % len(shards)][key] = value
            places[key] = f"model-{i % len(shards) + 1:05}-of-{len(shards):05}.safetensors"
        for shard in shards:
            save_file(shard, folder / places[next(iter(shard))], metadata={"format": "pt"})
        index = {"metadata": {"total_size": sum(w.numel() * w.element_size() for w in weights.values())}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    write_tokenizer(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def be_exact():
    """Lets a float64 model compute in float64 throughout."""
    softmax = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None: softmax(x, dim=dim, dtype=x.dtype)

    def angles(self, x, position_ids):
        rope = self.config.rope_parameters
        head = self.config.hidden_size // self.config.num_attention_heads
        width = int(head * rope["partial_rotary_factor"])
        frequency = float(rope["rope_theta"]) ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angle = position_ids[..., None].double() * frequency
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)

    GPTNeoXRotaryEmbedding.forward = angles


def load(folder, dtype=torch.float64):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    return model.eval()


def check(folder, cases):
    """The untouched model in float32 agrees."""
    model = load(folder, torch.float32)
    for case in cases:
        for ours, stock in zip(case["logp"], log_probs(model, case["prompt_ids"], case["response_ids"])):
            assert abs(ours - stock) < 1e-4, (folder, ours, stock)


def step_batch(generator):
    """Three prompts, each with a target and three scored samples. No id 1: transformers gives OPT's pad no gradient."""
    ids = lambda count: (2 + torch.randint(0, VOCABULARY - 2, (count,), generator=generator)).tolist()
    rewards = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    return [{"prompt_ids": ids(length), "target_ids": ids(target) + [END],
             "samples": [{"response_ids": ids(count), "reward": rewards[p, j].item()} for j, count in enumerate(counts)]}
            for p, (length, target, counts) in enumerate([(1, 3, (1, 5, 2)), (6, 0, (4, 1, 7)), (3, 7, (6, 6, 1))])]


def sequence_log_probs(model, prompt, response):
    logp = torch.log_softmax(model(torch.tensor([prompt + response])).logits[0], -1)
    return torch.stack([logp[len(prompt) + t - 1, token] for t, token in enumerate(response)])


def method_part(method, model, batch):
    """What the method adds to the cross-entropy; for dpo the whole objective. rrhf ranks the target too, with reward 1;
    drl takes the first sample, and the second for the greedy response; dpo prefers the target to the first sample, under
    a reference that gives every token -2."""
    total = torch.zeros((), dtype=torch.float64)
    for text in batch:
        logp = [sequence_log_probs(model, text["prompt_ids"], s["response_ids"]) for s in text["samples"]]
        target = sequence_log_probs(model, text["prompt_ids"], text["target_ids"])
        rewards = [s["reward"] for s in text["samples"]]
        mean = sum(rewards) / len(rewards)
        if method == "eso":
            total = total + sum((mean - r) * lp.sum() for r, lp in zip(rewards, logp))
        elif method == "unlike":
            total = total + sum(-torch.log(1 - lp.exp()).sum() for r, lp in zip(rewards, logp) if r < mean)
        elif method == "drl":
            total = total - (rewards[0] - rewards[1]) * logp[0].sum()
        elif method == "rrhf":
            scores = [lp.mean() for lp in logp] + [target.mean()]
            rewards = rewards + [1.0]
            for i, j in itertools.permutations(range(len(scores)), 2):
                if rewards[i] < rewards[j]:
                    total = total + torch.relu(scores[i] - scores[j])
        elif method == "dpo":
            h = (target + 2).sum() - (logp[0] + 2).sum()
            total = total - torch.nn.functional.logsigmoid(0.1 * h)
    return total / len(batch)


def step_gradients(folder, batch, method, weight):
    """Of the mean over all target tokens of -log p, plus weight times the method's part."""
    model = load(folder)
    targets = torch.cat([sequence_log_probs(model, text["prompt_ids"], text["target_ids"]) for text in batch])
    part = method_part(method, model, batch)
    loss = part if method == "dpo" else -targets.mean() + (0 if method == "sft" else weight) * part
    loss.backward()
    return loss.item(), {name: parameter.grad.float() for name, parameter in model.named_parameters()}


def main():
    torch.set_num_threads(1)
    for name in ("opt", "gpt_neox", "steps"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    folders = {name: write_model(name, setting, torch.Generator().manual_seed(200 + i))
               for i, (name, setting) in enumerate(MODELS.items())}
    golden, generators = {}, {name: torch.Generator().manual_seed(300 + i) for i, name in enumerate(folders)}
    stock = GPTNeoXRotaryEmbedding.forward, torch.nn.functional.softmax
    for name, folder in folders.items():
        be_exact()
        model = load(folder)
        context = model.config.max_position_embeddings
        golden[name] = {"context": context, "score": score_cases(model, context, generators[name]),
                        "greedy": greedy_cases(model, context, generators[name])}
        GPTNeoXRotaryEmbedding.forward, torch.nn.functional.softmax = stock
        check(folder, golden[name]["score"] + golden[name]["greedy"])
    be_exact()
    batch = step_batch(torch.Generator().manual_seed(400))
    steps = {"batch": batch, "lambda": 0.5, "loss": {}}
    (FOLDER / "steps").mkdir()
    for name, folder in (folders | {"gpt2/plain": FOLDER / "gpt2" / "plain"}).items():
        for method in ("sft", "eso", "unlike", "drl", "rrhf", "dpo"):
            steps["loss"].setdefault(name, {})[method], gradients = step_gradients(folder, batch, method, steps["lambda"])
            gradients = {"embed_out.weight" if name == "lm_head.weight" else name: g for name, g in gradients.items()}
            path = FOLDER / "steps" / f"{name.replace('/', '-')}-{method}.safetensors"
            save_file(gradients, path)
            path.chmod(0o644)
    golden["step"] = steps
    (FOLDER / "families.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
