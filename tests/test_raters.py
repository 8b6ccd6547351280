"""Raters: what each computes, the passes it asks for, and the flaws by which they are compared."""

import pytest
import torch
from test_tokenizers import qwen

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference import local
from xinstruct_utils.inference.completions import Completions
from xinstruct_utils.inference.inputs import requests_of
from xinstruct_utils.method import raters
from xinstruct_utils.models.loading import load

ROW = {"id": "a", "instruction": "What?", "output": "Taja.", "p0": 0.1, "p1": 0.4, "p2": 0.5,
       "follower": -1.0, "base": -2.0, "alone": -3.5, "other0": -2.0, "other1": -3.0,
       "agreement": 0.25}
REQUEST = dict(kind="response", lang="sw", tag="seed", templates="plain")
ROWS = [{"id": str(k), "instruction": x, "output": f"Jibu {k}."}
        for k, x in enumerate(("A?", "A?", "B?", "C?"))]


def test_each_rater_is_its_formula():
    want = {"p2": 0.5, "expected": 1.4, "likelihood": -1.0, "gain": 1.5, "contrast": 1.5,
            "agreement": 0.25, "length": 5.0}
    scores = {name: raters.score(ROW, name) for name in raters.RATERS}
    assert 0 <= scores.pop("random") < 1
    assert scores == pytest.approx(want)
    assert raters.score({"id": "a"}, "random") != raters.score({"id": "b"}, "random")


def test_the_profile_knows_the_raters_and_no_others():
    for name in raters.RATERS:
        assert load_profile("smoke", ranking=name).ranking == name
    with pytest.raises(InputError, match="ranking"):
        load_profile("smoke", ranking="best")


def test_a_rater_asks_for_its_own_passes_only():
    asked = {name: list(raters.passes(name, "f", "b", REQUEST)) for name in raters.RATERS}
    assert asked == {"p2": [], "expected": [], "likelihood": ["follower"],
                     "gain": ["base", "alone"], "contrast": ["follower", "other0", "other1"],
                     "agreement": [], "length": [], "random": []}
    jobs = raters.passes("gain", "f", "b", REQUEST)
    assert jobs["base"] == {"model": "b", "request": REQUEST, "task": "likelihood"}


def test_other_instructions_are_others():
    asked = {}
    for which in (1, 2, 3):
        settings = {"task": "likelihood", "input": "x", "request": REQUEST,
                    "other_instruction": which}
        asked[which] = [row["prompt"][:2] for row in requests_of(ROWS, settings)]
    assert asked == {1: ["B?", "B?", "C?", "A?"], 2: ["C?", "C?", "A?", "B?"],
                     3: ["B?", "B?", "C?", "A?"]}
    alike = [row | {"instruction": "A?"} for row in ROWS]
    assert requests_of(alike, settings) == requests_of(alike, {**settings, "other_instruction": 1})


def test_an_output_alone_is_asked_without_a_prompt_with_and_without_a_first_token():
    """Without BOS the first token of an output alone is not predicted, and does not count."""
    settings = {"task": "likelihood", "input": "x", "request": {"kind": "alone"}}
    assert requests_of(ROWS, settings)[0] == {"id": "0", "prompt": "", "completion": "Jibu 0."}
    model, tokenizer = load("atlas")
    model.eval()
    pairs = [("", "Jibu 0 la swali hili."), ("Jibu 0 la swali ", "hili."), ("", "Jibu.")]
    both = local.likelihood(model, tokenizer, pairs, 4096)
    assert both == pytest.approx([local.likelihood(model, tokenizer, [p], 4096)[0] for p in pairs],
                                 abs=1e-3)
    plain = qwen()
    assert plain.bos_token_id is None
    ids = plain("Jibu 0 la swali hili.", add_special_tokens=False)["input_ids"]
    ids.append(plain.eos_token_id)
    with torch.inference_mode():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    want = sum(scores[k, i].item() for k, i in enumerate(ids[1:])) / (len(ids) - 1)
    assert local.likelihood(model, plain, pairs, 4096)[0] == pytest.approx(want, abs=1e-3)


def test_a_server_counts_the_same_tokens_of_an_output_alone():
    plain = qwen()
    completions = Completions({"task": "likelihood"}, plain)
    row = {"id": "0", "prompt": "", "completion": "Jibu."}
    ids, n_prompt = completions.ids(row)
    assert n_prompt == 0 and len(ids) > 2
    scores = [None, *({str(i): {"logprob": -float(k)}} for k, i in enumerate(ids[1:], 1))]
    reply = {"choices": [{"text": "", "finish_reason": "length", "prompt_logprobs": scores}]}
    want = -sum(range(1, len(ids))) / (len(ids) - 1)
    assert completions.read(reply, row, ids, n_prompt) == {
        "log_likelihood": pytest.approx(want), "tokens": len(ids) - 1}


def test_what_a_pass_did_not_read_has_no_score():
    passes = {"follower": [{"id": "0", "log_likelihood": -1.0},
                           {"id": "1", "log_likelihood": None}]}
    made = list(raters.read(ROWS[:2], passes))
    assert [raters.is_read(row, "likelihood") for row in made] == [True, False]
    assert all(raters.is_read(row, "p2") for row in made)
    with pytest.raises(InputError, match="the ids of rows and of their results differ"):
        list(raters.read(ROWS[1:3], passes))


def test_rows_that_every_rater_can_rank_have_votes_and_all_passes():
    names = ("follower", "base", "alone", "other0", "other1")
    found = {name: [{"id": row["id"], "log_likelihood": -1.0} for row in ROWS] for name in names}
    found["agreement"] = [{"id": row["id"], "agreement": 0.5} for row in ROWS]
    found["alone"][2] = {"id": "2", "log_likelihood": None}
    votes = [{"id": str(k), "p0": 0.0, "p1": 0.5, "p2": None if k == 1 else 0.5}
             for k in (5, 3, 1, 0)]
    made = raters.complete(ROWS, found, votes)
    assert [row["id"] for row in made] == ["0", "3"]
    assert all(isinstance(raters.score(row, name), float) for row in made for name in raters.RATERS)


def test_agreement_is_higher_for_what_says_the_same_and_goes_on(tmp_path):
    rows = [{"id": "same", "instruction": "The currency of Kenya", "output": "Kenya's currency"},
            {"id": "other", "instruction": "The currency of Kenya", "output": "A recipe for soup"}]
    shards = Shards(tmp_path, 1)
    raters.agreements(rows, shards, "minilm")
    first, second = shards.read()
    assert first["agreement"] > 0.7 > 0.3 > second["agreement"]
    made = shards.file(0).stat().st_mtime_ns
    raters.agreements(rows, shards, "minilm")
    assert shards.file(0).stat().st_mtime_ns == made
