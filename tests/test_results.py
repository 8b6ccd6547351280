"""The paper's tables beside a run's: what is missing stays empty, like is subtracted from like.

Chapter 13 needs no truth.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.evaluation import outcomes
from xinstruct_utils.reporting import figures as flat
from xinstruct_utils.reporting import small_tables, table_cells, win_tables
from xinstruct_utils.reporting import tables as paper_tables

PAPER = paper_numbers()
X7B, X13B = Profile(base_model="x-7b"), Profile(base_model="x-13b")


def found(win, n=10, score=5.0):
    return {"win": win, "low": win - 0.1, "high": win + 0.1, "n": n, "score": score, "read": n - 1}


def run_of(benchmark, win=0.5):
    """Measures of chapter 9 in Swahili and Finnish."""
    table = {"refined": {benchmark: found(win)},
             "Bactrian-M 7B": {benchmark: found(win - 0.2, score=None)}}
    return {code: {"win_table": table} for code in ("sw", "fi")}


def test_table_5s_column_pools_the_prompts_of_its_two_benchmarks():
    rows = [{"benchmark": b, "category": None, "difficulty": None, "verdict": v, "score_a": 1.0,
             "score_b": 0.0}
            for b, wins, n in (("vicuna", 34, 80), ("wizardlm", 77, 218), ("lima", 300, 300))
            for v in ["win"] * wins + ["lose"] * (n - wins)]
    made = outcomes.table({"refined": rows})["refined"]
    assert made[win_tables.TABLE5]["n"] == 298 and made[win_tables.TABLE5]["win"] == 111 / 298
    # 37.2
    assert round(100 * made[win_tables.TABLE5]["win"],
                 1) == PAPER["table5"]["X-Instruction 7B"]["fi"][0]
    # one alone is not pooled
    assert set(outcomes.table({"a": rows[:80]})["a"]) == {"vicuna"}
    assert outcomes.table({"a": rows[80:]})["a"]["all"]["n"] == 518


def test_all_ten_languages_stand_there_and_only_like_is_subtracted_from_like():
    made = win_tables.win_rates(run_of(win_tables.TABLE5), PAPER["table5"], win_tables.TABLE5,
                                  "W", "here (x)", X7B)
    assert list(made.columns) == [*table_cells.MEDIUM, *table_cells.LOW, "Avg"]
    assert len(made.columns) == len(languages.LANGUAGES) + 1
    assert made.loc[("here (x)", "refined"), "sw"] == "50.0 (40–60)"
    assert made.loc[("here (x)", "refined"), "ta"] == ""
    assert made.loc[("difference", "refined"), "sw"] == "-4.0"
    assert made.loc[("difference", "refined"), "fi"] == "+12.8"
    assert made.loc[("difference", "refined"), "Avg"] == "+4.4"
    assert made.loc[("difference", "Bactrian-M 7B"), "fi"] == "-2.9"
    assert made.loc[("n", "prompts"), "sw"] == "10"
    assert made.loc[("n", "prompts"), "Avg"] == "2 languages"
    made = win_tables.win_rates(run_of(win_tables.TABLE5), PAPER["table5"], win_tables.TABLE5,
                                  "S", "here (x)", X13B)
    assert made.loc[("here (x)", "refined"), "sw"] == "5.0 (n 9)"
    assert made.loc[("difference", "refined"), "sw"] == "-2.1"
    # no score could be read
    assert made.loc[("here (x)", "Bactrian-M 7B"), "sw"] == ""
    made = win_tables.win_rates(run_of("atlas"), PAPER["table5"], win_tables.TABLE5, "W",
                                  "Atlas (toy)", Profile())
    assert ("Atlas (toy): atlas", "refined") in made.index
    assert "difference" not in made.index.get_level_values(0)


def test_table_4s_average_is_over_the_cells_that_exist():
    judged = {c: {"win_table": {"refined": {b: found(0.6) for b in ("vicuna", "lima")}}}
              for c in ("bn", "fi")}
    row = win_tables.table4_average(judged, PAPER, "here (x)", X7B).loc["X-Instruction 7B"]
    # 60 less 61.3 and 61.7
    assert list(row) == ["55.0", "60.0", "-1.5", "2 of 12"]


def test_a_run_without_any_measure_gives_the_papers_numbers_and_empty_cells():
    none = {"sw": {}}
    tables = [paper_tables.lengths(none, PAPER["table2"], "h"),
              paper_tables.baselines(PAPER["table10"], none, "h"),
              *(win_tables.win_rates(none, win_tables.table11(PAPER, b), b, f, "h", X7B)
                for b in ("vicuna", "lima") for f in "WS"),
              win_tables.table4_average(none, PAPER, "h", X7B),
              paper_tables.views(none, PAPER["table6"], "h"),
              paper_tables.tasks(none, PAPER["table7"], "h", X7B),
              paper_tables.categories(none, PAPER["table12"], "h"),
              paper_tables.preferences(none, "h"),
              paper_tables.headlines(none, none, none, none, PAPER["results"], "h")]
    for table in tables:
        assert len(table)
        assert not table.isna().any(axis=None)
        assert not table.astype(str).isin(["nan", "None"]).any(axis=None)
    row = paper_tables.lengths(none, PAPER["table2"], "h").loc["ur"]
    assert row["output", "paper"] == "1246.9 ± 508.8"


def test_tables_of_lengths_views_tasks_and_categories_subtract_the_paper():
    measured = {"sw": {"lengths": {s: {"mean": 110.0, "sd": 2.0, "n": 7}
                                   for s in ("instruction", "output")}}}
    row = paper_tables.lengths(measured, PAPER["table2"], "h").loc["sw"]
    assert row["instruction", "h"] == "110.0 ± 2.0"
    assert row["instruction", "difference"] == "+10.0"
    assert row["n", "h"] == 7
    judged = {c: {"views": {"refined": {"helpfulness": h, "relevance": 9.1}}}
              for c, h in (("sw", 8.0), ("ur", 9.0))}
    made = paper_tables.views(judged, PAPER["table6"], "h")
    assert [made.loc[(k, "refined"), "helpfulness"]
            for k in ("h", "difference")] == ["8.5 ± 0.7", "+0.4"]
    done = {"sw": {"task_accuracy": {"xnli_refined": 0.5}, "task_stderr": {"xnli_refined": 0.01},
                   "task_items": {"xnli": 9}}}
    row = paper_tables.tasks(done, PAPER["table7"], "h", X7B).loc[("xnli", "sw")]
    assert row["h: refined"] == "50.0 ± 1.0"
    assert row["difference"] == "+8.5"
    assert row["n"] == 9
    assert row["h: base"] == ""
    won = {"sw": {"win_table": {"refined": {"vicuna": {}}},
                  "won": {"seed": {"generic": [4, 10], "all": [4, 10]},
                          "refined": {"generic": [7, 10], "all": [7, 10]}}}}
    row = paper_tables.categories(won, PAPER["table12"], "h").loc["generic"]
    assert [row[k]
            for k in ("paper: X-Instruction", "h: refined",
                      "difference of gains")] == ["7.7 (+0.7)", "7.0 (+3.0)", "+2.3"]
    toy = {"sw": {"won": {m: {"city": [1, 2], "all": [1, 2]} for m in ("seed", "refined")}}}
    row = paper_tables.categories(toy, PAPER["table12"], "h").loc["all"]
    assert row["difference of gains"] == ""


def test_headlines_of_the_paper_are_compared_where_the_run_has_them():
    table = {"refined": {"v": found(0.6, score=8.0)},
             "refined (zero-shot)": {"v": found(0.5, score=6.0)},
             "Bactrian-M 7B": {"v": found(0.4)}}
    made = paper_tables.headlines({"sw": {"win_table": table}},
                                  {"sw": {"valid_instruction_share": 0.9}},
                                  {"sw": {"task_gain": {"a": 0.02, "b": 0.04}}}, {"sw": {}},
                                  PAPER["results"], "h")
    row = made.loc["win rate lost when asked in the output language, points"]
    assert list(row) == ["5.7", "10.0", "+4.3", 1]
    assert made.loc["score kept when asked in the output language, %", "h"] == "75.0"
    assert list(made.loc["win rate above Bactrian-M, points"]) == ["15.8", "20.0", "+4.2", 1]
    assert made.loc["tasks: tuned model above its base, points", "h"] == "3.0"
    assert list(made.loc["kept: clean page, right instruction, %"]) == ["", "", "", 0]


def test_a_real_run_is_named_after_its_base_model():
    assert table_cells.label(load_profile("atlas")) == "Atlas (toy)"
    assert table_cells.label(load_profile("paper")) == "here (Llama-2-7b-hf)"


def test_nested_figures_become_rows_and_texts_stay_out():
    nested = {"10": {"acc": {"a": 0.5, "b": {"c": 1}}, "by": "oracle", "span": [0, 1]}}
    assert paper_tables.flat(nested) == {("10", "acc, a"): 0.5, ("10", "acc, b, c"): 1}


def bare_run(runs):
    """A finished run on real texts: chapters 03 and 04 without truth, nothing judged, no people."""
    values = load_profile("local", seed_path="s.jsonl", corpus_path="c.jsonl", languages=["sw"],
                          iterations=1).model_dump()
    write_json(runs / "bare" / "run.json", values)
    for name, measures in (("03_backtranslation", None),
                           ("04_refinement/iter1", {"one_pass_label_agreement": 0.9})):
        home = runs / "bare" / "sw" / name
        facts = {"notebook": name.partition("/")[0], "lang": "sw", "outputs": {}, "counts": [],
                 "wall_s": 1.0, "startup_s": 0.5,
                 "peak_rss_mib": 100}
        write_json(home / "manifest.json", facts)
        if measures:
            write_json(home / "measures.json", measures)


def results_of(run, *more):
    command = [sys.executable, "-m", "xinstruct_utils", "run", "13_results", "--run", run, "--lang",
               "all", *more]
    return subprocess.run(command, cwd=REPO, env=os.environ | {"PYTHONPATH": str(REPO)},
                          capture_output=True, text=True)


def test_the_chapter_works_for_a_run_without_truth_judge_or_people(runs):
    bare_run(runs)
    made = results_of("bare")
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    home = runs / "bare" / "all" / "13_results"
    figures = read_json(home / "figures.json")
    assert figures["one_pass_label_agreement"] == {"sw": 0.9}
    assert not {"kept_precision", "win_rate", "order_flip_rate"} & set(figures)
    shown = json.dumps(read_json(home / "notebook.ipynb"))
    assert "here (" in shown and "Atlas (toy)" not in shown
    # what every run has is still asked for
    shutil.rmtree(runs / "bare" / "sw" / "04_refinement")
    again = results_of("bare")
    assert "which is not finished" in again.stdout + again.stderr


@pytest.mark.parametrize("name", ["09_judge_evaluation", "13_results"])
def test_captions_hold_for_real_runs_too(name):
    told = [c["metadata"]["mystnb"]["figure"]["caption"]
            for c in read_json(REPO / "notebooks" / f"{name}.ipynb")["cells"]
            if "mystnb" in c["metadata"]]
    assert told
    assert not any(word in caption for caption in told for word in ("toy", "oracle", "Atlas"))


def test_the_small_tables_have_the_papers_numbers_and_the_runs_languages_only():
    reviewed = {"ur": {"valid_instruction_share": 0.5, "valid_instruction_interval": [0.4, 0.6],
                       "acceptable_response_share": 0.25, "review_by": "oracle",
                       "acceptable_response_interval": [0.2, 0.3]}, "fi": {}}
    table = small_tables.quality(reviewed, PAPER["table3"], "h")
    assert list(table.columns) == ["all", "ur"]
    assert table.loc[("valid", "paper"), "all"] == "88.5"
    assert table.loc[("acceptable", "h"), "ur"] == "25.0 (20–30)"
    assert table.loc[("labelled by", "h"), "ur"] == "oracle"
    asked = {"fi": {"data_directions": {"fi to fi": 1.0, "fi to en": 2.5, "gain": {
        "value": 1.5, "low": 1.0, "high": 2.0, "n": 30}}}, "th": {}}
    table = small_tables.directions(asked, PAPER["table1"], "h")
    assert list(table.index) == ["sw", "ur", "fi"]
    assert table.loc["ur", ("paper", "to English")] == "7.10"
    assert table.loc["fi", ("h", "gain (95% interval)")] == "+1.50 (1.00 to 2.00)"
    judged = {code: {"win_table": {"refined": {"atlas vicuna": {"n": n}, "lima": {"n": 300}}}}
              for code, n in (("sw", 90), ("fi", 90))}
    table = small_tables.prompts(judged, PAPER["table9"], "h")
    assert list(table.loc["vicuna"]) == ["80", "90", "fi sw"]
    assert list(table.loc["koala"]) == ["180", "", ""]
    assert list(small_tables.codes(["ur", "fi"]).index) == ["fi", "ur", "en"]
    assert small_tables.codes(["fi"]).loc["fi", "family"] == "Uralic"


def test_runs_of_other_settings_are_no_other_seeds_of_a_run():
    own = Profile(seed=0)
    assert flat.settings_key(own) == flat.settings_key(Profile(seed=1, threads=2, languages=["fi"]))
    assert flat.settings_key(own) != flat.settings_key(Profile(seed=1, corpus_size=999))
    assert flat.settings_key(own) != flat.settings_key(Profile(ranking="p2"))
