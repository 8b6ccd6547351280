"""tools/machine_variance.py: what it says of two trainings."""

import sys

from xinstruct_utils.core.paths import REPO

sys.path.insert(0, str(REPO / "tools"))
import machine_variance

FIRST = {"logits": [1.0, 2.0], "losses": [3.0, 2.0, 1.0], "seconds": 10.0,
         "greedy": ["a"] * 100, "sampled": ["b"] * 100}


def test_a_training_is_like_itself():
    row = machine_variance.compared(FIRST, FIRST)
    assert row["largest difference of a logit, untrained"] == 0
    assert row["first step with another loss"] is None
    assert row["same greedy texts"] == row["same sampled texts"] == row["time"] == 1


def test_the_first_step_that_differs_and_the_share_of_same_texts_are_told():
    other = FIRST | {"logits": [1.0, 2.25], "losses": [3.0, 2.5, 1.5], "seconds": 20.0,
                     "sampled": ["b"] * 30 + ["c"] * 70}
    row = machine_variance.compared(other, FIRST)
    assert row["largest difference of a logit, untrained"] == 0.25
    assert row["first step with another loss"] == 2 and row["steps"] == 3
    assert row["difference of the last loss"] == 0.5
    assert row["same greedy texts"] == 1 and row["same sampled texts"] == 0.3
    assert row["time"] == 2
