"""How varied a set of instructions is, in three ways that do not depend on clusters (paper C.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def mean_distance(vectors: "np.ndarray") -> float:
    """Mean cosine distance of two different rows, in [0, 2].

    vectors: (n, d) of length one. Of fewer than two rows it is 0.
    """
    n = len(vectors)
    if n < 2:
        return 0.0
    total = vectors.astype("float64").sum(0)
    return float(1 - (total @ total - n) / (n * (n - 1)))


def vendi(vectors: "np.ndarray") -> float:
    """The Vendi score: how many different instructions there are in effect, 1 to n.

    The exponential of the entropy of the eigenvalues of the cosines' matrix over n (Friedman and
    Dieng, 2023). vectors: (n, d) of length one, n > 0.
    """
    import numpy as np

    shares = np.linalg.svd(vectors.astype("float64"), compute_uv=False) ** 2 / len(vectors)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def distinct_pairs(texts: Sequence[str]) -> float:
    """Share of different pairs of words that follow each other (distinct-2), in [0, 1].

    Without any pair it is 0.
    """
    pairs: list[tuple[str, str]] = []
    for text in texts:
        words = text.lower().split()
        pairs += zip(words, words[1:], strict=False)
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def measures(texts: Sequence[str], vectors: "np.ndarray") -> dict[str, float]:
    """All three: {"mean distance", "effective number", "distinct pairs"}."""
    return {"mean distance": mean_distance(vectors), "effective number": vendi(vectors),
            "distinct pairs": distinct_pairs(texts)}
