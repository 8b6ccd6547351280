"""Diversification (paper 3.4): embed the instructions, cluster them, sample clusters equally."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypedDict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.models.loading import encoder_path

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

POINTS_TO_BEGIN = 64         # a centroid, among which k-means looks for its first centroids


class Share(TypedDict):
    """What a cluster gave: its quota, what was picked, and what was short of the quota."""

    cluster: int
    size: int
    quota: int
    picked: int
    short: int


def embed(texts: Sequence[str], encoder: str = "minilm", threads: int = 1,
          batch: int = 64) -> "np.ndarray":
    """L2-normalised sentence embeddings, float32 of shape (n, d).

    The paper's encoder is all-mpnet-base-v2. Weights are read as safetensors only. Raises
    InputError without texts, or where the encoder cannot be loaded.
    """
    if not texts:
        raise InputError("there is no instruction to embed: the rounds of 04_refinement kept "
                         "nothing; look at their counts of dropped rows")
    import torch

    torch.set_num_threads(threads)
    unique = sorted(set(texts))                  # many pages answer the same instruction
    vectors = _encoder(encoder).encode(unique, batch_size=batch, normalize_embeddings=True,
                                       show_progress_bar=False)
    place = {text: i for i, text in enumerate(unique)}
    return vectors[[place[text] for text in texts]].astype("float32")


def _encoder(name: str) -> "SentenceTransformer":
    """The sentence encoder: "minilm", a folder or a hub id. Raises InputError."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()     # loading the weights would leave one in the notebook
    try:
        return SentenceTransformer(encoder_path(name), trust_remote_code=False,
                                   model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise InputError(f"encoder {name!r}: expected 'minilm', a folder or a hub id that can be "
                         f"loaded, but: {error}") from None


def kmeans(vectors: "np.ndarray", k: int, seed: int = 0) -> "tuple[np.ndarray, np.ndarray]":
    """k-means over all points. Returns labels of shape (n,) and centroids of shape (k, d).

    faiss trains on at most 256 points a centroid unless told otherwise; here it sees them all. One
    thread, so that it repeats.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    points = np.ascontiguousarray(vectors)
    n, dimensions = points.shape
    k = min(k, n)
    model = faiss.Kmeans(dimensions, k, niter=25, seed=seed, max_points_per_centroid=n,
                         min_points_per_centroid=1)
    model.train(points, init_centroids=_first_centroids(points, k, seed))
    _, nearest = model.index.search(points, 1)
    return nearest[:, 0], np.asarray(model.centroids)


def _first_centroids(points: "np.ndarray", k: int, seed: int) -> "np.ndarray":
    """Where k-means begins, of shape (k, d): greedy k-means++ on some points of each centroid.

    It tries several points for each centroid and takes the best. With one try, as faiss does it,
    clusters that lie far apart are merged: of 500, the inertia was a fifth higher (LOG.md).
    """
    import numpy as np
    from sklearn.cluster import kmeans_plusplus
    from threadpoolctl import threadpool_limits

    some = np.random.default_rng(seed).permutation(len(points))[:k * POINTS_TO_BEGIN]
    with threadpool_limits(1):
        return kmeans_plusplus(points[np.sort(some)], k, random_state=seed)[0]


def sample_equal(rows: Sequence[dict], labels: Iterable[int], n: int,
                 key: Callable[[dict], float]) -> tuple[list[dict], list[Share]]:
    """`n` rows with an equal quota for each cluster, best first, ties by id.

    labels: the cluster of each row; key: larger is better. What a small cluster cannot fill is
    shared out among the others round by round, best first. Returns the picked rows with their
    `cluster`, and each cluster's share. Raises InputError without rows.
    """
    if not rows:
        raise InputError("there is no row to sample from: 04_refinement kept nothing; look at its "
                         "counts of dropped rows")

    def rank(row: dict) -> tuple[float, str]:
        return -key(row), row["id"]

    members: dict[int, list[dict]] = defaultdict(list)
    for row, label in zip(rows, labels, strict=True):
        members[int(label)].append(row)
    groups = {cluster: sorted(members[cluster], key=rank) for cluster in sorted(members)}
    n = min(n, len(rows))
    quota = n // len(groups)
    take = {cluster: min(quota, len(group)) for cluster, group in groups.items()}
    while (left := n - sum(take.values())) > 0:
        # One more for each cluster that has one left, the best candidates first.
        unfilled = [c for c, group in groups.items() if take[c] < len(group)]
        unfilled.sort(key=lambda c: rank(groups[c][take[c]]))
        for cluster in unfilled[:left]:
            take[cluster] += 1
    picked = [{**row, "cluster": cluster}
              for cluster, group in groups.items() for row in group[: take[cluster]]]
    shares: list[Share] = [
        {"cluster": cluster, "size": len(group), "quota": quota, "picked": take[cluster],
         "short": max(0, quota - take[cluster])} for cluster, group in groups.items()]
    return picked, shares


def project(vectors: "np.ndarray", method: str = "pca", seed: int = 0) -> "np.ndarray":
    """Coordinates (n, 2) for vectors (n, d).

    "pca" at once, or "umap" (14 s for 1,500, most of it compilation).
    """
    import numpy as np

    if method == "umap":
        import umap

        return umap.UMAP(metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
    centred = vectors - vectors.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
