"""Pseudo-ratings and selection."""

import random

from xinstruct_utils.method import refinement

ROWS = [{"id": f"{k:02d}", "instruction": f"What is the currency of Land{k}?",
         "output": f"Sarafu ya {k} ni Pesa{k}. Karibu."}
        for k in range(40)]


def test_damage_never_returns_the_text_itself():
    rng = random.Random(0)
    for text in ("Moja. Mbili. Tatu.", "สกุลเงินของประเทศนี้คือเยน", "x" * 70, "- a\n- b\n- c"):
        assert all(refinement.damage(text, rng) not in (text, "") for _ in range(200))


def test_pieces_join_to_the_text():
    for text in ("One. Two!  Three?\nFour", "ایک۔ دو۔", "no mark"):
        assert "".join(refinement.pieces(text)) == text


def test_a_mismatch_is_another_output_and_hard_ones_share_the_wording():
    rows = ROWS + [{"id": f"p{k}", "instruction": f"Write a profile about Land{k}",
                    "output": f"Nchi {k}"} for k in range(40)]
    wrong = refinement.mismatches(rows, 2, 0)
    assert all(j != i and rows[j]["output"] != rows[i]["output"] for i, js in enumerate(wrong)
               for j in js)
    same_wording = sum(rows[js[0]]["instruction"][:5] == rows[i]["instruction"][:5] for i,
                       js in enumerate(wrong))
    assert same_wording > 0.9 * len(rows)


def test_a_hard_mismatch_is_never_about_the_same_thing():
    rows = ROWS + [{"id": f"q{k}", "instruction": f"Name the currency of Land{k}",
                    "output": f"Ni Pesa{k}"} for k in range(40)]
    for i, js in enumerate(refinement.mismatches(rows, 3, 1)):
        assert all(rows[j]["instruction"].rstrip("?").split()[-1] != rows[i]["instruction"].rstrip(
            "?").split()[-1] for j in js)


def test_ratings_are_two_one_one_zero_and_near_copies_are_left_out():
    answers = {r["id"]: [r["output"]] for r in ROWS[:10]} | {r["id"]: ["Sijui"] for r in ROWS[10:]}
    made, dropped = refinement.pseudo_ratings(ROWS, answers, 2, 1, 2, 0)
    kinds = [(r["kind"], r["rating"]) for r in made]
    assert set(kinds) == {("true", 2), ("damaged", 1), ("follower", 1), ("mismatched", 0)}
    assert dropped == {"near_copy": 10, "empty": 0}
    assert kinds.count(("follower", 1)) == 30 and kinds.count(("true", 2)) == 40


def test_held_out_pairs_are_the_same_whatever_the_order_and_a_quarter_at_the_most():
    learned, held = refinement.hold_out(ROWS, 6)
    assert len(held) == 6 and sorted(r["id"] for r in learned + held) == [r["id"] for r in ROWS]
    assert {r["id"] for r in refinement.hold_out(ROWS[::-1], 6)[1]} == {r["id"] for r in held}
    assert len(refinement.hold_out(ROWS, 30)[1]) == 10
    assert refinement.hold_out(ROWS, 0) == (ROWS, [])
    assert refinement.hold_out(ROWS[:3], 30) == (ROWS[:3], [])


def vote(*rating):
    return [{f"p{r}": 0.8 if r == given else 0.1 for r in (0, 1, 2)} for given in rating]


TESTS = [{"rating": r} for r in (2, 1, 1, 0, 2, 1, 1, 0)]


def test_the_probabilities_of_evaluators_are_averaged():
    assert refinement.average(vote(2)) == {"p0": 0.1, "p1": 0.1, "p2": 0.8, "rating": 2}
    mean = {"p0": 0.1, "p1": 0.566667, "p2": 0.333333, "rating": 1}
    assert refinement.average(vote(2, 1, 1)) == mean


def test_quality_is_measured_on_what_taught_nothing():
    rated = [refinement.average([v]) for v in vote(2, 1, 1, 0, 2, 1, 1, 1)]
    figures = {"held_out_accuracy": 7 / 8, "held_out_auc": 1.0, "held_out_rows": 8}
    assert refinement.quality(TESTS, rated) == figures
    assert "held_out_auc" not in refinement.quality(TESTS[1:3], rated[1:3])


def test_evaluators_that_do_not_beat_the_commonest_rating_are_left_out_unless_none_does():
    good, guessing = vote(2, 1, 1, 0, 2, 1, 1, 0), vote(1, 1, 1, 1, 1, 1, 1, 1)
    assert refinement.commonest_share(TESTS) == 0.5
    used, told = refinement.trusted(TESTS, [guessing, good])
    assert used == [1] and told[0]["held_out_accuracy"] == 0.5 and told[1]["held_out_accuracy"] == 1
    assert refinement.trusted(TESTS, [good, good])[0] == [0, 1]
    assert refinement.trusted(TESTS, [guessing, guessing])[0] == [0, 1]


def test_selection_is_by_score_then_id():
    rated = [{"id": "b", "score": 0.6}, {"id": "a", "score": 0.6}, {"id": "c", "score": 0.0}]
    assert [r["id"] for r in refinement.select(rated, 2)] == ["a", "b"]


def test_the_best_and_the_worst_are_ends_of_one_order():
    rng = random.Random(0)
    rated = [{"id": f"{i:03d}", "score": rng.choice((0.1, 0.2, 0.3))} for i in range(100)]
    order = sorted(rated, key=lambda r: (-r["score"], r["id"]))
    assert refinement.select(iter(rated), 10) == order[:10]
    assert refinement.select(iter(rated), 1000) == order
    assert refinement.select(iter(rated), 3, worst=True) == order[-3:]
