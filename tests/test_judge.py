"""The paper's win rule, rates and intervals."""

import itertools

from xinstruct_utils import judge

WIN, DRAW, LOSE = (2, 1), (1, 1), (1, 2)


def test_a_model_wins_with_two_wins_or_a_win_and_a_draw():
    expected = {(WIN, WIN): "win", (WIN, DRAW): "win", (DRAW, WIN): "win", (LOSE, LOSE): "lose", (LOSE, DRAW): "lose",
                (DRAW, LOSE): "lose", (DRAW, DRAW): "tie", (WIN, LOSE): "tie", (LOSE, WIN): "tie"}
    for pair in itertools.product((WIN, DRAW, LOSE), repeat=2):
        assert judge.verdict(*pair) == expected[pair]


def test_an_unread_judgement_is_its_own_category_and_never_a_number():
    rows = judge.compare([{"id": 1}, {"id": 2}], {1: "x", 2: "x"}, {1: "y", 2: "y"},
                         lambda q, a, b: None if q["id"] == 1 else (5, 5))
    assert [r["verdict"] for r in rows] == ["unparsed", "tie"] and rows[0]["score_a"] is None
    assert judge.rates([r["verdict"] for r in rows])["unparsed"] == 0.5


def test_a_judge_that_always_likes_the_first_answer_gives_ties():
    rows = judge.compare([{"id": 1}], {1: "x"}, {1: "y"}, lambda q, a, b: (9, 1))
    assert rows[0]["verdict"] == "tie" and rows[0]["score_a"] == rows[0]["score_b"] == 5


def test_swapping_the_models_mirrors_the_verdict():
    prompts, scores = [{"id": k} for k in range(5)], {"x": 3, "y": 1}
    judged = [judge.compare(prompts, dict.fromkeys(range(5), a), dict.fromkeys(range(5), b),
                            lambda q, p, r: (scores[p], scores[r])) for a, b in (("x", "y"), ("y", "x"))]
    assert {r["verdict"] for r in judged[0]} == {"win"} and {r["verdict"] for r in judged[1]} == {"lose"}


def test_bootstrap_interval_holds_the_mean_and_shrinks_with_n():
    few, many = (judge.interval([0, 1] * n, lambda x: x.mean()) for n in (10, 1000))
    assert few[0] < 0.5 < few[1] and many[1] - many[0] < few[1] - few[0]


def test_sign_test_is_exact():
    assert judge.sign_test(5, 5) == 1.0 and abs(judge.sign_test(10, 0) - 2 / 1024) < 1e-12 and judge.sign_test(0, 0) == 1.0
