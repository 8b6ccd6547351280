"""The benchmark of peers: every part can be measured, and a ratio below its floor is an error."""

import os
import sys

import pytest

from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO

sys.path.insert(0, str(REPO / "benchmarks"))
import peers


@pytest.mark.parametrize("name", [name for name in peers.PARTS if not name.startswith("judge")])
def test_both_sides_of_a_part_run(name, monkeypatch):
    monkeypatch.setattr(peers, "ROWS", 4)
    if name == "clustering":
        ours, theirs = peers.clustering(n=400, dimensions=8, k=4)
    elif name == "parser":
        ours, theirs = peers.parsing(n=2)
    elif name == "near-duplicates" and not os.environ.get("XINSTRUCT_DATATROVE"):
        pytest.skip("XINSTRUCT_DATATROVE names no Python that has datatrove")
    else:
        ours, theirs = peers.PARTS[name].made()
    assert peers.seconds(ours) > 0 and peers.seconds(theirs) > 0


def test_the_judges_client_is_faster_than_a_loop_and_not_faster_than_waiting(monkeypatch):
    monkeypatch.setattr(peers, "REQUESTS", 32)
    ours, theirs = peers.judging(peers.one_after_the_other, 0.05)
    assert peers.seconds(ours) < peers.seconds(theirs)
    ours, theirs = peers.judging(peers.ideal, 0.2)
    assert peers.seconds(theirs) <= peers.seconds(ours)


def test_a_part_without_its_peer_is_left_out_and_said_to_be(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("XINSTRUCT_DATATROVE", raising=False)
    assert peers.main(["near-duplicates"], tmp_path / "peers.json") == 0
    assert capsys.readouterr().err == ("near-duplicates is left out: XINSTRUCT_DATATROVE names no "
                                       "Python that has datatrove\n")
    assert read_json(tmp_path / "peers.json")["parts"] == {}


def test_of_the_texts_every_fifth_is_a_near_duplicate():
    texts = peers._repeating(10)
    words = [text.split() for text in texts]
    shared = [sum(a == b for a, b in zip(one, two, strict=True))
              for one, two in zip(words, words[1:], strict=False)]
    assert [n >= 145 for n in shared] == [k % 5 == 3 for k in range(9)]


def test_a_ratio_below_its_floor_is_an_error_and_all_figures_are_written(
        tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "seconds", lambda work: work())
    slow = peers.Part("slow", lambda: (lambda: 2, lambda: 1), 5, 0.9)
    fast = peers.Part("fast", lambda: (lambda: 1, lambda: 10), 5, 3)
    monkeypatch.setattr(peers, "PARTS", {"slow": slow, "fast": fast})
    out = tmp_path / "peers.json"
    assert peers.main(["fast"], out) == 0
    assert peers.main([], out) == 1
    assert capsys.readouterr().err == "below the floor: slow\n"
    parts = read_json(out)["parts"]
    assert parts["slow"] == {"times as fast": 0.5, "all": [0.5] * 3, "goal": 5, "floor": 0.9}
    assert parts["fast"]["times as fast"] == 10
