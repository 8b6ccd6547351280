"""Parts of a study: one finished run each, so that a study may be made on several machines.

A part is what is kept of a run: its figures and judged contests by language, and the facts of how
it was made. A cell is a seed and a language; where a later part has it too, the later one counts.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from xinstruct_utils.core.files import digest, read_json, write_json
from xinstruct_utils.evaluation.findings import Figures

PARTS = "parts"                                  # folder of the published study
# Of a run's figures, what is no language's own.
OF_A_RUN = ("claims", "settings", "wall_s", "startup_s", "peak_rss_gib")


class Part(TypedDict):
    """What is kept of a run.

    facts: how it was made; figures: {name: {language: ...}}; contests: {language: {contest: {"win",
    "lose", "low", "high", "n", ...}}}.
    """

    seed: str
    facts: dict[str, Any]
    figures: Figures
    contests: dict[str, dict[str, Any]]


def of_run(folder: Path) -> Part:
    """The part that a finished run makes."""
    settings = read_json(folder / "run.json")
    manifests = [read_json(path) for path in sorted(folder.glob("*/[0-9]*/**/manifest.json"))]
    facts = {"languages": settings["languages"],
             "commits": sorted({str(m.get("git_commit"))[:12] for m in manifests}),
             "processors": sorted({m.get("machine", {}).get("processor", "") for m in manifests}),
             "steps_wall_s": round(sum(m.get("wall_s") or 0 for m in manifests))}
    contests = {path.parts[-3]: read_json(path)
                for path in sorted(folder.glob("*/09_judge_evaluation/measures.json"))}
    contests = {code: {name: row for name, row in own.items() if is_contest(row)}
                for code, own in contests.items()}
    figures = read_json(folder / "all/13_results/figures.json")
    return {"seed": str(settings.get("seed", 0)), "facts": facts, "contests": contests,
            "figures": {k: v for k, v in figures.items() if k not in OF_A_RUN}}


def is_contest(row: object) -> bool:
    """Is a figure a judged contest?"""
    return isinstance(row, dict) and {"win", "lose", "n"} <= row.keys()


def name_of(part: Part) -> str:
    """A part's name among the files: its seed and a digest of its languages."""
    return f"seed{part['seed']}-{digest(sorted(part['facts']['languages']))[:8]}"


def without(part: Part, taken: Iterable[str]) -> Part | None:
    """The part without some languages; None where none is left."""
    gone = set(taken)
    left = [code for code in part["facts"]["languages"] if code not in gone]
    if not left:
        return None
    return {"seed": part["seed"], "facts": part["facts"] | {"languages": left},
            "figures": _without(part["figures"], gone),
            "contests": _without(part["contests"], gone)}


def _without(figures: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    return {key: _without(value, gone) if isinstance(value, dict) else value
            for key, value in figures.items() if key not in gone}


def read(study: Path) -> list[Part]:
    """The parts of a published study, in the order of their names."""
    return [read_json(path) for path in sorted((study / PARTS).glob("*.json"))]


def together(published: Iterable[Part], made: Iterable[Part]) -> list[Part]:
    """Parts that were published, without the cells that are made now, and those made now."""
    new = list(made)
    kept = []
    for part in published:
        taken = [code for other in new if other["seed"] == part["seed"]
                 for code in other["facts"]["languages"]]
        rest = without(part, taken)
        if rest:
            kept.append(rest)
    return sorted([*kept, *new], key=name_of)


def write(parts: Iterable[Part], study: Path) -> None:
    """Write the parts of a study."""
    for part in parts:
        write_json(study / PARTS / f"{name_of(part)}.json", dict(part))


def by_seed(parts: Iterable[Part]) -> dict[str, Figures]:
    """The figures of all parts of a seed as those of one run: {seed: figures}."""
    merged: dict[str, Figures] = {}
    for part in sorted(parts, key=lambda part: int(part["seed"])):
        merged[part["seed"]] = _merged(merged.get(part["seed"], {}), part["figures"])
    return merged


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(one)
    for key, value in other.items():
        own = both.get(key)
        both[key] = _merged(own, value) if isinstance(own, dict) and isinstance(value, dict) \
            else value
    return both
