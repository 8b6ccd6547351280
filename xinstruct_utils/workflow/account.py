"""The whole account of a run's rows: what left one chapter is in its files, and is what the next chapter met.

Each chapter's own sums are checked where they are made (`Step.count`); here the chapters are tied together.
"""

from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.shards import rows_in
from xinstruct_utils.workflow.chapters import CHAPTERS, Chapter
from xinstruct_utils.workflow.step import Step


def whole(step: Step, iterations: int) -> list[dict]:
    """The counts of chapters 01 to 05, [{chapter, round, stage, in, out, dropped}], tied to each other and to their files.

    Raises InputError where a row got lost in a file or between two chapters.
    """
    counts: list[dict] = []
    left: dict[str, int] = {}
    for chapter in (c for c in CHAPTERS if c.rows):
        for k in range(1, iterations + 1) if chapter.rounds else [None]:
            home = step.input(chapter.name, "manifest.json", iteration=k).parent
            stages = read_json(home / "manifest.json")["counts"]
            link = _leaving(chapter, home, stages)
            source = chapter.rows.source
            if source and link["in"] != left[source]:
                raise InputError(f"{chapter.name}: {link['in']} rows came in, but {left[source]} left {source}; run both again")
            left[chapter.name] = link["out"]
            counts += [{"chapter": chapter.name, "round": k or "", **stage} for stage in stages]
    return counts


def _leaving(chapter: Chapter, home: Path, stages: list[dict]) -> dict:
    """The stage by which rows leave a chapter. Raises InputError where its files hold another number of them."""
    link = next(stage for stage in stages if stage["stage"] == chapter.rows.stage)
    n = sum(rows_in(home / file) for file in chapter.rows.files)
    if n != link["out"]:
        raise InputError(f"{chapter.name}: {link['out']} rows left the stage {link['stage']!r}, but {n} are in "
                         f"{', '.join(chapter.rows.files)} of {home}; run that step again")
    return link
