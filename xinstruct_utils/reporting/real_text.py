"""The page "On real text": what published runs on people's own texts measured, from chapter 16."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from xinstruct_utils.core import languages
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.markup import escaped
from xinstruct_utils.core.paths import root
from xinstruct_utils.reporting.display import verdict_line
from xinstruct_utils.reporting.status import table

CHAPTER = "16_real_text"
Figures = Mapping[str, Any]


def published() -> list[Path]:
    """The folders of chapter 16 of all published runs, by run and language."""
    return sorted((root() / "published").glob(f"*/*/{CHAPTER}"))


def page(folders: Sequence[Path]) -> str:
    """Markdown of the page's parts: all runs together, then each published run and language."""
    return "\n\n".join([*_together(folders), *map(_part, folders)])


def _together(folders: Sequence[Path]) -> list[str]:
    """Which rater sees planted flaws best, over several runs; nothing of one alone."""
    aucs = {f"{folder.parts[-2]}, {folder.parts[-3]}":
            read_json(folder / "measures.json").get("planted_auc", {}) for folder in folders}
    raters = [rater for rater in next(iter(aucs.values()), {})
              if all("all" in own.get(rater, {}) for own in aucs.values())]
    if len(aucs) < 2 or not raters:
        return []
    best = Counter(max(raters, key=lambda rater: own[rater]["all"]["auc"])
                   for own in aucs.values())
    rows = []
    for rater in raters:
        over_all = {run: own[rater]["all"] for run, own in aucs.items()}
        lowest = min(kind["auc"] for own in aucs.values() for kind in own[rater].values())
        rows.append({"rater": rater, "mean": f"{fmean(x['auc'] for x in over_all.values()):.3f}",
                     **{run: _with_interval(one, "auc") for run, one in over_all.items()},
                     "lowest of a kind": f"{lowest:.2f}"})
    rows.sort(key=lambda row: row["mean"], reverse=True)
    leading = ", ".join(f"`{rater}` in {n}" for rater, n in best.most_common())
    return ["## All runs together", f"Of {len(aucs)} runs, the rater with the highest AUC against "
            f"planted flaws of all kinds: {leading}. A rater whose lowest kind lies far below a "
            "half prefers texts with that flaw.",
            table(rows, "AUC of candidates against planted flaws of all kinds, by run")]


def _part(folder: Path) -> str:
    """Markdown of one run's part: facts, verdicts, and its tables."""
    measured, made = read_json(folder / "measures.json"), read_json(folder / "manifest.json")
    name = languages.get(made["lang"]).name
    seed = read_json(folder.parents[0] / "01_seed_data" / "manifest.json")
    base = made["settings"]["training"]["base_model"]
    facts = (f"Base model `{escaped(Path(base).name)}`; {_pairs(seed)}; commit "
             f"{escaped(str(made.get('git_commit'))[:12])}, on "
             f"{escaped(made.get('machine', {}).get('processor', 'an unknown processor'))}. "
             f"The executed notebook is in the repository under "
             f"`papermill_runs/published/{escaped(made['run'])}/{made['lang']}/{CHAPTER}`.")
    parts = [f"## {name}: the run `{escaped(made['run'])}`", facts]
    parts += [verdict_line(said["answer"], said["question"], said["sentence"])
              for said in measured.get("verdicts", [])]
    which = f"{name}, run {made['run']}"
    parts += [table(_aucs(measured), f"AUC of candidates against planted flaws, {which}"),
              table(_estimates(measured.get("backtranslation_chrf", {}), "writer"),
                    f"chrF of generated instructions to the true ones, {which}"),
              table(_estimates(measured.get("bits_per_char", {}), "model"),
                    f"Bits for a character of unseen native outputs, {which}")]
    if tasks := _tasks(folder.parents[0] / "10_task_evaluation" / "measures.json"):
        parts.append(table(tasks, f"Right answers in per cent, with standard error, {which}"))
    return "\n\n".join(parts)


def _pairs(manifest: Figures) -> str:
    """How many seed pairs there were, and how many were set aside."""
    split = next(count for count in manifest["counts"] if count["stage"] == "split")
    return (f"{split['out']:,} seed pairs to learn from, "
            f"{split['dropped'].get('set aside', 0):,} set aside")


def _with_interval(figure: Figures, value: str) -> str:
    if figure.get("low") is None:
        return f"{figure[value]:.3f}"
    return f"{figure[value]:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _aucs(measured: Figures) -> list[dict[str, Any]]:
    """A line for each rater, a column for each kind of flaw; intervals of all kinds together only,
    for want of room: the others are in the run's figures.json.
    """
    rows = []
    for rater, own in measured.get("planted_auc", {}).items():
        kinds = {kind: f"{figure['auc']:.2f}" for kind, figure in own.items() if kind != "all"}
        every = _with_interval(own["all"], "auc") if "all" in own else None
        rows.append({"rater": rater, "all [95% interval]": every, **kinds})
    return rows


def _tasks(measures: Path) -> list[dict[str, Any]]:
    """A line for each task, a column for each model; none where no task was asked."""
    measured = read_json(measures) if measures.exists() else {}
    rows = []
    for task, n in measured.get("task_items", {}).items():
        cells = {name.removeprefix(f"{task}_"): f"{100 * share:.1f} ± {100 * se:.1f}"
                 for name, share in measured["task_accuracy"].items()
                 if name.startswith(f"{task}_")
                 for se in [measured["task_stderr"][name]]}
        rows.append({"task": task, **cells, "n": n})
    return rows


def _estimates(figures: Mapping[str, Figures], what: str) -> list[dict[str, Any]]:
    """A line for each model."""
    return [{what: name, "mean [95% interval]": _with_interval(figure, "value"), "n": figure["n"]}
            for name, figure in figures.items() if figure]
