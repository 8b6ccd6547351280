"""Choices of data that differ in one thing, and how varied they are."""

import random

import numpy as np
import pytest

from xinstruct_utils.atlas import directions, oracle, pages, world
from xinstruct_utils.evaluation import diversity
from xinstruct_utils.method import data_choices

RATED = [{"id": f"r{k:02d}", "instruction": f"Name city {k}.", "score": (k % 5) / 10}
         for k in range(21)]


def test_the_better_half_has_no_lower_score_than_the_other_and_nobody_is_in_both():
    better, other = data_choices.bands(RATED).values()
    assert len(better) == len(other) == 10
    assert min(row["score"] for row in better) >= max(row["score"] for row in other)
    assert not {row["id"] for row in better} & {row["id"] for row in other}


def test_larger_choices_hold_the_smaller_ones_and_repeat():
    sizes = data_choices.four_sizes(16)
    assert sizes == [2, 4, 8, 16]
    drawn = data_choices.nested(RATED, sizes, "fi/0")
    assert [len(drawn[n]) for n in sizes] == sizes
    assert all(drawn[a] == drawn[b][:a] for a, b in zip(sizes, sizes[1:], strict=False))
    assert drawn == data_choices.nested(RATED, sizes, "fi/0")
    assert drawn != data_choices.nested(RATED, sizes, "fi/1")


@pytest.mark.parametrize(("n", "counts"), [(100, [1, 5, 12, 33, 100]), (3, [1, 3])])
def test_cluster_counts_go_from_one_to_one_for_every_row(n, counts):
    assert data_choices.cluster_counts(n) == counts


def test_one_cluster_gives_the_best_and_a_cluster_for_every_row_gives_all_topics():
    vectors = np.repeat(np.eye(3, dtype="float32"), 7, axis=0)
    best = data_choices.spread(RATED, vectors, 1, 6, 0)
    assert {row["score"] for row in best} == {0.4, 0.3}
    spread = data_choices.spread(RATED, vectors, 3, 6, 0)
    assert sorted(int(row["id"][1:]) // 7 for row in spread) == [0, 0, 1, 1, 2, 2]


def test_measures_of_what_is_all_the_same_and_of_what_is_all_different():
    same = np.ones((4, 1), "float32")
    apart = np.eye(4, dtype="float32")
    assert diversity.mean_distance(same) == pytest.approx(0)
    assert diversity.mean_distance(apart) == pytest.approx(1)
    assert diversity.vendi(same) == pytest.approx(1)
    assert diversity.vendi(apart) == pytest.approx(4)
    assert diversity.distinct_pairs(["name a city", "Name a city"]) == 0.5
    assert diversity.distinct_pairs(["one"]) == 0
    assert diversity.mean_distance(apart[:1]) == 0


def test_the_mean_distance_is_that_of_all_pairs():
    rows = np.random.default_rng(0).normal(size=(9, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = [rows[i] @ rows[j] for i in range(9) for j in range(9) if i != j]
    assert diversity.mean_distance(rows) == pytest.approx(1 - np.mean(cosines))


def test_both_directions_ask_the_same_and_tell_the_same_fact():
    fact = next(f for f in world.facts() if f.topic == "currency")
    native = pages.page(fact, "fi", random.Random(0))
    truth = {"s1": {"topic": fact.topic, "entity": fact.entity, "flaw": "clean", "kind": "pages"}}
    made = directions.pairs([{"id": "s1", "output": native}], truth, "fi", 0)
    (here,), (there,) = made["fi"], made["en"]
    assert here["instruction"] == there["instruction"] in pages.instructions(fact, "fi")
    assert directions.score(here["output"], [fact], "fi", "fi") == 10
    assert directions.score(there["output"], [fact], "en", "fi") == 10
    # The right answer in the wrong language is none, either way.
    assert directions.score(there["output"], [fact], "fi", "fi") == 0
    assert directions.score(here["output"], [fact], "en", "fi") == 0
    assert directions.score(" ", [fact], "en", "fi") == 0
    assert oracle.score(here["output"], [fact], "fi") == 10
