"""Intervals, tests and agreement."""

from itertools import combinations


def interval(values, statistic=lambda x: x.mean(), draws=1000, seed=0):
    """95% bootstrap interval of a statistic over items, the mean by default: (low, high); (None, None) of no items."""
    import numpy as np

    if not len(values):
        return None, None
    rng, values = np.random.default_rng(seed), np.asarray(values)
    made = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(draws)]
    low, high = np.percentile(made, [2.5, 97.5])
    return float(low), float(high)


def sign_test(wins, losses):
    """Two-sided p value of `wins` against `losses`, ties left out (exact binomial)."""
    from math import comb

    n, k = wins + losses, max(wins, losses)
    return min(1.0, 2 * sum(comb(n, i) for i in range(k, n + 1)) / 2**n) if n else 1.0


def kappa(ours, theirs):
    """Cohen's kappa of two {id: verdict} over the ids that both have a verdict for, and n; None where it is undefined."""
    from sklearn.metrics import cohen_kappa_score

    both = [k for k in ours if k in theirs and "unparsed" not in (ours[k], theirs[k])]
    if len({ours[k] for k in both} | {theirs[k] for k in both}) < 2:
        return {"kappa": None, "n": len(both)}
    return {"kappa": float(cohen_kappa_score([ours[k] for k in both], [theirs[k] for k in both])), "n": len(both)}


def share(rows, question, wanted):
    """{"share", "low", "high", "items", "labels"}: how often a question was answered so, or {} without labels.

    Each item counts once, by the mean over its annotators; the 95% interval is Wilson's over items.
    """
    per_item = {}
    for row in rows:
        per_item.setdefault(row["item"], []).append(row[question] == wanted)
    n, z2 = len(per_item), 1.959964**2
    if not n:
        return {}
    p = sum(sum(v) / len(v) for v in per_item.values()) / n
    middle, half = (p + z2 / (2 * n)) / (1 + z2 / n), (z2 * (p * (1 - p) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    return {"share": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "items": n, "labels": len(rows)}


def cohen(rows, question):
    """Cohen's kappa of every two annotators with items in common: rows {annotators, items, agreement, kappa}.

    kappa is None where both say the same about everything: there is no chance agreement to correct for.
    """
    from sklearn.metrics import cohen_kappa_score

    by, found = {}, []
    for row in rows:
        by.setdefault(row["annotator"], {})[row["item"]] = row[question]
    for a, b in combinations(sorted(by), 2):
        if both := sorted(by[a].keys() & by[b].keys()):
            one, other = [by[a][i] for i in both], [by[b][i] for i in both]
            found.append({"annotators": f"{a}, {b}", "items": len(both),
                          "agreement": sum(x == y for x, y in zip(one, other, strict=True)) / len(both),
                          "kappa": float(cohen_kappa_score(one, other)) if len({*one, *other}) > 1 else None})
    return found


def fleiss(rows, question):
    """Fleiss' kappa over the items with two labels or more, whoever gave them; None where it is not defined."""
    from collections import Counter

    per_item = {}
    for row in rows:
        per_item.setdefault(row["item"], Counter())[row[question]] += 1
    counts = [c for c in per_item.values() if c.total() > 1]
    everything = sum(counts, Counter())
    chance = sum((n / everything.total()) ** 2 for n in everything.values()) if counts else 1.0
    agreed = [sum(n * (n - 1) for n in c.values()) / (c.total() * (c.total() - 1)) for c in counts]
    return (sum(agreed) / len(agreed) - chance) / (1 - chance) if chance < 1 else None
