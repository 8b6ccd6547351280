"""XCOPA's six languages from local files, read in three ways.

`python benchmarks/xcopa.py [FOLDER] [MODEL]`: FOLDER holds
xcopa/data/<language>/test.<language>.jsonl,
as cambridgeltl/xcopa has it; MODEL is "atlas" (the packaged base model), a folder or a hub id.
Writes xinstruct_utils/evaluation/task_files/results.json, which 10_task_evaluation shows. Six
minutes on one core with the packaged model.
"""

import datetime
import json
import sys
import tempfile
from pathlib import Path

from xinstruct_utils.core.files import write_json
from xinstruct_utils.evaluation import tasks
from xinstruct_utils.workflow import launch


def table(results: dict[str, dict]) -> dict[str, dict]:
    """{language: its three readings} of `tasks.results`.

    Per cent right, its standard error, and how many answers the cut of the premise's last
    character changes.
    """
    rows = {}
    for result in results.values():
        row = rows.setdefault(result["lang"], {"n": result["n"]})
        row[tasks.READINGS[result["variant"]]] = round(100 * result["accuracy"], 1)
        largest = max(result["stderr"], row.get("standard error", 0) / 100)
        row["standard error"] = round(100 * largest, 1)
    for lang, row in rows.items():
        whole = results[f"xcopa_{lang}"]["correct"]
        cut = results[f"xcopa_{lang}_cut"]["correct"]
        row["answers changed by the cut"] = sum(a != b for a, b in zip(whole, cut, strict=True))
    return rows


def main(folder: str = "../shared/data", model: str = "atlas") -> None:
    """Ask the model, print the table and write it."""
    names = []
    for lang in tasks.FAMILIES["xcopa"].languages.split():
        names += tasks.covered(["xcopa"], lang)
    job = tasks.job(model, dict.fromkeys(names, folder), threads=1, bf16=False)
    with tempfile.TemporaryDirectory() as out:
        home = Path(out) / "xcopa"
        launch.run("evaluation.tasks", job, home)
        rows = table(tasks.results(home, names))
    report = {"model": "the Atlas's base model" if model == "atlas" else model, "languages": rows,
              "measured": datetime.date.today().isoformat(),
              "command": "python benchmarks/xcopa.py"}
    write_json(tasks.FILES / "results.json", report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    if not (Path(sys.argv[1] if sys.argv[1:] else "../shared/data") / "xcopa").is_dir():
        sys.exit("no XCOPA files: give the folder that holds "
                 "xcopa/data/<language>/test.<language>.jsonl")
    main(*sys.argv[1:])
