"""Compares eso with transformers, TRL, tokenizers and rouge_score on the same work, and prints a table of ratios.

The two sides take turns; a figure is the median of its runs. Both use two threads, and float32 where nothing else is said. Before anything is
timed the numbers of both sides are compared. Peaks of the machine are measured in the same run.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="2", HF_HUB_OFFLINE="1")

import torch
import torch.nn.functional as F

import peers
from peers import ROOT, Eso, random_tokens

rows = []


def row(what, unit, eso, peer, ratio, wanted, held):
    """One line of the table; `held` says whether the wanted figure was reached."""
    rows.append([what, unit, eso, peer, ratio, wanted, "yes" if held else "no"])
    print(f"{what}: eso {eso} {unit}, peer {peer}, {ratio} (wanted: {wanted}): {'yes' if held else 'NO'}", flush=True)


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def turns(count, *sides):
    """Runs the sides in turn, `count` times after one for warmth, and gives the median of what each returns."""
    results = [[] for _ in sides]
    for turn in range(count + 1):
        for result, side in zip(results, sides):
            value = side()
            if turn > 0:
                result.append(value)
    return [statistics.median(result) for result in results]


def agree(what, a, b, tolerance):
    if abs(a - b) > tolerance * max(1, abs(b)):
        sys.exit(f"{what}: eso has {a}, the peer {b}")


def training(eso, folder, machine, count, dtype="float32", name="", bars=((1.4, 0.6), (1.4, 0.6))):
    model = peers.load_transformers(folder, dtype)
    exact = dtype == "float32"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

    def step(tokens):
        optimizer.zero_grad(set_to_none=True)
        logits = model(input_ids=tokens[:, :-1]).logits
        loss = F.cross_entropy(logits.reshape(-1, peers.VOCABULARY), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.item()

    for length, runs, (wanted, wanted_peak) in ((64, count, bars[0]), (512, max(2, count // 2), bars[1])):
        tokens = random_tokens(4, length + 1, length)
        tensor = torch.tensor(tokens)
        if length == 64:
            ours = eso("train_step", tokens=tokens, norm=True)
            agree("loss", ours["loss"], step(tensor), 1e-5 if exact else 2e-2)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
            agree("norm of the gradient", ours["norm"], norm, 1e-3 if exact else 0.1)
        ours, theirs = turns(runs, lambda: eso("train_step", tokens=tokens)["seconds"],
                             lambda: seconds(lambda: step(tensor)))
        peak = peers.step_operations(4, length) / ours / machine["multiply_adds"]
        row(f"{name}training step, B4 T{length}", "tokens/s", f"{4 * length / ours:.0f}", f"{4 * length / theirs:.0f}",
            f"{theirs / ours:.2f}x" + (f", {peak:.2f} of peak" if exact else ""),
            f"{wanted}x" + (f", {wanted_peak:.2f} of peak" if wanted_peak else ""),
            theirs / ours >= wanted and peak >= wanted_peak)


def generation(eso, folder, machine, count, name="", cases=((16, 1, 128, 2), (4, 4, 128, 4), (1, 1, 64, 3))):
    model = peers.load_transformers(folder).eval()

    def generate(prompts, samples, new, **settings):
        with torch.inference_mode():
            return model.generate(torch.tensor(prompts), attention_mask=torch.ones(len(prompts), len(prompts[0])),
                                  max_new_tokens=new, min_new_tokens=new, num_return_sequences=samples, eos_token_id=None,
                                  pad_token_id=0, **settings)

    prompts = random_tokens(2, 32, 1)
    ours = eso("generate", prompts=prompts, samples=1, new_tokens=8, temperature=0)["tokens"]
    if ours != generate(prompts, 1, 8, do_sample=False)[:, 32:].tolist():
        sys.exit("greedy generation: the tokens differ")
    for number, samples, length, wanted in cases:
        prompts = random_tokens(number, length, number)
        ours, theirs = turns(
            count, lambda: eso("generate", prompts=prompts, samples=samples, new_tokens=64, temperature=1)["seconds"],
            lambda: seconds(lambda: generate(prompts, samples, 64, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)))
        total, bytes_read = 64 * number * samples, 4 * 64 * (124439808 - 1024 * 768)
        ratio, fraction = theirs / ours, bytes_read / ours / machine["read"]
        held = ratio >= wanted or (number == 1 and fraction >= 0.75)
        row(f"{name}generation, {number} prompts of {length}, {samples} each, 64 tokens", "tokens/s", f"{total / ours:.0f}",
            f"{total / theirs:.0f}", f"{ratio:.2f}x" + (f", {fraction:.2f} of read" if number == 1 else ""),
            f"{wanted}x" + (" or 0.75 of read" if number == 1 else ""), held)


def eso_step(eso, folder, machine, count, dtype="float32", name="", wanted=4):
    import datasets
    from rouge_score import rouge_scorer
    from transformers import AutoTokenizer, TrainerCallback
    from trl import RLOOConfig, RLOOTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = " ".join(example["document"] for example in peers.debsum())
    ids = tokenizer(text[:20000])["input_ids"]
    texts = []
    for first in (0, 256):  # texts that are 256 tokens again
        length = 256
        while len(tokenizer(tokenizer.decode(ids[first:first + length]))["input_ids"]) > 256:
            length -= 1
        texts.append(tokenizer.decode(ids[first:first + length]))
    reference = peers.debsum()[0]["summary"]
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    times, ours = [], []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.begin = time.perf_counter()

        def on_step_end(self, *_, **__):
            times.append(time.perf_counter() - self.begin)
            ours.append(eso("eso_step", prompts=tokenizer(texts)["input_ids"], samples=4, new_tokens=64,
                            reference=reference)["seconds"])

    config = RLOOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=8, num_generations=4, max_completion_length=64,
        temperature=1.0, beta=0.0, use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=count + 1,
        report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no", learning_rate=1e-6)
    trainer = RLOOTrainer(
        model=peers.load_transformers(folder, dtype), processing_class=tokenizer, args=config,
        reward_funcs=lambda completions, **_: [scorer.score(reference, c)["rougeL"].fmeasure for c in completions],
        train_dataset=datasets.Dataset.from_dict({"prompt": texts}), callbacks=[Clock()])
    trainer.train()
    theirs, mine = statistics.median(times[1:]), statistics.median(ours[1:])
    row(f"{name}ESO step, 2 prompts of 256, 4 responses of 64, against RLOOTrainer", "s", f"{mine:.1f}", f"{theirs:.1f}",
        f"{theirs / mine:.1f}x", f"{wanted}x", theirs / mine >= wanted)


def memory(name):
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(name))


def head(eso, folder, machine, count):
    weight = torch.nn.Parameter(0.02 * torch.randn(peers.VOCABULARY, peers.WIDTH))

    def torch_head(states, targets, extra):
        weight.grad, states.grad = torch.zeros_like(weight), torch.zeros_like(states)
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        begin = time.perf_counter()
        logp = F.log_softmax(states @ weight.T, -1).gather(1, targets[:, None])
        logp.mean().backward()
        extra.append(memory("VmHWM") - before)
        return time.perf_counter() - begin

    for number in (512, 2560):
        states = torch.randn(number, peers.WIDTH, requires_grad=True)
        targets, ours, theirs = torch.randint(peers.VOCABULARY, (number,)), [], []

        def run():
            answer = eso("head", rows=number)
            ours.append(answer["extra"])
            return answer["seconds"]

        mine, other = turns(count, run, lambda: torch_head(states, targets, theirs))
        extra, peer = max(ours) / 1e6, max(theirs) / 1e6
        row(f"log-prob head, forward and backward, N={number}", "ms; MB beyond inputs and gradients",
            f"{1e3 * mine:.0f}; {extra:.0f}", f"{1e3 * other:.0f}; {peer:.0f}", f"{other / mine:.2f}x; {peer / extra:.0f}x",
            "32 MB" if number == 2560 else "", number != 2560 or extra <= 32)


def shared_prompt(eso, folder, machine, count):
    ratios = []
    prompt, responses = random_tokens(1, 512, 3)[0], random_tokens(4, 128, 4)
    for _ in range(max(3, count // 2)):
        answer = eso("shared_prompt", prompt=prompt, responses=responses)
        agree("log-probabilities of a shared prompt", answer["shared_logp"], answer["repeated_logp"], 1e-4)
        ratios.append((answer["repeated"] / answer["shared"], answer["shared"], answer["repeated"]))
    ratio, mine, other = statistics.median(ratios)
    row("step on 4 responses of 128 to one prompt of 512, against the prompt repeated", "s", f"{mine:.2f}", f"{other:.2f}",
        f"{ratio:.2f}x", "2x", ratio >= 2)


def sampling(eso, folder, machine, count):
    logits = 4 * (2 * torch.rand(1, peers.VOCABULARY) - 1)
    for settings, wanted in (({"temperature": 0.5}, 40), ({"temperature": 0.7}, 40), ({"temperature": 1}, 40),
                             ({"temperature": 2}, 40), ({"temperature": 1, "top_p": 0.9}, 0)):
        def draw():
            for _ in range(100):
                scaled = logits / settings["temperature"]
                if "top_p" in settings:
                    ascending, order = torch.sort(scaled)
                    cut = ascending.softmax(-1).cumsum(-1) <= 1 - settings["top_p"]
                    scaled = scaled.masked_fill(cut.scatter(1, order, cut), -torch.inf)
                torch.multinomial(scaled.softmax(-1), 1)

        ours, theirs = turns(count, lambda: 1e6 * eso("sampling", draws=1000, **settings)["seconds"],
                             lambda: 1e4 * seconds(draw))
        name = ", ".join(f"{key} {value}" for key, value in settings.items())
        row(f"a draw from {peers.VOCABULARY} logits, {name}", "us", f"{ours:.1f}", f"{theirs:.0f}", f"{theirs / ours:.0f}x",
            f"{wanted} us" if wanted else "", not wanted or ours <= wanted)


def adamw(eso, folder, machine, count):
    number = 1 << 26
    parameter = torch.nn.Parameter(torch.rand(number))
    parameter.grad = torch.rand(number)
    optimizer = torch.optim.AdamW([parameter], lr=1e-4, weight_decay=0.05, fused=True)
    ours, theirs = turns(count, lambda: eso("adamw", count=number, repeats=1)["seconds"], lambda: seconds(optimizer.step))
    fraction = 28 * number / ours / machine["triad"]
    row("AdamW, 67 M parameters", "ms", f"{1e3 * ours:.0f}", f"{1e3 * theirs:.0f}",
        f"{theirs / ours:.2f}x, {fraction:.2f} of triad", "0.75 of triad", fraction >= 0.75)


def tokenizer(eso, folder, machine, count):
    import tokenizers
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [example["document"] for example in peers.debsum()]
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in texts))
    total = 0
    for text in texts:
        for token in theirs.encode(text).ids:
            total = (31 * total + token) % 2**64
    if eso("tokenize", file=str(file))["sum"] != total:
        sys.exit("tokenizer: the ids differ")
    mine, other = turns(count, lambda: eso("tokenize", file=str(file))["seconds"],
                        lambda: seconds(lambda: theirs.encode_batch_fast(texts)))
    size = sum(len(text.encode()) for text in texts) / 1e6
    row("tokenizer, debsum's documents, one thread", "MB/s", f"{size / mine:.1f}", f"{size / other:.1f}",
        f"{other / mine:.1f}x", "1x", other >= mine)


def rouge(eso, folder, machine, count):
    from rouge_score import rouge_scorer
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    examples = peers.debsum()
    pairs = [(examples[i % len(examples)]["summary"], examples[(i + i // len(examples)) % len(examples)]["document"])
             for i in range(20000)]
    lines = "".join(json.dumps({"target": r, "prediction": p}) + "\n" for r, p in pairs)
    program = [ROOT / "build/release/bin/eso", "rouge", "--stemmer"]
    scores = []
    other = seconds(lambda: scores.extend(scorer.score(*pair) for pair in pairs))
    out = subprocess.run(program, input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    for line, score in zip(out, scores, strict=True):
        answer = json.loads(line)
        if any(answer[name] != score[name].fmeasure for name in score):
            sys.exit(f"rouge: {line} is not {score}")
    mine = statistics.median(
        seconds(lambda: subprocess.run(program, input=lines, capture_output=True, text=True)) for _ in range(count))
    row("`eso rouge`, 20,000 pairs, ROUGE-1, -2 and -L with stemmer, process and JSON included", "pairs/s",
        f"{20000 / mine:.0f}", f"{20000 / other:.0f}", f"{other / mine:.0f}x", "500x", other / mine >= 500)


def program(eso, folder, machine, count):
    line = json.dumps({"prompt": "A small program that", "response": " prints text"}) + "\n"
    call = [ROOT / "build/release/bin/eso", "score", "--model", ROOT / "examples/debsum/base"]
    times = [seconds(lambda: subprocess.run(call, input=line, capture_output=True, text=True, check=True))
             for _ in range(count + 2)]
    mine = 1e3 * statistics.median(times)
    row("`eso score` on the demo's base model, one line, start to end", "ms", f"{mine:.0f}", "", "", "100 ms", mine < 100)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "unit.cpp"
        source.write_text("#include <eso/eso.hpp>\n")
        call = ["c++", "-std=c++20", "-O2", "-c", "-I", ROOT / "include", "-I", "/usr/include/eigen3", source,
                "-o", source.with_suffix(".o")]
        times = [seconds(lambda: subprocess.run(call, check=True)) for _ in range(3)]
    # The largest of all children; the compiler is it.
    size = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    mine = statistics.median(times)
    row("compiling `#include <eso/eso.hpp>`, -O2", "s; MB", f"{mine:.1f}; {size:.0f}", "", "", "6 s, 700 MB",
        mine <= 6 and size <= 700)


def overhead(torch_peer, name):
    """What of a step no operator of LibTorch takes: the adapter's own work, and autograd's beside it."""
    shares = []
    for _ in range(4):
        answer = torch_peer("profile", tokens=random_tokens(4, 65, 64))
        inside = sum(time for operator, time in answer["operators"].items() if not operator.startswith("autograd::"))
        shares.append(100 * (1 - inside / answer["seconds"]))
    share = statistics.median(shares[1:])
    row(f"{name}outside of LibTorch's operators, training step, B4 T64", "% of the step", f"{share:.1f}", "", "", "at most 5",
        share <= 5)


def torch_backend(eso, folder, machine, count):
    """The LibTorch adapter on the same work, in both precisions."""
    for dtype in ("float32", "bfloat16"):
        name = f"torch, {dtype}: "
        ours = Eso(folder, "torch_peer", dtype)
        if dtype == "float32":
            generation(ours, folder, machine, count, name, ((16, 1, 128, 1.5), (4, 4, 128, 3)))
        training(ours, folder, machine, count, dtype, name, ((1.0, 0), (1.0, 0)))
        overhead(ours, name)
        eso_step(ours, folder, machine, count, dtype, name, 3)
        ours.close()


CASES = [program, rouge, tokenizer, sampling, adamw, head, shared_prompt, generation, training, eso_step,
         torch_backend]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", nargs="*", choices=[case.__name__ for case in CASES])
    arguments.add_argument("--count", type=int, default=5, help="timed runs of each side")
    arguments.add_argument("--output", type=Path, help="where the table goes, as Markdown")
    options = arguments.parse_args()
    folder = ROOT / "build/peers/gpt2"
    peers.make_model(folder)
    machine = None
    for case in CASES:
        if options.only and case.__name__ not in options.only:
            continue
        eso = Eso(folder)  # anew, so that each case begins with the same weights
        if machine is None:
            machine = eso("machine")
            print({name: f"{value / 1e9:.1f} G/s" for name, value in machine.items()}, flush=True)
        case(eso, folder, machine, options.count)
        eso.close()
    if options.output:
        lines = ["| | unit | eso | peer | ratio | wanted | held |", "|---|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(line) + " |" for line in rows]
        peaks = ", ".join(f"{name.replace('_', ' ')} {value / 1e9:.1f} G/s" for name, value in machine.items())
        options.output.write_text(f"{platform.processor() or platform.machine()}, two threads: {peaks}.\n\n"
                                  + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
