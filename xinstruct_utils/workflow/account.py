"""The account of a run's rows: what left one chapter is in its files, and is what the next met.

Each chapter's own sums are checked where they are made (`Step.count`); here the chapters are tied
together.
"""

from pathlib import Path
from typing import Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.shards import rows_in
from xinstruct_utils.workflow.chapters import CHAPTERS, Rows
from xinstruct_utils.workflow.step import Step


def whole(step: Step, iterations: int) -> list[dict[str, Any]]:
    """The counts of chapters 01 to 05, tied to each other and to their files.

    Returns [{chapter, round, stage, in, out, dropped}]. Raises InputError where a row got lost in a
    file or between two chapters.
    """
    counts: list[dict[str, Any]] = []
    left: dict[str, int] = {}
    for chapter in CHAPTERS:
        if chapter.rows is None:
            continue
        name = chapter.name
        source = chapter.rows.source
        for k in range(1, iterations + 1) if chapter.rounds else [None]:
            home = step.input(name, "manifest.json", iteration=k).parent
            stages = read_json(home / "manifest.json")["counts"]
            last = _leaving(name, chapter.rows, home, stages)
            if source and last["in"] != left[source]:
                raise InputError(f"{name}: {last['in']} rows came in, but {left[source]} left "
                                 f"{source}; run both again")
            left[name] = last["out"]
            counts += [{"chapter": name, "round": k or "", **stage} for stage in stages]
    return counts


def _leaving(name: str, rows: Rows, home: Path, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The stage by which rows leave a chapter.

    Raises InputError where its files hold another number of them.
    """
    last = next(stage for stage in stages if stage["stage"] == rows.stage)
    n = sum(rows_in(home / file) for file in rows.files)
    if n != last["out"]:
        raise InputError(f"{name}: {last['out']} rows left the stage {last['stage']!r}, but {n} "
                         f"are in {', '.join(rows.files)} of {home}; run that step again")
    return last
