"""Pseudo-ratings and selection."""

import random

from xinstruct_utils import refine

ROWS = [{"id": f"{k:02d}", "instruction": f"What is the currency of Land{k}?", "output": f"Sarafu ya {k} ni Pesa{k}. Karibu."}
        for k in range(40)]


def test_damage_never_returns_the_text_itself():
    rng = random.Random(0)
    for text in ("Moja. Mbili. Tatu.", "สกุลเงินของประเทศนี้คือเยน", "x" * 70, "- a\n- b\n- c"):
        assert all(refine.damage(text, rng) not in (text, "") for _ in range(200))


def test_pieces_join_to_the_text():
    for text in ("One. Two!  Three?\nFour", "ایک۔ دو۔", "no mark"):
        assert "".join(refine.pieces(text)) == text


def test_a_mismatch_is_another_output_and_hard_ones_share_the_wording():
    rows = ROWS + [{"id": f"p{k}", "instruction": f"Write a profile about Land{k}", "output": f"Nchi {k}"} for k in range(40)]
    wrong = refine.mismatches(rows, 2, 0)
    assert all(j != i and rows[j]["output"] != rows[i]["output"] for i, js in enumerate(wrong) for j in js)
    same_wording = sum(rows[js[0]]["instruction"][:5] == rows[i]["instruction"][:5] for i, js in enumerate(wrong))
    assert same_wording > 0.9 * len(rows)


def test_a_hard_mismatch_is_never_about_the_same_thing():
    rows = ROWS + [{"id": f"q{k}", "instruction": f"Name the currency of Land{k}", "output": f"Ni Pesa{k}"} for k in range(40)]
    for i, js in enumerate(refine.mismatches(rows, 3, 1)):
        assert all(rows[j]["instruction"].rstrip("?").split()[-1] != rows[i]["instruction"].rstrip("?").split()[-1] for j in js)


def test_ratings_are_two_one_one_zero_and_near_copies_are_left_out():
    answers = {r["id"]: [r["output"]] for r in ROWS[:10]} | {r["id"]: ["Sijui"] for r in ROWS[10:]}
    made, dropped = refine.pseudo_ratings(ROWS, answers, 2, 1, 2, 0)
    kinds = [(r["kind"], r["rating"]) for r in made]
    assert set(kinds) == {("true", 2), ("damaged", 1), ("follower", 1), ("mismatched", 0)}
    assert dropped == {"near_copy": 10, "empty": 0} and kinds.count(("follower", 1)) == 30 and kinds.count(("true", 2)) == 40


def test_selection_is_by_p2_then_id_and_expected_rating_on_request():
    rated = [{"id": "b", "p1": 0.1, "p2": 0.6}, {"id": "a", "p1": 0.4, "p2": 0.6}, {"id": "c", "p1": 1.0, "p2": 0.0}]
    assert [r["id"] for r in refine.select(rated, 2)] == ["a", "b"]
    assert [r["id"] for r in refine.select(rated, 3, "expected")] == ["a", "b", "c"]


def test_the_best_and_the_worst_are_ends_of_one_order():
    rng = random.Random(0)
    rated = [{"id": f"{i:03d}", "p1": 0.0, "p2": rng.choice((0.1, 0.2, 0.3))} for i in range(100)]
    order = sorted(rated, key=lambda r: (-r["p2"], r["id"]))
    assert refine.select(iter(rated), 10) == order[:10] and refine.select(iter(rated), 1000) == order
    assert refine.select(iter(rated), 3, worst=True) == order[-3:]
