"""The estimate of a run's cost, against figures computed by hand."""

import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_json
from xinstruct_utils.models.loading import load
from xinstruct_utils.reporting import cost, prices, work


def test_weights_are_counted_in_files_or_read_off_a_name(tmp_path):
    model, _ = load("atlas")
    assert cost.parameters("atlas") == pytest.approx(sum(p.numel() for p in model.parameters()),
                                                     rel=0.001)
    assert cost.parameters("meta-llama/Llama-2-7b-hf") == 7e9
    assert cost.parameters("Qwen/Qwen3-0.6B-Base") == 6e8
    with pytest.raises(InputError, match="its size is not known"):
        cost.parameters("someone/a-model")


def test_a_small_run_by_hand(tmp_path):
    """1,000 texts of 55 + 12 tokens, one round, a model of 1 M weights, on a CPU core.

    That does 45, 40 and 20 GFLOP/s.
    """
    profile = load_profile("atlas", languages=["sw"], corpus_size=1000, seed_size=500, d0x_size=300,
                           iterations=1, keep=100, final_size=80, generator_epochs=2, evaluators=1,
                           damaged_per_pair=2, follower_per_pair=1, mismatched_per_pair=2,
                           true_per_pair=1, evaluator_epochs=4, follower_epochs=3, prompt_count=10,
                           held_out_pairs=20)
    rows = {}
    for row in work.steps(profile, "sw"):
        rows[row["step"]] = rows.get(row["step"], 0) + cost.flops(row, 1e6)
    assert rows["03 train generator"] == 500 * 67 * 2 * 6e6
    assert rows["03 write instructions"] == 1000 * (55 + 12) * 2e6
    assert rows["04 round 1: train follower"] == 300 * 67 * 3 * 6e6
    assert rows["04 round 1: train evaluator"] == 180 * 6 * 67 * 4 * 6e6  # 20 pairs are held out
    assert rows["04 round 1: rate"] == 1000 * 67 * 2 * 2e6  # and once more for the likelihood
    assert rows["08 tune models"] == (3 * 500 + 2 * 80) * 67 * 3 * 6e6
    assert rows["09 answers"] == 10 * 7 * 55 * 2e6 and rows["12 answers"] == (10 + 40) * 55 * 2e6
    assert rows["10 tasks"] == 600 * 3 * 2 * 60 * 4 * 2e6
    told, origin = cost.estimate(profile)
    by_name = {r["step"]: r["hours"] for r in told["steps"]}
    weights = cost.parameters("atlas")
    assert by_name["03 train generator"] == pytest.approx(
        500 * 67 * 2 * 6 * weights / 0.045e12 / 3600)
    assert told["hours"] == pytest.approx(sum(by_name.values())) and "assumed" in origin
    assert set(told["usd"].values()) == {0.0} and len(told["usd"]) == 4


def test_a_measured_gpu_is_used_and_adapters_cost_less(tmp_path):
    told = {"machine": {"device": "NVIDIA Test"}, "date": "2026-01-02", "parts": {
        "product": {"tflops": 500.0}, "sft_full": {"mfu": 0.4}, "rating": {"share_of_peak": 0.6},
        "generation": {"failed": "memory"}}}
    write_json(tmp_path / "gpu-nvidia-test.json", told)
    write_json(tmp_path / "gpu-tiny-model-x.json",
               told | {"date": "2027-01-01", "machine": {"device": "none"}})
    found, origin = cost.rates(tmp_path)
    assert found == {"train": 200.0, "read": 300.0, "write": cost.ASSUMED["gpu"]["write"]}
    assert "NVIDIA Test" in origin
    row = {"kind": "train", "tokens": 10, "passes": 1}
    assert cost.flops(row, 7, adapters=True) / cost.flops(row, 7) == pytest.approx(4 / 6)


def test_a_rate_that_is_given_is_used():
    assert cost.rates(given=300.0)[0] == {"train": 300.0, "read": 300.0, "write": 30.0}
    hours = [cost.estimate(load_profile("paper", languages=["sw"], gpu_tflops=x))[0]["hours"]
             for x in (100.0, 200.0)]
    assert hours[0] == pytest.approx(2 * hours[1])


@pytest.fixture
def judged(tmp_path):
    """A function: the paper's profile with 80 questions in Swahili, and more settings."""
    (tmp_path / "b_sw.jsonl").write_text('{"instruction": "x"}\n' * 80)
    given = dict(languages=["sw"], benchmarks=[str(tmp_path / "b_{lang}.jsonl")], max_cost_usd=1.0,
                 opponent="gpt", larger_model="", baselines=[], joint_baselines=[], tasks=["xnli"])
    return lambda **more: load_profile("paper", **given | more)


def test_a_joint_baseline_is_asked_and_judged_and_trained(judged, tmp_path):
    (tmp_path / "x.jsonl").write_text("{}\n" * 100)
    without, joint = judged(), judged(joint_baselines=[f"Bactrian-X={tmp_path / 'x.jsonl'}"])
    usd, more = prices.usd(without, "sw"), prices.usd(joint, "sw")
    assert more["judge"] == pytest.approx(usd["judge"] * 9 / 8)
    assert more["three views"] == pytest.approx(usd["three views"] * 6 / 5)
    tokens = {row["step"]: row["tokens"] for row in work.steps(joint, "sw")}
    assert tokens["18 joint models"] == 100 * work.lengths(joint, "sw").pair
    passes = [{row["step"]: row["passes"] for row in work.steps(p, "sw")}["10 tasks"]
              for p in (without, joint)]
    assert passes[1] == passes[0] + 1
    assert not any(row["step"].startswith("18") for row in work.steps(without, "sw"))


def test_the_judge_and_the_translators_are_counted(judged):
    """Three pairs twice, three models and the zero-shot answers against ChatGPT's.

    And these against the model's others.
    """
    profile = judged()
    out, ins = work.lengths(profile, "sw")
    paid = prices.usd(profile, "sw")
    assert paid["judge"] == pytest.approx(
        80 * 2 * 8 * ((2 * out + ins + 300) * 30 + 256 * 60) / 1e6)
    assert paid["three views"] == pytest.approx(80 * 5 * ((out + ins + 300) * 30 + 256 * 60) / 1e6)
    assert paid["translation of prompts"] == pytest.approx(
        80 * ((ins + 100) * 30 + 3 * ins * 60) / 1e6)
    assert paid["translation of seed data"] == pytest.approx(3000 * 1210.6 * 20 / 1e6)
    gpt = prices.usd(judged(seed_translator="openai:gpt"), "sw")["translation of seed data"]
    assert gpt == pytest.approx(3000 * ((out + 100) * 30 + out * 60) / 1e6)
    two = prices.usd(judged(larger_model="x-13b"), "sw")     # itself, and its zero-shot answers
    assert two["judge"] == pytest.approx(paid["judge"] * 12 / 8)
    assert two["three views"] == pytest.approx(paid["three views"] * 7 / 5)
    own = judged(seed_translator="openai:own", translator_base_url="http://x/v1")
    assert prices.usd(own, "sw")["translation of seed data"] == 0


def test_the_plan_has_the_chapters_of_the_run_and_the_size_of_the_model_that_each_uses(
        judged, tmp_path):
    (tmp_path / "mt.jsonl").write_text("{}\n" * 50)
    hours = {}
    for name, more in (("7b", {}), ("13b", {"tuned_model": "meta-llama/Llama-2-13b-hf"}),
                       ("more", {"baselines": [f"mt={tmp_path}/mt.jsonl"]}),
                       ("none", {"benchmarks": [], "tasks": []})):
        hours[name] = {r["step"]: r["hours"] for r in cost.estimate(judged(**more))[0]["steps"]}
    assert hours["13b"]["08 tune models"] == pytest.approx(hours["7b"]["08 tune models"] * 13 / 7)
    assert hours["13b"]["03 write instructions"] == hours["7b"]["03 write instructions"]
    more = judged(larger_model="meta-llama/Llama-2-13b-hf")
    two = {r["step"]: r["hours"] for r in cost.estimate(more)[0]["steps"]}
    assert two["08 tune models"] == hours["7b"]["08 tune models"]
    assert two["08 tune the larger model"] > 0 and two["09 answers of the larger model"] > 0
    assert "08 tune the larger model" not in hours["7b"]
    assert hours["more"]["08 tune models"] > hours["7b"]["08 tune models"]
    assert "10 tasks" in hours["7b"]
    assert not {"09", "10", "12"} & {step[:2] for step in hours["none"]}
    assert "16 planted flaws" in hours["none"]


def test_disk_holds_the_checkpoints_of_a_training():
    gb = [cost.estimate(load_profile("paper", languages=["sw"], save_steps=n,
                                     larger_model=""))[0]["gb"]
          for n in (0, 200)]
    assert gb[1] - gb[0] == pytest.approx(2 * 14 * 7)


def test_the_plan_shows_it_and_bad_settings_are_one_error(runs, capsys):
    assert main(["plan", "--run", "x", "--profile", "paper", "--langs", "sw ur", "--set",
                 "corpus_sample=1000"]) == 0
    shown = capsys.readouterr().out
    assert "GPU-hours" in shown and "disk" in shown
    assert "for sw, ur, 7,000.0 M weights" in shown and not list(runs.glob("*"))
    assert main(
        ["plan", "--run", "x", "--profile", "paper", "--set", "base_model=nobody/knows"]) == 2
    assert "base_model" in capsys.readouterr().err
