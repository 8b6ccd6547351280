"""Intervals, tests and agreement."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations

Z = 1.959964                                           # of a 95% interval


def interval(values: Sequence, statistic: Callable = lambda x: x.mean(), draws: int = 1000,
             seed: int = 0) -> tuple[float | None, float | None]:
    """95% bootstrap interval of a statistic over items, the mean by default: (low, high).

    (None, None) of no items.
    """
    import numpy as np

    if not len(values):
        return None, None
    rng = np.random.default_rng(seed)
    items = np.asarray(values)
    draw = [statistic(items[rng.integers(0, len(items), len(items))]) for _ in range(draws)]
    low, high = np.percentile(draw, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean of a few repetitions with its 95% interval by Student's t: (mean, low, high).

    Seeds, not items, are what is repeated; one alone has no interval. Raises ValueError of none.
    """
    from statistics import fmean

    from scipy.stats import sem, t

    mean, n = fmean(values), len(values)
    if n < 2:
        return mean, None, None
    half = float(t.ppf(0.975, n - 1) * sem(values))
    return mean, mean - half, mean + half


def verdict(low: float | None, high: float | None) -> str:
    """What an interval of a difference says: "higher", "lower", or "undecided" where it holds 0."""
    if low is None or high is None or not (low > 0 or high < 0):
        return "undecided"                       # also where it is no number
    return "higher" if low > 0 else "lower"


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p value of `wins` against `losses`, ties left out (exact binomial)."""
    from math import comb

    n, most = wins + losses, max(wins, losses)
    if not n:
        return 1.0
    return min(1.0, 2 * sum(comb(n, i) for i in range(most, n + 1)) / 2**n)


def kappa(ours: dict[Hashable, str], theirs: dict[Hashable, str]) -> dict:
    """Cohen's kappa of two {id: label} over the ids that both have, and n: {"kappa", "n"}.

    "unparsed" is no label. kappa is None where both say the same about everything: there is no
    chance agreement to correct for.
    """
    from sklearn.metrics import cohen_kappa_score

    both = [k for k in ours if k in theirs and "unparsed" not in (ours[k], theirs[k])]
    one, other = [ours[k] for k in both], [theirs[k] for k in both]
    defined = len({*one, *other}) > 1
    return {"kappa": float(cohen_kappa_score(one, other)) if defined else None, "n": len(both)}


def cohen(rows: list[dict], question: str) -> list[dict]:
    """`kappa` of every two annotators with items in common: {annotators, items, agreement, kappa}.

    rows: labels {item, annotator, and the answer to `question`}.
    """
    given: dict[str, dict] = defaultdict(dict)
    for row in rows:
        given[row["annotator"]][row["item"]] = row[question]
    found = []
    for a, b in combinations(sorted(given), 2):
        if both := given[a].keys() & given[b].keys():
            equal = sum(given[a][item] == given[b][item] for item in both)
            found.append({"annotators": f"{a}, {b}", "items": len(both),
                          "agreement": equal / len(both),
                          "kappa": kappa(given[a], given[b])["kappa"]})
    return found


def fleiss(rows: list[dict], question: str) -> float | None:
    """Fleiss' kappa over the items with two labels or more, whoever gave them.

    rows: labels {item, and the answer to `question`}; None where it is not defined.
    """
    per_item: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        per_item[row["item"]][row[question]] += 1
    counts = [c for c in per_item.values() if c.total() > 1]
    if not counts:
        return None
    labels: Counter = sum(counts, Counter())
    chance = sum((n / labels.total()) ** 2 for n in labels.values())
    if chance >= 1:
        return None
    equal = [sum(n * (n - 1) for n in c.values()) / (c.total() * (c.total() - 1)) for c in counts]
    return (sum(equal) / len(equal) - chance) / (1 - chance)


def wilson(p: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share `p` of `n` items."""
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = (Z**2 * (p * (1 - p) / n + Z**2 / (4 * n * n))) ** 0.5 / (1 + Z**2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def share(rows: list[dict], question: str, wanted: str) -> dict:
    """{"share", "low", "high", "items", "labels"}: how often a question was answered so.

    Each item counts once, by the mean over its annotators; the 95% interval is Wilson's over
    items. {} without labels.
    """
    per_item = defaultdict(list)
    for row in rows:
        per_item[row["item"]].append(row[question] == wanted)
    n = len(per_item)
    if not n:
        return {}
    p = sum(sum(v) / len(v) for v in per_item.values()) / n
    low, high = wilson(p, n)
    return {"share": p, "low": low, "high": high, "items": n, "labels": len(rows)}
