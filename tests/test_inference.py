"""Generation and rating with the packaged Atlas model, in this process and in several ranks."""

import runpy
import subprocess
import sys
import time

import pytest
import torch
from conftest import job_settings

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import open_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference import local
from xinstruct_utils.inference.inputs import count_of, requests_of, rows_of
from xinstruct_utils.models.batching import batches, unread
from xinstruct_utils.models.loading import load
from xinstruct_utils.models.tokenization import rating_tokens, token_ids
from xinstruct_utils.prompts.requests import (
    instruction_request,
    native_request,
    rating_request,
    response_request,
)
from xinstruct_utils.workflow import launch


@pytest.fixture(scope="module")
def atlas():
    torch.set_num_threads(1)
    model, tokenizer = load("atlas")
    return model.eval(), tokenizer


PROMPTS = [
    rating_request("What is the currency of Kenya?", "Sarafu ni Shilingi ya Kenya. " * k)
    for k in range(1, 9)
]


def test_batches_hold_every_prompt_once_within_the_budget():
    lengths = [5, 90, 7, 30, 31, 8, 200]
    made = batches(lengths, 100)
    assert sorted(i for b in made for i in b) == list(range(7))
    assert all(len(b) == 1 or max(lengths[i] for i in b) * len(b) <= 100 for b in made)


def test_one_pass_rating_equals_rating_by_generation(atlas):
    model, tokenizer = atlas
    three = rating_tokens(tokenizer)
    made = local.rate(model, tokenizer, PROMPTS, 512)
    for prompt, p in zip(PROMPTS, made, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([token_ids(tokenizer, prompt)[0]])).logits[0, -1, three]
        assert torch.allclose(torch.tensor(p), logits.softmax(-1), atol=2e-4)
        assert abs(sum(p) - 1) < 1e-4


def test_the_batch_a_prompt_is_in_does_not_change_its_rating(atlas):
    together, alone = (local.rate(*atlas, PROMPTS, budget) for budget in (4096, 1))
    assert all(
        abs(a - b) < 1e-3
        for p, q in zip(together, alone, strict=True)
        for a, b in zip(p, q, strict=True)
    )


def test_greedy_generation_does_not_depend_on_the_batch(atlas):
    asked = [
        response_request(f"Name the currency of {c}.", "sw")
        for c in ("Kenya", "Japan", "the Solomon Islands")
    ]
    assert local.generate(*atlas, asked, 4096, 12) == local.generate(*atlas, asked, 1, 12)


def test_finish_reason_tells_stop_from_the_cap(atlas):
    made = local.generate(*atlas, ["Kenya"], 100, 2)
    assert made[0]["finish_reason"] == "length" and made[0]["tokens"] == 2


def test_sampling_is_repeatable_by_seed(atlas):
    one, two, other = (
        local.generate(*atlas, ["Kenya", "Menyu", "Watu"], 400, 24, 1.5, 1.0, seed)
        for seed in (1, 1, 2)
    )
    assert one == two != other


def test_likelihood_is_the_mean_over_completion_tokens(atlas):
    model, tokenizer = atlas
    prompt, completion = "Nchi: ", "Kenya na Japani"
    ids, n = token_ids(tokenizer, prompt, completion)
    with torch.inference_mode():
        scores = (
            model(torch.tensor([ids]))
            .logits[0, :-1]
            .log_softmax(-1)
            .gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
        )
    got = local.likelihood(model, tokenizer, [(prompt, completion), ("a b c d e f", "g")], 512)[0]
    assert abs(got - scores[n - 1 :].mean().item()) < 1e-3


@pytest.mark.parametrize("width", [40, 3000])
@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.5])
def test_the_nucleus_is_that_of_transformers(width, temperature):
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

    torch.manual_seed(0)
    scores = (
        torch.randn(32, width) * torch.linspace(0.1, 6, 32)[:, None]
    )  # from flat rows to peaked ones
    want = TopPLogitsWarper(0.9)(
        None, TemperatureLogitsWarper(temperature)(None, scores.clone())
    ).softmax(-1)
    for first in (64, 2):
        shares, places = local.nucleus(scores, temperature, 0.9, first)
        got = torch.zeros_like(scores).scatter(-1, places, shares / shares.sum(-1, keepdim=True))
        assert torch.equal(got > 0, want > 0) and torch.allclose(got, want, atol=1e-6)


def test_the_benchmark_of_rating_and_generation_runs(tmp_path):
    """It takes the engine apart to put the alternative in: what was renamed here would break it
    there, unseen."""
    runpy.run_path(str(REPO / "benchmarks" / "inference.py"))["main"](8, tmp_path / "made.json")
    parts = read_json(tmp_path / "made.json")["parts"]
    assert len(parts) == 4 and all(
        p["times as fast"] > 0 and p["rows"] == 8 for p in parts.values()
    )


def test_tokens_are_drawn_as_often_as_the_nucleus_says():
    torch.manual_seed(0)
    scores = torch.tensor([[2.0, 1.0, 0.0, -9.0]]).repeat(20_000, 1)
    left = local.nucleus_sampler(0.7, 0.9)(None, scores)
    assert ((left > float("-inf")).sum(-1) == 1).all()  # greedy search has no choice
    often = torch.bincount(left.argmax(-1), minlength=4) / 20_000
    want = torch.tensor([2.0, 1.0]).div(0.7).softmax(-1)  # the two of them hold 0.9
    assert torch.allclose(often, torch.tensor([*want, 0, 0]), atol=0.015)


def test_likelihood_in_slices_of_the_vocabulary_is_the_same(atlas, monkeypatch):
    pairs = [(f"Nchi {k}: ", "Kenya na Japani " * k) for k in range(1, 9)]
    whole = local.likelihood(*atlas, pairs, 4096)
    monkeypatch.setattr(local, "LOGITS", 3072 * 60)  # 60 tokens at a time
    assert local.likelihood(*atlas, pairs, 4096) == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize("task", ["generate", "rate", "likelihood", "rate_by_generation"])
def test_a_row_that_is_over_the_models_context_is_not_read_and_the_others_are_as_without_it(
    atlas, task
):
    s = dict(task=task, token_budget=4096, max_new_tokens=8, temperature=0.0, top_p=1.0, seed=0)
    rows = [
        {"id": str(k), "prompt": p, "completion": "ndiyo"}
        for k, p in enumerate([PROMPTS[0], "neno " * 1100, PROMPTS[1]])
    ]
    first, long, last = local.answers(s, *atlas, rows)
    assert set(long.values()) <= {None, "", "context", 0} and len(long) == len(first)
    assert [first, last] == local.answers(s, *atlas, [rows[0], rows[2]])


def test_the_last_row_within_the_context_leaves_room_for_what_is_written():
    s = {"task": "generate", "max_new_tokens": 24}
    assert (
        unread(s, [0] * 1000, 1024) is None
        and unread(s, [0] * 1001, 1024)["finish_reason"] == "context"
    )
    assert unread({"task": "rate"}, [0] * 1023, 1024) is None
    assert unread({"task": "rate"}, [0] * 1024, 1024) == {"p0": None, "p1": None, "p2": None}
    assert unread(s, [0] * 9999, None) is None  # a model that names no limit


@pytest.mark.parametrize("gpu, dtype", [(True, "bfloat16"), (False, "float32")])
def test_weights_are_read_as_a_gpu_will_hold_them(monkeypatch, gpu, dtype):
    def read(path, dtype="float32"):
        raise StopIteration(dtype)

    monkeypatch.setattr(local, "load", read)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    with pytest.raises(StopIteration, match=dtype):
        local.main({"threads": 1, "model": "atlas", "bf16": True})


def test_out_of_memory_halves_the_token_budget_and_keeps_it(monkeypatch, capsys):
    def answers(s, model, tokenizer, chunk):
        if s["token_budget"] > 5000:
            raise torch.OutOfMemoryError("no room")
        return chunk

    monkeypatch.setattr(local, "answers", answers)
    s = {"token_budget": 16384}
    assert local.within_memory(s, None, None, ["row"]) == ["row"] and s["token_budget"] == 4096
    assert capsys.readouterr().out.count("out of memory") == 2
    monkeypatch.setattr(
        local, "answers", lambda *a: (_ for _ in ()).throw(torch.OutOfMemoryError("never"))
    )
    with pytest.raises(torch.OutOfMemoryError):
        local.within_memory(s, None, None, ["row"])


# Through launch.run, in a run's folder: the profile says how many processes.


@pytest.fixture
def job(runs):
    """A function that runs inference over 40 prompts in `runs` with so many processes: the shards'
    bytes."""

    def go(run, processes, before=None):
        open_run(run, load_profile("smoke", inference_processes=processes))
        home, rows = (
            runs / run / "sw" / "step",
            [{"id": str(k), "prompt": f"Nchi {k}: "} for k in range(40)],
        )
        write_jsonl(home / "in.jsonl", rows)
        s = job_settings(home / "in.jsonl", shard_size=4, token_budget=512, temperature=0.9,
                         top_p=0.9, max_new_tokens=24)
        if before:
            before(home, s)
        else:
            launch.run("inference.local", s, home / "out")
        return {p.name: p.read_bytes() for p in sorted((home / "out").glob("shard-*"))}

    return go


def test_two_ranks_killed_in_the_middle_and_gone_on_with_by_one_give_the_bytes_of_one(
    job, runs, monkeypatch
):
    def kill(home, s):
        out = str(home / "out")
        code = (
            "from xinstruct_utils.workflow import launch; "
            f"launch.run('inference.local', {s!r}, {out!r})"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=REPO,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.time() + 120
        # Until each rank has written one.
        while len({int(p.stem[-1]) % 2 for p in (home / "out").glob("shard-*")}) < 2:
            assert child.poll() is None and time.time() < until
            time.sleep(0.01)
        child.kill()
        child.wait()

    halfway = job("two", 2, kill)
    assert (
        2 <= len(halfway) < 10 and not (runs / "two" / "sw" / "step" / "out" / "done.json").exists()
    )
    log = (runs / "two" / "sw" / "step" / "logs" / "out.log").read_text()
    assert "rank 0" in log and "rank 1" in log
    resumed, alone = job("two", 1), job("one", 1)
    assert resumed == alone and len(alone) == 10 and halfway.items() <= alone.items()


def test_chunks_are_read_one_at_a_time_and_those_with_a_shard_are_left_out(tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"id": k, "text": "a\u2028b"} for k in range(7)])
    shards = Shards(tmp_path / "out", 3)
    shards.write(1, [])
    asked = {"input": str(tmp_path / "in.jsonl")}
    made = [(index, [r["id"] for r in rows]) for index, rows in shards.pending(rows_of(asked))]
    assert made == [(0, [0, 1, 2]), (2, [6])] and count_of(asked) == 7


PAGES = [
    {
        "id": f"p{k}",
        "text": f"Sarafu ya nchi ya {k} ni shilingi.",
        "instruction": f"Name the currency of {k}.",
        "native_instruction": f"Taja sarafu ya {k}.",
        "output": f"Shilingi {k}.",
    }
    for k in range(5)
]


@pytest.mark.parametrize(
    "task, request_, prompt",
    [
        (
            "generate",
            {"kind": "instruction", "templates": "released"},
            lambda r: instruction_request(r["text"], "released"),
        ),
        (
            "generate",
            {"kind": "response", "lang": "sw", "tag": "web"},
            lambda r: response_request(r["instruction"], "sw", "web"),
        ),
        (
            "likelihood",
            {"kind": "response", "lang": "sw"},
            lambda r: response_request(r["instruction"], "sw"),
        ),
        (
            "generate",
            {"kind": "native", "tag": "both"},
            lambda r: native_request(r["native_instruction"], "both"),
        ),
        ("rate", {"kind": "rating"}, lambda r: rating_request(r["instruction"], r["output"])),
    ],
)
def test_requests_made_when_they_are_read_are_those_that_were_written_out(
    tmp_path, task, request_, prompt
):
    Shards(tmp_path / "pages", 2).stream(PAGES)
    asked = {"input": str(tmp_path / "pages"), "request": request_, "task": task}
    wanted = [
        {"id": r["id"], "prompt": prompt(r)}
        | ({"completion": r["output"]} if task == "likelihood" else {})
        for r in PAGES
    ]
    assert requests_of(list(rows_of(asked)), asked) == wanted


def test_rows_are_asked_as_often_and_as_many_as_the_settings_say(tmp_path):
    write_jsonl(tmp_path / "in.jsonl", PAGES)
    asked = {"input": str(tmp_path / "in.jsonl"), "limit": 2, "repeat": 2}
    assert [r["id"] for r in rows_of(asked)] == ["p0-0", "p0-1", "p1-0", "p1-1"] and count_of(
        asked
    ) == 4


@pytest.mark.parametrize(
    "row, request_, told",
    [
        (
            PAGES[0],
            {"kind": "ratng"},
            "expected the kind instruction, response, native, rating or alone, but 'ratng' came",
        ),
        (
            {"id": "p9", "text": "x"},
            {"kind": "rating"},
            "in.jsonl, row 'p9': .* 'rating' needs the field 'instruction', but .* id, text",
        ),
    ],
)
def test_a_request_that_cannot_be_made_names_file_and_row(row, request_, told):
    with pytest.raises(InputError, match=told):
        requests_of([row], {"input": "in.jsonl", "request": request_, "task": "rate"})
