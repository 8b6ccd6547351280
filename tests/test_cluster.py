"""Embedding, clustering, equal sampling with its shortfall rule."""

import numpy as np

from xinstruct_utils import cluster


def rows(n):
    return [{"id": f"{k:03d}", "p2": (k * 37 % 100) / 100} for k in range(n)]


def test_equal_quota_best_first_and_what_is_short_is_shared_out():
    labels = [0] * 2 + [1] * 10 + [2] * 10
    picked, table = cluster.sample_equal(rows(22), labels, 15, lambda r: r["p2"])
    taken = {t["cluster"]: t["picked"] for t in table}
    assert taken[0] == 2 and {taken[1], taken[2]} == {6, 7} and len(picked) == 15
    assert {t["cluster"]: t["short"] for t in table} == {0: 3, 1: 0, 2: 0}
    best = sorted((r["p2"] for r in rows(22)[2:12]), reverse=True)[:taken[1]]
    assert sorted((r["p2"] for r in picked if r["cluster"] == 1), reverse=True) == best


def test_asking_for_more_than_there_is_gives_everything_once():
    picked, _ = cluster.sample_equal(rows(5), [0, 0, 1, 1, 1], 99, lambda r: r["p2"])
    assert sorted(r["id"] for r in picked) == [r["id"] for r in rows(5)]


def test_kmeans_trains_on_all_points_and_is_repeatable():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(c, 0.05, (400, 8)) for c in (-1, 0, 1)]).astype("float32")
    (one, _), (two, _) = (cluster.kmeans(points, 3, seed=4) for _ in range(2))
    assert (one == two).all() and sorted(np.bincount(one)) == [400, 400, 400]


def test_more_clusters_than_points_is_no_error():
    labels, centroids = cluster.kmeans(np.eye(4, dtype="float32"), 10)
    assert len(set(labels)) <= 4 and len(centroids) == 4


def test_embeddings_have_length_one_and_likes_are_near():
    made = cluster.embed(["What is the currency of Kenya?", "Name the currency of Ghana.", "Bake a cake"], "minilm")
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-4) and made[0] @ made[1] > made[0] @ made[2]
