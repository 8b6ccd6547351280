"""What verdicts add up to: rates with intervals, groups, tables, a judge's faults (paper 5.2)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from xinstruct_utils.core.paper import place_of
from xinstruct_utils.evaluation.judge import VERDICTS, Comparison
from xinstruct_utils.evaluation.statistics import interval, sign_test

POOLED = ("vicuna", "wizardlm")                        # the benchmarks of the paper's Table 5
LEVELS = {"easy": (1, 4), "medium": (5, 7), "hard": (8, 10)}     # Figure 5, after WizardLM
Groups = dict[str, list[Comparison]]


def rates(verdicts: Sequence[str]) -> dict[str, float | None]:
    """Share of each verdict, and n: {"win", "tie", "lose", "unparsed", "n"}.

    Unread ones stay in the denominator; of no verdicts, each share is None.
    """
    n = len(verdicts)
    shares = {v: verdicts.count(v) / n if n else None for v in VERDICTS}
    return shares | {"n": n}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def summary(rows: list[Comparison], seed: int = 0) -> dict[str, float | None]:
    """A comparison in one row: `rates`, "wins - losses", mean scores, p of the sign test.

    Rates and balance have their 95% intervals: `<name>_low`, `<name>_high`.
    """
    kinds = [r["verdict"] for r in rows]
    marks: dict[str, list[int]] = {v: [kind == v for kind in kinds] for v in VERDICTS}
    marks["wins - losses"] = [(kind == "win") - (kind == "lose") for kind in kinds]
    out: dict[str, Any] = {name: _mean(values) for name, values in marks.items()}
    out["n"] = len(kinds)
    for name, values in marks.items():
        out[f"{name}_low"], out[f"{name}_high"] = interval(values, seed=seed)
    for side in ("score_a", "score_b"):
        scores: list[Any] = [r.get(side) for r in rows]
        out[side] = _mean([score for score in scores if score is not None])
    return out | {"p": sign_test(kinds.count("win"), kinds.count("lose"))}


def _level(difficulty: int) -> str:
    """The paper's name of a difficulty from 1 to 10."""
    return next(name for name, (low, high) in LEVELS.items() if low <= difficulty <= high)


def grouped(rows: list[Comparison], key: str) -> Groups:
    """Rows by benchmark, category or difficulty; rows without it are left out.

    Difficulties are "easy", "medium" and "hard" by the paper's bins, in this order.
    """
    groups: Groups = defaultdict(list)
    for row in rows:
        value: Any = row.get(key)
        if value is not None:
            groups[_level(value) if key == "difficulty" else value].append(row)
    order = LEVELS if key == "difficulty" else sorted(groups)
    return {name: groups[name] for name in order if name in groups}


def biases(rows: list[Comparison], seed: int = 0) -> dict[str, dict]:
    """What a judge should not go by, {name: {"rate", "low", "high", "n"}}.

    Each is over the n cases in which it can show: order_flip_rate, the verdict changes with the
    order; first_wins_rate, the answer shown first wins an order that is no draw; longer_wins_rate,
    the longer answer wins a prompt that is won.
    """
    both = [[order for order in r["orders"] if order] for r in rows]
    signs = [[(a > b) - (a < b) for a, b in orders] for orders in both if len(orders) == 2]
    won = [r for r in rows
           if r["verdict"] in ("win", "lose") and r["chars_a"] != r["chars_b"]]
    first = [sign for one, other in signs for sign in (one, -other) if sign]
    cases = {"order_flip_rate": [one != other for one, other in signs],
             "first_wins_rate": [sign > 0 for sign in first],
             "longer_wins_rate": [(r["verdict"] == "win") == (r["chars_a"] > r["chars_b"])
                                  for r in won]}
    out = {}
    for name, values in cases.items():
        low, high = interval(values, seed=seed)
        out[name] = {"rate": _mean(values), "low": low, "high": high, "n": len(values)}
    return out


def by_benchmark(rows: list[Comparison]) -> Groups:
    """Rows by benchmark, and where there are several, pooled.

    Vicuna and WizardLM, or what stands in their places, are pooled as in the paper's Table 5, else
    all are ("all").
    """
    groups = grouped(rows, "benchmark")
    named = {place_of(name): name for name in groups}
    if set(POOLED) <= set(named):
        both = [named[place] for place in POOLED]
        return groups | {" + ".join(both): [row for name in both for row in groups[name]]}
    return groups | ({"all": rows} if len(groups) > 1 else {})


def table(against: Groups, seed: int = 0) -> dict[str, dict[str, dict]]:
    """Tables 4, 5 and 11: {model: {benchmark: {"win", "low", "high", "n", "score", "read"}}}.

    against: {model: comparisons with the opponent as B}. win: share of the prompts won, with its
    95% interval; score: mean score, 0 to 10, over the `read` prompts that could be read.
    """
    out: dict[str, dict[str, dict]] = defaultdict(dict)
    for model, judged in against.items():
        for name, rows in by_benchmark(judged).items():
            figures = summary(rows, seed)
            out[model][name] = {"win": figures["win"], "low": figures["win_low"],
                                "high": figures["win_high"], "n": figures["n"],
                                "score": figures["score_a"],
                                "read": sum(r["score_a"] is not None for r in rows)}
    return dict(out)


def categories(rows: list[Comparison]) -> Groups:
    """Rows by category, as in the paper's Figure 4 and Table 12.

    Only Vicuna's where it is among the benchmarks: others have categories of their own, some of
    like names.
    """
    own = [row for row in rows if place_of(row["benchmark"]) == "vicuna"]
    return grouped(own or rows, "category")


def won(rows: list[Comparison]) -> dict[str, tuple[int, int]]:
    """Prompts that A won in each category and in all, {category: (won, n)} (Table 12)."""
    groups = categories(rows)
    groups["all"] = [r for group in groups.values() for r in group]
    return {name: (sum(r["verdict"] == "win" for r in group), len(group))
            for name, group in groups.items()}


def category_shares(rows: list[Comparison], seed: int = 0) -> list[dict[str, tuple]]:
    """Share of each category's prompts that A and that B wins, with 95% intervals.

    Two {category: (share, low, high)}, the first one A's (Figure 4).
    """
    figures = {name: summary(group, seed) for name, group in categories(rows).items()}
    return [{name: (s[kind], s[f"{kind}_low"], s[f"{kind}_high"]) for name, s in figures.items()}
            for kind in ("win", "lose")]
