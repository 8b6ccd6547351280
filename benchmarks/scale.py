"""Many short texts through the bookkeeping of notebooks 01-05.

`python benchmarks/scale.py 1000000`. The notebooks' own cells run, each step in a process of its
own; only what a GPU does is stood in for: trained models, instructions, ratings and sentence
vectors are drawn from each row's id. With
--kill every step is killed once in its middle, between the writing of a file and its renaming, and
begun again. Prints a JSON line for each step: seconds of the clock and of one core (start-up among
them), rows a second of a core, peak memory in MiB, digest of what it wrote; --out writes them to a
file with machine and date. Exit code 1 where a step needs more than 6 GiB.
"""

import argparse
import datetime
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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import load_run, open_run
from xinstruct_utils.core.files import digest, read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO, step_dir
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference.inputs import rows_of
from xinstruct_utils.method import diversification
from xinstruct_utils.training import sft
from xinstruct_utils.workflow import launch
from xinstruct_utils.workflow.manifest import environment
from xinstruct_utils.workflow.notebooks import notebooks_dir, parameters_of

if TYPE_CHECKING:
    import numpy as np

LIMIT_MIB = 6 * 1024
# Steps, their round, and the file in whose writing --kill ends them: some of the step's work is
# done then, and some is not.
STEPS = (("01_seed_data", None, "d0x.jsonl"), ("02_corpus", None, "shard-00003.jsonl"),
         ("03_backtranslation", None, "shard-00003.jsonl"),
         ("04_refinement", 1, "shard-00003.jsonl"),
         ("05_diversification", None, "x_instruction.jsonl"))
WORDS = ["maji", "nyumba", "barabara", "shule", "kitabu", "mti", "mto", "bahari", "jua", "mwezi",
         "nyota", "ndege", "samaki", "chakula", "rafiki", "mji", "soko"]

Row = dict[str, Any]


def drawn(row_id: str, *words: Any) -> float:
    """A number from 0 to 1 that depends on the row's id only."""
    return zlib.crc32(f"{row_id}/{words}".encode()) / 2**32


def stand_in(task: str, row: Row) -> Row:
    """What a model might have said of a row."""
    if task == "rate":
        p0 = drawn(row["id"], 0) / 2
        p1 = drawn(row["id"], 1) / 2
        return {"p0": round(p0, 6), "p1": round(p1, 6), "p2": round(1 - p0 - p1, 6)}
    if task == "likelihood":
        return {"log_likelihood": -drawn(row["id"])}
    if task == "rate_by_generation":
        return {"generated": "2", "finish_reason": "stop", "tokens": 1}
    cut = drawn(row["id"], "cut") < 0.05
    return {"generated": f"Name thing {int(1e6 * drawn(row['id']))}.",
            "finish_reason": "length" if cut else "stop", "tokens": 5}


def stand_in_job(module: Any, settings: dict[str, Any], out: Path) -> None:
    """The files of one job of `launch`, shard by shard, without its model."""
    if module is sft:
        rows = sum(1 for _ in read_jsonl(settings["input"]))
        write_json(out / "train.json", {"rows": rows, "too_long": 0, "losses": [1.0]})
        return
    shards = Shards(out, settings["shard_size"])
    for index, chunk in shards.pending(rows_of(settings)):
        results = [{"id": row["id"], **stand_in(settings["task"], row)} for row in chunk]
        shards.write(index, results)


def stand_in_jobs(jobs: list[tuple], processes: int | None = None) -> list[Row]:
    """As `launch.run_all`, with stand-ins for models: the same files."""
    cost = {"wall_s": 0.0, "startup_s": 0.0, "peak_rss_mib": 0}
    for module, settings, out in jobs:
        stand_in_job(module, settings, Path(out))
        write_json(Path(out) / "done.json", {"cost": cost, "work_s": 1.0})
    return [cost] * len(jobs)


def vectors(texts: list[str], encoder: Any, threads: int) -> "np.ndarray":
    """Unit vectors of 384 dimensions in place of an hour of sentence encoding."""
    import numpy as np

    drawn_vectors = np.random.default_rng(0).standard_normal((len(texts), 384), dtype="float32")
    return drawn_vectors / np.linalg.norm(drawn_vectors, axis=1, keepdims=True)


def run_cells(name: str, parameters: dict[str, Any], last: str | None) -> None:
    """Run a notebook's code cells here, with the stand-ins; be killed where it writes `last`."""
    rename = os.replace

    def renamed(draft, path):
        if Path(path).name == last:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(draft, path)

    cells = read_json(notebooks_dir() / f"{name}.ipynb")["cells"]
    space = {"__name__": "__main__", **parameters}
    with (mock.patch.object(launch, "run_all", stand_in_jobs),
          mock.patch.object(diversification, "embed", vectors),
          mock.patch.object(os, "replace", renamed)):
        for cell in cells:
            is_parameters = "parameters" in cell["metadata"].get("tags", ())
            if cell["cell_type"] == "code" and not is_parameters:
                exec(compile("".join(cell["source"]), name, "exec"), space)  # noqa: S102


def execute(name: str, run: str, iteration: int | None, last: str | None = None) -> None:
    """Run a step here, and print what it took; be killed where it writes the file `last`."""
    os.environ["MPLBACKEND"] = "Agg"
    begun = time.time()
    parameters = parameters_of(name, load_run(run), run, "sw", iteration)
    folder = step_dir(run, "sw", name, iteration)
    for left in folder.rglob(".tmp-*"):          # by a kill; `run` does this too
        left.unlink()
    run_cells(name, parameters, last)
    manifest = read_json(folder / "manifest.json")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "step": name, "rows": manifest["counts"][-1]["in"],
        "seconds": round(time.time() - begun, 1), "cpu_seconds": round(time.process_time(), 1),
        "peak_mib": round(peak_kib / 1024), "digest": digest(manifest["outputs"])[:16]}))


def texts(rows: int) -> Iterator[Row]:
    """Short texts in the shape of a user's files; some are too short, some come twice."""
    for i in range(rows):
        number = i - (i % 50 == 49)
        draw = random.Random(number)
        words = draw.choices(WORDS, k=draw.randint(8, 30))
        yield {"language": "sw", "text": f"{' '.join(words)} {number}."}


def prepare(root: Path, run: str, rows: int) -> None:
    """The run's input files and its profile."""
    pairs: Iterable[Row] = (
        {"language": "sw", "instruction": f"Name thing {i}.", "output": f"Kitu cha {i} ni hiki."}
        for i in range(600))
    write_jsonl(root / "seed.jsonl", pairs)
    write_jsonl(root / "corpus.jsonl", texts(rows))
    small = max(50, rows // 16)
    open_run(run, load_profile(
        "local", seed_path=str(root / "seed.jsonl"), corpus_path=str(root / "corpus.jsonl"),
        languages=["sw"], iterations=1, keep=small, final_size=small // 2,
        clusters=max(5, min(1000, small // 60)), shard_size=max(100, min(10_000, rows // 20))))


def run_step(name: str, run: str, iteration: int | None, last: str | None = None) -> Row | None:
    """One step in a process of its own; with `last` it is killed in its middle.

    Returns its figures, or None.
    """
    line = [sys.executable, __file__, "--step", name, "--run", run]
    if iteration:
        line += ["--iteration", str(iteration)]
    if last:
        line += ["--last", last]
    child = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    wanted = -signal.SIGKILL if last else 0
    if child.returncode != wanted:
        but = f", but was to be killed at {last}" if last else ""
        raise SystemExit(f"{name} ended with exit code {child.returncode}{but}")
    return None if last else json.loads(child.stdout.splitlines()[-1])


def run_steps(run: str, kill: bool) -> Iterator[tuple[str, Row]]:
    """Each step's name and figures."""
    for name, iteration, last in STEPS:
        if kill:
            run_step(name, run, iteration, last)
        figures = run_step(name, run, iteration)
        figures["rows a second"] = round(figures["rows"] / figures["cpu_seconds"])
        figures["killed once"] = kill
        print(json.dumps(figures), flush=True)
        yield figures.pop("step"), figures


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=int, default=100_000)
    parser.add_argument("--kill", action="store_true", help="kill every step once, in its middle")
    parser.add_argument("--out", help="file for the figures; default: none")
    parser.add_argument("--folder",
                        help="where the run goes, and stays; default: a temporary folder")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--last", help=argparse.SUPPRESS)
    parser.add_argument("--run", default="scale", help=argparse.SUPPRESS)
    parser.add_argument("--iteration", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Command line."""
    args = arguments()
    if args.step:
        execute(args.step, args.run, args.iteration, args.last)
        return
    command = f"python benchmarks/scale.py {args.rows}"
    if args.kill:
        command += " --kill"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(args.folder or temporary)
        os.environ["XINSTRUCT_RUNS"] = str(root / "runs")
        path = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), path])
        prepare(root, args.run, args.rows)
        machine = environment()["machine"]
        today = datetime.date.today().isoformat()
        parts = dict(run_steps(args.run, args.kill))
        if args.out:
            write_json(args.out, {"machine": machine, "date": today, "command": command,
                                  "parts": parts})
    most = max(figures["peak_mib"] for figures in parts.values())
    print(json.dumps({"rows": args.rows, "peak_mib": most, "limit_mib": LIMIT_MIB}))
    sys.exit(most > LIMIT_MIB)


if __name__ == "__main__":
    main()
