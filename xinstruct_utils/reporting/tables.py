"""The paper's tables beside a run's, over all languages (13_results).

Cells are texts; what is not known is an empty one. `label` names the run's rows or columns. A
difference is here minus the paper, in the paper's unit, where both have the figure. `judged`,
`measured` and the like are {language: measures of a chapter}; `theirs` is a table of paper.json.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.evaluation.outcomes import POOLED

if TYPE_CHECKING:
    from pandas import DataFrame

TABLE5 = " + ".join(POOLED)
MEDIUM = [code for code, row in languages.LANGUAGES.items() if row.level == "medium"]
LOW = [code for code in languages.LANGUAGES if code not in MEDIUM]
CONTESTS = ("refined_vs_unrefined", "refined_vs_seed", "unrefined_vs_seed")
SIDES = ("instruction", "output")
TABLE4 = [(benchmark, code) for benchmark in ("vicuna", "lima", "wizardlm", "koala")
          for code in ("bn", "sw", "ur")]
Measures = dict[str, dict]


def label(profile: Profile) -> str:
    """What the run's columns are called.

    The Atlas is a toy and says so, a real run names its base model.
    """
    if profile.source == "atlas":
        return "Atlas (toy)"
    return f"here ({Path(profile.base_model).name})"


def counterpart(model: str, base_model: str) -> str:
    """The paper's row for a model of a run.

    `others` bear the paper's names where they are the paper's models.
    """
    size = "13B" if "13b" in base_model.lower() else "7B"
    if model == "refined":
        return f"X-Instruction {size}"
    if model == "refined (zero-shot)":
        return f"X-Instruction {size}, zero-shot"
    return model


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known, or None."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def text(value: float | None, form: str = ".1f") -> str:
    """A figure as a cell: "" where it is not known."""
    return "" if value is None or value != value else f"{value:{form}}"


def difference(here: float | None, paper: float | None) -> str:
    """Here minus the paper as a cell, where both are known."""
    return "" if here is None or paper is None else text(here - paper, "+.1f")


def _frame(rows: dict) -> "DataFrame":
    """A table of {row: {column: cell}}; keys that are tuples are names in several levels."""
    import pandas as pd

    def index(names):
        several = len(names) and isinstance(names[0], tuple)
        return pd.MultiIndex.from_tuples(names) if several else names

    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index, table.columns = index(table.index), index(table.columns)
    return table.astype(object).where(table.notna(), "")


def _spread(values: Iterable[float | None] | None) -> str:
    """[mean, standard deviation] as a cell; the deviation may be absent."""
    return " ± ".join(text(v) for v in values if v is not None) if values else ""


def _ordered(codes: Iterable[str]) -> list[str]:
    """The paper's ten languages, medium before low, then those that only the run has."""
    return [*MEDIUM, *LOW, *(c for c in codes if c not in languages.LANGUAGES)]


def _models(judged: Measures, name: str) -> list[str]:
    """The models that a figure was measured for in any language, in the order of their coming."""
    return list(dict.fromkeys(m for measures in judged.values() for m in measures.get(name, {})))


# Tables 2, 8 and 10: lengths


def lengths(measured: Measures, theirs: dict, label: str) -> "DataFrame":
    """Tables 2 and 8: characters of each side, mean ± standard deviation, for each language.

    measured: {language: measures with "lengths": {side: {"mean", "sd", "n"}}}.
    """
    rows = {}
    for code in _ordered(measured):
        row, own = {}, measured.get(code, {}).get("lengths", {})
        for side in SIDES:
            paper, here = theirs.get(code, {}).get(side), own.get(side) or {}
            row[side, "paper"] = _spread(paper)
            row[side, label] = _spread([here.get("mean"), here.get("sd")])
            row[side, "difference"] = difference(here.get("mean"), paper and paper[0])
        row["n", "paper"] = theirs.get(code, {}).get("n", "")
        row["n", label] = own.get("output", {}).get("n", "")
        rows[code] = row
    return _frame(rows)


def baselines(theirs: dict, measured: Measures, label: str) -> "DataFrame":
    """Table 10: characters of data sets that translate or distil, beside this run's data set.

    The paper's are mean ± standard deviation, the run's a mean over its languages.
    """
    rows = {}
    for name, row in theirs.items():
        rows[f"paper: {name}"] = {side: _spread(row.get(side))
                                  for side in ("instruction", "input", "output")}
    rows[label] = {"input": ""}
    for side in SIDES:
        means = [m.get("lengths", {}).get(side, {}).get("mean") for m in measured.values()]
        rows[label][side] = text(mean(means))
    return _frame(rows)


# Tables 4, 5 and 11: wins and scores


def pooled(table: dict[str, dict]) -> str | None:
    """The benchmark of an `outcomes.table` that answers the paper's Table 5.

    Its own two, else all that the run has.
    """
    names = {name for row in table.values() for name in row}
    return next((name for name in (TABLE5, "all", *sorted(names)) if name in names), None)


def win_rates(judged: Measures, theirs: dict, benchmark: str, field: str, label: str,
              base_model: str) -> "DataFrame":
    """A benchmark of Tables 4, 5 and 11, models as rows: paper, this run, difference, n.

    judged: {language: measures with "win_table"}; theirs: {model: {language: (W in %, S),
    "average": ...}}; benchmark: TABLE5 for the pooled one; field: "W" (in %, with its 95%
    interval) or "S" (with the number of prompts that could be read).
    """
    columns = [*_ordered(judged), "Avg"]
    rows = {("paper", model): {c: text(_paper_cell(row, c, field)) for c in columns}
            for model, row in theirs.items()}
    cells, apart = defaultdict(dict), defaultdict(dict)
    for code, measures in judged.items():
        table = measures.get("win_table", {})
        name = pooled(table) if benchmark == TABLE5 else benchmark
        # What is on other prompts than the paper's says so, and has no difference.
        here = label if name == benchmark else f"{label}: {name}"
        for model, row in table.items():
            if name in row:
                cells[here, model][code] = row[name]
                own = _value(row[name], field)
                paper = _paper_cell(theirs.get(counterpart(model, base_model), {}), code, field)
                if None not in (own, paper) and name == benchmark:
                    apart[model][code] = own - paper
    for key, by_language in cells.items():
        rows[key] = _own_row(by_language, field)
    for model, values in apart.items():
        row = values | {"Avg": mean(values.values())}
        rows["difference", model] = {c: text(v, "+.1f") for c, v in row.items()}
    rows["n", "prompts"] = _prompts(next(iter(cells.values()), {}))
    frame = _frame({key: {c: row.get(c, "") for c in columns} for key, row in rows.items()})
    return frame.rename_axis(columns=f"{benchmark}, {field}")


def _paper_cell(row: dict, column: str, field: str) -> float | None:
    """The paper's W or S of a model in a column."""
    pair = row.get("average" if column == "Avg" else column) or (None, None)
    return pair["WS".index(field)]


def _value(cell: dict, field: str) -> float | None:
    """W in % or S of a cell of an `outcomes.table`."""
    if field == "S":
        return cell["score"]
    return None if cell["win"] is None else 100 * cell["win"]


def _own_row(by_language: dict[str, dict], field: str) -> dict[str, str]:
    """A model's row of {language: cell of an `outcomes.table`}, with the average."""
    values = {code: _value(cell, field) for code, cell in by_language.items()}
    row = {}
    for code, value in values.items():
        cell = by_language[code]
        if value is not None:
            more = (f"n {cell['read']}" if field == "S"
                    else f"{100 * cell['low']:.0f}–{100 * cell['high']:.0f}")
            row[code] = f"{text(value)} ({more})"
    return row | {"Avg": text(mean(values.values()))}


def _prompts(by_language: dict[str, dict]) -> dict[str, str]:
    """The row with the numbers of prompts."""
    row = {code: str(cell["n"]) for code, cell in by_language.items()}
    return row | {"Avg": f"{len(row)} languages"} if row else {}


def table11(numbers: dict, benchmark: str) -> dict[str, dict]:
    """The paper's row for each model on one benchmark, {model: {language: (W, S)}}.

    Of Tables 11 and 4; TABLE5 of Table 5. numbers: all of paper.json.
    """
    if benchmark == TABLE5:
        return numbers["table5"]
    rows = defaultdict(dict)
    for model, row in numbers["table4"].items():
        if benchmark in row:
            rows[model] = {code: (win, None) for code, win in row[benchmark].items()}
    for model, row in numbers["table11"].get(benchmark, {}).items():
        rows[model] |= row
    return {model: rows[model] for model in numbers["table5"] if model in rows}    # one order


def table4_average(judged: Measures, numbers: dict, label: str, base_model: str) -> "DataFrame":
    """Table 4's last column: the mean over four benchmarks in Bengali, Swahili and Urdu.

    Here over the cells that exist. numbers: all of paper.json.
    """
    rows = {}
    for model, theirs in numbers["table4"].items():
        rows[model] = {"paper": text(theirs["average"]), label: "", "difference": "", "n cells": ""}
    for model in _models(judged, "win_table"):
        cells = {}
        for benchmark, code in TABLE4:
            table = judged.get(code, {}).get("win_table", {})
            cell = table.get(model, {}).get(benchmark, {})
            if cell.get("n"):
                cells[benchmark, code] = 100 * cell["win"]
        name = counterpart(model, base_model)
        theirs = numbers["table4"].get(name)
        apart = [v - theirs[b][c] for (b, c), v in cells.items()] if theirs else []
        if cells:
            rows[name if theirs else model] = {
                "paper": text(theirs and theirs["average"]), label: text(mean(cells.values())),
                "difference": text(mean(apart), "+.1f"),
                "n cells": f"{len(cells)} of {len(TABLE4)}"}
    return _frame(rows)


# Tables 6, 7 and 12, Figure 6


def views(judged: Measures, theirs: dict, label: str) -> "DataFrame":
    """Table 6: mean ± standard deviation over the languages' means; the paper's are over ten."""
    rows = {("paper", model): {name: _spread(v) for name, v in row.items()} | {"n languages": "10"}
            for model, row in theirs.items()}
    for model in _models(judged, "views"):
        known = [v["views"][model] for v in judged.values() if v.get("views", {}).get(model)]
        ours = {name: [k[name] for k in known] for name in (known[0] if known else ())}
        rows[label, model] = {
            name: _spread([mean(values), stdev(values) if len(values) > 1 else None])
            for name, values in ours.items()} | {"n languages": str(len(known))}
        if model == "refined" and known:
            best = theirs["X-Instruction 13B"]
            rows["difference", model] = {name: difference(mean(values), best[name][0])
                                         for name, values in ours.items()}
    return _frame(rows)


def tasks(measured: Measures, theirs: dict, label: str, base_model: str) -> "DataFrame":
    """Table 7, a row for each task and language: accuracy in %, ± standard error of this run's.

    The paper's models and this run's, the difference of the tuned ones, n.
    """
    size = counterpart("refined", base_model).split()[-1]
    paper = {f"paper: {m}": row for m, row in theirs.items() if m.endswith(size)}
    cells = [(task, code) for task in ("xnli", "xcopa", "xstorycloze")
             for code in theirs["LLaMA 2 7B"][task]]
    cells += [(task, code) for code, measures in measured.items()
              for task in measures.get("task_items", {}) if (task, code) not in cells]
    rows = {}
    for task, code in sorted(cells, key=lambda cell: cell[0].startswith("atlas")):
        measures = measured.get(code, {})
        row = {name: text(theirs_.get(task, {}).get(code)) for name, theirs_ in paper.items()}
        for model in ("base", "seed", "unrefined", "refined"):
            row[f"{label}: {model}"] = _accuracy(measures, f"{task}_{model}")
        tuned = measures.get("task_accuracy", {}).get(f"{task}_refined")
        best = theirs[f"X-Instruction {size}"].get(task, {}).get(code)
        row["difference"] = difference(None if tuned is None else 100 * tuned, best)
        rows[task, code] = row | {"n": measures.get("task_items", {}).get(task, "")}
    rows["average", "of the paper's"] = {name: text(row["avg"]) for name, row in paper.items()}
    return _frame(rows)


def _accuracy(measures: dict, name: str) -> str:
    """Accuracy in %, and its standard error where it is known, as a cell."""
    accuracy = measures.get("task_accuracy", {}).get(name)
    stderr = measures.get("task_stderr", {}).get(name)
    if accuracy is None:
        return ""
    return _spread([100 * accuracy, None if stderr is None else 100 * stderr])


def categories(judged: Measures, theirs: dict, label: str) -> "DataFrame":
    """Table 12: prompts won against the opponent by the seed model and the tuned one.

    Means over the languages; in brackets what the tuned model gains.
    """
    known = [v["won"] for v in judged.values() if {"seed", "refined"} <= set(v.get("won", {}))]
    vicuna = all("generic" in won["refined"] for won in known)       # else other categories
    names = dict.fromkeys([*(n for n in theirs if n != "all"),
                           *(c for won in known for c in won["refined"]), "all"])
    rows = {}
    for name in names:
        row, gain = {"paper: seed": "", "paper: X-Instruction": ""}, None
        if name in theirs:
            old, new, gain = theirs[name]    # the gain as printed, of figures not yet rounded
            row = {"paper: seed": text(old), "paper: X-Instruction": f"{new:.1f} ({gain:+.1f})"}
        pairs = [(w["seed"].get(name), w["refined"][name]) for w in known if w["refined"].get(name)]
        rows[name] = row | _won(pairs, label, gain if vicuna else None)
    return _frame(rows)


def _won(pairs: list[tuple], label: str, gain: float | None) -> dict[str, str]:
    """The run's cells of a category; pairs: (won, n) of both models, for each language."""
    if not pairs:
        return {f"{label}: seed": "", f"{label}: refined": "", "difference of gains": "",
                "n prompts": ""}
    seed, tuned = (mean(won for won, _ in side) for side in zip(*pairs, strict=True))
    return {f"{label}: seed": text(seed),
            f"{label}: refined": f"{text(tuned)} ({tuned - seed:+.1f})",
            "difference of gains": difference(tuned - seed, gain),
            "n prompts": text(mean(n for _, (_, n) in pairs), ".0f")}


def preferences(people: Measures, label: str) -> "DataFrame":
    """Figure 6: what people preferred, in %, with n; the paper prints bars without numbers."""
    rows = {("paper", "X-Instruction 13B vs ChatGPT, Bactrian-M 13B"):
            dict.fromkeys(("win", "tie", "lose", "n"), "")}
    for code, measures in people.items():
        for name, figures in measures.items():
            if name.startswith("human_") and isinstance(figures, dict) and "win" in figures:
                row = {k: text(100 * figures[k]) for k in ("win", "tie", "lose")}
                pair = name.removeprefix("human_").replace("_", " ")
                rows[f"{label}, {code}", pair] = row | {
                    "n": figures["n"], "wins - losses, interval": _span(figures)}
    return _frame(rows)


def _span(figures: dict) -> str:
    """The interval of wins minus losses, in points, as a cell."""
    if figures.get("low") is None:
        return ""
    return f"{100 * figures['low']:+.0f} to {100 * figures['high']:+.0f}"


# What the paper says in its text


def headlines(judged: Measures, reviewed: Measures, tasks: Measures, kept: Measures, theirs: dict,
              label: str) -> "DataFrame":
    """What sections 4.4, 5.2 and 5.4.3 say in a sentence: paper, here, difference, n.

    Here is the mean over the run's n languages. kept: measures of the last round of refinement;
    theirs: "results" of paper.json.
    """
    here = _reviewed(reviewed) | {"kept: clean page, right instruction, %": [
        100 * v["kept_precision"] for v in kept.values() if "kept_precision" in v]}
    here |= _won_headlines(judged)
    here["tasks: tuned model above its base, points"] = [
        100 * mean(v["task_gain"].values()) for v in tasks.values() if v.get("task_gain")]
    rows = {}
    for name in dict.fromkeys([*theirs, *here]):
        values = here.get(name, [])
        rows[name] = {"paper": text(theirs.get(name)), label: text(mean(values)),
                      "n languages": len(values),
                      "difference": difference(mean(values), theirs.get(name))}
    return _frame(rows)[["paper", label, "difference", "n languages"]]


def _reviewed(reviewed: Measures) -> dict[str, list[float]]:
    """What the quality review says, a value for each language."""
    shares = {"valid instruction, %": "valid_instruction_share",
              "acceptable response, %": "acceptable_response_share"}
    return {name: [100 * v[key] for v in reviewed.values() if v.get(key) is not None]
            for name, key in shares.items()}


def _won_headlines(judged: Measures) -> dict[str, list[float]]:
    """What the judge says, a value for each language that has it."""
    wins = [v["refined_vs_seed"]["win"] for v in judged.values() if "refined_vs_seed" in v]
    pairs, rivals = [], []
    for measures in judged.values():
        table = measures.get("win_table") or {}
        row = {model: cells[pooled(table)] for model, cells in table.items()}
        if {"refined", "refined (zero-shot)"} <= set(row):
            pairs.append((row["refined"], row["refined (zero-shot)"]))
        rivals += [(row["refined"], cell) for model, cell in row.items()
                   if model.startswith("Bactrian-M")]
    return {
        "win rate against the seed model, %": [100 * win for win in wins if win is not None],
        "win rate lost when asked in the output language, points": [
            100 * (own["win"] - zero_shot["win"]) for own, zero_shot in pairs],
        "score kept when asked in the output language, %": [
            100 * zero_shot["score"] / own["score"] for own, zero_shot in pairs
            if own["score"] and zero_shot["score"] is not None],
        "win rate above Bactrian-M, points": [
            100 * (own["win"] - rival["win"]) for own, rival in rivals]}


def flat(values: object, name: tuple[str, ...] = ()) -> dict[tuple[str, str], float]:
    """Nested figures as {(chapter, "name, name"): number}: a table's rows.

    Texts and lists are left out.
    """
    if isinstance(values, dict):
        rows = {}
        for key, inner in values.items():
            rows |= flat(inner, (*name, str(key)))
        return rows
    if isinstance(values, int | float):
        return {(name[0], ", ".join(name[1:])): values}
    return {}
