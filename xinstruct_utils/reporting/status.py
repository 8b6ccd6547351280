"""The book's status page: what made a run, what its steps took, what benchmarks measured."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.markup import escaped
from xinstruct_utils.core.paths import root

NO_GPU = ("Not measured here: a GPU. `python benchmarks/gpu.py` on one writes its figures to "
          "`benchmarks/results/`, and they stand here in the next edition.")


class StepCost(TypedDict):
    """What a finished step took, in seconds and MiB; None is unknown."""

    notebook: str
    lang: str
    iteration: int | None
    wall_s: float | None
    startup_s: float | None
    peak_rss_mib: float | None


def _cell(value: object) -> object:
    """A value without empty lines: one would end the table's HTML, and what follows be Markdown."""
    if value is None:
        return ""
    return " ".join(value.split()) if isinstance(value, str) else value


def table(rows: Iterable[dict], caption: str) -> str:
    """HTML of a table with every cell escaped; rows: dicts with the same keys, None is empty."""
    import pandas

    frame = pandas.DataFrame([{k: _cell(v) for k, v in row.items()} for row in rows])
    with pandas.option_context("display.max_colwidth", None):      # else a long cell is cut off
        html = frame.to_html(index=False, border=0, na_rep="", float_format="{:,.3g}".format)
    return html.replace(">", f"><caption>{escaped(caption)}</caption>", 1)


def step_costs(run: str) -> list[StepCost]:
    """What each finished step of a run took, in the order of the notebooks."""
    manifests = map(read_json, (root() / run).rglob("manifest.json"))
    costs = [{k: manifest.get(k) for k in StepCost.__annotations__} for manifest in manifests]
    return sorted(costs, key=lambda c: (c["notebook"], c["lang"], c["iteration"] or 0))


def _listed(figures: dict) -> str:
    """Names and values in a line."""
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def measured(folder: Path) -> str:
    """Markdown: the figures of each file in benchmarks/results, with machine, date and command.

    Files of a tiny model, which only test the benchmark, are left out. What no machine has
    measured is said to be missing.
    """
    results = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))
               if "tiny-model" not in path.stem}
    has_gpu = any(name.startswith("gpu-") for name in results)
    parts = [] if has_gpu else [NO_GPU]
    for name, result in results.items():
        rows = [("machine", _listed(result["machine"])), ("date", result["date"]),
                ("command", result["command"])]
        rows += [(part, _listed(figures)) for part, figures in result["parts"].items()]
        shown = table(({"what": what, "measured": figures} for what, figures in rows), name)
        parts.append(f"### {name}\n\n{shown}")
    return "\n\n".join(parts)


def page(run: str, profile: Profile, manifests: Sequence[dict], results: Path) -> dict[str, str]:
    """Words of the status page's template.

    results: the folder of benchmarks' figures.
    """
    first = manifests[0]
    commits = sorted({str(manifest["git_commit"]) for manifest in manifests})
    facts = {"run": run, "source": profile.source, "base model": profile.base_model,
             "commit": ", ".join(commits),
             "finished": max(manifest["finished_at"] for manifest in manifests),
             **first["machine"], **first["versions"]}
    rows = [{"what": what, "which": str(which)} for what, which in facts.items()]
    return {"facts": table(rows, "What made this run"),
            "steps": table(step_costs(run), "Time and memory of each step"),
            "measured": measured(results)}
