"""Flaws that are planted among candidates: what raters can be tested by where no truth is known.

Copies of some candidates get a flaw of a known kind. A rater that sees the flaw ranks the copy
below the candidates as they are. That a candidate as it is has no flaw is not known, only that its
copy has one more: an AUC by planted flaws is a lower bound of what the rater sees.
"""

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.data.readers import names_of, records
from xinstruct_utils.evaluation.statistics import interval, wilson
from xinstruct_utils.method.raters import is_read, score
from xinstruct_utils.method.refinement import damage, pieces

Row = dict[str, Any]
AS_IT_IS = "as it is"
FIELDS = ("kind", "place", "text")
PLACES = ("before", "after", "instead")          # where a foreign text stands


class Auc(TypedDict):
    """Share of pairs (a candidate as it is, a flawed copy) in the right order; 95% interval."""

    auc: float
    low: float | None
    high: float | None
    n: int                                       # candidates
    told_apart: NotRequired[float]               # share of copies below their own candidate


def cut_short(text: str, rng: random.Random) -> str:
    """The text up to a place between a third and two thirds of it, in the middle of a sentence."""
    return text[: max(1, round(len(text) * rng.uniform(0.33, 0.67)))].rstrip()


def deleted(text: str, rng: random.Random) -> str:
    """The text without a piece of it: a sentence, or a third where there is one sentence only."""
    parts = pieces(text)
    if len(parts) > 1:
        i = rng.randrange(len(parts))
        return "".join(parts[:i] + parts[i + 1:]).strip()
    third = max(1, len(text) // 3)
    start = rng.randrange(max(1, len(text) - third))
    return (text[:start] + text[start + third:]).strip()


def repeated(text: str, rng: random.Random) -> str:
    """The text with one of its pieces twice."""
    parts = pieces(text)
    i = rng.randrange(len(parts))
    return "".join(parts[: i + 1]) + " " + "".join(parts[i:]).lstrip()


# Flaws of the output that need nothing but the text.
OF_TEXT: dict[str, Callable[[str, random.Random], str]] = {
    "damaged": damage, "cut short": cut_short, "deleted": deleted, "repeated": repeated}
# What is planted where nothing else is asked for.
COMMON = ("damaged", "mismatched")


def foreign_texts(path: str | Path | None) -> list[Row]:
    """Texts of a file that are planted too: rows {"kind", "text", "place"}.

    kind names the flaw (a navigation bar, an error page, another language); place says whether the
    text stands "before" or "after" the output, or "instead" of it. Raises InputError with file and
    line.
    """
    rows = []
    for record in records(path, FIELDS) if path else ():
        row = {name: record.row.get(name) for name in FIELDS}
        if not all(isinstance(value, str) and value.strip() for value in row.values()):
            raise InputError(f"{record.where}: expected the fields {', '.join(FIELDS)}, all of "
                             f"them texts, but {names_of(record.row)} came")
        if row["place"] not in PLACES:
            raise InputError(f"{record.where}: place is one of {', '.join(PLACES)}, but "
                             f"{row['place']!r} came")
        rows.append(row)
    return rows


def planted(candidates: Iterable[Row], n: int, seed: int | str, kinds: Sequence[str] = COMMON,
            foreign: Sequence[Row] = ()) -> list[Row]:
    """Flawed copies of `n` candidates that are drawn, beside the candidates as they are.

    kinds: of `OF_TEXT`, or "mismatched": the output with another candidate's instruction. foreign:
    see `foreign_texts`. Returns {"id", "of": the candidate's id, "kind", "instruction", "output"},
    the same whatever the order of the candidates.
    """
    rng = random.Random(f"planted/{seed}")
    drawn = heapq.nsmallest(n, candidates, key=lambda row: digest([seed, row["id"]]))
    texts = defaultdict(list)
    for row in foreign:
        texts[row["kind"]].append(row)
    planted_rows = []
    for row in drawn:
        versions = {AS_IT_IS: (row["instruction"], row["output"])}
        for kind in kinds:
            if kind in OF_TEXT:
                versions[kind] = (row["instruction"], OF_TEXT[kind](row["output"], rng))
        strangers = [other["instruction"] for other in drawn
                     if other["instruction"] != row["instruction"]]
        if "mismatched" in kinds and strangers:
            versions["mismatched"] = (rng.choice(strangers), row["output"])
        for kind, choices in texts.items():
            versions[kind] = (row["instruction"], _with(rng.choice(choices), row["output"]))
        planted_rows += [{"id": f"{row['id']}-{kind}", "of": row["id"], "kind": kind,
                          "instruction": x, "output": y} for kind, (x, y) in versions.items()]
    return planted_rows


def _with(foreign: Row, output: str) -> str:
    """The output with a foreign text before, after or instead of it."""
    if foreign["place"] == "instead":
        return foreign["text"]
    first, second = foreign["text"], output
    if foreign["place"] == "after":
        first, second = second, first
    return f"{first}\n{second}"


def scores_of(rows: Iterable[Row], ranking: str) -> dict[str, dict[str, float]]:
    """What a rater gives: {kind: {candidate's id: score}}; rows that it could not read are out.

    rows: those of `planted`, with the fields of the rater's passes.
    """
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if is_read(row, ranking) and row.get("p2", 0.0) is not None:
            scores[row["kind"]][row["of"]] = score(row, ranking)
    return scores


def told_apart(rows: Iterable[Row], ranking: str) -> dict[str, float]:
    """Share of flawed copies that a rater ranks below their own candidate: {kind: share}.

    Half of a tie counts; 0.5 is chance. A kind of which nothing could be read is absent.
    """
    scores = scores_of(rows, ranking)
    return _told_apart(scores.pop(AS_IT_IS, {}), scores)


def _told_apart(whole: Mapping[str, float],
                scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {kind: sum(_above(whole[of], flawed[of]) for of in flawed if of in whole) / n
            for kind, flawed in scores.items() if (n := len(flawed.keys() & whole.keys()))}


def _above(one: float, other: float) -> float:
    return 0.5 if one == other else float(one > other)


def aucs(rows: Sequence[Row], ranking: str, seed: int = 0) -> dict[str, Auc]:
    """How well a rater parts candidates as they are from flawed copies: {kind: Auc}, "all" first.

    "all" takes the copies of every kind together. The interval is a bootstrap over candidates,
    which share their text among the kinds.
    """
    scores = scores_of(rows, ranking)
    whole = scores.pop(AS_IT_IS, {})
    apart = _told_apart(whole, scores)
    kinds = {"all": list(scores.values())} | {kind: [own] for kind, own in scores.items()}
    found: dict[str, Auc] = {}
    for kind, flawed in kinds.items():
        ids = [of for of in whole if all(of in own for own in flawed)]
        if not ids:
            continue
        found[kind] = _auc([[whole[of], *(own[of] for own in flawed)] for of in ids], seed)
        if kind in apart:
            found[kind]["told_apart"] = apart[kind]
    return found


def _auc(items: Sequence[Sequence[float]], seed: int) -> Auc:
    """items: of each candidate its score, and those of its flawed copies."""
    import numpy as np

    def statistic(drawn: "np.ndarray") -> float:
        difference = drawn[:, :1, None] - drawn[None, :, 1:].reshape(1, 1, -1)
        return float(np.mean((difference > 0) + 0.5 * (difference == 0)))

    values = np.asarray(items, dtype=float)
    low, high = interval(items, statistic, seed=seed)
    return {"auc": statistic(values), "low": low, "high": high, "n": len(values)}


def precision(rows: Sequence[Row], ranking: str) -> dict[str, float]:
    """Of as many as there are candidates as they are, the best by a rater: the share without a
    planted flaw: {"precision", "low", "high", "random", "n"}, {} where nothing could be read.

    The interval is Wilson's; random: the share among all.
    """
    scores = scores_of(rows, ranking)
    whole = len(scores.get(AS_IT_IS, {}))
    if not whole:
        return {}
    ranked = sorted(((value, kind == AS_IT_IS) for kind, own in scores.items()
                     for value in own.values()), key=lambda pair: (-pair[0], pair[1]))
    share = sum(is_whole for _, is_whole in ranked[:whole]) / whole
    low, high = wilson(share, whole)
    return {"precision": share, "low": low, "high": high, "random": whole / len(ranked),
            "n": whole}
