"""Verdicts are computed: of findings, of claims over seeds and languages; and where they stand."""

import pytest

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import write_json
from xinstruct_utils.evaluation import findings
from xinstruct_utils.reporting import display, found


@pytest.mark.parametrize(("low", "high", "null", "answer"), [
    (0.01, 0.2, 0.0, "yes"), (-0.2, -0.01, 0.0, "no"), (-0.1, 0.1, 0.0, "undecided"),
    (0.0, 0.2, 0.0, "undecided"), (0.4, 0.6, 0.5, "undecided"), (0.55, 0.6, 0.5, "yes"),
    (0.3, 0.45, 0.5, "no"), (None, None, 0.0, "undecided")])
def test_an_answer_is_what_its_interval_says(low, high, null, answer):
    assert findings.finding("Is it?", 0.1, low, high, 9, "prompts", null=null).answer == answer


def test_a_finding_says_value_interval_n_and_what_it_is_compared_with():
    one = findings.finding("Is it?", 0.087, 0.02, 0.153, 300, "prompts")
    assert one.sentence == "+8.7 points (95% interval 2.0 to 15.3), n = 300 prompts"
    share = findings.share("Is it?", 138, 300, "kept pairs", null=0.326)
    assert share.answer == "yes" and share.sentence.startswith("46.0% (95% interval 40.4 to 51.7)")
    assert share.sentence.endswith("against 32.6%, n = 300 kept pairs")
    assert findings.share("Is it?", 0, 0, "rows").answer == "undecided"


def test_two_shares_are_compared_with_the_error_of_both():
    apart = findings.more("Is it?", 0.6, 300, 0.4, 300, "pairs")
    assert apart.answer == "yes" and apart.value == pytest.approx(20)
    assert findings.more("Is it?", 0.42, 300, 0.4, 300, "pairs").answer == "undecided"
    assert findings.more("Is it?", 0.3, 300, 0.4, 300, "pairs").answer == "no"


def test_repetitions_have_students_interval_and_one_alone_decides_nothing():
    assert findings.repeated("Is it?", [0.1, 0.12, None, 0.11], "seeds").answer == "yes"
    alone = findings.repeated("Is it?", [0.1], "seeds")
    assert alone.answer == "undecided" and "(no interval)" in alone.sentence
    assert findings.repeated("Is it?", [None], "seeds").answer == "undecided"


def test_what_is_counted_is_all_or_not():
    assert findings.complete("All?", 3, 3, "rows").answer == "yes"
    assert findings.complete("All?", 2, 3, "rows").answer == "no"
    assert findings.complete("All?", 0, 0, "rows").answer == "no"
    assert findings.counted("More?", -0.1, 3, "rows").answer == "no"


def test_a_figure_that_rounds_to_nothing_has_no_sign_of_its_own():
    assert findings.finding("Is it?", -0.0001, -0.1, 0.1, 9, "rows").sentence.startswith("+0.0 p")


def run_of(win, lose, kept=(0.4, 0.5), random=0.3):
    return {"win_rate": {"refined_vs_seed": win}, "lose_rate": {"refined_vs_seed": lose},
            "kept_precision": dict.fromkeys(win, list(kept)),
            "evaluator_precision": dict.fromkeys(win, list(kept)),
            "random_precision": dict.fromkeys(win, random)}


def verdict_of(claims, name):
    row, = (row for row in claims if row["name"] == name)
    return row["verdict"]


@pytest.mark.parametrize(("losses", "verdict"), [
    ((0.1, 0.12, 0.11), "holds"), ((0.5, 0.52, 0.51), "opposite"), ((0.1, 0.3, 0.5), "not seen")])
def test_a_claim_is_judged_over_seeds_and_languages(losses, verdict):
    runs = {str(seed): run_of({"sw": 0.3, "fi": 0.3}, {"sw": lose, "fi": lose})
            for seed, lose in enumerate(losses)}
    row, = (r for r in findings.of_claims(runs) if r["name"] == "refined_vs_seed")
    assert row["verdict"] == verdict and (row["n"], row["seeds"], row["languages"]) == (6, 3, 2)
    assert len(row["cells"]) == 6 and row["interval"][0] <= row["here"] <= row["interval"][1]


def test_one_cell_decides_nothing_and_no_cell_is_said_to_be_missing():
    claims = findings.of_claims({"0": run_of({"sw": 0.9}, {"sw": 0.0})})
    assert verdict_of(claims, "refined_vs_seed") == "not seen"
    assert verdict_of(claims, "tasks") == "not measured"
    assert findings.of_claims({})[0]["here"] is None


def test_claims_quote_the_papers_own_numbers():
    said = {row["name"]: row["paper"] for row in findings.of_claims({})}
    assert said["refined_vs_translated"] == "win rates 49.2 against 27.5"
    assert said["refined_vs_distilled"] == "win rates 49.2 against 41.2"
    assert said["refined_vs_seed"] == "50.0 against 30.0 prompts won of 80"
    assert said["tasks"] == "+3.1 points over its base"


def test_precision_is_compared_with_random_and_over_rounds():
    runs = {"0": run_of({"sw": 0.3, "fi": 0.3}, {"sw": 0.2, "fi": 0.2})}
    values = {r["name"]: r["here"] for r in findings.of_claims(runs)}
    assert values["kept_above_random"] == pytest.approx(20)
    assert values["precision_rises"] == pytest.approx(10)


def test_what_failed_is_said_in_a_sentence_each():
    runs = {str(seed): run_of({"sw": 0.3}, {"sw": lose}) for seed, lose in enumerate((0.5, 0.52))}
    said = findings.failures(findings.of_claims(runs))
    assert any(s.startswith("The mined data teach more than the seed pairs alone (paper, C.3). "
                            "The opposite was seen: -21.0 points") for s in said)
    assert not any("better than a random choice" in s for s in said)      # it holds


class Step:
    def measure(self, **figures):
        self.figures = figures


def test_a_chapter_ends_with_its_findings_escaped_and_kept():
    step = Step()
    hostile = findings.complete("<script>1</script>?", 1, 1, "rows")
    text = display.conclude(step, hostile).data
    assert "<script>" not in text and "&lt;script&gt;" in text and 'class="verdict yes"' in text
    assert step.figures["verdicts"][0]["sentence"].endswith("100.0% of 1 rows")
    assert "Nothing could be measured" in display.conclude(step).data and step.figures == {
        "verdicts": []}


def test_the_page_of_claims_colours_by_verdict_and_says_failures_first():
    runs = {str(seed): run_of({"sw": 0.3, "fi": 0.3}, {"sw": lose, "fi": lose})
            for seed, lose in enumerate((0.5, 0.52, 0.51))}
    claims = findings.of_claims(runs)
    text = found._part(claims, "this run", "nothing")
    assert text.index("The opposite was seen") < text.index("<table")
    assert '<span class="answer no">opposite</span>' in text and "2 languages, 3 seeds" in text
    assert '<span class="cell no">-21.0</span>' in text and text.count("<caption>") == 2
    assert found._part([], "this run", "nothing") == "nothing"


def test_a_readme_is_renewed_between_its_marks_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- found atlas -->\nstale\n<!-- end of found -->\nafter\n")
    runs = {str(seed): run_of({"sw": 0.3}, {"sw": lose}) for seed, lose in enumerate((0.1, 0.12))}
    claims = findings.of_claims(runs)
    assert not found.renew(readme, "other", claims) and not found.renew(readme, "atlas", [])
    assert found.renew(readme, "atlas", claims) and found.renew(readme, "atlas", claims)
    text = readme.read_text()
    assert text.startswith("before\n<!-- found atlas -->\n4 of 4") and "stale" not in text
    assert text.endswith("<!-- end of found -->\nafter\n") and text.count("**holds**") == 4
    assert not found.renew(tmp_path / "absent.md", "atlas", claims)


def test_experiments_with_the_evaluator_are_counted_by_their_verdict(runs):
    assert found.words("r", Profile())["evaluators"].startswith("No experiment")
    rows = [{"factor": "<b>kinds</b>", "level": "mismatched only", "AUC more": -0.21, "low": -0.3,
             "high": -0.1, "n": 3, "verdict": "lower"},
            {"factor": "epochs", "level": "8", "AUC more": 0.01, "low": None, "high": None, "n": 1,
             "verdict": "undecided"}]
    write_json(runs / "published/study/experiments/fi/14_evaluator/measures.json",
               {"experiments": rows})
    text = found.words("r", Profile())["evaluators"]
    assert "Finnish: of 2 changes" in text and "0 raised" in text and "1 lowered it" in text
    assert "-21.0" in text and "-30.0 to -10.0" in text and "<b>" not in text
    assert '<span class="answer no">lower</span>' in text
