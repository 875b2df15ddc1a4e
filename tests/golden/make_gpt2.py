#!/usr/bin/env python3
"""Makes gpt2/: three tiny random GPT-2 folders and gpt2.json, what transformers computes with them.

Needs torch, transformers and safetensors. Log-probabilities are computed in float64 from the stored weights, so they
are exact to the digits that a test can ask for. Greedy continuations are those of `generate`; prompts whose two best
logits ever come closer than 1e-3 are not taken.
"""
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FOLDER = pathlib.Path(__file__).parent
VOCABULARY = 101
END = 7

MODELS = {
    # Odd sizes, GPT-2's own spelling, names with the prefix, one file.
    "plain": dict(
        config=dict(n_embd=24, n_head=3, n_layer=2, n_inner=49, n_positions=20, activation_function="gelu_new",
                    eos_token_id=END, bos_token_id=END, torch_dtype="float32"),
        dtype=torch.float32, prefix="transformer.", shards=1, extra=False),
    # Everything that can differ does: untied head, no prefix, shards, scales by layer, another epsilon.
    "untied": dict(
        config=dict(n_embd=30, n_head=3, n_layer=3, n_inner=77, n_positions=19, activation_function="relu",
                    tie_word_embeddings=False, scale_attn_by_inverse_layer_idx=True, layer_norm_epsilon=1e-3,
                    eos_token_id=[END, 3], bos_token_id=END, dtype="float16"),
        dtype=torch.float16, prefix="", shards=3, extra=False),
    # The general spelling of the sizes, no scale, the inner width left out, tensors that mean nothing.
    "general": dict(
        config=dict(hidden_size=24, num_attention_heads=3, num_hidden_layers=2, max_position_embeddings=17,
                    activation_function="gelu", scale_attn_weights=False, eos_token_id=END, bos_token_id=END, dtype="bfloat16"),
        dtype=torch.bfloat16, prefix="", shards=1, extra=True),
}


def characters():
    """The printable characters of ASCII in the alphabet of bytes: what the tokenizer knows."""
    return [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"]  # space, line end


def write_tokenizer(folder):
    tokens = characters()
    tokens.insert(END, "<|endoftext|>")
    merges = [("t", "h"), ("\u0120", "th"), ("\u0120th", "e")]
    tokens += [a + b for a, b in merges]  # 100 tokens: the last row of the embedding has none
    with open(folder / "vocab.json", "w", encoding="utf-8") as file:
        json.dump({token: i for i, token in enumerate(tokens)}, file, ensure_ascii=False)
    with open(folder / "merges.txt", "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    with open(folder / "special_tokens_map.json", "w") as file:
        json.dump({name: "<|endoftext|>" for name in ("bos_token", "eos_token", "unk_token")}, file)


def random_weights(config, generator):
    get = lambda a, b: config.get(a, config.get(b))
    width, layers = get("n_embd", "hidden_size"), get("n_layer", "num_hidden_layers")
    context, inner = get("n_positions", "max_position_embeddings"), config.get("n_inner") or 4 * width
    normal = lambda *shape, mean=0.0, std=0.35: mean + std * torch.randn(*shape, generator=generator)
    weights = {"wte.weight": normal(VOCABULARY, width, std=0.35), "wpe.weight": normal(context, width, std=0.35)}
    for i in range(layers):
        for norm in ("ln_1", "ln_2"):
            weights[f"h.{i}.{norm}.weight"] = normal(width, mean=1.0)
            weights[f"h.{i}.{norm}.bias"] = normal(width, std=0.1)
        for name, rows, columns in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                    ("mlp.c_fc", width, inner), ("mlp.c_proj", inner, width)):
            weights[f"h.{i}.{name}.weight"] = normal(rows, columns)
            weights[f"h.{i}.{name}.bias"] = normal(columns, std=0.1)
    weights["ln_f.weight"] = normal(width, mean=1.0)
    weights["ln_f.bias"] = normal(width, std=0.1)
    weights["wte.weight"][END] *= 1.5  # so that some greedy responses end
    return weights, width


def write_model(name, setting, generator):
    folder = FOLDER / "gpt2" / name
    folder.mkdir(parents=True)
    config = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], vocab_size=VOCABULARY, **setting["config"])
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights, width = random_weights(config, generator)
    weights = {setting["prefix"] + key: value for key, value in weights.items()}
    if not config.get("tie_word_embeddings", True):
        weights["lm_head.weight"] = 0.6 * torch.randn(VOCABULARY, width, generator=generator)
        weights["lm_head.weight"][END] *= 1.5
    if setting["extra"]:
        weights["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
        weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    weights = {key: value.to(setting["dtype"]).contiguous() for key, value in weights.items()}
    if setting["shards"] == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        shards, places = [{} for _ in range(setting["shards"])], {}
        for i, (key, value) in enumerate(weights.items()):
            shard = i % len(shards)
            shards[shard][key] = value
            places[key] = f"model-{shard + 1:05}-of-{len(shards):05}.safetensors"
        for shard in shards:
            save_file(shard, folder / places[next(iter(shard))], metadata={"format": "pt"})
        index = {"metadata": {"total_size": sum(w.numel() * w.element_size() for w in weights.values())},
                 "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    write_tokenizer(folder)
    return folder


def log_probs(model, prompt, response, temperature=1.0):
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0] / temperature
    logp = torch.log_softmax(logits, -1)
    return [logp[len(prompt) + t - 1, token].item() for t, token in enumerate(response)]


def score_cases(model, context, generator):
    ids = lambda count: torch.randint(0, VOCABULARY, (count,), generator=generator).tolist()
    cases = []
    for prompt, response in ((1, 1), (1, context - 1), (context - 1, 1), (context // 2, context - context // 2), (3, 5)):
        prompt, response = ids(prompt), ids(response)
        cases.append({"prompt_ids": prompt, "response_ids": response, "logp": log_probs(model, prompt, response),
                      "logp_0.7": log_probs(model, prompt, response, 0.7)})
    return cases


def greedy_cases(model, context, generator):
    """Four prompts; one of the responses ends before the context is full, one does not."""
    cases, wanted = [], [True, False, None, None]
    for _ in range(400):
        if len(cases) == len(wanted):
            return cases
        prompt = torch.randint(0, VOCABULARY, (1 + len(cases) * 2,), generator=generator)
        out = model.generate(prompt[None], do_sample=False, max_new_tokens=context - len(prompt), eos_token_id=END,
                             pad_token_id=END, return_dict_in_generate=True, output_logits=True)
        response = out.sequences[0, len(prompt):].tolist()
        gaps = [(torch.topk(step[0].double(), 2).values @ torch.tensor([1.0, -1.0]).double()).item()
                for step in out.logits]
        if min(gaps) < 1e-3 or wanted[len(cases)] == (response[-1] != END):
            continue
        cases.append({"prompt_ids": prompt.tolist(), "response_ids": response,
                      "logp": log_probs(model, prompt.tolist(), response)})
    raise SystemExit("no greedy responses of the wanted kinds; take another seed")


def main():
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER / "gpt2", ignore_errors=True)
    golden = {}
    for i, (name, setting) in enumerate(MODELS.items()):
        generator = torch.Generator().manual_seed(100 + i)
        folder = write_model(name, setting, generator)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        context = model.config.n_positions
        golden[name] = {"context": context, "score": score_cases(model, context, generator),
                        "greedy": greedy_cases(model, context, generator)}
    (FOLDER / "gpt2.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
