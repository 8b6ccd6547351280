"""What one GPU does with a model of LLaMA-2-7B's size: `python benchmarks/gpu.py [--cpu] [--out FILE] [--only PART ...]`.

Weights are random and made on the device: no file, no download. Each part has a time budget (about 8.5 minutes in all) and
is guarded: what fails, for want of memory for one, is recorded, and the others run. Results go to benchmarks/results/ after
each part. `--cpu` runs the same code with a tiny model, to test it; its figures mean nothing.

MFU: the arithmetic that the method needs (forward 2 FLOP a weight and token, backward twice that, once for frozen weights;
attention within a row; no recomputation) against the rate measured for a large matrix product.
"""

import argparse
import contextlib
import datetime
import gc
import os
import platform
import random
import signal
import tempfile
import time
from pathlib import Path

# One device, before torch counts them: over several, the trainer would spread the model by nn.DataParallel, which TRL refuses.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MPNetConfig, MPNetModel, TrainerCallback

from xinstruct_utils.atlas import pages
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import write_json
from xinstruct_utils.inference import local
from xinstruct_utils.method import diversification
from xinstruct_utils.models.loading import load_tokenizer
from xinstruct_utils.models.tokenization import token_ids
from xinstruct_utils.prompts.requests import instruction_request, rating_request
from xinstruct_utils.training import trainer

RESULTS = Path(__file__).with_name("results")
# LLaMA-2-7B; rows are of the paper's lengths (outputs of 1,070 +- 780 characters, Table 8) at about 3 characters a token.
GPU = dict(model=dict(vocab_size=32000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008),
           product=8192, ratings=256, answers=128, new_tokens=128, budget=32768, rows=96, row_tokens=(420, 250), limit=2048,
           batch_rows=8, device_rows=4, sentences=20000, encoder={}, points=(1_000_000, 768, 1000))
CPU = dict(model=dict(vocab_size=3072, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128),
           product=256, ratings=8, answers=4, new_tokens=8, budget=4096, rows=24, row_tokens=(40, 20), limit=128,
           batch_rows=4, device_rows=2, sentences=64, points=(4000, 32, 20),
           encoder=dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128))


def seconds(work):
    """Seconds that a piece of work takes on the device, and its result."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start, made = time.perf_counter(), work()
    wait()
    return time.perf_counter() - start, made


def build(size, device):
    """(Model with random weights in bfloat16 on the device, Atlas tokenizer)."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**size["model"], max_position_embeddings=4096),
                                                 dtype=torch.bfloat16)
    tokenizer = load_tokenizer("atlas")
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def flops(model, tokens, row, passes=1):
    """FLOP of `passes` forward passes over `tokens` tokens in rows of `row` tokens (mean); backward is two more, or one."""
    weights = sum(p.numel() for n, p in model.named_parameters() if "embed_tokens" not in n and "lora" not in n)
    inside = 2 * row * model.config.num_hidden_layers * model.config.hidden_size       # causal: half of the square
    return passes * tokens * (2 * weights + inside)


def product(size, device, peak):
    """Rate of a large matrix product, the peak that the other parts are compared with."""
    a, b = (torch.randn(size["product"], size["product"], device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    took = seconds(lambda: [a @ b for _ in range(20)])[0]
    return {"tflops": 20 * 2 * size["product"] ** 3 / took / 1e12}


def tidy(value):
    """Figures to four digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def texts(n):
    """Texts of the mini web, three pages each."""
    rows = [r["text"] for r in pages.web("sw", 300, 0)[0]]
    return [" ".join(rows[(3 * k + j) % len(rows)] for j in range(3)) for k in range(n)]


def rating(size, device, peak):
    """`inference.rate`: prompt tokens a second, one prefill pass."""
    model, tokenizer = build(size, device)
    asked = [rating_request(f"What is said here? {k}", t) for k, t in enumerate(texts(size["ratings"]))]
    lengths = [len(token_ids(tokenizer, p)[0]) for p in asked]
    local.rate(model, tokenizer, asked[:8], size["budget"])
    took, _ = seconds(lambda: local.rate(model, tokenizer, asked, size["budget"]))
    mean = sum(lengths) / len(lengths)
    return {"rows_per_s": len(asked) / took, "tokens_per_s": sum(lengths) / took, "tokens_a_row": mean,
            "share_of_peak": flops(model, sum(lengths), mean) / took / peak}


def generation(size, device, peak):
    """`inference.generate`, sampled as in the paper: new tokens a second, and those of prompts beside them."""
    model, tokenizer = build(size, device)
    asked = [instruction_request(t) for t in texts(size["answers"])]
    lengths = [len(token_ids(tokenizer, p)[0]) for p in asked]
    how = (size["budget"], size["new_tokens"], 0.7, 0.9)
    local.generate(model, tokenizer, asked[:4], *how)
    took, made = seconds(lambda: local.generate(model, tokenizer, asked, *how))
    new = sum(m["tokens"] for m in made)
    return {"new_tokens_per_s": new / took, "rows_per_s": len(asked) / took, "prompt_tokens": sum(lengths), "new_tokens": new,
            "share_of_peak": flops(model, sum(lengths) + new, sum(lengths) / len(asked)) / took / peak}


class Clock(TrainerCallback):
    """When each optimiser step was done."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.times = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(seconds(lambda: time.perf_counter())[1])


def sft(size, device, peak, layout="packed", **more):
    """Optimiser steps of `trainer`: tokens a second that are no padding, MFU. The first step warms up and is not counted."""
    rng = random.Random(0)
    lengths = [max(16, min(size["limit"], int(rng.gauss(*size["row_tokens"])))) for _ in range(size["rows"])]
    rows = [[rng.randrange(10, 3000) for _ in range(length)] for length in lengths]
    encoded = [{"input_ids": ids, "labels": [-100] * (len(ids) // 4) + ids[len(ids) // 4:]} for ids in rows]
    s = Profile().group("training") | dict(epochs=1, learning_rate=1e-5, max_length=size["limit"],
                                           gradient_checkpointing=True, **more)
    s |= (dict(batch_tokens=2 * size["limit"]) if layout == "packed" else
          dict(batch_rows=size["batch_rows"], device_rows=size["device_rows"]))
    with tempfile.TemporaryDirectory() as folder:
        config = trainer.train_config(s, Path(folder), len(encoded))
        config.optim = config.optim if s["lora_rank"] else "adafactor"   # AdamW's states alone would be 54 GB
        config.padding_free = layout == "rows" or config.packing
        model, tokenizer = build(size, device)
        clock, tuner = Clock(), trainer.make(s, config, model, tokenizer, encoded)
        tuner.add_callback(clock)
        tuner.train()
    tokens, steps, took = sum(lengths), len(clock.times), clock.times[-1] - clock.times[0]
    done = tokens * (steps - 1) / steps
    work = flops(model, done, tokens / len(rows), 2 if s.get("lora_rank") else 3)
    return {"layout": layout, "optimiser": str(getattr(config.optim, "value", config.optim)), "steps": steps,
            "tokens_per_s": done / took, "mfu": work / took / peak}


def encoding(size, device, peak):
    """Sentences a second: the packaged MiniLM through `cluster.embed`, and an encoder of all-mpnet-base-v2's size."""
    some = [f"Write {k} lines about {word}." for k in range(size["sentences"] // 4) for word in ("rain", "tea", "maps", "bees")]
    diversification.embed(some[:8])
    small = seconds(lambda: diversification.embed(some, batch=256))[0]
    with torch.device(device):
        model = MPNetModel(MPNetConfig(**size["encoder"])).to(torch.bfloat16).eval()
        ids = torch.randint(5, 3000, (64, 32))
    with torch.inference_mode():
        model(ids)
        large = seconds(lambda: [model(ids) for _ in range(max(1, len(some) // 64))])[0]
    return {"minilm_rows_per_s": len(some) / small, "mpnet_size_rows_per_s": max(1, len(some) // 64) * 64 / large,
            "mpnet_tokens_a_row": 32}


def clustering(size, device, peak):
    """k-means in 25 rounds: Lloyd's with torch on the device, and `cluster.kmeans` (faiss, one thread) on a tenth."""
    n, d, k = size["points"]
    points = torch.nn.functional.normalize(torch.randn(n, d, device=device), dim=1)

    def lloyd():
        centres = points[torch.randperm(n, device=device)[:k]]
        for _ in range(25):
            near = torch.cat([(p @ centres.T * 2 - centres.square().sum(1)).argmax(1) for p in points.split(100_000)])
            counts = torch.bincount(near, minlength=k).clamp(min=1)
            centres = torch.zeros_like(centres).index_add_(0, near, points) / counts[:, None]
        return near

    took, near = seconds(lloyd)
    tenth = points[:n // 10].cpu().numpy()
    return {"points": n, "dimensions": d, "clusters": k, "torch_s": took, "used_clusters": len(near.unique()),
            "faiss_points": len(tenth), "faiss_clusters": k // 10, "faiss_s": seconds(lambda: diversification.kmeans(tenth, k // 10))[0]}


# Each part and its budget in seconds. A part that runs over is stopped and recorded.
PARTS = {
    "product": (product, 20), "rating": (rating, 60), "generation": (generation, 60),
    "sft_lora_packed": (lambda *a: sft(*a, lora_rank=32), 75), "sft_lora_rows": (lambda *a: sft(*a, "rows", lora_rank=32), 60),
    "sft_lora_padded": (lambda *a: sft(*a, "padded", lora_rank=32), 60), "sft_full": (sft, 75),
    "encoding": (encoding, 40), "clustering": (clustering, 60),
}


@contextlib.contextmanager
def budget(limit):
    """Raise TimeoutError after `limit` seconds."""
    def stop(*_):
        raise TimeoutError(f"over its budget of {limit} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)


def measure(work, limit, size, device, peak):
    """One part's figures, or what stopped it, with its time and peak memory."""
    start = time.perf_counter()
    torch.cuda.reset_peak_memory_stats() if device == "cuda" else None
    try:
        with budget(limit):
            told = {k: tidy(v) for k, v in work(size, device, peak).items()}
    except Exception as error:                   # whatever it is, the other parts are to run
        told = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]}
    gc.collect()
    if device == "cuda":
        told["peak_gib"] = tidy(torch.cuda.max_memory_allocated() / 2**30)
        torch.cuda.empty_cache()
    return told | {"seconds": tidy(time.perf_counter() - start)}


def machine(device):
    """What it ran on."""
    told = {"device": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    gpu = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return told | ({"device": gpu.name, "memory_gib": tidy(gpu.total_memory / 2**30)} if gpu else {})


def main(argv=None):
    """Run the parts, write the results after each, and print them. Returns the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="the same code with a tiny model, without a GPU")
    parser.add_argument("--out", type=Path, help="results file; default: benchmarks/results/gpu-<device>.json")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run (the matrix product always runs)")
    args = parser.parse_args(argv)
    if not args.cpu and not torch.cuda.is_available():
        print("benchmarks/gpu.py: no GPU here, nothing measured (--cpu runs the same code with a tiny model)")
        return None
    device, size = ("cpu", CPU) if args.cpu else ("cuda", GPU)
    where = machine(device)
    path = args.out or RESULTS / f"gpu-{'tiny-model-' if args.cpu else ''}{where['device'].lower().replace(' ', '-')}.json"
    told = {"machine": where, "date": datetime.date.today().isoformat(), "model": size["model"],
            "command": "python benchmarks/gpu.py" + " --cpu" * args.cpu, "parts": {}}
    for name, (work, limit) in PARTS.items():
        if name == "product" or not args.only or name in args.only:
            peak = told["parts"].get("product", {}).get("tflops", float("nan")) * 1e12
            told["parts"][name] = measure(work, limit, size, device, peak)
            write_json(path, told)
            print(name, told["parts"][name], flush=True)
    print(f"written: {path}")
    return told


if __name__ == "__main__":
    main()
