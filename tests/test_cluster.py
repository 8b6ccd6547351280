"""Embedding, clustering, equal sampling with its shortfall rule."""

import os
import subprocess
import sys

import numpy as np
import pytest

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.method import diversification


def rows(n):
    return [{"id": f"{k:03d}", "p2": (k * 37 % 100) / 100} for k in range(n)]


def test_equal_quota_best_first_and_what_is_short_is_shared_out():
    labels = [0] * 2 + [1] * 10 + [2] * 10
    picked, table = diversification.sample_equal(rows(22), labels, 15, lambda r: r["p2"])
    taken = {t["cluster"]: t["picked"] for t in table}
    assert taken[0] == 2 and {taken[1], taken[2]} == {6, 7} and len(picked) == 15
    assert {t["cluster"]: t["short"] for t in table} == {0: 3, 1: 0, 2: 0}
    best = sorted((r["p2"] for r in rows(22)[2:12]), reverse=True)[:taken[1]]
    assert sorted((r["p2"] for r in picked if r["cluster"] == 1), reverse=True) == best


def test_asking_for_more_than_there_is_gives_everything_once():
    picked, _ = diversification.sample_equal(rows(5), [0, 0, 1, 1, 1], 99, lambda r: r["p2"])
    assert sorted(r["id"] for r in picked) == [r["id"] for r in rows(5)]


def blobs():
    """Three clouds of 400 points, far apart."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(c, 0.05, (400, 8)) for c in (-1, 0, 1)]).astype("float32")


def test_the_encoder_works_with_as_many_threads_as_the_profile_says(monkeypatch):
    import torch

    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    diversification.embed(["Bake a cake"], threads=3)
    assert told == [3]


@pytest.mark.parametrize("seed", range(12))
def test_kmeans_finds_clusters_that_lie_far_apart_whatever_the_seed(seed):
    """From random starting points, faiss's default, seeds 2, 4 and 7 merged two of the three."""
    assert sorted(np.bincount(diversification.kmeans(blobs(), 3, seed)[0])) == [400, 400, 400]


def test_of_many_clusters_hardly_any_are_merged():
    """Begun with plain k-means++ the inertia was twice that of the true centres here."""
    rng = np.random.default_rng(0)
    centres, own = rng.normal(size=(100, 64)), np.arange(3000) % 100
    points = (centres[own] + 0.2 * rng.normal(size=(3000, 64))).astype("float32")
    labels, centroids = diversification.kmeans(points, 100)
    inertia = ((points - centroids[labels]) ** 2).sum()
    assert inertia < 1.4 * ((points - centres[own]) ** 2).sum()


def test_kmeans_trains_on_all_points():
    """At the end each centroid is the mean of its points; trained on faiss's 256 a centroid it is
    the mean of those only.
    """
    points = blobs()
    labels, centroids = diversification.kmeans(points, 3)
    assert all(np.allclose(centroids[c], points[labels == c].mean(0), atol=1e-5) for c in range(3))


def test_clusters_are_the_same_in_another_process_with_more_threads():
    code = (
        "import sys, hashlib; sys.path.insert(0, 'tests')\n"
        "from test_cluster import blobs, diversification\n"
        "arrays = diversification.kmeans(blobs(), 40, 5)\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in arrays)).hexdigest())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(REPO)},
        ).stdout
        for threads in "12"
    }
    assert len(made) == 1 and len(made.pop()) == 65


def test_more_clusters_than_points_is_no_error():
    labels, centroids = diversification.kmeans(np.eye(4, dtype="float32"), 10)
    assert len(set(labels)) <= 4 and len(centroids) == 4


def test_embeddings_have_length_one_and_likes_are_near():
    made = diversification.embed(
        ["What is the currency of Kenya?", "Name the currency of Ghana.", "Bake a cake"], "minilm"
    )
    assert (
        np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-4)
        and made[0] @ made[1] > made[0] @ made[2]
    )


def test_embeddings_do_not_depend_on_what_is_repeated_and_leave_no_progress_bar(capfd):
    texts = ["Name a river.", "Who wrote it?", "Name a river."]
    one, two = diversification.embed(texts), diversification.embed(texts[:2])
    assert (
        one.dtype == np.float32
        and one.shape == (3, 384)
        and (one[0] == one[2]).all()
        and (one[:2] == two).all()
    )
    assert "%|" not in "".join(capfd.readouterr())


def test_the_quota_is_of_what_there_is_so_that_only_true_shortfalls_are_reported():
    _, table = diversification.sample_equal(rows(5), [0, 0, 0, 0, 1], 100, lambda r: r["p2"])
    assert [(t["quota"], t["picked"], t["short"]) for t in table] == [(2, 4, 0), (2, 1, 1)]


def test_fewer_rows_than_clusters_come_from_the_best_clusters():
    picked, _ = diversification.sample_equal(rows(9), range(9), 4, lambda r: r["p2"])
    assert {r["id"] for r in picked} == {
        r["id"] for r in sorted(rows(9), key=lambda r: -r["p2"])[:4]
    }


def test_nothing_to_sample_or_to_embed_is_a_clear_error():
    with pytest.raises(InputError, match="no row to sample from"):
        diversification.sample_equal([], [], 5, lambda r: r["p2"])
    with pytest.raises(InputError, match="no instruction to embed"):
        diversification.embed([])


def test_an_encoder_that_cannot_be_loaded_is_a_clear_error(tmp_path):
    for encoder in (str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(InputError, match="expected 'minilm', a folder or a hub id"):
            diversification.embed(["a"], encoder)
