"""Tables 4, 5 and 11 of the paper beside a run's: win rates and scores on the benchmarks.

`label` names the run's rows or columns. `judged` is {language: measures of 09_judge_evaluation}.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.paper import place_of
from xinstruct_utils.evaluation.outcomes import POOLED
from xinstruct_utils.reporting.table_cells import (
    Measures,
    counterpart,
    frame,
    mean,
    models_of,
    ordered,
    text,
)

if TYPE_CHECKING:
    from pandas import DataFrame

TABLE5 = " + ".join(POOLED)
TABLE4 = [(benchmark, code) for benchmark in ("vicuna", "lima", "wizardlm", "koala")
          for code in ("bn", "sw", "ur")]
Named = dict[str, dict]                 # {benchmark: cell of an `outcomes.table`}


def pooled(table: dict[str, dict]) -> str | None:
    """The benchmark of an `outcomes.table` that answers the paper's Table 5.

    Its own two, else all that the run has.
    """
    names = {name for row in table.values() for name in row}
    both = [name for name in names if place_of(name) == TABLE5]
    return next((name for name in (*both, "all", *sorted(names)) if name in names), None)


def found(row: Named, benchmark: str) -> str | None:
    """The name under which a row has a benchmark of the paper, or what stands in its place."""
    return next((name for name in row if place_of(name) == benchmark), None)


def win_rates(judged: Measures, theirs: dict, benchmark: str, field: str, label: str,
              profile: Profile) -> "DataFrame":
    """A benchmark of Tables 4, 5 and 11, models as rows: paper, this run, difference, n.

    judged: {language: measures with "win_table"}; theirs: {model: {language: (W in %, S),
    "average": ...}}; benchmark: TABLE5 for the pooled one; field: "W" (in %, with its 95%
    interval) or "S" (with the number of prompts that could be read).
    """
    columns = [*ordered(judged), "Avg"]
    rows = {("paper", model): {c: text(_paper_cell(row, c, field)) for c in columns}
            for model, row in theirs.items()}
    cells, apart = defaultdict(dict), defaultdict(dict)
    for code, measures in judged.items():
        table = measures.get("win_table", {})
        every = {name: cell for row in table.values() for name, cell in row.items()}
        name = pooled(table) if benchmark == TABLE5 else found(every, benchmark)
        # What is on other prompts than the paper's says so, and has no difference.
        here = label if name == benchmark else f"{label}: {name}"
        asked = {model: row[name] for model, row in table.items() if name in row}
        for model, cell in asked.items():
            cells[here, model][code] = cell
            own = _value(cell, field)
            paper = _paper_cell(theirs.get(counterpart(model, profile), {}), code, field)
            if None not in (own, paper) and name == benchmark:
                apart[model][code] = own - paper
    for key, by_language in cells.items():
        rows[key] = _own_row(by_language, field)
    for model, values in apart.items():
        row = values | {"Avg": mean(values.values())}
        rows["difference", model] = {c: text(v, "+.1f") for c, v in row.items()}
    rows["n", "prompts"] = _prompts(next(iter(cells.values()), {}))
    table = frame({key: {c: row.get(c, "") for c in columns} for key, row in rows.items()})
    return table.rename_axis(columns=f"{benchmark}, {field}")


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


def table4_average(judged: Measures, numbers: dict, label: str, profile: Profile) -> "DataFrame":
    """Table 4's last column: the mean over four benchmarks in Bengali, Swahili and Urdu.

    Here over the cells that exist. numbers: all of paper.json.
    """
    rows = {}
    for model, theirs in numbers["table4"].items():
        rows[model] = {"paper": text(theirs["average"]), label: "", "difference": "", "n cells": ""}
    for model in models_of(judged, "win_table"):
        cells, same = {}, True                   # same: the paper's own prompts
        for benchmark, code in TABLE4:
            row = judged.get(code, {}).get("win_table", {}).get(model, {})
            named = found(row, benchmark)
            if named and row[named]["n"]:
                cells[benchmark, code] = 100 * row[named]["win"]
                same = same and named == benchmark
        name = counterpart(model, profile)
        theirs = numbers["table4"].get(name)
        apart = [v - theirs[b][c] for (b, c), v in cells.items()] if theirs and same else []
        if cells:
            rows[name if theirs else model] = {
                "paper": text(theirs and theirs["average"]), label: text(mean(cells.values())),
                "difference": text(mean(apart), "+.1f"),
                "n cells": f"{len(cells)} of {len(TABLE4)}"}
    return frame(rows)
