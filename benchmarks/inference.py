"""Rating and generation beside the obvious alternatives, with the Atlas model.

`python benchmarks/inference.py`. Ratios are what counts: machines are noisy. Each pair is measured
in turn, three times; the median ratio is printed, and written to benchmarks/results/inference.json,
which the book shows.
"""

import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from xinstruct_utils.atlas import web
from xinstruct_utils.core.files import write_json
from xinstruct_utils.inference import local
from xinstruct_utils.models.loading import load
from xinstruct_utils.prompts.requests import instruction_request, rating_request
from xinstruct_utils.workflow.manifest import environment

Work = Callable[[], Any]


def timed(work: Work) -> tuple[float, Any]:
    """Seconds that a piece of work takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def theirs(temperature: float, top_p: float) -> Callable:
    """Nucleus sampling as transformers does it: a sort, and a draw from the whole vocabulary."""
    warm = TemperatureLogitsWarper(temperature)
    top = TopPLogitsWarper(top_p)

    def warp(ids, scores):
        chosen = top(ids, warm(ids, scores)).softmax(-1).multinomial(1)
        return torch.full_like(scores, float("-inf")).scatter_(-1, chosen, 0.0)

    return warp


def comparisons(texts: list[str]) -> dict[str, tuple[Work, Work]]:
    """{what is compared: (our way, the other way)} over these texts."""
    model, tokenizer = load("atlas")
    model = model.to(torch.bfloat16).eval()
    instruction = "Name the currency of Kenya and give its code."
    ratings = [rating_request(instruction, text) for text in texts]
    requests = [instruction_request(text) for text in texts]

    def in_order(size=16):
        """Generation in the order of arrival, 16 prompts at a time."""
        return [local.generate(model, tokenizer, requests[i:i + size], 10**9, 24)
                for i in range(0, len(requests), size)]

    def sampled(sampler, attention="eager"):
        """Sampled generation with this way of drawing a token, and this attention."""
        model.set_attn_implementation(attention)
        with mock.patch.object(local, "nucleus_sampler", sampler):
            return local.generate(model, tokenizer, requests, 8192, 64, 0.7, 0.9)

    ours = local.nucleus_sampler
    return {
        "sampling: one of the likeliest tokens drawn, against transformers' sort and draw of all":
            (lambda: sampled(ours), lambda: sampled(theirs)),
        "sampling: eager attention of one query against torch's fused one":
            (lambda: sampled(ours), lambda: sampled(ours, "sdpa")),
        "rating: one prefill pass against generating the rating":
            (lambda: local.rate(model, tokenizer, ratings, 4096),
             lambda: local.generate(model, tokenizer, ratings, 4096, 4)),
        "generation: by length and token budget against arrival order, 16 at a time":
            (lambda: local.generate(model, tokenizer, requests, 4096, 24), in_order),
    }


def main(rows: int = 300, out: Path | None = None) -> None:
    """Print one JSON line for each comparison, and write them all, to benchmarks/results unless
    another file is given."""
    parts: dict[str, Any] = {}
    report = {"machine": environment()["machine"], "date": datetime.date.today().isoformat(),
              "model": "atlas", "command": "python benchmarks/inference.py", "parts": parts}
    torch.set_num_threads(1)
    texts = [page["text"] for page in web.web("sw", rows, 0)[0]]
    for name, (mine, peer) in comparisons(texts).items():
        mine()
        peer()
        ratios = [timed(peer)[0] / timed(mine)[0] for _ in range(3)]
        parts[name] = {"rows": len(texts), "times as fast": round(statistics.median(ratios), 2)}
        print(json.dumps({"what": name, **parts[name]}), flush=True)
    write_json(out or Path(__file__).with_name("results") / "inference.json", report)


if __name__ == "__main__":
    main()
