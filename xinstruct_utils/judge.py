"""Pairwise judging: both orders, the paper's win rule, rates with confidence intervals (paper 5.2).

A judge is a function (instruction row, answer 1, answer 2) -> (score 1, score 2), or None where its
verdict could not be read. In the Atlas the oracle is the judge.
"""

VERDICTS = ("win", "tie", "lose", "unparsed")


def verdict(first, second):
    """The paper's win rule for model A from two orders, each (A's score, B's score) or None.

    A wins when it wins both orders, or wins one and draws one; the mirror case is a loss; all else is a tie.
    An unread judgement is "unparsed", never a number.
    """
    if first is None or second is None:
        return "unparsed"
    balance = sum((a > b) - (a < b) for a, b in (first, second))
    return "win" if balance > 0 else "lose" if balance < 0 else "tie"


def compare(prompts, answers_a, answers_b, judge):
    """Judge two models' answers in both orders.

    `prompts` are rows with an id; answers map id -> text. Returns rows {id, category, verdict, score_a, score_b},
    the scores averaged over both orders.
    """
    rows = []
    for prompt in prompts:
        a, b = answers_a[prompt["id"]], answers_b[prompt["id"]]
        first, swapped = judge(prompt, a, b), judge(prompt, b, a)
        second = swapped and swapped[::-1]
        read = first is not None and second is not None
        rows.append({"id": prompt["id"], "category": prompt.get("category"), "verdict": verdict(first, second),
                     "score_a": (first[0] + second[0]) / 2 if read else None,
                     "score_b": (first[1] + second[1]) / 2 if read else None})
    return rows


def rates(verdicts):
    """Share of each verdict, and n: {"win", "tie", "lose", "unparsed", "n"}. Unread ones stay in the denominator."""
    n = len(verdicts)
    return {v: sum(x == v for x in verdicts) / n if n else None for v in VERDICTS} | {"n": n}


def interval(values, statistic, draws=1000, seed=0):
    """95% bootstrap interval of a statistic over items. Returns (low, high)."""
    import numpy as np

    rng, values = np.random.default_rng(seed), np.asarray(values)
    made = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(draws)]
    low, high = np.percentile(made, [2.5, 97.5])
    return float(low), float(high)


def sign_test(wins, losses):
    """Two-sided p value of `wins` against `losses`, ties left out (exact binomial)."""
    from math import comb

    n, k = wins + losses, max(wins, losses)
    return min(1.0, 2 * sum(comb(n, i) for i in range(k, n + 1)) / 2**n) if n else 1.0
