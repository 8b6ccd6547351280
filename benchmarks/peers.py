"""Every hot path beside the obvious alternative, side by side in one run: ratios, with floors.

`python benchmarks/peers.py [PART ...]`; `make bench` runs it with the other benchmarks. Ours and
the peer's are measured in turn, three times; the median ratio counts, since machines are noisy. A
ratio below its floor is an error (exit code 1): something has become slower. The goals are those
that the project has set itself; a floor lies where today's ratio has room for noise. Writes
benchmarks/results/peers.json, which the book shows. datatrove wants other versions of our packages:
it is measured where XINSTRUCT_DATATROVE names the Python of an environment that has it
(`pip install "datatrove[io,processing]" spacy "xxhash<4"`), and left out, saying so, where none is
named.
"""

import argparse
import datetime
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import torch

from xinstruct_utils.atlas import web
from xinstruct_utils.core.files import write_json, write_jsonl
from xinstruct_utils.inference import local
from xinstruct_utils.models.batching import batches, padded
from xinstruct_utils.models.loading import load
from xinstruct_utils.models.tokenization import token_ids
from xinstruct_utils.prompts.requests import instruction_request, rating_request, response_request
from xinstruct_utils.workflow.manifest import environment

Work = Callable[[], Any]
REPEATS = 3
ROWS = 240
NEW_TOKENS = 24
INSTRUCTION = "Name the currency of Kenya and give its code."


class Part(NamedTuple):
    """A comparison: how to measure it, the project's goal, and the floor of `make bench`.

    made: gives (our work, the peer's).
    """

    what: str
    made: Callable[[], tuple[Work, Work]]
    goal: float
    floor: float


def seconds(work: Work) -> float:
    """How long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pages(n: int | None = None) -> list[str]:
    """Texts of the Atlas's web in Swahili, `ROWS` by default."""
    return [row["text"] for row in web.web("sw", n or ROWS, 0)[0]]


def atlas() -> tuple[Any, Any]:
    """The Atlas's model in bfloat16, and its tokenizer."""
    model, tokenizer = load("atlas")
    return model.to(torch.bfloat16).eval(), tokenizer


# Rating


def ratings() -> tuple[Work, list[str]]:
    """Our rating of some pages, and its prompts."""
    model, tokenizer = atlas()
    prompts = [rating_request(INSTRUCTION, text) for text in pages()]
    return lambda: local.rate(model, tokenizer, prompts, 4096), prompts


def rating_by_harness() -> tuple[Work, Work]:
    """lm-evaluation-harness's loglikelihood of the three ratings."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    ours, prompts = ratings()
    model, tokenizer = atlas()
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, device="cpu")
    requests = [Instance("loglikelihood", {}, (prompt, rating), k)
                for prompt in prompts for k, rating in enumerate("012")]
    return ours, lambda: harness.loglikelihood(requests, disable_tqdm=True)


def rating_by_text() -> tuple[Work, Work]:
    """Generate a rating for one prompt after the other, and read it."""
    ours, prompts = ratings()
    model, tokenizer = atlas()

    def one_by_one() -> list[str]:
        return [generated(model, tokenizer, [prompt], 4, False)[0] for prompt in prompts]

    return ours, one_by_one


def rating_by_prefill() -> tuple[Work, Work]:
    """A bare forward pass over the same tokens, in the same batches: what cannot be beaten."""
    ours, prompts = ratings()
    model, tokenizer = atlas()
    ids = [token_ids(tokenizer, prompt)[0] for prompt in prompts]
    groups = [padded([ids[i] for i in group], tokenizer.pad_token_id)
              for group in batches([len(i) for i in ids], 4096)]

    def prefill() -> None:
        with torch.inference_mode():
            for tokens, mask in groups:
                model(tokens, attention_mask=mask, logits_to_keep=1, use_cache=False)

    return ours, prefill


# Candidates


def generated(model: Any, tokenizer: Any, prompts: list[str], new: int, sample: bool) -> list[str]:
    """Transformers' generate on prompts in one batch, padded on the left."""
    tokenizer.padding_side = "left"
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    batch.pop("token_type_ids", None)
    drawn = {"do_sample": True, "temperature": 0.7, "top_p": 0.9} if sample else {}
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=new, pad_token_id=tokenizer.pad_token_id,
                             **drawn)
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)


def candidates(size: int, rows: int | None = None) -> tuple[Work, Work]:
    """Instructions for pages: `size` prompts at a time in the order of arrival."""
    model, tokenizer = atlas()
    prompts = [instruction_request(text) for text in pages(rows)]

    def theirs() -> None:
        for start in range(0, len(prompts), size):
            generated(model, tokenizer, prompts[start:start + size], NEW_TOKENS, True)

    return (lambda: local.generate(model, tokenizer, prompts, 8192, NEW_TOKENS, 0.7, 0.9), theirs)


# Tuning


def tuning() -> tuple[Work, Work]:
    """TRL's trainer with its defaults: rows padded, eight at a time; the same useful tokens."""
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    from xinstruct_utils.config.load import load_profile
    from xinstruct_utils.training import sft

    disable_progress_bars()
    rows = [{"prompt": response_request(INSTRUCTION, "sw"), "completion": text}
            for text in pages()]
    folder = Path(tempfile.mkdtemp())
    write_jsonl(folder / "rows.jsonl", rows)
    settings = load_profile("atlas").group("training") | {
        "input": str(folder / "rows.jsonl"), "epochs": 1, "threads": 1}
    runs = iter(range(1000))

    def ours() -> None:
        sft.main(settings | {"out": str(folder / f"ours{next(runs)}")})

    def theirs() -> None:
        model, tokenizer = load("atlas", "float32")
        config = SFTConfig(output_dir=str(folder / "theirs"), num_train_epochs=1, use_cpu=True,
                           report_to=[], save_strategy="no", disable_tqdm=True, max_length=512)
        SFTTrainer(model=model, args=config, processing_class=tokenizer,
                   train_dataset=Dataset.from_list(rows)).train()

    return ours, theirs


# Clustering


def clustering(n: int = 50_000, dimensions: int = 384, k: int = 500) -> tuple[Work, Work]:
    """scikit-learn's mini-batches; the inertia of both is printed."""
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    from xinstruct_utils.method import diversification

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k, dimensions))
    points = centres[rng.integers(k, size=n)] + 0.5 * rng.normal(size=(n, dimensions))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")

    def inertia(labels: Any, centroids: Any) -> float:
        return float(((points - centroids[labels]) ** 2).sum())

    def ours() -> None:
        print(f"inertia, ours: {inertia(*diversification.kmeans(points, k)):,.0f}")

    def theirs() -> None:
        model = MiniBatchKMeans(k, random_state=0, n_init=3, batch_size=4096).fit(points)
        print(f"inertia, theirs: {inertia(model.labels_, model.cluster_centers_):,.0f}")

    return ours, theirs


# Near-duplicates


class PeerIsMissing(Exception):
    """There is nothing to compare with on this machine."""


def near_duplicates(n: int = 6000) -> tuple[Work, Work]:
    """datatrove's MinHash in four steps, on texts of which every fifth repeats the one before."""
    from xinstruct_utils.core.files import content_id
    from xinstruct_utils.data import cleaning

    python = os.environ.get("XINSTRUCT_DATATROVE")
    if not python:
        raise PeerIsMissing("XINSTRUCT_DATATROVE names no Python that has datatrove")
    texts = _repeating(n)
    folder = Path(tempfile.mkdtemp())
    write_jsonl(folder / "texts" / "a.jsonl",
                [{"id": str(k), "text": text} for k, text in enumerate(texts)])
    numbers = (cleaning.BANDS, cleaning.PERMUTATIONS // cleaning.BANDS, cleaning.SHINGLE)
    script = Path(__file__).with_name("datatrove_peer.py")
    command = [python, *map(str, (script, folder, *numbers))]
    peer = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)

    def ours() -> int:
        rows = ({"id": content_id("sw", text), "text": text} for text in texts)
        census = cleaning.Census(["near_duplicates"])
        return sum(1 for _ in cleaning.stream(rows, census, "sw"))

    def theirs() -> int:
        assert peer.stdin and peer.stdout
        print(file=peer.stdin, flush=True)
        answer = peer.stdout.readline()
        if not answer:
            raise RuntimeError(f"datatrove ended; to see why: echo | {shlex.join(command)}")
        return int(answer)

    found = [ours(), theirs()]                   # MinHash may miss a pair in a thousand
    assert all(abs(kept - (n - n // 5)) <= n / 500 for kept in found), found
    return ours, theirs


def _repeating(n: int) -> list[str]:
    """Texts of 150 made-up words; every fifth is the one before with four words changed."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(5000)]
    texts: list[list[str]] = []
    for k in range(n):
        fresh = rng.choices(words, k=150)
        texts.append([*texts[-1][:50], *fresh[:4], *texts[-1][54:]] if k % 5 == 4 else fresh)
    return [" ".join(text) for text in texts]


# The judge


class Judge(BaseHTTPRequestHandler):
    """A judge that takes its server's `latency` seconds for each reply."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Reply with two scores."""
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.latency)
        message = {"role": "assistant", "content": "<score1>5</score1><score2>6</score2>"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply = json.dumps({"choices": [choice], "usage": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class JudgeServer(ThreadingHTTPServer):
    """It answers as many at once as are asked."""

    request_queue_size = 128
    daemon_threads = True
    latency = 0.0


CONCURRENCY, REQUESTS = 16, 160


def judging(peer: Callable[[str, float], Work], latency: float) -> tuple[Work, Work]:
    """Our client on a loopback judge; peer: of the server's address and latency (seconds)."""
    from xinstruct_utils.inference.chat import Client

    server = JudgeServer(("127.0.0.1", 0), Judge)
    server.latency = latency
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    runs = iter(range(1000))

    def ours() -> None:
        folder = Path(tempfile.mkdtemp())
        client = Client(folder / f"{next(runs)}.sqlite", "judge", url, CONCURRENCY)
        client.ask([client.body(f"question {n}") for n in range(REQUESTS)])

    return ours, peer(url, latency)


def one_after_the_other(url: str, latency: float) -> Work:
    """The openai client in a loop."""
    from openai import OpenAI

    def work() -> None:
        with OpenAI(api_key="none", base_url=url) as api:
            for n in range(REQUESTS):
                api.chat.completions.create(
                    model="judge", messages=[{"role": "user", "content": f"question {n}"}])

    return work


def ideal(url: str, latency: float) -> Work:
    """Requests times latency over concurrency: waiting alone, which cannot be beaten."""
    return lambda: time.sleep(REQUESTS * latency / CONCURRENCY)


# The parser


def parsing(n: int = 120) -> tuple[Work, Work]:
    """benepar called for one sentence after the other."""
    from xinstruct_utils.atlas import pages as atlas_pages
    from xinstruct_utils.atlas import world
    from xinstruct_utils.method import syntax

    parser = syntax.load()
    texts = [text for fact in world.facts()[:n] for text in atlas_pages.instructions(fact)[:2]]
    rows = [row for text in texts for row in syntax.sentences(text)]
    return (lambda: syntax.parse(parser, rows),
            lambda: [list(parser.parse([row])) for row in rows])


PARTS = {
    "rating-harness": Part("rating: one pass against lm-evaluation-harness's loglikelihood",
                           rating_by_harness, 3.5, 1.3),
    "rating-text": Part("rating: one pass against generating and reading one by one",
                        rating_by_text, 25, 3.3),
    "rating-prefill": Part("rating: share of a bare prefill's speed", rating_by_prefill, 0.9, 0.75),
    "candidates-32": Part("candidates: against transformers, 32 at a time as they come",
                          partial(candidates, 32), 3, 1.4),
    "candidates-1": Part("candidates: against transformers, one by one",
                         partial(candidates, 1, 60), 10, 3.3),
    "tuning": Part("tuning: packed against TRL's padded defaults, useful tokens", tuning, 2, 3),
    "near-duplicates": Part("near-duplicates: one pass against datatrove's four steps",
                            near_duplicates, 2, 5),
    "clustering": Part("k-means: all points against scikit-learn's mini-batches", clustering, 1,
                       0.75),
    "judge-sequence": Part("judge: against one request after the other",
                           partial(judging, one_after_the_other, 0.1), 12, 9),
    "judge-ideal": Part("judge: share of the ideal, latency alone", partial(judging, ideal, 0.5),
                        0.87, 0.7),
    "parser": Part("parser: in batches against benepar one by one", parsing, 5, 2.9),
}


def measured(part: Part) -> dict[str, Any]:
    """The median ratio of a part, and all of them."""
    ours, theirs = part.made()
    seconds(ours), seconds(theirs)               # the first time, both load and compile
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]
    ratios = [theirs_s / ours_s for ours_s, theirs_s in pairs]
    return {"times as fast": round(statistics.median(ratios), 2),
            "all": [round(ratio, 2) for ratio in ratios], "goal": part.goal, "floor": part.floor}


def main(argv: list[str] | None = None, out: Path | None = None) -> int:
    """Measure the named parts, print each as a JSON line, write them all; 1 below a floor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"of {', '.join(PARTS)}; all by default")
    names = parser.parse_args(argv).parts or list(PARTS)
    torch.set_num_threads(1)
    parts = {}
    for name in names:
        try:
            row = parts[PARTS[name].what] = measured(PARTS[name])
        except PeerIsMissing as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
            continue
        print(json.dumps({"part": name, **row}), flush=True)
    report = {"machine": environment()["machine"], "date": datetime.date.today().isoformat(),
              "model": "atlas", "command": "python benchmarks/peers.py", "parts": parts}
    write_json(out or Path(__file__).with_name("results") / "peers.json", report)
    below = [name for name, row in parts.items() if row["times as fast"] < row["floor"]]
    if below:
        print(f"below the floor: {', '.join(below)}", file=sys.stderr)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
