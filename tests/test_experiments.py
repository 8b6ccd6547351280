"""Experiments with the evaluator: one thing changed at a time, and what is right and rated 1."""

import random
from dataclasses import fields, replace

import pytest

from xinstruct_utils.atlas import oracle, pages, world
from xinstruct_utils.atlas.web import seed_pairs
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl, write_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.evaluation import statistics
from xinstruct_utils.inference import local
from xinstruct_utils.method import experiments, regression
from xinstruct_utils.models.loading import load
from xinstruct_utils.prompts.requests import rating_request
from xinstruct_utils.reporting.table_cells import mean_cell
from xinstruct_utils.training import sft

OWN = experiments.Setup(learning_rate=0.001, epochs=3, true=2, damaged=2, follower=1, mismatched=1)
PAIRS, _ = seed_pairs("sw", 60, 0)
D0R, D0X = PAIRS[:40], PAIRS[40:]
ANSWERS = {n: {row["id"]: [f"Jibu lingine kabisa {n}."] for row in D0R} for n in (1, 2, 3)}


def never(instruction, output):
    return False


def test_every_variant_changes_one_thing_of_the_runs_own():
    setups = experiments.variants(OWN, rounds=3)
    several = {("kinds", "mismatched only"): {"damaged", "follower"},
               ("last follower, right ones", "left out"): {"answers_of", "right_left_out"},
               ("together", "all seed pairs, 4 mismatched"): {"with_d0x", "mismatched"}}
    assert setups.pop(("the run's own", "")) == OWN
    for key, setup in setups.items():
        changed = {f.name for f in fields(OWN) if getattr(setup, f.name) != getattr(OWN, f.name)}
        assert changed == several.get(key, changed) and (key in several or len(changed) == 1), key
    assert {factor for factor, _ in setups} == {
        "weights", "learning rate", "epochs", "pairs", "kinds", "mismatched a pair", "mismatches",
        "true outputs", "order", "right ones rated 1", "follower of round",
        "last follower, right ones", "ratings", "head", "together"}


def test_another_base_model_is_taught_with_its_weights_and_without_them():
    setups = experiments.variants(OWN, 3, "some/other", 1e-4, 1, ["weights"])
    other = replace(OWN, base_model="some/other", learning_rate=1e-4, epochs=1)
    assert setups == {("the run's own", ""): OWN,
                      ("weights", "random"): replace(OWN, random_weights=True),
                      ("weights", "some/other"): other,
                      ("weights", "some/other, random"): replace(other, random_weights=True)}


def test_a_factor_that_there_is_not_is_an_error():
    with pytest.raises(InputError, match="there is no wieghts; expected some of: weights, learn"):
        experiments.variants(OWN, factors=["wieghts"])


def test_with_one_round_there_is_no_other_follower():
    factors = {factor for factor, _ in experiments.variants(OWN)}
    assert not factors & {"follower of round", "last follower, right ones"}


def test_hard_mismatches_are_a_variant_only_where_a_pair_has_several():
    assert ("mismatches", "hard") not in experiments.variants(OWN)
    assert ("mismatches", "hard") in experiments.variants(replace(OWN, mismatched=2))


def test_a_level_that_the_run_has_itself_is_no_variant():
    setups = experiments.variants(replace(OWN, epochs=1))
    assert ("epochs", "1") not in setups and ("epochs", "8") in setups
    assert [key for key, setup in setups.items() if setup == setups["the run's own", ""]] == [
        ("the run's own", "")]


def kinds(setup, right=never):
    rows = experiments.lesson(setup, D0R, D0X, ANSWERS, 0, right)
    return {kind: sum(row["kind"] == kind for row in rows)
            for kind in ("true", "damaged", "follower", "mismatched")}


def test_a_lesson_is_what_its_setup_says():
    setups = experiments.variants(OWN)
    assert kinds(OWN) == {"true": 40, "damaged": 80, "follower": 40, "mismatched": 40}
    assert kinds(setups["pairs", "50"])["true"] == 40
    assert kinds(setups["pairs", "all seed pairs"]) == {
        "true": 60, "damaged": 120, "follower": 40, "mismatched": 60}
    assert kinds(setups["kinds", "mismatched only"]) == {
        "true": 40, "damaged": 0, "follower": 0, "mismatched": 40}
    assert kinds(setups["mismatched a pair", "4"])["mismatched"] == 160
    left_out = setups["right ones rated 1", "left out"]
    assert kinds(left_out, lambda x, y: True) == {
        "true": 40, "damaged": 0, "follower": 0, "mismatched": 40}
    later = experiments.lesson(experiments.variants(OWN, 3)["follower of round", "3"], D0R, D0X,
                               ANSWERS, 0, never)
    assert {r["output"] for r in later if r["kind"] == "follower"} == {"Jibu lingine kabisa 3."}
    hard, easy = (experiments.lesson(replace(OWN, hard=level), D0R, D0X, ANSWERS, 0, never)
                  for level in ("all", "none"))
    assert [row["output"] for row in hard] != [row["output"] for row in easy]


def test_the_output_comes_first_where_the_setup_says_so():
    setup = experiments.variants(OWN)["order", "output first"]
    rows = experiments.lesson(setup, D0R, D0X, ANSWERS, 0, never)
    trained = experiments.training_rows(setup, rows)
    first = D0R[0]
    assert trained[0] == {"prompt": rating_request(first["output"], first["instruction"]),
                          "completion": "2"}


def test_a_binary_evaluator_learns_two_ratings():
    setup = experiments.variants(OWN)["ratings", "2 against the rest"]
    rows = experiments.lesson(setup, D0R, D0X, ANSWERS, 0, never)
    completions = [row["completion"] for row in experiments.training_rows(setup, rows)]
    assert completions.count("2") == 80 and completions.count("0") == 160


def test_a_regression_lies_between_two_ratings():
    assert regression.shares(1.25) == {"p0": 0, "p1": 0.75, "p2": 0.25, "score": 1.25}
    assert regression.shares(0.0) == {"p0": 1, "p1": 0, "p2": 0, "score": 0}
    assert regression.shares(2.5) == {"p0": 0, "p1": 0, "p2": 1, "score": 2.5}


def test_a_regression_learns_what_it_is_taught_and_rates_by_it(tmp_path):
    texts = {"0": "Nairobi ni mji mkuu wa Kenya.", "2": "404 page not found"}
    rows = [{"prompt": rating_request("x", text), "completion": rating}
            for rating, text in texts.items() for _ in range(20)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    asked = [{"id": rating, "instruction": "x", "output": text} for rating, text in texts.items()]
    asked.append({"id": "long", "instruction": "x", "output": "neno " * 5000})
    write_jsonl(tmp_path / "asked.jsonl", asked)
    common = {"threads": 1, "seed": 0, "bf16": False}
    regression.main(common | {
        "base_model": "atlas", "input": str(tmp_path / "rows.jsonl"), "max_length": 256,
        "epochs": 3, "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 0,
        "weight_decay": 0.0, "batch_tokens": 128, "out": str(tmp_path / "model")})
    regression.main(common | {
        "task": "rate", "model": str(tmp_path / "model"), "input": str(tmp_path / "asked.jsonl"),
        "request": {"kind": "rating"}, "token_budget": 512, "shard_size": 2,
        "out": str(tmp_path / "rated")})
    low, high, long = Shards(tmp_path / "rated").read()
    assert low["score"] < 0.5 and high["score"] > 1.5 and high["p2"] > 0.5
    assert [low["id"], high["id"]] == ["0", "2"] and long["p2"] is None
    assert (tmp_path / "rated" / "done.json").exists()


def test_jobs_read_what_was_written_for_them(tmp_path):
    setups = experiments.variants(OWN)
    parts = {"held_out": [{"id": "0", "instruction": "x", "output": "y"}]}
    experiments.write_inputs(tmp_path, parts)
    rows = experiments.lesson(OWN, D0R, D0X, ANSWERS, 0, never)
    training = {"base_model": "atlas", "learning_rate": 0.001, "seed": 7}
    setups["weights", "other"] = replace(OWN, base_model="a/other")
    setups["weights", "other, random"] = replace(OWN, base_model="a/other", random_weights=True)
    bases = {"random": f"{tmp_path}/random_weights/own", "other": "a/other",
             "other, random": f"{tmp_path}/random_weights/other", "output first": "atlas"}
    for key, place in ((("order", "output first"), "x"),
                       *((("weights", level), "y") for level in list(bases)[:3])):
        jobs = experiments.jobs(setups[key], "n", rows, tmp_path, training, {}, parts)
        (learner, learning, model), (reader, asking, _) = jobs["n"], jobs["n, held_out"]
        assert (learner, reader) == (sft, local) and asking["model"] == str(model)
        assert next(read_jsonl(asking["input"]))["output"] == place
        assert len(list(read_jsonl(learning["input"]))) == 240 and learning["epochs"] == 3
        assert learning["base_model"] == bases[key[1]]


def test_ratings_of_several_evaluators_are_averaged_and_what_was_not_read_is_left_out(tmp_path):
    rows = [{"id": "0", "instruction": "x", "output": "y"}, {"id": "1", "output": "too long"}]
    for name, p2 in (("one", 0.8), ("two", 0.4)):
        votes = [{"id": "0", "p0": 0.0, "p1": round(1 - p2, 1), "p2": p2},
                 {"id": "1", "p0": None, "p1": None, "p2": None}]
        write_jsonl(tmp_path / "rated" / name / "held_out" / "shard-00000.jsonl", votes)
    made, = experiments.rated(tmp_path, ["one", "two"], "held_out", rows)
    assert made["score"] == made["p2"] == 0.6 and made["rating"] == 2 and made["output"] == "y"


def test_random_weights_are_of_the_base_models_shape_and_know_nothing(tmp_path):
    setups = [OWN, replace(OWN, random_weights=True)]
    experiments.write_all_random_weights(setups, "atlas", tmp_path, 0)
    (base, tokenizer), (fresh, _) = load("atlas"), load(str(tmp_path / "random_weights" / "own"))
    assert {n: p.shape for n, p in base.named_parameters()} == {
        n: p.shape for n, p in fresh.named_parameters()}
    pair = [("", D0R[0]["output"])]
    known, unknown = (local.likelihood(model.eval(), tokenizer, pair, 512)[0]
                      for model in (base, fresh))
    assert known > unknown + 3


def test_the_oracle_knows_a_right_answer_by_the_instruction_alone():
    fact = world.facts()[0]
    page = pages.page(fact, "sw", random.Random(0))
    instruction = pages.instructions(fact)[0]
    assert oracle.is_right(instruction, page, "sw")
    assert not oracle.is_right(instruction, page[:len(page) // 2], "sw")
    assert not oracle.is_right("Write me a poem.", page, "sw")
    other = next(f for f in world.facts() if f.topic == fact.topic and f != fact)
    assert not oracle.is_right(pages.instructions(other)[0], page, "sw")


def test_a_candidate_is_explained_by_its_truth_and_stays_as_it_is_without_one():
    fact = world.Fact("currency", "TZ", "TZ")
    known = {"topic": "currency", "entity": "TZ", "flaw": "clean", "kind": "pages"}
    right = {"id": "a", "instruction": pages.instructions(fact)[0], "output": "..."}
    other = next(f for f in world.facts() if f.topic == "currency" and f != fact)
    rows = [right, right | {"id": "b"}, right | {"instruction": pages.instructions(other)[0]}]
    truth = {"a": known, "b": known | {"flaw": "http_error"}}
    good, flawed, wrong = oracle.explained(rows, truth)
    assert good["right"] == "✓" and "Tanzania" in good["in English"]
    assert flawed["right"] == "✗ page: http error"
    assert wrong["right"] == "✗ instruction: another entity"
    assert oracle.explained([right], None) == [right | {"in English": "", "right": ""}]
    whole = pages.page(fact, "sw", random.Random(0))
    assert oracle.marked(whole, known, "sw").startswith("✓ 10: ")
    assert oracle.marked("Sijui.", known, "sw") == "✗ 0: Sijui."


def test_an_interval_over_seeds_is_students_and_its_verdict_leaves_zero_out():
    mean, low, high = statistics.mean_interval([1.0, 2.0, 3.0])
    assert mean == 2 and (low, high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert statistics.mean_interval([5.0]) == (5.0, None, None)
    assert statistics.verdict(0.1, 0.2) == "higher" and statistics.verdict(-0.2, -0.1) == "lower"
    assert statistics.verdict(-0.1, 0.1) == statistics.verdict(None, None) == "undecided"
    assert statistics.verdict(float("nan"), float("nan")) == "undecided"
    assert mean_cell([1.0, None, 3.0]) == "2.000 [-10.706, 14.706]"
    assert mean_cell([0.5]) == "0.500" and mean_cell([None]) == ""
