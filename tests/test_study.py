"""A study: runs with several seeds, collected into claims, balances and figures per round."""

import pytest

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_json
from xinstruct_utils.reporting import study, study_parts


def run_of(win, lose, rounds):
    return {"win_rate": {"refined_vs_seed": win}, "lose_rate": {"refined_vs_seed": lose},
            "kept_precision": rounds, "random_precision": dict.fromkeys(rounds, 0.3)}


RUNS = {"0": run_of({"sw": 0.5, "fi": 0.4}, {"sw": 0.3, "fi": 0.3}, {"sw": [0.5, 0.6]}),
        "1": run_of({"sw": 0.6}, {"sw": 0.3}, {"sw": [0.4, 0.7], "fi": [0.1]})}


def test_figures_stand_by_language_and_seed():
    made = study.figures(RUNS)
    assert made["kept_precision"] == {"sw": {"0": [0.5, 0.6], "1": [0.4, 0.7]}, "fi": {"1": [0.1]}}
    assert made["random_precision"]["sw"] == {"0": 0.3, "1": 0.3}
    assert made["evaluator_auc"] == {}


def test_wins_minus_losses_have_an_interval_over_cells():
    balance = study.figures(RUNS)["win_minus_lose_ci95"]
    assert set(balance) == {"refined_vs_seed"}
    row = balance["refined_vs_seed"]
    assert (row["mean"], row["cells"]) == (20, 3) and row["ci95"] == pytest.approx([-4.84, 44.84])
    assert row["sw"] == {"0": 20, "1": 30} and row["fi"] == {"0": 10}


def a_part(seed, languages, win=0.5, kept=0.6):
    contest = {"win": win, "lose": 0.3, "n": 300, "low": 0.1, "high": 0.3}
    return {"seed": seed, "facts": {"languages": languages},
            "contests": {code: {"refined_vs_seed": contest} for code in languages},
            "figures": {"kept_precision": {code: [kept] for code in languages},
                        "win_rate": {"refined_vs_seed": dict.fromkeys(languages, win)}}}


def test_the_front_figure_has_all_cells_and_each_language():
    rows = study.front([a_part("0", ["sw", "fi"]), a_part("1", ["sw"], 0.6)])
    assert list(rows) == ["refined vs seed, all", "refined vs seed, fi", "refined vs seed, sw"]
    assert rows["refined vs seed, all"]["n"] == 3
    assert rows["refined vs seed, fi"] == {"value": pytest.approx(0.2), "low": 0.1, "high": 0.3,
                                           "n": 300}
    assert rows["refined vs seed, sw"]["n"] == 600
    assert rows["refined vs seed, sw"]["value"] == pytest.approx(0.25)


def test_a_study_grows_part_by_part_and_a_cell_counts_once():
    before = [a_part("0", ["sw", "fi"]), a_part("1", ["sw"])]
    parts = study_parts.together(before, [a_part("0", ["fi", "ta"], kept=0.9)])
    cells = sorted((part["seed"], code) for part in parts for code in part["facts"]["languages"])
    assert cells == [("0", "fi"), ("0", "sw"), ("0", "ta"), ("1", "sw")]
    merged = study_parts.by_seed(parts)
    assert list(merged) == ["0", "1"]
    assert merged["0"]["kept_precision"] == {"sw": [0.6], "fi": [0.9], "ta": [0.9]}
    assert merged["0"]["win_rate"]["refined_vs_seed"] == {"sw": 0.5, "fi": 0.5, "ta": 0.5}
    assert all(set(part["contests"]) == set(part["facts"]["languages"]) for part in parts)


def test_a_part_all_of_whose_cells_are_made_anew_is_gone():
    parts = study_parts.together([a_part("0", ["sw"])], [a_part("0", ["fi", "sw"])])
    assert [part["facts"]["languages"] for part in parts] == [["fi", "sw"]]


def test_parts_are_read_as_they_were_written(tmp_path):
    parts = [a_part("0", ["sw"]), a_part("1", ["sw"])]
    study_parts.write(parts, tmp_path)
    assert study_parts.read(tmp_path) == parts
    assert study_parts.read(tmp_path / "none") == []


def test_claims_are_over_all_cells():
    claims = {row["name"]: row for row in study.figures(RUNS)["claims"]}
    assert claims["refined_vs_seed"]["n"] == 3 and claims["refined_vs_seed"]["seeds"] == 2
    assert claims["tasks"]["verdict"] == "not measured"


def test_runs_are_found_by_name_and_unfinished_ones_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path))
    with pytest.raises(InputError, match="no run of the study is finished"):
        study.runs_of("s")
    for name, seed in (("s", 0), ("s-seed1", 1), ("s-seed2", 2), ("other", 3)):
        write_json(tmp_path / name / "run.json", {"seed": seed})
        if seed != 2:
            write_json(tmp_path / name / "all/13_results/manifest.json", {})
    assert list(study.runs_of("s")) == ["0", "1"]
