"""Diversification (paper 3.4): embed the instructions, cluster them, sample the clusters equally."""

from collections import defaultdict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.models.loading import encoder_path


def embed(texts, encoder="minilm", threads=1, batch=64):
    """L2-normalised sentence embeddings, float32 of shape (n, d). The paper's encoder is all-mpnet-base-v2.

    Weights are read as safetensors only. Raises InputError without texts, or where the encoder cannot be loaded.
    """
    if not texts:
        raise InputError("there is no instruction to embed: the rounds of 04_refinement kept nothing; look at their counts of "
                         "dropped rows")
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.disable_progress_bar()               # loading the weights would leave one in the notebook
    unique = sorted(set(texts))                  # many pages answer the same instruction
    try:
        model = SentenceTransformer(encoder_path(encoder), trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise InputError(f"encoder {encoder!r}: expected 'minilm', a folder or a hub id that can be loaded, but: {error}"
                         ) from None
    made = model.encode(unique, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)
    place = {text: i for i, text in enumerate(unique)}
    return made[[place[t] for t in texts]].astype("float32")


def kmeans(vectors, k, seed=0):
    """k-means over all points. Returns (labels of shape (n,), centroids of shape (k, d)).

    faiss trains on at most 256 points a centroid unless told otherwise; here it sees them all. It begins with k-means++:
    from random points, 10 of 30 seeds merged two of three clusters that lie far apart. One thread, so that it repeats.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    k = min(k, len(vectors))
    model = faiss.Kmeans(vectors.shape[1], k, niter=25, seed=seed, max_points_per_centroid=len(vectors),
                         min_points_per_centroid=1, init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS)
    model.train(np.ascontiguousarray(vectors))
    return model.index.search(np.ascontiguousarray(vectors), 1)[1][:, 0], model.centroids


def sample_equal(rows, labels, n, key):
    """`n` rows with an equal quota for each cluster, best first by `key` (larger is better), ties by id.

    What a small cluster cannot fill is shared out among the others round by round, best first. Returns
    (picked rows with their cluster, table: cluster, size, quota, picked, short). Raises InputError without rows.
    """
    if not rows:
        raise InputError("there is no row to sample from: 04_refinement kept nothing; look at its counts of dropped rows")
    groups = defaultdict(list)
    for row, label in zip(rows, labels, strict=True):
        groups[int(label)].append(row)
    for group in groups.values():
        group.sort(key=lambda r: (-key(r), r["id"]))
    n = min(n, len(rows))
    quota = n // len(groups)
    take = {c: min(quota, len(g)) for c, g in groups.items()}
    while sum(take.values()) < n:                # one more for each cluster that has one left, best candidates first
        open_clusters = sorted((c for c in groups if take[c] < len(groups[c])),
                               key=lambda c: (-key(groups[c][take[c]]), groups[c][take[c]]["id"]))
        for c in open_clusters[: n - sum(take.values())]:
            take[c] += 1
    picked = [{**row, "cluster": c} for c in sorted(groups) for row in groups[c][: take[c]]]
    table = [{"cluster": c, "size": len(groups[c]), "quota": quota, "picked": take[c], "short": max(0, quota - take[c])}
             for c in sorted(groups)]
    return picked, table


def project(vectors, method="pca", seed=0):
    """Coordinates (n, 2) for vectors (n, d): "pca" at once, or "umap" (14 s for 1,500, most of it compilation)."""
    import numpy as np

    if method == "umap":
        import umap

        return umap.UMAP(metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
    centred = vectors - vectors.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
