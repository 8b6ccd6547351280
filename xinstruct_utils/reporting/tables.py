"""The paper's tables beside a run's, over all languages (13_results). Cells are texts; what is not known is an empty one.

`label` names the run's rows or columns. A difference is here minus the paper, in the paper's unit, where both have the figure.
"""

from pathlib import Path
from statistics import stdev

from xinstruct_utils.core import languages
from xinstruct_utils.evaluation.outcomes import POOLED

TABLE5 = " + ".join(POOLED)
MEDIUM = [code for code, row in languages.LANGUAGES.items() if row.level == "medium"]
LOW = [code for code in languages.LANGUAGES if code not in MEDIUM]
CONTESTS = ("refined_vs_unrefined", "refined_vs_seed", "unrefined_vs_seed")


def label(profile):
    """What the run's columns are called: the Atlas is a toy and says so, a real run names its base model."""
    return "Atlas (toy)" if profile.source == "atlas" else f"here ({Path(profile.base_model).name})"


def counterpart(model, base_model):
    """The paper's row for a model of a run; `others` bear the paper's names where they are the paper's models."""
    size = "13B" if "13b" in base_model.lower() else "7B"
    return {"refined": f"X-Instruction {size}", "refined (zero-shot)": f"X-Instruction {size}, zero-shot"}.get(model, model)


def mean(values):
    """Mean of the values that are known, or None."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def text(value, form=".1f"):
    """A figure as a cell: "" where it is not known."""
    return "" if value is None or value != value else f"{value:{form}}"


def _frame(rows):
    import pandas as pd
    made = pd.DataFrame.from_dict(rows, orient="index")
    made.index, made.columns = (pd.MultiIndex.from_tuples(names) if len(names) and isinstance(names[0], tuple) else names
                                for names in (made.index, made.columns))
    return made.astype(object).where(made.notna(), "")


def _spread(values):
    """[mean, standard deviation] as a cell; the deviation may be absent."""
    return " ± ".join(text(v) for v in values if v is not None) if values else ""


def _ordered(codes):
    """The paper's ten languages, medium before low, then those that only the run has."""
    return [*MEDIUM, *LOW, *(c for c in codes if c not in languages.LANGUAGES)]


def lengths(measured, theirs, label):
    """Tables 2 and 8: characters of each side, mean ± standard deviation, for each language.

    measured: {language: measures with "lengths": {side: {"mean", "sd", "n"}}}; theirs: the table in paper.json.
    """
    rows = {}
    for code in _ordered(measured):
        row, found = {}, measured.get(code, {}).get("lengths", {})
        for side in ("instruction", "output"):
            paper, here = theirs.get(code, {}).get(side), found.get(side) or {}
            row |= {(side, "paper"): _spread(paper), (side, label): _spread([here.get("mean"), here.get("sd")]),
                    (side, "difference"): text(here["mean"] - paper[0], "+.1f") if here and paper else ""}
        rows[code] = row | {("n", "paper"): theirs.get(code, {}).get("n", ""), ("n", label): found.get("output", {}).get("n", "")}
    return _frame(rows)


def baselines(theirs, measured, label):
    """Table 10: characters of data sets that translate or distil, mean ± standard deviation, beside this run's data set."""
    rows = {f"paper: {name}": {side: _spread(row.get(side)) for side in ("instruction", "input", "output")}
            for name, row in theirs.items()}
    means = {side: mean(m.get("lengths", {}).get(side, {}).get("mean") for m in measured.values())
             for side in ("instruction", "output")}
    return _frame(rows | {label: {side: text(v) for side, v in means.items()} | {"input": ""}})


def pooled(table):
    """The benchmark of a `judge.table` that answers the paper's Table 5: its own two, else all that the run has."""
    names = {name for row in table.values() for name in row}
    return next((name for name in (TABLE5, "all", *sorted(names)) if name in names), None)


def win_rates(judged, theirs, benchmark, field, label, base_model):
    """A benchmark of Tables 4, 5 and 11, models as rows: the paper's, this run's, the difference, n.

    judged: {language: measures with "win_table"}; theirs: {model: {language: (W in %, S), "average": ...}}; benchmark: TABLE5 for
    the pooled one; field: "W" (in %, with its 95% interval) or "S" (with the number of prompts that could be read).
    """
    k, rows, diff, n = "WS".index(field), {}, {}, {}
    columns = [*_ordered(judged), "Avg"]
    for model, row in theirs.items():
        rows["paper", model] = {c: text((row.get("average" if c == "Avg" else c) or (None, None))[k]) for c in columns}
    for code, measures in judged.items():
        table = measures.get("win_table", {})
        name = pooled(table) if benchmark == TABLE5 else benchmark
        for model, found in ((m, row[name]) for m, row in table.items() if name in row):
            value = found["score"] if k else None if found["win"] is None else 100 * found["win"]
            paper = (theirs.get(counterpart(model, base_model), {}).get(code) or (None, None))[k]
            key = (label if name == benchmark else f"{label}: {name}", model)      # other prompts than the paper's say so
            rows.setdefault(key, {})[code] = value
            n.setdefault(key, {})[code] = found
            if None not in (value, paper) and name == benchmark:
                diff.setdefault(model, {})[code] = value - paper
    for key, found in n.items():
        values = rows[key]
        more = {c: f"n {f['read']}" if k else f"{100 * f['low']:.0f}–{100 * f['high']:.0f}" for c, f in found.items() if f["n"]}
        cells = {c: f"{text(v)} ({more[c]})" for c, v in values.items() if v is not None}
        rows[key] = cells | {"Avg": text(mean(values.values()))}
    for model, values in diff.items():
        rows["difference", model] = {c: text(v, "+.1f") for c, v in (values | {"Avg": mean(values.values())}).items()}
    first = next(iter(n.values()), {})
    told = {"Avg": f"{len(first)} languages"} if first else {}
    rows["n", "prompts"] = {c: str(found["n"]) for c, found in first.items()} | told
    table = _frame({key: {c: row.get(c, "") for c in columns} for key, row in rows.items()})
    return table.rename_axis(columns=f"{benchmark}, {field}")


def table11(numbers, benchmark):
    """The paper's row for each model on one benchmark, {model: {language: (W, S)}}, of Tables 11 and 4; TABLE5 of Table 5."""
    if benchmark == TABLE5:
        return numbers["table5"]
    out = {m: {c: (w, None) for c, w in row[benchmark].items()} for m, row in numbers["table4"].items() if benchmark in row}
    for model, row in numbers["table11"].get(benchmark, {}).items():
        out.setdefault(model, {}).update(row)
    return {model: out[model] for model in numbers["table5"] if model in out}      # in one order everywhere


def table4_average(judged, numbers, label, base_model):
    """Table 4's last column: the mean over four benchmarks in Bengali, Swahili and Urdu; here over the cells that exist."""
    rows = {m: {"paper": text(r["average"]), label: "", "difference": "", "n cells": ""} for m, r in numbers["table4"].items()}
    for model in dict.fromkeys(m for v in judged.values() for m in v.get("win_table", {})):
        cells = {(b, c): 100 * judged[c]["win_table"][model][b]["win"] for b in ("vicuna", "lima", "wizardlm", "koala")
                 for c in ("bn", "sw", "ur") if judged.get(c, {}).get("win_table", {}).get(model, {}).get(b, {}).get("n")}
        theirs = numbers["table4"].get(name := counterpart(model, base_model))
        apart = [v - theirs[b][c] for (b, c), v in cells.items()] if theirs else []
        if cells:
            rows[name if theirs else model] = {"paper": text(theirs and theirs["average"]), label: text(mean(cells.values())),
                                               "difference": text(mean(apart), "+.1f"), "n cells": f"{len(cells)} of 12"}
    return _frame(rows)


def views(judged, theirs, label):
    """Table 6: mean ± standard deviation over the languages' means; the paper's are over ten languages."""
    rows = {("paper", m): {name: _spread(v) for name, v in row.items()} | {"n languages": "10"} for m, row in theirs.items()}
    for model in dict.fromkeys(m for v in judged.values() for m in v.get("views", {})):
        found = [v["views"][model] for v in judged.values() if v.get("views", {}).get(model)]
        ours = {name: [f[name] for f in found] for name in (found[0] if found else ())}
        cells = {name: _spread([mean(v), stdev(v) if len(v) > 1 else None]) for name, v in ours.items()}
        rows[label, model] = cells | {"n languages": str(len(found))}
        if model == "refined" and found:
            best = theirs["X-Instruction 13B"]
            rows["difference", model] = {name: text(mean(v) - best[name][0], "+.1f") for name, v in ours.items()}
    return _frame(rows)


def tasks(measured, theirs, label, base_model):
    """Table 7, a row for each task and language: accuracy in % of the paper's models and of this run's (± standard error),
    the difference of the tuned ones, n."""
    size = counterpart("refined", base_model).split()[-1]
    paper = {f"paper: {m}": row for m, row in theirs.items() if m.endswith(size)}
    asked = [(t, c) for t in ("xnli", "xcopa", "xstorycloze") for c in theirs["LLaMA 2 7B"][t]]
    asked += [(t, c) for c, v in measured.items() for t in v.get("task_items", {}) if (t, c) not in asked]
    rows = {}
    for task, code in sorted(asked, key=lambda x: x[0].startswith("atlas")):
        values, n = (measured.get(code, {}).get(name, {}) for name in ("task_accuracy", "task_items"))
        errors = measured.get(code, {}).get("task_stderr", {})
        row = {name: text(r.get(task, {}).get(code)) for name, r in paper.items()}
        for model in ("base", "seed", "unrefined", "refined"):
            found = values.get(f"{task}_{model}")
            row[f"{label}: {model}"] = "" if found is None else _spread([100 * found, 100 * errors[f"{task}_{model}"]]) \
                if f"{task}_{model}" in errors else text(100 * found)
        both = values.get(f"{task}_refined"), theirs[f"X-Instruction {size}"].get(task, {}).get(code)
        apart = "" if None in both else text(100 * both[0] - both[1], "+.1f")
        rows[task, code] = row | {"difference": apart, "n": n.get(task, "")}
    rows["average", "of the paper's"] = {name: text(r["avg"]) for name, r in paper.items()}
    return _frame(rows)


def categories(judged, theirs, label):
    """Table 12: prompts won against the opponent by the seed model and the tuned one, mean over languages; (+) the gain."""
    found = [v["won"] for v in judged.values() if {"seed", "refined"} <= set(v.get("won", {}))]
    names = dict.fromkeys([*(n for n in theirs if n != "all"), *(c for w in found for c in w["refined"]), "all"])
    rows = {}
    for name in names:
        row = {"paper: seed": "", "paper: X-Instruction": ""}
        if name in theirs:
            old, new, gain = theirs[name]                  # the gain as printed, from figures that were not rounded yet
            row = {"paper: seed": text(old), "paper: X-Instruction": f"{new:.1f} ({gain:+.1f})"}
        per = [{m: w[m].get(name) for m in ("seed", "refined")} for w in found if w["refined"].get(name)]
        same = name in theirs and all("generic" in w["refined"] for w in found)                # Vicuna's categories
        seed, refined = (mean(p[m][0] for p in per) for m in ("seed", "refined"))
        row |= {f"{label}: seed": text(seed), f"{label}: refined": text(refined) + (f" ({refined - seed:+.1f})" if per else ""),
                "difference of gains": text(refined - seed - gain, "+.1f") if per and same else "",
                "n prompts": text(mean(p["refined"][1] for p in per), ".0f")}
        rows[name] = row
    return _frame(rows)


def preferences(people, label):
    """Figure 6: what people preferred, in %, with n; the paper prints bars without their numbers."""
    rows = {("paper", "X-Instruction 13B vs ChatGPT, Bactrian-M 13B"): dict.fromkeys(("win", "tie", "lose", "n"), "")}
    for code, measures in people.items():
        for name, r in measures.items():
            if name.startswith("human_") and isinstance(r, dict) and "win" in r:
                span = f"{100 * r['low']:+.0f} to {100 * r['high']:+.0f}" if r.get("low") is not None else ""
                shares = {k: text(100 * r[k]) for k in ("win", "tie", "lose")}
                rows[f"{label}, {code}", name[6:].replace("_", " ")] = shares | {"n": r["n"], "wins - losses, interval": span}
    return _frame(rows)


def headlines(judged, reviewed, tasks, kept, theirs, label):
    """What sections 4.4, 5.2 and 5.4.3 say in a sentence: the paper's figure, the mean over the run's languages, difference, n.

    kept: {language: measures of the last round of refinement}; theirs: "results" of paper.json.
    """
    tables = [v["win_table"] for v in judged.values() if v.get("win_table")]
    own = [{model: row[pooled(table)] for model, row in table.items()} for table in tables]
    pairs = [(row["refined"], row["refined (zero-shot)"]) for row in own if {"refined", "refined (zero-shot)"} <= set(row)]
    rivals, rows = [(row["refined"], r) for row in own for m, r in row.items() if m.startswith("Bactrian-M")], {}
    here = {f"{name}, %": [100 * r[key] for r in reviewed.values() if r.get(key) is not None] for name, key in (
        ("valid instruction", "valid_instruction_share"), ("acceptable response", "acceptable_response_share"))}
    here |= {
        "kept: clean page, right instruction, %": [100 * v["kept_precision"] for v in kept.values() if "kept_precision" in v],
        "win rate against the seed model, %": [100 * v["refined_vs_seed"]["win"] for v in judged.values()
                                               if v.get("refined_vs_seed", {}).get("win") is not None],
        "win rate lost when asked in the output language, points": [100 * (a["win"] - b["win"]) for a, b in pairs],
        "score kept when asked in the output language, %": [100 * b["score"] / a["score"] for a, b in pairs
                                                            if a["score"] and b["score"] is not None],
        "win rate above Bactrian-M, points": [100 * (a["win"] - b["win"]) for a, b in rivals],
        "tasks: tuned model above its base, points": [100 * mean(v["task_gain"].values()) for v in tasks.values()
                                                      if v.get("task_gain")]}
    for name in dict.fromkeys([*theirs, *here]):
        ours, paper = mean(here.get(name, [])), theirs.get(name)
        rows[name] = {"paper": text(paper), label: text(ours), "n languages": len(here.get(name, [])),
                      "difference": "" if None in (ours, paper) else text(ours - paper, "+.1f")}
    return _frame(rows)[["paper", label, "difference", "n languages"]]


def flat(values, name=()):
    """Nested figures as {(chapter, "name, name"): number}: a table's rows; texts and lists are left out."""
    if isinstance(values, dict):
        return {k: v for key, inner in values.items() for k, v in flat(inner, (*name, str(key))).items()}
    return {(name[0], ", ".join(name[1:])): values} if isinstance(values, int | float) else {}
