"""Flaws that are planted among candidates, and pairs that were set aside."""

import json
import math
import random

import pytest

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.evaluation import planted, set_aside
from xinstruct_utils.method import seeds

ROWS = [{"id": str(k), "instruction": x, "output": f"Jibu {k} ni hili. Lina sentensi mbili."}
        for k, x in enumerate(("A?", "A?", "B?", "C?"))]
TEXT = "Moja ni hii. Mbili ni hiyo. Tatu ni ile."


def rated(rows, low):
    """Rows with a p2 that is low for some kinds."""
    return [row | {"p2": 0.1 if row["kind"] in low else 0.9} for row in rows]


def test_planted_flaws_are_told_apart_by_who_sees_them():
    rows = planted.planted(ROWS, 3, 0)
    assert [row["kind"] for row in rows] == ["as it is", "damaged", "mismatched"] * 3
    whole = {row["of"]: row for row in rows if row["kind"] == "as it is"}
    for row in rows:
        true = whole[row["of"]]
        assert (row["output"] != true["output"]) == (row["kind"] == "damaged")
        assert (row["instruction"] != true["instruction"]) == (row["kind"] == "mismatched")
    seen = rated(rows, ["damaged"])
    assert planted.told_apart(seen, "p2") == {"damaged": 1.0, "mismatched": 0.5}
    assert planted.told_apart(rows[:1], "length") == {}
    assert planted.planted(ROWS, 3, 0) == rows == planted.planted(reversed(ROWS), 3, 0)
    drawn = {tuple(row["of"] for row in planted.planted(ROWS, 2, seed)) for seed in range(9)}
    assert len(drawn) > 1


@pytest.mark.parametrize("kind", planted.OF_TEXT)
def test_each_flaw_changes_the_text_and_is_what_its_name_says(kind):
    for seed in range(30):
        flawed = planted.OF_TEXT[kind](TEXT, random.Random(seed))
        assert flawed and flawed != TEXT
        if kind == "cut short":
            assert TEXT.startswith(flawed) and 0.3 < len(flawed) / len(TEXT) < 0.7
        if kind == "deleted":
            assert len(flawed) < len(TEXT)
        if kind == "repeated":
            assert len(flawed) > len(TEXT)
    assert planted.OF_TEXT[kind]("ข้อความไม่มีจุด", random.Random(0)) != "ข้อความไม่มีจุด"


def test_texts_of_a_file_stand_before_after_or_instead(tmp_path):
    file = tmp_path / "planted.jsonl"
    given = [{"kind": "navigation", "place": "before", "text": "Etusivu"},
             {"kind": "ticker", "place": "after", "text": "Lue lisää"},
             {"kind": "error page", "place": "instead", "text": "404 Not Found"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    rows = planted.planted(ROWS[:1], 1, 0, (), planted.foreign_texts(file))
    by_kind = {row["kind"]: row["output"] for row in rows}
    whole = ROWS[0]["output"]
    assert by_kind == {"as it is": whole, "navigation": f"Etusivu\n{whole}",
                       "ticker": f"{whole}\nLue lisää", "error page": "404 Not Found"}
    assert planted.foreign_texts(None) == planted.foreign_texts("") == []


@pytest.mark.parametrize(("row", "message"), [
    ({"kind": "a", "place": "under", "text": "b"}, "planted.jsonl, line 1: place is one of before"),
    ({"kind": "a", "text": "b"}, "planted.jsonl, line 1: expected the fields kind, place, text"),
    ({"kind": "a", "place": "before", "text": 3}, "planted.jsonl, line 1: expected the fields")])
def test_a_bad_row_of_that_file_is_named(tmp_path, row, message):
    file = tmp_path / "planted.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        planted.foreign_texts(file)


def test_an_auc_is_one_for_who_sees_a_flaw_and_a_half_for_who_does_not():
    rows = rated(planted.planted(ROWS, 4, 0), ["damaged"])
    found = planted.aucs(rows, "p2")
    assert found["damaged"]["auc"] == 1.0 and found["damaged"]["n"] == 4
    assert found["mismatched"]["auc"] == 0.5
    assert found["all"]["auc"] == 0.75
    assert found["damaged"]["low"] == found["damaged"]["high"] == 1.0
    reverse = planted.aucs(rated(rows, ["as it is"]), "p2")
    assert reverse["all"]["auc"] == 0.0


def test_the_auc_compares_with_copies_of_other_candidates_too():
    scores = {"a": (3.0, 2.0), "b": (1.0, 0.0)}     # each above its own copy, b below a's
    rows = [{"id": f"{of}-{kind}", "of": of, "kind": kind, "p2": value}
            for of, pair in scores.items() for kind, value in zip(("as it is", "x"), pair,
                                                                  strict=True)]
    assert planted.aucs(rows, "p2")["x"]["auc"] == 0.75
    assert planted.told_apart(rows, "p2") == {"x": 1.0}


def test_what_a_rater_could_not_read_does_not_count():
    rows = rated(planted.planted(ROWS, 4, 0), ["damaged"])
    rows[1]["p2"] = None
    assert planted.aucs(rows, "p2")["damaged"]["n"] == 3
    assert planted.aucs([row | {"p2": None} for row in rows], "p2") == {}
    assert planted.precision([row | {"p2": None} for row in rows], "p2") == {}


def test_precision_is_the_share_without_a_planted_flaw_among_as_many_as_have_none():
    rows = planted.planted(ROWS, 4, 0)
    best = planted.precision(rated(rows, ["damaged", "mismatched"]), "p2")
    assert best["precision"] == 1.0 and best["n"] == 4
    assert best["random"] == pytest.approx(1 / 3)
    assert planted.precision(rated(rows, ["as it is"]), "p2")["precision"] == 0.0


def test_pairs_set_aside_are_in_no_part_and_enough_are_left():
    rows = [{"id": f"{k:02d}", "instruction": "a", "output": "b"} for k in range(20)]
    kept, aside = seeds.set_aside(rows, 5, 0)
    assert len(aside) == 5 and len(kept) == 15
    assert not {row["id"] for row in kept} & {row["id"] for row in aside}
    assert seeds.set_aside(list(reversed(rows)), 5, 0)[1] == list(reversed(aside))
    assert seeds.set_aside(rows, 0, 0) == (rows, [])
    with pytest.raises(InputError, match="test_pairs is 9, but of 20 usable seed pairs"):
        seeds.set_aside(rows, 9, 0)


def test_a_true_instruction_is_nearer_than_those_of_others():
    pairs = [{"id": "a", "instruction": "What is the currency of Kenya?"},
             {"id": "b", "instruction": "Write a poem about the sea."}]
    rows = set_aside.closeness({row["id"]: row["instruction"] for row in pairs}, pairs, "minilm")
    for row in rows:
        assert row["chrf"] == pytest.approx(1.0) and row["cosine"] == pytest.approx(1.0, abs=1e-3)
        assert row["chrf_others"] < 0.3 and row["cosine_others"] < 0.5
    assert set_aside.closeness({"a": "x"}, pairs, "minilm") == []
    assert set_aside.closeness({"a": "x", "b": ""}, pairs, "minilm") == []


def test_bits_per_character_take_all_tokens():
    pairs = [{"id": "a", "output": "abcd"}, {"id": "b", "output": "ab"}]
    results = [{"id": "a", "log_likelihood": -math.log(2), "tokens": 8},
               {"id": "b", "log_likelihood": None, "tokens": 0}]
    assert set_aside.bits_per_char(results, pairs) == {"a": pytest.approx(2.0)}


def test_a_difference_is_taken_pair_by_pair():
    one, other = {"a": 3.0, "b": 5.0, "c": 1.0}, {"a": 2.0, "b": 4.0}
    found = set_aside.difference(one, other)
    assert (found["value"], found["low"], found["high"], found["n"]) == (1.0, 1.0, 1.0, 2)
    assert set_aside.difference(one, {}) == {}
