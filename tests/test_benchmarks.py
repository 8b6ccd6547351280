"""Readers of the benchmarks' own files, other models' answers, human labels; one translation."""

import json
from pathlib import Path

import pytest

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.evaluation import benchmarks, endpoints

PROMPTS = REPO.parent / "shared" / "data" / "eval_prompts"
ABSENT = "the evaluation prompts are not at ../shared/data/eval_prompts"
REAL = {"vicuna": ("vicuna_mtbench_fastchat/fastchat/llm_judge/data/vicuna_bench/question.jsonl",
                   80),
        "wizardlm": ("wizardlm_testset/WizardLM_testset.jsonl", 218),
        "koala": ("koala_test/koala_test_set.jsonl", 180),
        "lima": ("lima_and_testsets_cherry/evaluation/test_data/lima_test_set.jsonl", 300)}


@pytest.mark.skipif(not PROMPTS.exists(),
                    reason="the evaluation prompts are not at ../shared/data/eval_prompts")
@pytest.mark.parametrize("name", REAL)
def test_the_benchmarks_own_files_are_read(name):
    path, n = REAL[name]
    rows = benchmarks.read(PROMPTS / path)
    assert len(rows) == len({r["id"] for r in rows}) == n
    assert {r["benchmark"] for r in rows} == {name}
    assert all(r["instruction"].strip() and "\r" not in r["instruction"][-1:] for r in rows)
    assert (None in {r["category"] for r in rows}) == (name in ("koala", "lima"))
    levels = {r["difficulty"] for r in rows}
    assert levels == (set(range(1, 11)) if name == "wizardlm" else {None})


@pytest.mark.skipif(not PROMPTS.exists(), reason=ABSENT)
def test_vicunas_two_forms_are_the_same_questions_and_a_repeated_prompt_counts_twice():
    old = benchmarks.read(PROMPTS / "vicuna_multilingual_sift" / "questions_English.jsonl")
    new = benchmarks.read(PROMPTS / REAL["vicuna"][0])
    assert [r["id"] for r in old] == [r["id"] for r in new]
    assert len({r["category"] for r in old}) == 9
    folder = PROMPTS / "lima_and_testsets_cherry" / "evaluation" / "test_data"
    copy = benchmarks.read(folder / "wizardlm_test_set.jsonl")
    assert len({r["id"] for r in copy}) == 218 and len({r["instruction"] for r in copy}) < 218


def written(path, *rows, start=b"", end=b"\n"):
    path.write_bytes(start + end.join(json.dumps(r).encode() for r in rows) + end)
    return path


def test_a_byte_order_mark_and_crlf_are_no_matter(tmp_path):
    path = written(tmp_path / "mine.jsonl", {"instruction": "One?"},
                   {"instruction": "Two?\nThree?", "category": "c"},
                   start=b"\xef\xbb\xbf", end=b"\r\n")
    rows = benchmarks.read(path)
    assert [(r["instruction"], r["category"])
            for r in rows] == [("One?", None), ("Two?\nThree?", "c")]
    assert rows[0]["benchmark"] == "mine"


@pytest.mark.parametrize(("rows", "word"), [
    ([{"instruction": "a"}, {"Instruction": " "}], "line 2: expected a prompt"),
    ([{"q": "a"}], "line 1: expected a prompt"),
    ([{"turns": []}], "line 1"), ([{"prompt": 3}], "3 came"), ([], "empty"),
    ([{"id": "x", "instruction": "a"}] * 2, "duplicate id 'x', first in line 1"),
    ([{"Instruction": "a", "Difficulty": "hard"}], "from 1 to 10, but 'hard' came"),
    ([{"Instruction": "a", "Difficulty": 11}], "11")])
def test_bad_prompts_are_told_with_file_and_line(tmp_path, rows, word):
    with pytest.raises(InputError, match=word) as error:
        benchmarks.read(written(tmp_path / "bad.jsonl", *rows, end=b"\n" if rows else b""))
    assert "bad.jsonl" in str(error.value)


def test_answers_come_by_id_or_by_instruction_and_every_question_needs_one(tmp_path):
    questions = [{"id": "a", "instruction": "A?"}, {"id": "b", "instruction": "B?"}]
    path = written(tmp_path / "chatgpt.jsonl", {"id": "a", "output": "1"},
                   {"instruction": "B?", "output": "2"})
    assert benchmarks.read_answers(path, questions) == {"a": "1", "b": "2"}
    with pytest.raises(InputError, match="1 of 3 questions have no answer, the first is 'C"):
        benchmarks.read_answers(path, [*questions, {"id": "c", "instruction": "C?"}])
    with pytest.raises(InputError, match="line 1: expected `output`"):
        benchmarks.read_answers(written(tmp_path / "b.jsonl", {"id": "a", "text": "1"}), questions)


def test_human_labels_are_verdicts_only(tmp_path):
    row = {"id": "a", "a": "refined", "b": "seed", "verdict": "win"}
    path = written(tmp_path / "l.jsonl", row)
    assert benchmarks.read_labels(path) == {("refined", "seed"): {"a": "win"}}
    with pytest.raises(InputError, match="line 1: expected id, a, b and verdict"):
        benchmarks.read_labels(written(tmp_path / "l.jsonl", row | {"verdict": "A"}))


def test_prompts_are_translated_once_and_kept_as_a_file(tmp_path):
    rows = [{"id": k, "instruction": f"Q{k}", "native_instruction": n}
            for k, n in (("1", None), ("2", "Tayari"), ("3", None))]
    rows.append({"id": "4", "instruction": "refuse me", "native_instruction": None})
    asked = []

    def translator(texts, source, target):
        """Stands where `open_translator` does: refuses one text, and one comes back as it was."""
        asked.append(texts)
        made = [None if "refuse" in t else f" {t} kwa Kiswahili\n" for t in texts]
        return made, ["refused or too long" if m is None else None for m in made]

    for _ in range(2):
        made = endpoints.translated(translator, "sw", rows, tmp_path / "sw.jsonl")
    assert [r["native_instruction"] for r in made] == ["Q1 kwa Kiswahili", "Tayari",
                                                       "Q3 kwa Kiswahili", None]
    # a refusal is not kept
    assert asked == [["Q1", "Q3", "refuse me"], ["refuse me"]]
    made = endpoints.translated(None, "sw", rows, tmp_path / "none.jsonl")
    assert made[0]["native_instruction"] is None


def test_opponent_has_the_judges_terms_or_its_own_and_the_translator_those_of_the_seed_datas(
        tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    asked = {"judge_base_url": "http://j", "judge_price_in": 30.0, "judge_price_out": 60.0,
             "translator_model": "openai:m"}
    made, path = load_profile("atlas", **asked, opponent_price_in=0.0), tmp_path / "r.sqlite"
    chat, judge = (endpoints.server(made, role, "m", path) for role in ("opponent", "judge"))
    assert (chat.base_url, chat.prices) == ("http://j", (0.0, 60.0))
    assert judge.prices == (30.0, 60.0)
    chat = endpoints.server(load_profile("atlas", **asked, opponent_base_url="http://o"),
                            "opponent", "m", path)
    assert (chat.base_url, chat.prices) == ("http://o", (30.0, 60.0))
    for own, terms in (({}, (None, (30.0, 60.0))),
                       ({"translator_base_url": "http://t"}, ("http://t", (0.0, 0.0)))):
        translate = endpoints.translator(load_profile("atlas", **asked, **own), path)
        used = translate.keywords["backend"].client
        assert (used.base_url, used.prices) == terms


def test_prompts_go_through_any_of_the_seed_datas_translators(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for name, found in (("google", "google"), ("openai:m", "openai:m"), ("nllb:x", "nllb:x")):
        made = load_profile("atlas", translator_model=name, translator_base_url="http://t")
        assert endpoints.translator(made, tmp_path / "r.sqlite").keywords["backend"].name == found
    assert endpoints.translator(load_profile("atlas"), tmp_path / "r.sqlite") is None
    with pytest.raises(InputError, match="expected a translator google, openai:MODEL or nllb"):
        endpoints.translator(load_profile("atlas", translator_model="gpt-4"), tmp_path / "r.sqlite")


def test_other_models_are_named_and_no_name_is_used_twice():
    made = load_profile("atlas", others=["Bactrian-M 7B={lang}.jsonl"])
    assert endpoints.others(made.others,
                            ["seed"]) == {"Bactrian-M 7B": str(Path.cwd() / "{lang}.jsonl")}
    for bad in (["x.jsonl"], ["=x.jsonl"], ["a=x.csv"], ["seed=x.jsonl"],
                ["a=x.jsonl", "a=y.jsonl"], ["a greedy=x.jsonl"]):
        with pytest.raises(InputError,
                           match="others: expected name=answers.jsonl with a name of its own"):
            endpoints.others(bad, ["seed"])


def test_benchmarks_with_files_need_a_judge():
    with pytest.raises(InputError, match="set judge_by=openai"):
        load_profile("local", benchmarks=["x.jsonl"])
    made = load_profile("local", benchmarks=["x.jsonl"], judge_by="openai", opponent="{lang}.jsonl")
    assert made.benchmarks == [str(Path.cwd() / "x.jsonl")]
    assert made.opponent == str(Path.cwd() / "{lang}.jsonl")
