"""Many short texts through the bookkeeping of notebooks 01-05: `python benchmarks/scale.py 1000000`.

The notebooks' own cells run, each step in a process of its own; only what a GPU does is stood in for: trained models,
instructions, ratings and sentence vectors are drawn from each row's id. With --kill every step is killed once in its middle,
between the writing of a file and its renaming, and begun again. Prints a JSON line for each step: seconds of the clock and of
one core (start-up among them), rows a second of a core, peak memory in MiB, digest of what it wrote; --out writes them to a
file with machine and date. Exit code 1 where a step needs more than 6 GiB.
"""

import argparse
import datetime
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from unittest import mock

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import load_run, open_run
from xinstruct_utils.core.files import digest, read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO, step_dir
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.method import diversification
from xinstruct_utils.workflow import launch
from xinstruct_utils.workflow.manifest import environment
from xinstruct_utils.workflow.notebooks import notebooks_dir, parameters_of

LIMIT_MIB = 6 * 1024
# Steps, their round, and the file in whose writing --kill ends them: some of the step's work is done then, and some is not.
STEPS = (("01_seed_data", None, "d0x.jsonl"), ("02_corpus", None, "shard-00003.jsonl"),
         ("03_backtranslation", None, "shard-00003.jsonl"), ("04_refinement", 1, "shard-00003.jsonl"),
         ("05_diversification", None, "x_instruction.jsonl"))


def drawn(row_id, *words):
    """A number from 0 to 1 that depends on the row's id only."""
    return zlib.crc32(f"{row_id}/{words}".encode()) / 2**32


def stand_in(task, row):
    """What a model might have made of a row."""
    if task == "rate":
        p0, p1 = drawn(row["id"], 0) / 2, drawn(row["id"], 1) / 2
        return {"p0": round(p0, 6), "p1": round(p1, 6), "p2": round(1 - p0 - p1, 6)}
    if task == "likelihood":
        return {"log_likelihood": -drawn(row["id"])}
    if task == "rate_by_generation":
        return {"text": "2", "finish_reason": "stop", "tokens": 1}
    cut = drawn(row["id"], "cut") < 0.05
    return {"text": f"Name thing {int(1e6 * drawn(row['id']))}.", "finish_reason": "length" if cut else "stop", "tokens": 5}


def stand_in_jobs(jobs, processes=1):
    """As `launch.run_all`, with stand-ins for models: the same files, shard by shard."""
    cost = {"wall_s": 0.0, "startup_s": 0.0, "peak_rss_mib": 0}
    for module, settings, out in jobs:
        if module == "train":
            rows = sum(1 for _ in read_jsonl(settings["input"]))
            write_json(Path(out) / "train.json", {"rows": rows, "too_long": 0, "losses": [1.0]})
        else:
            shards, rows = Shards(out, settings["shard_size"]), read_jsonl(settings["input"])
            for index in itertools.count():
                if not (chunk := list(itertools.islice(rows, settings["shard_size"]))):
                    break
                if not shards.file(index).exists():
                    shards.write(index, [{"id": r["id"], **stand_in(settings["task"], r)} for r in chunk])
        write_json(Path(out) / "done.json", {"cost": cost, "work_s": 1.0})
    return [cost] * len(jobs)


def vectors(texts, encoder, threads):
    """Unit vectors of 384 dimensions in place of an hour of sentence encoding."""
    import numpy as np

    made = np.random.default_rng(0).standard_normal((len(texts), 384), dtype="float32")
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def execute(name, run, iteration, last=None):
    """Run a notebook's code cells here, with the stand-ins, and print what it took; be killed where it writes the file `last`."""
    os.environ["MPLBACKEND"], rename = "Agg", os.replace

    def renamed(draft, path):
        if Path(path).name == last:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(draft, path)

    begun, profile = time.time(), load_run(run)
    given = parameters_of(name, profile, run, "sw", iteration)
    cells = [c for c in read_json(notebooks_dir() / f"{name}.ipynb")["cells"] if c["cell_type"] == "code"]
    space = {"__name__": "__main__", **given}
    for left in step_dir(run, "sw", name, iteration).rglob(".tmp-*"):      # by a kill; `run` does this too
        left.unlink()
    with mock.patch.object(launch, "run_all", stand_in_jobs), mock.patch.object(diversification, "embed", vectors), \
            mock.patch.object(os, "replace", renamed):
        for cell in cells:
            if "parameters" not in cell["metadata"].get("tags", ()):
                exec(compile("".join(cell["source"]), name, "exec"), space)  # noqa: S102
    manifest = read_json(step_dir(run, "sw", name, iteration) / "manifest.json")
    print(json.dumps({"step": name, "rows": manifest["counts"][-1]["in"], "seconds": round(time.time() - begun, 1),
                      "cpu_seconds": round(time.process_time(), 1),
                      "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                      "digest": digest(manifest["outputs"])[:16]}))


def texts(rows):
    """Short texts in the shape of a user's files; some are too short, some come twice."""
    words = "maji nyumba barabara shule kitabu mti mto bahari jua mwezi nyota ndege samaki chakula rafiki mji soko".split()  # noqa: SIM905
    for i in range(rows):
        draw = random.Random(i - (i % 50 == 49))
        yield {"language": "sw", "text": " ".join(draw.choices(words, k=draw.randint(8, 30))) + f" {i - (i % 50 == 49)}."}


def prepare(root, run, rows):
    """The run's input files and its profile."""
    pairs = ({"language": "sw", "instruction": f"Name thing {i}.", "output": f"Kitu cha {i} ni hiki."} for i in range(600))
    write_jsonl(root / "seed.jsonl", pairs)
    write_jsonl(root / "corpus.jsonl", texts(rows))
    small = max(50, rows // 16)
    open_run(run, load_profile(
        "local", seed_path=str(root / "seed.jsonl"), corpus_path=str(root / "corpus.jsonl"), languages=["sw"], iterations=1,
        keep=small, final_size=small // 2, clusters=max(5, min(1000, small // 60)), shard_size=max(100, min(10_000, rows // 20))))


def run_step(name, run, iteration, last=None):
    """One step in a process of its own; with `last` it is killed in its middle. Returns its figures, or None."""
    line = [sys.executable, __file__, "--step", name, "--run", run] + (["--iteration", str(iteration)] if iteration else [])
    made = subprocess.run([*line, *(["--last", last] if last else [])], stdout=subprocess.PIPE, text=True)
    if made.returncode != (-signal.SIGKILL if last else 0):
        raise SystemExit(f"{name} ended with exit code {made.returncode}{f', but was to be killed at {last}' if last else ''}")
    return None if last else json.loads(made.stdout.splitlines()[-1])


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=int, default=100_000)
    parser.add_argument("--kill", action="store_true", help="kill every step once, in its middle")
    parser.add_argument("--out", help="file for the figures; default: none")
    parser.add_argument("--folder", help="where the run goes, and stays; default: a temporary folder")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--last", help=argparse.SUPPRESS)
    parser.add_argument("--run", default="scale", help=argparse.SUPPRESS)
    parser.add_argument("--iteration", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        return execute(args.step, args.run, args.iteration, args.last)
    with tempfile.TemporaryDirectory() as made:
        root = Path(args.folder or made)
        os.environ["XINSTRUCT_RUNS"] = str(root / "runs")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])
        prepare(root, args.run, args.rows)
        told = {"machine": environment()["machine"], "date": datetime.date.today().isoformat(),
                "command": f"python benchmarks/scale.py {args.rows}" + " --kill" * args.kill, "parts": {}}
        for name, iteration, last in STEPS:
            if args.kill:
                run_step(name, args.run, iteration, last)
            figures = run_step(name, args.run, iteration)
            figures |= {"rows a second": round(figures["rows"] / figures["cpu_seconds"]), "killed once": args.kill}
            print(json.dumps(figures), flush=True)
            told["parts"][figures.pop("step")] = figures
        if args.out:
            write_json(args.out, told)
        most = max(figures["peak_mib"] for figures in told["parts"].values())
        print(json.dumps({"rows": args.rows, "peak_mib": most, "limit_mib": LIMIT_MIB}))
    sys.exit(most > LIMIT_MIB)


if __name__ == "__main__":
    main()
