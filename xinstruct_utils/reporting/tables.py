"""The paper's tables beside a run's, over all languages (13_results).

`label` names the run's rows or columns. `judged`, `measured` and the like are {language: measures
of a chapter}; `theirs` is a table of paper.json. For win rates see `win_tables`.
"""

from statistics import stdev
from typing import TYPE_CHECKING

from xinstruct_utils.config.load import names_of
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.reporting.table_cells import (
    MADE,
    Measures,
    difference,
    frame,
    mean,
    models_of,
    ordered,
    size_of,
    spread,
    text,
)
from xinstruct_utils.reporting.win_tables import pooled

if TYPE_CHECKING:
    from pandas import DataFrame

CONTESTS = ("refined_vs_unrefined", "refined_vs_seed", "unrefined_vs_seed", "refined_vs_rated",
            "rated_vs_unrefined", "refined_vs_translated", "refined_vs_distilled",
            "refined_vs_distilled_joint", "refined_vs_opponent")
SIDES = ("instruction", "output")


# Tables 2, 8 and 10: lengths


def lengths(measured: Measures, theirs: dict, label: str) -> "DataFrame":
    """Tables 2 and 8: characters of each side, mean ± standard deviation, for each language.

    measured: {language: measures with "lengths": {side: {"mean", "sd", "n"}}}.
    """
    rows = {}
    for code in ordered(measured):
        row, own = {}, measured.get(code, {}).get("lengths", {})
        for side in SIDES:
            paper, here = theirs.get(code, {}).get(side), own.get(side) or {}
            row[side, "paper"] = spread(paper)
            row[side, label] = spread([here.get("mean"), here.get("sd")])
            row[side, "difference"] = difference(here.get("mean"), paper and paper[0])
        row["n", "paper"] = theirs.get(code, {}).get("n", "")
        row["n", label] = own.get("output", {}).get("n", "")
        rows[code] = row
    return frame(rows)


def baselines(theirs: dict, measured: Measures, label: str) -> "DataFrame":
    """Table 10: characters of data sets that translate or distil, beside this run's data set.

    The paper's are mean ± standard deviation, the run's a mean over its languages.
    """
    rows = {}
    for name, row in theirs.items():
        rows[f"paper: {name}"] = {side: spread(row.get(side))
                                  for side in ("instruction", "input", "output")}
    rows[label] = {"input": ""}
    for side in SIDES:
        means = [m.get("lengths", {}).get(side, {}).get("mean") for m in measured.values()]
        rows[label][side] = text(mean(means))
    return frame(rows)


# Tables 6, 7 and 12, Figure 6


def views(judged: Measures, theirs: dict, label: str) -> "DataFrame":
    """Table 6: mean ± standard deviation over the languages' means; the paper's are over ten."""
    rows = {("paper", model): {name: spread(v) for name, v in row.items()} | {"n languages": "10"}
            for model, row in theirs.items()}
    for model in models_of(judged, "views"):
        known = [v["views"][model] for v in judged.values() if v.get("views", {}).get(model)]
        ours = {name: [k[name] for k in known] for name in (known[0] if known else ())}
        rows[label, model] = {
            name: spread([mean(values), stdev(values) if len(values) > 1 else None])
            for name, values in ours.items()} | {"n languages": str(len(known))}
        if model == "refined" and known:
            best = theirs["X-Instruction 13B"]
            rows["difference", model] = {name: difference(mean(values), best[name][0])
                                         for name, values in ours.items()}
    return frame(rows)


def tasks(measured: Measures, theirs: dict, label: str, profile: Profile) -> "DataFrame":
    """Table 7, a row for each task and language: accuracy in %, ± standard error of this run's.

    The paper's models and this run's, the difference of the tuned ones, n.
    """
    size = size_of(profile.tuned_model or profile.base_model)
    models = ["base", "seed", "unrefined", "refined",
              *names_of([*profile.baselines, *profile.joint_baselines])]
    paper = {f"paper: {m}": row for m, row in theirs.items() if m.endswith(size)}
    cells = [(task, code) for task in ("xnli", "xcopa", "xstorycloze")
             for code in theirs["LLaMA 2 7B"][task]]
    cells += [(task, code) for code, measures in measured.items()
              for task in measures.get("task_items", {}) if (task, code) not in cells]
    rows = {}
    for task, code in sorted(cells, key=lambda cell: cell[0].startswith("atlas")):
        measures = measured.get(code, {})
        row = {name: text(theirs_.get(task, {}).get(code)) for name, theirs_ in paper.items()}
        for model in models:
            row[f"{label}: {model}"] = _accuracy(measures, f"{task}_{model}")
        tuned = measures.get("task_accuracy", {}).get(f"{task}_refined")
        best = theirs[f"X-Instruction {size}"].get(task, {}).get(code)
        row["difference"] = difference(None if tuned is None else 100 * tuned, best)
        rows[task, code] = row | {"n": measures.get("task_items", {}).get(task, "")}
    rows["average", "of the paper's"] = {name: text(row["avg"]) for name, row in paper.items()}
    return frame(rows)


def _accuracy(measures: dict, name: str) -> str:
    """Accuracy in %, and its standard error where it is known, as a cell."""
    accuracy = measures.get("task_accuracy", {}).get(name)
    stderr = measures.get("task_stderr", {}).get(name)
    if accuracy is None:
        return ""
    return spread([100 * accuracy, None if stderr is None else 100 * stderr])


def categories(judged: Measures, theirs: dict, label: str) -> "DataFrame":
    """Table 12: prompts won against the opponent by the seed model and the tuned one.

    Means over the languages; in brackets what the tuned model gains.
    """
    known = [v["won"] for v in judged.values() if {"seed", "refined"} <= set(v.get("won", {}))]
    asked = [name for v in judged.values() for row in v.get("win_table", {}).values()
             for name in row]
    vicuna = "vicuna" in asked             # else the categories are of other prompts
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
    return frame(rows)


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
    return frame(rows)


def _span(figures: dict) -> str:
    """The interval of wins minus losses, in points, as a cell."""
    if figures.get("low") is None:
        return ""
    return f"{100 * figures['low']:+.0f} to {100 * figures['high']:+.0f}"


# What the paper says in its text


def headlines(judged: Measures, reviewed: Measures, tasks: Measures, kept: Measures, theirs: dict,
              label: str, comparable: bool = True) -> "DataFrame":
    """What sections 4.4, 5.2 and 5.4.3 say in a sentence: paper, here, difference, n.

    Here is the mean over the run's n languages. kept: measures of the last round of refinement;
    theirs: "results" of paper.json. comparable: does the run measure what the paper does? Of the
    Atlas's own tasks, judge and web no difference is shown.
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
    differences = ["difference"] if comparable else []
    return frame(rows)[["paper", label, *differences, "n languages"]]


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
                   if MADE.get(model, model).startswith("Bactrian-M")]
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
