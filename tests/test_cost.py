"""The estimate of a run's cost, against figures computed by hand."""

import pytest

from xinstruct_utils import artifacts, config, cost
from xinstruct_utils.artifacts import InputError


def test_weights_are_counted_in_files_or_read_off_a_name(tmp_path):
    from xinstruct_utils.train import load

    model, _ = load("atlas")
    assert cost.parameters("atlas") == pytest.approx(sum(p.numel() for p in model.parameters()), rel=0.001)
    assert cost.parameters("meta-llama/Llama-2-7b-hf") == 7e9 and cost.parameters("Qwen/Qwen3-0.6B-Base") == 6e8
    with pytest.raises(InputError, match="its size is not known"):
        cost.parameters("someone/a-model")


def test_a_small_run_by_hand(tmp_path):
    """1,000 texts of 55 + 12 tokens, one round, a model of 1 M weights, on a CPU core: 45, 40 and 20 GFLOP/s."""
    profile = config.load_profile("atlas", languages=["sw"], corpus_size=1000, seed_size=500, d0x_size=300, iterations=1,
                                  keep=100, final_size=80, generator_epochs=2, evaluators=1, damaged_per_pair=2,
                                  follower_per_pair=1, mismatched_per_pair=2, evaluator_epochs=4, follower_epochs=3,
                                  prompt_count=10)
    rows = {}
    for row in cost.steps(profile, "sw"):
        rows[row["step"]] = rows.get(row["step"], 0) + cost.flops(row, 1e6)
    assert rows["03 train generator"] == 500 * 67 * 2 * 6e6
    assert rows["03 write instructions"] == 1000 * (55 + 12) * 2e6
    assert rows["04 round 1: train follower"] == 300 * 67 * 3 * 6e6
    assert rows["04 round 1: train evaluator"] == 200 * 6 * 67 * 4 * 6e6
    assert rows["04 round 1: rate"] == 1000 * 67 * 2 * 2e6          # and once more for the likelihood
    assert rows["08 train three models"] == (3 * 500 + 2 * 80) * 67 * 3 * 6e6
    told, origin = cost.estimate(profile)
    by_name = {r["step"]: r["hours"] for r in told["steps"]}
    weights = cost.parameters("atlas")
    assert by_name["03 train generator"] == pytest.approx(500 * 67 * 2 * 6 * weights / 0.045e12 / 3600)
    assert told["hours"] == pytest.approx(sum(by_name.values())) and "assumed" in origin
    assert told["usd"] == {"judge": 0.0, "translation of seed data": 0.0}


def test_a_measured_gpu_is_used_and_adapters_cost_less(tmp_path):
    told = {"machine": {"device": "NVIDIA Test"}, "date": "2026-01-02", "parts": {
        "product": {"tflops": 500.0}, "sft_full": {"mfu": 0.4}, "rating": {"share_of_peak": 0.6},
        "generation": {"failed": "memory"}}}
    artifacts.write_json(tmp_path / "gpu-nvidia-test.json", told)
    artifacts.write_json(tmp_path / "gpu-tiny-model-x.json", told | {"date": "2027-01-01", "machine": {"device": "none"}})
    found, origin = cost.rates(tmp_path)
    assert found == {"train": 200.0, "read": 300.0, "write": cost.ASSUMED["gpu"]["write"]} and "NVIDIA Test" in origin
    row = {"kind": "train", "tokens": 10, "passes": 1}
    assert cost.flops(row, 7, adapters=True) / cost.flops(row, 7) == pytest.approx(4 / 6)


def test_the_judge_and_the_translator_are_counted(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"instruction": "x"}\n' * 80)
    profile = config.load_profile("paper", languages=["sw"], benchmarks=[str(tmp_path / "b.jsonl")], max_cost_usd=1.0)
    out, ins = cost.lengths(profile, "sw")
    paid = cost.usd(profile, "sw")
    assert paid["judge"] == pytest.approx(80 * 18 * ((2 * out + ins + 300) * 30 + 256 * 60) / 1e6)
    assert paid["translation of seed data"] == pytest.approx(3000 * 1210.6 * 20 / 1e6)


def test_the_plan_shows_it_and_bad_settings_are_one_error(runs, capsys):
    assert cost.main(["--run", "x", "--profile", "paper", "--langs", "sw ur", "--set", "corpus_sample=1000"]) == 0
    shown = capsys.readouterr().out
    assert "GPU-hours" in shown and "disk" in shown and "for sw, ur, 7,000.0 M weights" in shown and not list(runs.glob("*"))
    assert cost.main(["--run", "x", "--profile", "paper", "--set", "base_model=nobody/knows"]) == 2
    assert "base_model" in capsys.readouterr().err
