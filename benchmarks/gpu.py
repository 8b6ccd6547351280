"""What one GPU does with a model of LLaMA-2-7B's size.

`python benchmarks/gpu.py [--cpu] [--out FILE] [--only PART ...]`. Weights are random and made on
the device: no file, no download. Each part has a time budget (about 8.5 minutes in all) and is
guarded: what fails, for want of memory for one, is recorded, and the others run. Results go to
benchmarks/results/ after each part. `--cpu` runs the same code with a tiny model, to test it; its
figures mean nothing.

MFU: the arithmetic that the method needs (forward 2 FLOP a weight and token, backward twice that,
once for frozen weights; attention within a row; no recomputation) against the rate measured for a
large matrix product.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# One device, before torch counts them: over several, the trainer would spread the model by
# nn.DataParallel, which TRL refuses.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)

from xinstruct_utils.atlas import web
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import write_json
from xinstruct_utils.inference import local
from xinstruct_utils.method import diversification
from xinstruct_utils.models.loading import load_tokenizer
from xinstruct_utils.models.tokenization import token_ids
from xinstruct_utils.prompts.requests import instruction_request, rating_request
from xinstruct_utils.training import trainer

RESULTS = Path(__file__).with_name("results")
# LLaMA-2-7B; rows are of the paper's lengths (outputs of 1,070 +- 780 characters, Table 8) at about
# 3 characters a token.
GPU = dict(
    model=dict(vocab_size=32000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
               intermediate_size=11008),
    product=8192, ratings=256, answers=128, new_tokens=128, budget=32768, rows=96,
    row_tokens=(420, 250), limit=2048, batch_rows=8, device_rows=4, sentences=20000, encoder={},
    points=(1_000_000, 768, 1000))
CPU = dict(
    model=dict(vocab_size=8192, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
               intermediate_size=128),
    product=256, ratings=8, answers=4, new_tokens=8, budget=4096, rows=24, row_tokens=(40, 20),
    limit=128, batch_rows=4, device_rows=2, sentences=64, points=(4000, 32, 20),
    encoder=dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
                 intermediate_size=128))

Size = dict[str, Any]
Figures = dict[str, Any]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a piece of work takes on the device, and its result."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    result = work()
    wait()
    return time.perf_counter() - start, result


def build(size: Size, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(Model with random weights in bfloat16 on the device, Atlas tokenizer)."""
    torch.manual_seed(0)
    config = LlamaConfig(**size["model"], max_position_embeddings=4096)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tokenizer = load_tokenizer("atlas")
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def flops(model: PreTrainedModel, tokens: float, row: float, passes: int = 1) -> float:
    """FLOP of `passes` forward passes over `tokens` tokens in rows of `row` tokens (mean).

    Backward is two more, or one.
    """
    weights = sum(parameter.numel() for name, parameter in model.named_parameters()
                  if "embed_tokens" not in name and "lora" not in name)
    # Causal attention: half of the square.
    inside = 2 * row * model.config.num_hidden_layers * model.config.hidden_size
    return passes * tokens * (2 * weights + inside)


def product(size: Size, device: str, peak: float) -> Figures:
    """Rate of a large matrix product, the peak that the other parts are compared with."""
    n = size["product"]
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    b = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ b
    taken = seconds(lambda: [a @ b for _ in range(20)])[0]
    return {"tflops": 20 * 2 * n ** 3 / taken / 1e12}


def tidy(value: Any) -> Any:
    """Figures to four digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def texts(n: int) -> list[str]:
    """Texts of the mini web, three pages each."""
    rows = [row["text"] for row in web.web("sw", 300, 0)[0]]
    return [" ".join(rows[(3 * k + j) % len(rows)] for j in range(3)) for k in range(n)]


def rating(size: Size, device: str, peak: float) -> Figures:
    """`local.rate`: prompt tokens a second, one prefill pass."""
    model, tokenizer = build(size, device)
    prompts = [rating_request(f"What is said here? {k}", text)
               for k, text in enumerate(texts(size["ratings"]))]
    lengths = [len(token_ids(tokenizer, prompt)[0]) for prompt in prompts]
    local.rate(model, tokenizer, prompts[:8], size["budget"])
    taken, _ = seconds(lambda: local.rate(model, tokenizer, prompts, size["budget"]))
    total = sum(lengths)
    mean = total / len(lengths)
    return {"rows_per_s": len(prompts) / taken, "tokens_per_s": total / taken,
            "tokens_a_row": mean, "share_of_peak": flops(model, total, mean) / taken / peak}


def generation(size: Size, device: str, peak: float) -> Figures:
    """`local.generate`, sampled as in the paper: new tokens a second, and those of prompts."""
    model, tokenizer = build(size, device)
    prompts = [instruction_request(text) for text in texts(size["answers"])]
    lengths = [len(token_ids(tokenizer, prompt)[0]) for prompt in prompts]
    how = (size["budget"], size["new_tokens"], 0.7, 0.9)
    local.generate(model, tokenizer, prompts[:4], *how)
    taken, completions = seconds(lambda: local.generate(model, tokenizer, prompts, *how))
    new = sum(completion["tokens"] for completion in completions)
    total = sum(lengths)
    work = flops(model, total + new, total / len(prompts))
    return {"new_tokens_per_s": new / taken, "rows_per_s": len(prompts) / taken,
            "prompt_tokens": total, "new_tokens": new, "share_of_peak": work / taken / peak}


class Clock(TrainerCallback):
    """When each optimiser step was done."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.times = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(seconds(lambda: time.perf_counter())[1])


def encoded_rows(size: Size) -> list[dict[str, list[int]]]:
    """Rows of random tokens, a quarter of each of them the prompt's."""
    rng = random.Random(0)
    lengths = [max(16, min(size["limit"], int(rng.gauss(*size["row_tokens"]))))
               for _ in range(size["rows"])]
    rows = [[rng.randrange(10, 3000) for _ in range(length)] for length in lengths]
    return [{"input_ids": ids, "labels": [-100] * (len(ids) // 4) + ids[len(ids) // 4:]}
            for ids in rows]


def sft(size: Size, device: str, peak: float, layout: str = "packed", **more: Any) -> Figures:
    """Optimiser steps of `trainer`: tokens a second that are no padding, MFU.

    The first step warms up and is not counted.
    """
    encoded = encoded_rows(size)
    s = Profile().group("training") | dict(epochs=1, learning_rate=1e-5, max_length=size["limit"],
                                           gradient_checkpointing=True, **more)
    if layout == "packed":
        s["batch_tokens"] = 2 * size["limit"]
    else:
        s |= dict(batch_rows=size["batch_rows"], device_rows=size["device_rows"])
    with tempfile.TemporaryDirectory() as folder:
        config = trainer.train_config(s, Path(folder), len(encoded))
        if not s["lora_rank"]:
            config.optim = "adafactor"           # AdamW's states alone would be 54 GB
        config.padding_free = layout == "rows" or config.packing
        model, tokenizer = build(size, device)
        clock = Clock()
        tuner = trainer.make(s, config, model, tokenizer, encoded)
        tuner.add_callback(clock)
        tuner.train()
    tokens = sum(len(row["input_ids"]) for row in encoded)
    steps = len(clock.times)
    taken = clock.times[-1] - clock.times[0]
    done = tokens * (steps - 1) / steps
    work = flops(model, done, tokens / len(encoded), 2 if s.get("lora_rank") else 3)
    return {"layout": layout, "optimiser": str(getattr(config.optim, "value", config.optim)),
            "steps": steps, "tokens_per_s": done / taken, "mfu": work / taken / peak}


def encoding(size: Size, device: str, peak: float) -> Figures:
    """Sentences a second: the packaged MiniLM through `diversification.embed`, and an encoder of
    all-mpnet-base-v2's size."""
    words = ("rain", "tea", "maps", "bees")
    sentences = [f"Write {k} lines about {word}."
                 for k in range(size["sentences"] // 4) for word in words]
    diversification.embed(sentences[:8])
    small = seconds(lambda: diversification.embed(sentences, batch=256))[0]
    with torch.device(device):
        model = MPNetModel(MPNetConfig(**size["encoder"])).to(torch.bfloat16).eval()
        ids = torch.randint(5, 3000, (64, 32))
    batches = max(1, len(sentences) // 64)
    with torch.inference_mode():
        model(ids)
        large = seconds(lambda: [model(ids) for _ in range(batches)])[0]
    return {"minilm_rows_per_s": len(sentences) / small,
            "mpnet_size_rows_per_s": batches * 64 / large, "mpnet_tokens_a_row": 32}


def lloyd(points: torch.Tensor, k: int) -> torch.Tensor:
    """k-means in 25 rounds: the cluster of each point."""
    centres = points[torch.randperm(len(points), device=points.device)[:k]]
    for _ in range(25):
        near = torch.cat([(part @ centres.T * 2 - centres.square().sum(1)).argmax(1)
                          for part in points.split(100_000)])
        counts = torch.bincount(near, minlength=k).clamp(min=1)
        centres = torch.zeros_like(centres).index_add_(0, near, points) / counts[:, None]
    return near


def clustering(size: Size, device: str, peak: float) -> Figures:
    """k-means in 25 rounds: Lloyd's with torch on the device, and `diversification.kmeans` (faiss,
    one thread) on a tenth."""
    n, d, k = size["points"]
    points = torch.nn.functional.normalize(torch.randn(n, d, device=device), dim=1)
    taken, near = seconds(lambda: lloyd(points, k))
    tenth = points[:n // 10].cpu().numpy()
    faiss_taken = seconds(lambda: diversification.kmeans(tenth, k // 10))[0]
    return {"points": n, "dimensions": d, "clusters": k, "torch_s": taken,
            "used_clusters": len(near.unique()), "faiss_points": len(tenth),
            "faiss_clusters": k // 10, "faiss_s": faiss_taken}


def lora(layout: str) -> Callable[..., Figures]:
    """`sft` with adapters, rows in this layout."""
    return lambda size, device, peak: sft(size, device, peak, layout, lora_rank=32)


# Each part and its budget in seconds. A part that runs over is stopped and recorded.
PARTS: dict[str, tuple[Callable[..., Figures], int]] = {
    "product": (product, 20), "rating": (rating, 60), "generation": (generation, 60),
    "sft_lora_packed": (lora("packed"), 75), "sft_lora_rows": (lora("rows"), 60),
    "sft_lora_padded": (lora("padded"), 60), "sft_full": (sft, 75),
    "encoding": (encoding, 40), "clustering": (clustering, 60),
}


@contextlib.contextmanager
def budget(limit: int) -> Iterator[None]:
    """Raise TimeoutError after `limit` seconds."""
    def stop(*_):
        raise TimeoutError(f"over its budget of {limit} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)


def measure(work: Callable[..., Figures], limit: int, size: Size, device: str,
            peak: float) -> Figures:
    """One part's figures, or what stopped it, with its time and peak memory."""
    start = time.perf_counter()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        with budget(limit):
            figures = {name: tidy(value) for name, value in work(size, device, peak).items()}
    except Exception as error:                   # whatever it is, the other parts are to run
        lines = str(error).splitlines() or [""]
        figures = {"failed": f"{type(error).__name__}: {lines[0]}"[:200]}
    gc.collect()
    if device == "cuda":
        figures["peak_gib"] = tidy(torch.cuda.max_memory_allocated() / 2**30)
        torch.cuda.empty_cache()
    return figures | {"seconds": tidy(time.perf_counter() - start)}


def machine(device: str) -> Figures:
    """What it ran on."""
    facts = {"device": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        facts["device"] = gpu.name
        facts["memory_gib"] = tidy(gpu.total_memory / 2**30)
    return facts


def run_parts(names: list[str], report: Figures, path: Path, size: Size, device: str) -> None:
    """Measure these parts, and write the report after each."""
    parts = report["parts"]
    for name in names:
        work, limit = PARTS[name]
        peak = parts.get("product", {}).get("tflops", float("nan")) * 1e12
        parts[name] = measure(work, limit, size, device, peak)
        write_json(path, report)
        print(name, parts[name], flush=True)


def main(argv: list[str] | None = None) -> Figures | None:
    """Run the parts, write the results after each, and print them. Returns the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true",
                        help="the same code with a tiny model, without a GPU")
    parser.add_argument("--out", type=Path,
                        help="results file; default: benchmarks/results/gpu-<device>.json")
    parser.add_argument("--only", nargs="+", choices=PARTS,
                        help="parts to run (the matrix product always runs)")
    args = parser.parse_args(argv)
    if not args.cpu and not torch.cuda.is_available():
        print("benchmarks/gpu.py: no GPU here, nothing measured "
              "(--cpu runs the same code with a tiny model)")
        return None
    device, size = ("cpu", CPU) if args.cpu else ("cuda", GPU)
    facts = machine(device)
    tiny = "tiny-model-" if args.cpu else ""
    slug = facts["device"].lower().replace(" ", "-")
    path = args.out or RESULTS / f"gpu-{tiny}{slug}.json"
    command = "python benchmarks/gpu.py --cpu" if args.cpu else "python benchmarks/gpu.py"
    report = {"machine": facts, "date": datetime.date.today().isoformat(),
              "model": size["model"], "command": command, "parts": {}}
    names = [name for name in PARTS if name == "product" or not args.only or name in args.only]
    run_parts(names, report, path, size, device)
    print(f"written: {path}")
    return report


if __name__ == "__main__":
    main()
