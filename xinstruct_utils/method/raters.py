"""Raters: by what candidates are ranked (`ranking`).

The paper's is the evaluator's probability of a 2. The others stand beside it, since a rater that is
no better than a simple one is not worth its training. None needs a truth. Each is one function of
what a few passes over the candidates have found; with y the output, x the instruction,
and LL the mean log-likelihood of a token.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from xinstruct_utils.core.files import digest
from xinstruct_utils.core.shards import Shards, joined
from xinstruct_utils.method.diversification import embed

OTHERS = 2               # other instructions that `contrast` compares with
Row = dict[str, Any]


class Rater(NamedTuple):
    """A rater: what it computes, where it comes from, and of which passes; more is better."""

    formula: str
    source: str
    passes: tuple[str, ...]
    score: Callable[[Row], float]


def _contrast(row: Row) -> float:
    others = [row[f"other{k}"] for k in range(OTHERS)]
    return row["follower"] - sum(others) / len(others)


def _chance(row: Row) -> float:
    """A number in [0, 1) of a row's id: the same on every machine."""
    return int(digest(["random", row["id"]])[:8], 16) / 2**32


RATERS: dict[str, Rater] = {
    "p2": Rater("p(2 | x, y), evaluator", "paper 3.3", (), lambda row: row["p2"]),
    "expected": Rater("p(1 | x, y) + 2 p(2 | x, y), evaluator", "expected rating", (),
                      lambda row: row["p1"] + 2 * row["p2"]),
    "likelihood": Rater("LL(y | x), the round's follower", "perplexity filtering", ("follower",),
                        lambda row: row["follower"]),
    "gain": Rater("LL(y | x) - LL(y), untuned base", "-log IFD (Li et al., 2024)",
                  ("base", "alone"), lambda row: row["base"] - row["alone"]),
    "contrast": Rater(f"LL(y | x) - mean of LL(y | x') over {OTHERS} other x', the round's "
                      "follower", "pointwise mutual information, sampled",
                      ("follower", *(f"other{k}" for k in range(OTHERS))), _contrast),
    "agreement": Rater("cosine of x and y, sentence encoder", "embedding similarity",
                       ("agreement",), lambda row: row["agreement"]),
    "length": Rater("characters of y", "baseline", (), lambda row: float(len(row["output"]))),
    "random": Rater("a hash of the id", "baseline", (), _chance),
}


def score(row: Row, ranking: str) -> float:
    """What a candidate is ranked by; it holds the fields of its rater's passes."""
    return RATERS[ranking].score(row)


def passes(ranking: str, follower: str, base: str, request: dict[str, Any],
           ) -> dict[str, dict[str, Any]]:
    """The likelihood jobs of a rater over candidates: {pass: settings of `inference.local`}.

    request: how the follower is asked. "alone" asks for the output with no instruction before it,
    "other0", ... with the instruction of another row (`inference.inputs`).
    """
    jobs: dict[str, dict[str, Any]] = {
        "follower": {"model": follower, "request": request},
        "base": {"model": base, "request": request},
        "alone": {"model": base, "request": {"kind": "alone"}}}
    for k in range(OTHERS):
        jobs[f"other{k}"] = {"model": follower, "request": request, "other_instruction": k + 1}
    return {name: jobs[name] | {"task": "likelihood"} for name in RATERS[ranking].passes
            if name in jobs}


def agreements(rows: Iterable[Row], out: Shards, encoder: str, threads: int = 1) -> None:
    """Cosine of each candidate's instruction and output, into shards: {"id", "agreement"}.

    The encoder should know both languages. What has a shard is not embedded again.
    """
    for index, chunk in out.pending(rows):
        x, y = (embed([row[name] for row in chunk], encoder, threads)
                for name in ("instruction", "output"))
        cosines = (x * y).sum(axis=1).tolist()
        out.write(index, [{"id": row["id"], "agreement": round(cosine, 5)}
                          for row, cosine in zip(chunk, cosines, strict=True)])


def read(rows: Iterable[Row], found: Mapping[str, Iterable[Row]]) -> Iterator[dict]:
    """Rows with what each pass has found for them: {pass: number, or None where it read nothing}.

    Raises InputError where the ids of rows and of results differ.
    """
    for row, results in joined(rows, *found.values()):
        values = [result.get("log_likelihood", result.get("agreement")) for result in results]
        yield {**row, **dict(zip(found, values, strict=True))}


def is_read(row: Row, ranking: str) -> bool:
    """Have all passes of a rater read the row? A pair may be too long for a model."""
    return all(row[name] is not None for name in RATERS[ranking].passes)


def complete(rows: Sequence[Row], found: Mapping[str, Iterable[Row]],
             votes: Iterable[Row]) -> list[dict]:
    """Rows with their evaluator's votes and all passes: those that every rater can rank.

    votes: {"id", p0, p1, p2}, of more rows maybe, in any order.
    """
    ids = {row["id"] for row in rows}
    kept = {vote["id"]: vote for vote in votes if vote["id"] in ids and vote["p2"] is not None}
    return [{**row, **kept[row["id"]]} for row in read(rows, found)
            if row["id"] in kept and all(is_read(row, ranking) for ranking in RATERS)]
