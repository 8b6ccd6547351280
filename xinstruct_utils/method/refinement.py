"""Refinement (paper 3.3): pseudo-rating sets made of seed pairs, and selection of candidates.

A rating is 2 for the true output, 1 for a flawed one (parts deleted or duplicated, or the current
follower's own output) and 0 for another sample's output. No human labels any of them.
"""

import heapq
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from xinstruct_utils.core.files import digest

Row = dict[str, Any]
Kind = Literal["true", "damaged", "follower", "mismatched"]
RATINGS: dict[Kind, int] = {"true": 2, "damaged": 1, "follower": 1, "mismatched": 0}


class PseudoRating(TypedDict):
    """A row of an evaluator's training."""

    instruction: str
    output: str
    rating: int
    kind: Kind


class Vote(TypedDict):
    """The probabilities that one evaluator gives to the three ratings of a row."""

    p0: float
    p1: float
    p2: float


class Rating(Vote):
    """Probabilities, and the most likely rating."""

    rating: int


def pieces(text: str) -> list[str]:
    """The text cut behind sentence ends and line breaks.

    Pieces keep their white space, so they join to the text.
    """
    return [p for p in re.split(r"(?<=[.!?।۔。])(?=\s)|(?<=\n)", text) if p]


def damage(text: str, rng: random.Random) -> str:
    """A flawed copy of a text: some part of it deleted or duplicated, never the text itself.

    Texts without sentence marks (Thai has no full stop) are cut between characters.
    """
    parts = pieces(text)
    by_sentences = len(parts) > 1 and rng.random() < 0.6
    flawed = _damage_sentences(parts, rng) if by_sentences else _damage_characters(text, rng)
    flawed = flawed.strip()
    if flawed and flawed != text.strip():
        return flawed
    return text[: max(1, len(text) // 2)].rstrip()


def _damage_sentences(parts: list[str], rng: random.Random) -> str:
    """The text without one of its pieces, or with one of them twice."""
    i = rng.randrange(len(parts))
    if rng.random() < 0.5:
        return "".join(parts[:i] + parts[i + 1:])
    return "".join(parts[:i + 1] + parts[i:])


def _damage_characters(text: str, rng: random.Random) -> str:
    """The text without a stretch of its characters, or with one twice; mostly its end."""
    if rng.random() < 0.6:
        start = rng.randint(len(text) // 4, len(text) - 1)
        end = len(text)
    else:
        start, end = sorted(rng.sample(range(len(text) + 1), 2))
    if rng.random() < 0.75:
        return text[:start] + text[end:]
    return text[:end] + text[start:]


def _trigrams(text: str) -> set[str]:
    return {text[i:i + 3] for i in range(max(1, len(text) - 2))}


def near_copy(a: str, b: str, threshold: float = 0.8) -> bool:
    """Do two texts share more than `threshold` of their character trigrams (Jaccard)?

    A follower output that is nearly the true one would carry the rating 1 for what is right.
    """
    x, y = _trigrams(a), _trigrams(b)
    return len(x & y) / len(x | y) > threshold


def mismatches(rows: Sequence[Row], n: int, seed: int | str,
               hard_ones: Literal["half", "all", "none"] = "half") -> list[list[int]]:
    """For each row, `n` indices of other rows whose outputs do not answer it; half are hard,
    or as many as `hard_ones` says.

    A hard one has an instruction of the same wording but without a shared rare word: "currency of
    Kenya" against "currency of Ghana". Rare means in at most 3% of the instructions, so names and
    topics count, "what is" does not.
    """
    words = [set(re.findall(r"\w+", row["instruction"].lower())) for row in rows]
    rare = _rare_words(words)
    outputs = [row["output"] for row in rows]
    rng = random.Random(f"mismatch/{seed}")

    def unlike(i: int) -> list[int]:
        """Rows that share no rare word and no output with row i, or all others."""
        others = [j for j in range(len(rows)) if j != i]
        strangers = [j for j in others if not rare[i] & rare[j] and outputs[j] != outputs[i]]
        return strangers or others

    mismatched = []
    for i in range(len(rows)):
        others = unlike(i)
        rng.shuffle(others)
        hard = sorted(others[:60], key=lambda j: -_jaccard(words[i], words[j]))
        pools = {"half": (hard, others), "all": (hard,), "none": (others,)}[hard_ones]
        mismatched.append([_nth(pools[k % len(pools)], k // len(pools)) for k in range(n)])
    return mismatched


def _nth(items: list[int], n: int) -> int:
    """The n-th item, from the beginning again where there are fewer."""
    return items[n % len(items)]


def _rare_words(words: list[set[str]]) -> list[set[str]]:
    """Of each instruction's words, those that stand in at most 3% of the instructions (or 2)."""
    frequency = Counter(word for bag in words for word in bag)
    most = max(2, 0.03 * len(words))
    return [{word for word in bag if frequency[word] <= most} for bag in words]


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def hold_out(d0r: Sequence[Row], n: int) -> tuple[list[Row], list[Row]]:
    """D0r as (pairs to learn from, up to `n` pairs to test by).

    Which ones depends on their ids only, so it is the same in every round; a quarter at the most,
    since few pairs are memorised rather than learned from.
    """
    by_hash = sorted(d0r, key=lambda row: digest(["held out", row["id"]]))
    held = {row["id"] for row in by_hash[:min(n, len(d0r) // 4)]}
    learned = [row for row in d0r if row["id"] not in held]
    return learned, [row for row in d0r if row["id"] in held]


def pseudo_ratings(d0r: Sequence[Row], follower_outputs: Mapping[str, list[str]],
                   damaged_per_pair: int, follower_per_pair: int, mismatched_per_pair: int,
                   seed: int | str, hard_ones: Literal["half", "all", "none"] = "half",
                   ) -> tuple[list[PseudoRating], dict[str, int]]:
    """The pseudo-rating set of a round, and why outputs were left out: (rows, {reason: n}).

    follower_outputs: answers of the current follower by a row's id. Near copies of the true output
    and empty ones are left out. One that ran into the length cap stays: it is flawed, as its
    rating says.
    """
    rng = random.Random(f"pseudo/{seed}")
    wrong = mismatches(d0r, mismatched_per_pair, seed, hard_ones)
    rows: list[PseudoRating] = []
    dropped = {"near_copy": 0, "empty": 0}
    for i, pair in enumerate(d0r):
        true = pair["output"]
        outputs: list[tuple[Kind, str]] = [("true", true)]
        outputs += [("damaged", damage(true, rng)) for _ in range(damaged_per_pair)]
        outputs += [("mismatched", d0r[j]["output"]) for j in wrong[i]]
        for text in follower_outputs.get(pair["id"], [])[:follower_per_pair]:
            reason = _why_no_flaw(text, true)
            if reason:
                dropped[reason] += 1
            else:
                outputs.append(("follower", text))
        rows += [_rated(pair["instruction"], text, kind) for kind, text in outputs]
    return rows, dropped


def _why_no_flaw(text: str, true: str) -> str | None:
    """Why a follower's answer would be wrongly rated 1; None where it can be."""
    if not text:
        return "empty"
    return "near_copy" if near_copy(text, true) else None


def _rated(instruction: str, output: str, kind: Kind) -> PseudoRating:
    return {"instruction": instruction, "output": output, "rating": RATINGS[kind], "kind": kind}


def average(votes: Sequence[Vote]) -> Rating:
    """The mean probabilities of several evaluators for one row, and its most likely rating."""
    p0, p1, p2 = (_mean([vote[name] for vote in votes]) for name in ("p0", "p1", "p2"))
    likeliest = max((0, 1, 2), key=(p0, p1, p2).__getitem__)
    return {"p0": p0, "p1": p1, "p2": p2, "rating": likeliest}


def _mean(probabilities: list[float]) -> float:
    return round(sum(probabilities) / len(probabilities), 6)


def quality(rows: Sequence[Mapping[str, Any]],
            rated: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How well ratings fit pseudo-ratings that taught nothing.

    Returns {held_out_accuracy, held_out_auc, held_out_rows}. The AUC is that of p2, for rating 2
    against the rest; it is absent where one side is empty.
    """
    from sklearn.metrics import roc_auc_score

    right = [row["rating"] == own["rating"] for row, own in zip(rows, rated, strict=True)]
    figures = {"held_out_accuracy": sum(right) / len(right)}
    true = [row["rating"] == 2 for row in rows]
    if len(set(true)) == 2:
        figures["held_out_auc"] = float(roc_auc_score(true, [own["p2"] for own in rated]))
    figures["held_out_rows"] = len(rows)
    return figures


def commonest_share(rows: Sequence[Mapping[str, Any]]) -> float:
    """The accuracy of always guessing the commonest rating."""
    return Counter(row["rating"] for row in rows).most_common(1)[0][1] / len(rows)


def trusted(rows: Sequence[Mapping[str, Any]], votes: Sequence[Sequence[Vote]],
            ) -> tuple[list[int], dict[int, dict[str, float]]]:
    """Which evaluators to average: those that beat always guessing the commonest rating, or all.

    votes: each evaluator's probabilities for the held-out `rows`. Returns (numbers of evaluators,
    {number: its `quality`}).
    """
    qualities = {number: quality(rows, [average([vote]) for vote in own])
                 for number, own in enumerate(votes)}
    guessing = commonest_share(rows)
    better = [number for number, figures in qualities.items()
              if figures["held_out_accuracy"] > guessing]
    return better or list(qualities), qualities


def select(rated: Iterable[Row], keep: int, worst: bool = False) -> list[Row]:
    """The `keep` best candidates of any number by `score`, best first; with `worst`, the last ones.

    Ties are broken by id, so that the choice is the same anywhere. Only the chosen ones are held
    in memory.
    """
    def place(row: Row) -> tuple[float, str]:
        return -row["score"], row["id"]

    choose = heapq.nlargest if worst else heapq.nsmallest
    return sorted(choose(keep, rated, key=place), key=place)
