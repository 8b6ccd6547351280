"""Choices among a run's candidates that differ in one thing (paper 5.4 and C.2).

What refining, rating, size and variety of the data are worth is seen by models that are tuned on
each choice. The method itself chooses in `refinement` and `diversification`.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xinstruct_utils.method import diversification

if TYPE_CHECKING:
    import numpy as np

Row = dict[str, Any]


def spread(kept: Sequence[Row], vectors: "np.ndarray", clusters: int, n: int,
           seed: int) -> list[Row]:
    """`n` of the kept rows, the same number from each cluster, as 05_diversification does.

    vectors: embeddings of their instructions, (len(kept), d).
    """
    labels, _ = diversification.kmeans(vectors, clusters, seed)
    return diversification.sample_equal(kept, labels, n, lambda row: row["score"])[0]


def bands(rated: Sequence[Row]) -> dict[str, list[Row]]:
    """Candidates in two halves by their score, ties by id: {"better half", "other half"}."""
    ranked = sorted(rated, key=lambda row: (-row["score"], row["id"]))
    half = len(ranked) // 2
    return {"better half": ranked[:half], "other half": ranked[half:2 * half]}


def four_sizes(largest: int) -> list[int]:
    """Four sizes, each twice the one before (the paper's Figure 7b has 4k to 32k)."""
    return [size for size in (largest // 8, largest // 4, largest // 2, largest) if size]


def nested(rows: Sequence[Row], sizes: Sequence[int], seed: int | str) -> dict[int, list[Row]]:
    """Random choices of these sizes, each of which holds the smaller ones."""
    drawn = random.Random(f"nested/{seed}").sample(list(rows), len(rows))
    return {size: drawn[:size] for size in sizes}


def cluster_counts(n: int) -> list[int]:
    """Five numbers of clusters for a choice of `n` rows, from one to one for every row."""
    return sorted({1, max(1, n // 20), max(1, n // 8), max(1, n // 3), n})
