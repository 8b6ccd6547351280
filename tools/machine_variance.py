"""Where runs of one seed on two processors begin to differ: `tools/machine_variance.py [OUT]`.

A processor differs from another in the instructions it has, and so in the order in which sums are
taken. Here the same small training (the Atlas's generator) is made with this processor's own
instructions and with fewer of them, in two precisions and with one or two threads, each in a
process of its own, and compared with the first of its precision: logits of one forward pass before
any training, losses step by step, and what the tuned model writes, greedily and sampled with one
seed. Prints a table and writes OUT, machine_variance.json by default.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from xinstruct_utils.core.files import read_json, write_json, write_jsonl

# What torch's own kernels and oneDNN's may use; "own" leaves both alone.
ISA = {"own": {}, "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
       "none": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}}
VARIANTS = [("bfloat16", "own", 1), ("bfloat16", "own", 1), ("bfloat16", "own", 2),
            ("bfloat16", "AVX2", 1), ("bfloat16", "none", 1),
            ("float32", "own", 1), ("float32", "own", 1), ("float32", "own", 2),
            ("float32", "AVX2", 1), ("float32", "none", 1)]
PAIRS, PAGES, EPOCHS, NEW_TOKENS = 200, 100, 2, 24


def work(precision: str, threads: int, out: Path) -> None:
    """A training and what its model writes, in this process: results in `out`."""
    import torch

    from xinstruct_utils.atlas import web
    from xinstruct_utils.config.load import load_profile
    from xinstruct_utils.inference import local
    from xinstruct_utils.models.loading import load
    from xinstruct_utils.prompts.requests import instruction_request
    from xinstruct_utils.training import sft

    torch.set_num_threads(threads)
    light = precision == "bfloat16"
    pairs = web.seed_pairs("fi", PAIRS, 0)[0]
    rows = [{"prompt": instruction_request(pair["output"]), "completion": pair["instruction"]}
            for pair in pairs]
    texts = [page["text"] for page in web.web("fi", PAGES, 0)[0]]
    model, tokenizer = load("atlas", precision)
    ids = tokenizer(rows[0]["prompt"], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = model.eval()(ids).logits[0, -1].float().tolist()
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(Path(folder) / "rows.jsonl", rows)
        settings = load_profile("atlas").group("training") | {
            "input": f"{folder}/rows.jsonl", "out": f"{folder}/model", "epochs": EPOCHS,
            "threads": threads, "bf16": light, "logging_steps": 1}
        begun = time.perf_counter()
        sft.main(settings)
        seconds = time.perf_counter() - begun
        losses = read_json(Path(folder) / "model" / "train.json")["losses"]
        model, tokenizer = load(f"{folder}/model", precision)
    prompts = [instruction_request(text) for text in texts]
    written = {name: [row["generated"] for row in local.generate(
        model.eval(), tokenizer, prompts, 8192, NEW_TOKENS, *how)]
        for name, how in {"greedy": (), "sampled": (0.7, 0.9)}.items()}
    write_json(out, {"logits": logits, "losses": losses, "seconds": seconds, **written})


def compared(found: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """How far a variant is from the first."""
    logits = max(abs(a - b) for a, b in zip(found["logits"], first["logits"], strict=True))
    losses = list(zip(found["losses"], first["losses"], strict=True))
    apart = next((step for step, (a, b) in enumerate(losses, 1) if a != b), None)
    same = {name: sum(a == b for a, b in zip(found[name], first[name], strict=True)) / PAGES
            for name in ("greedy", "sampled")}
    return {"largest difference of a logit, untrained": round(logits, 6),
            "first step with another loss": apart, "steps": len(losses),
            "difference of the last loss": round(losses[-1][0] - losses[-1][1], 4),
            "same greedy texts": same["greedy"], "same sampled texts": same["sampled"],
            "time": round(found["seconds"] / first["seconds"], 2)}


def main() -> None:
    """Run every variant in a process of its own, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path("machine_variance.json"))
    parser.add_argument("--work", nargs=2, metavar=("PRECISION", "THREADS"),
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.work[0], int(args.work[1]), args.out)
    first: dict[str, Any] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for precision, isa, threads in VARIANTS:
            out = Path(folder) / f"{len(rows)}.json"
            subprocess.run([sys.executable, __file__, str(out), "--work", precision, str(threads)],
                           env=os.environ | ISA[isa], check=True, stdout=subprocess.DEVNULL)
            found = read_json(out)
            row = {"precision": precision, "instructions": isa, "threads": threads}
            rows.append(row | compared(found, first.setdefault(precision, found)))
            print(json.dumps(rows[-1]), flush=True)
    write_json(args.out, rows)


if __name__ == "__main__":
    main()
