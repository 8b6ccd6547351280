"""Who is asked how, and who meets whom: our models, the opponent, the run's own baselines."""

from types import SimpleNamespace

from xinstruct_utils.atlas import build
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import read_jsonl
from xinstruct_utils.evaluation import contests
from xinstruct_utils.evaluation.contests import Contestant
from xinstruct_utils.prompts.requests import native_request, native_rows
from xinstruct_utils.reporting import table_cells, tables

MODELS = ["refined", "unrefined", "seed", "rated", "translated", "distilled", "Bactrian-M 13B",
          "distilled_joint"]
OPPONENT = Contestant("opponent")


def test_ours_are_asked_in_english_and_baselines_in_the_language_they_learned_in():
    forms = {model: contests.form_for(Contestant(model)) for model in [*MODELS, "opponent"]}
    assert forms == {"refined": "web", "unrefined": "web", "rated": "web", "seed": "seed",
                     "opponent": "seed", "translated": "native", "distilled": "native",
                     "Bactrian-M 13B": "native", "distilled_joint": "native"}
    assert contests.form_for(Contestant("refined", "zero-shot")) == "native"
    assert contests.form_for(Contestant("translated"), native=False) == "web"


def test_only_our_three_models_answer_greedily_too():
    field = contests.contestants(MODELS, greedy=True, native=True)
    assert [who.model for who in field if who.decoding == "greedy"] == ["refined", "unrefined",
                                                                      "seed"]
    assert [who for who in field if who.decoding == "zero-shot"] == [contests.ZERO_SHOT]
    assert [who.model for who in field if who.decoding == "sampled"] == MODELS


def test_the_tuned_model_meets_the_baselines_that_the_run_made():
    field = [*contests.contestants(MODELS, greedy=False, native=False), OPPONENT]
    names = [contests.contest_name(a, b) for a, b in contests.pairings(field, OPPONENT, [])]
    assert {"refined_vs_translated", "refined_vs_distilled", "refined_vs_rated",
            "refined_vs_distilled_joint",
            "rated_vs_unrefined", "translated_vs_opponent"} <= set(names)
    assert len(names) == len(set(names))
    alone = contests.contestants(MODELS[:3], greedy=False, native=False)
    names = [contests.contest_name(a, b)
             for a, b in contests.pairings([*alone, OPPONENT], OPPONENT, [])]
    assert not any("rated" in name or "translated" in name for name in names)
    assert set(names) & set(tables.CONTESTS) == {
        "refined_vs_unrefined", "refined_vs_seed", "unrefined_vs_seed", "refined_vs_opponent"}


def test_a_baseline_learns_the_prompt_that_it_is_asked_with():
    row, = native_rows([{"instruction": "Eleza sarafu.", "output": "Shilingi."}])
    asked = contests.requests(
        [{"id": "a", "instruction": "Explain.", "native_instruction": "Eleza sarafu."}],
        "sw", "seed", "plain")
    assert row["prompt"] == native_request("Eleza sarafu.") == asked["native"][0]["prompt"]
    assert row["completion"] == "Shilingi."


def test_baselines_stand_in_the_papers_places():
    seven, thirteen = Profile(base_model="atlas"), Profile(base_model="x-7b", tuned_model="x-13b")
    assert table_cells.counterpart("translated", seven) == "Alpaca-MT 7B"
    assert table_cells.counterpart("distilled", seven) == "Bactrian-M 7B"
    assert table_cells.counterpart("distilled", thirteen) == "Bactrian-M 13B"
    assert table_cells.counterpart("distilled_joint", thirteen) == "Bactrian-X 13B"
    assert table_cells.counterpart("Bactrian-X", seven) == "Bactrian-X 7B"
    assert table_cells.counterpart("Bactrian-M 13B", seven) == "Bactrian-M 13B"


def test_each_tuned_model_stands_beside_the_papers_row_of_its_own_size():
    """A 13B that was tuned on data which a 7B made used to be compared as the 7B."""
    tuned = Profile(base_model="x-7b", tuned_model="meta-llama/Llama-2-13b-hf")
    assert table_cells.counterpart("refined", tuned) == "X-Instruction 13B"
    assert table_cells.counterpart("refined (zero-shot)", tuned) == "X-Instruction 13B, zero-shot"
    both = Profile(base_model="x-7b", larger_model="meta-llama/Llama-2-13b-hf")
    assert table_cells.counterpart("refined", both) == "X-Instruction 7B"
    assert table_cells.counterpart("refined_larger", both) == "X-Instruction 13B"
    zero_shot = "refined_larger (zero-shot)"
    assert table_cells.counterpart(zero_shot, both) == "X-Instruction 13B, zero-shot"


def test_a_larger_model_is_asked_as_the_tuned_one_and_meets_it_and_the_opponent():
    field = contests.contestants(["refined", "unrefined", "seed", "refined_larger"], False, True)
    assert contests.LARGER_ZERO_SHOT in field
    assert contests.form_for(contests.LARGER) == contests.form_for(contests.TUNED) == "web"
    assert contests.form_for(contests.LARGER_ZERO_SHOT) == "native"
    pairs = contests.pairings(field, Contestant("opponent"), [])
    assert (contests.LARGER, contests.TUNED) in pairs
    assert (contests.LARGER, Contestant("opponent")) in pairs
    assert (contests.LARGER_ZERO_SHOT, contests.LARGER) in pairs
    assert contests.LARGER_ZERO_SHOT not in contests.contestants(["refined_larger"], False, False)


def test_the_atlas_writes_what_its_baselines_are_made_of(tmp_path, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path))
    settings = SimpleNamespace(seed=0, seed_size=20, corpus_size=20, prompt_count=12)
    paths = build.build_world("r", "ta", settings)
    translated, taught = (list(read_jsonl(paths[name])) for name in ("translated", "taught"))
    assert len(translated) == len(taught) == 40
    assert all(row["instruction"] and row["output"] for row in translated)
    assert all(row["native_instruction"] != row["instruction"] for row in taught)
    assert len({row["id"] for row in taught}) == 40
