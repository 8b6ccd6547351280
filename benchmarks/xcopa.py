"""XCOPA's six languages from local files, read in three ways: `python benchmarks/xcopa.py [FOLDER] [MODEL]`.

FOLDER holds xcopa/data/<language>/test.<language>.jsonl, as cambridgeltl/xcopa has it; MODEL is "atlas" (the packaged base
model), a folder or a hub id. Writes xinstruct_utils/task_files/results.json, which 10_task_evaluation shows. Six minutes on
one core with the packaged model.
"""

import datetime
import json
import sys
import tempfile
from pathlib import Path

from xinstruct_utils.core.files import write_json
from xinstruct_utils.evaluation import tasks
from xinstruct_utils.workflow import launch


def table(found):
    """{language: its three readings} of `tasks.results`: per cent right, its standard error, and how many answers the cut of
    the premise's last character changes."""
    rows = {}
    for result in found.values():
        row = rows.setdefault(result["lang"], {"n": result["n"]})
        row[tasks.READINGS[result["variant"]]] = round(100 * result["accuracy"], 1)
        row["standard error"] = round(100 * max(result["stderr"], row.get("standard error", 0) / 100), 1)
    for lang, row in rows.items():
        both = (found[f"xcopa_{lang}"]["correct"], found[f"xcopa_{lang}_cut"]["correct"])
        row["answers changed by the cut"] = sum(a != b for a, b in zip(*both, strict=True))
    return rows


def main(folder="../shared/data", model="atlas"):
    names = [n for lang in tasks.FAMILIES["xcopa"].languages.split() for n in tasks.covered(["xcopa"], lang)]
    with tempfile.TemporaryDirectory() as out:
        launch.run("evaluation.tasks", tasks.job(model, dict.fromkeys(names, folder), threads=1, bf16=False), Path(out) / "xcopa")
        rows = table(tasks.results(Path(out) / "xcopa"))
    told = {"model": "the Atlas's base model" if model == "atlas" else model, "languages": rows,
            "measured": datetime.date.today().isoformat(), "command": "python benchmarks/xcopa.py"}
    write_json(tasks.FILES / "results.json", told)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    if not (Path(sys.argv[1] if sys.argv[1:] else "../shared/data") / "xcopa").is_dir():
        sys.exit("no XCOPA files: give the folder that holds xcopa/data/<language>/test.<language>.jsonl")
    main(*sys.argv[1:])
