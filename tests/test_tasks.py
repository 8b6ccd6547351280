"""Chapter 10's tasks: what is asked, from which data, by which harness, what is said of answers."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from xinstruct_utils.atlas import BASE_MODEL, sentences, web, world
from xinstruct_utils.atlas import tasks as atlas_tasks
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_jsonl
from xinstruct_utils.core.languages import LANGUAGES
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.evaluation import tasks
from xinstruct_utils.models.loading import load
from xinstruct_utils.workflow import launch, notebooks

DATA = REPO.parent / "shared" / "data"
needs_xcopa = pytest.mark.skipif(not (DATA / "xcopa").is_dir(),
                                 reason=f"the XCOPA files are not at {DATA / 'xcopa'}")
SIX = tasks.FAMILIES["xcopa"].languages.split()
STORY = {f"input_sentence_{k}": f"Hadithi {k}." for k in (1, 2, 3, 4)} | {
    "sentence_quiz1": "Mwisho mbaya.", "sentence_quiz2": "Mwisho mwema.", "answer_right_ending": 2}


def answers(correct, task="xcopa_sw", **more):
    n = len(correct)
    mean = sum(correct) / n
    return {"task": task, "n": n, "accuracy": mean, "stderr": (mean * (1 - mean) / (n - 1)) ** 0.5,
            "correct": correct,
            "family": "xcopa", "lang": "sw", "variant": ""} | more


# What is asked.


def test_the_table_of_languages_is_that_of_the_papers_table_7_and_of_the_task_files():
    table = tasks.coverage()
    assert list(table.index) == [row.name for row in LANGUAGES.values()]
    for family, title in (("xnli", "XNLI"), ("xcopa", "XCOPA"), ("xstorycloze", "XStoryCloze")):
        here = {code for code, row in LANGUAGES.items() if table.loc[row.name, title] == "yes"}
        assert here == set(paper_numbers()["table7"]["LLaMA 2 7B"][family])
        files = {p.stem for p in tasks.FILES.glob(f"{family}_*.yaml")}
        assert files == {f"{family}_{code}" for code in here}
        for code in here:
            text = (tasks.FILES / f"{family}_{code}.yaml").read_text()
            assert f"task: xinstruct_{family}_{code}\ndataset_name: {code}\n" in text
            assert f"include: _{family}.common" in text


def test_the_papers_averages_are_those_of_its_figures():
    for model, row in paper_numbers()["table7"].items():
        every = [v for family in ("xnli", "xcopa", "xstorycloze") for v in row[family].values()]
        assert len(every) == 15 and abs(sum(every) / 15 - row["avg"]) < 0.051, model


def test_a_language_is_asked_what_covers_it_and_xcopa_in_three_readings():
    assert tasks.covered(["xnli", "xcopa", "xstorycloze"], "sw") == [
        "xnli_sw", "xcopa_sw", "xcopa_sw_cut", "xcopa_sw_harness", "xstorycloze_sw"]
    assert tasks.covered(["xnli", "xcopa", "xstorycloze"], "fi") == []
    assert tasks.covered(["atlas_nli"], "fi") == ["atlas_nli_fi"]
    with pytest.raises(InputError, match="unknown tasks xcopy: expected some of xnli, xcopa"):
        tasks.covered(["xnli", "xcopy"], "sw")
    with pytest.raises(InputError, match="no task 'xcopa_th_cat': expected <family>_<language>"):
        tasks.parsed("xcopa_th_cat")
    with pytest.raises(InputError,
                       match="xnli_fi: xnli does not cover 'fi': expected one of th tr"):
        tasks.load_task("xnli_fi")


@pytest.mark.parametrize(("premise", "corrected", "cut"), [
    ("Kitu kilifungwa.", "Kitu kilifungwa", "Kitu kilifungwa"), (" สิ่งของ ", "สิ่งของ", "สิ่งขอ"),
    ("பொருள்", "பொருள்", "பொருள"), ("برف گرتی ہے۔", "برف گرتی ہے", "برف گرتی ہے"),
    ("Kwa nini?", "Kwa nini?", "Kwa nini")])
def test_of_a_premise_only_a_full_stop_goes(premise, corrected, cut):
    doc = {"premise": premise, "question": "cause"}
    assert tasks.xcopa_context(doc) == f"{corrected} because"
    assert tasks.xcopa_context_cut(doc) == f"{cut} because"
    assert tasks.xcopa_context({"premise": "a.", "question": "effect"}) == "a therefore"


def test_turkish_capitals_get_turkish_small_letters():
    doc = {"choice1": "İki kişi geldi.", "choice2": "Isı arttı."}
    assert tasks.xcopa_choices_tr(doc) == ["iki kişi geldi.", "ısı arttı."]
    assert tasks.xcopa_choices({"choice1": "Alikuja.", "choice2": "Éa"}) == ["alikuja.", "éa"]


@needs_xcopa
@pytest.mark.parametrize("lang", SIX)
def test_the_harness_cuts_a_real_character_off_thai_and_tamil_premises_and_ours_does_not(lang):
    rows = tasks.read_documents(f"xcopa_{lang}", tasks.data_file(f"xcopa_{lang}", DATA))
    hurt = sum(tasks.xcopa_context(r) != tasks.xcopa_context_cut(r) for r in rows)
    assert len(rows) == 500 and hurt == {"th": 500, "ta": 499}.get(lang, 0)
    for r in rows:
        assert tasks.xcopa_context(r).startswith(r["premise"].strip().rstrip("."))


def test_what_is_asked_are_whole_english_worded_texts(tmp_path):
    write_jsonl(tmp_path / "xstorycloze" / "sw.jsonl", [STORY])
    (tmp_path / "xnli.test.jsonl").write_text("\ufeff" + "\r\n".join(json.dumps(r) for r in [
        {"language": "fr", "gold_label": "neutral", "sentence1": "Non", "sentence2": "Oui"},
        {"language": "sw", "gold_label": "contradiction", "sentence1": "Mvua",
         "sentence2": "Jua"}]))
    rain = {"premise": "ฝน", "choice1": "A", "choice2": "B", "question": "effect", "label": 1}
    write_jsonl(tmp_path / "xcopa" / "th.jsonl", [rain])
    xnli = tasks.preview("xnli_sw", tmp_path)
    assert list(xnli.text) == ["Mvua, right? Yes, Jua", "Mvua, right? Also, Jua",
                               "Mvua, right? No, Jua"]
    assert list(xnli.right) == ["", "", "yes"]
    story = tasks.preview("xstorycloze_sw", tmp_path)
    assert story.text[1] == "Hadithi 1. Hadithi 2. Hadithi 3. Hadithi 4. Mwisho mwema."
    assert list(story.right) == ["", "yes"]
    assert [*tasks.preview("xcopa_th", tmp_path).text] == ["ฝน therefore a", "ฝน therefore b"]
    assert [*tasks.preview("xcopa_th_cut", tmp_path).text] == ["ฝ therefore a", "ฝ therefore b"]
    assert [*tasks.preview("xcopa_th_harness", tmp_path).text] == ["ฝ ดังนั้น a", "ฝ ดังนั้น b"]


@pytest.mark.parametrize(("row", "word"), [
    ("[1]", "expected a JSON object, but list came"), ("{", "expected one JSON object a line"),
    ('{"premise": "a", "hypothesis": "", "label": 1}', r"hypothesis is '', expected a text"),
    ('{"premise": "a", "hypothesis": "b", "label": 3}', r"label is 3, expected \[0, 1, 2\]"),
    ('{"gold_label": "maybe", "sentence1": "a", "sentence2": 2}',
     "hypothesis is 2, expected a text; label is None")])
def test_a_bad_row_is_named_with_its_line(tmp_path, row, word):
    path = tmp_path / "xnli" / "sw.jsonl"
    path.parent.mkdir()
    path.write_text('{"premise": "a", "hypothesis": "b", "label": 0}\n' + row + "\n")
    with pytest.raises(InputError, match=f"sw.jsonl, line 2: .*{word}"):
        tasks.load_task("xnli_sw", tmp_path)


def test_absent_data_are_named_with_what_to_do(tmp_path):
    with pytest.raises(InputError,
                       match=r"xcopa_ta: expected one of .*xcopa/data/ta/test.ta.jsonl.*but none "
                             "is there"):
        tasks.data_file("xcopa_ta", tmp_path)
    (tmp_path / "xnli.test.jsonl").write_text('{"language": "fr"}\n')
    with pytest.raises(InputError, match="xnli.test.jsonl: it has no rows in 'sw'"):
        tasks.load_task("xnli_sw", tmp_path)
    with pytest.raises(InputError,
                       match=r"xstorycloze_sw: its data \(juletxara/xstory_cloze\) could not be "
                             "loaded.*task_data"):
        tasks.load_task("xstorycloze_sw")            # the tests have no hub


# The harness, for real: the Atlas's base model on XCOPA's six languages, from files.


@pytest.fixture(scope="module")
def xcopa(tmp_path_factory):
    """The finished job of twelve tasks, a few items each."""
    out = tmp_path_factory.mktemp("xcopa") / "base"
    names = [n for lang in SIX for n in tasks.covered(["xcopa"], lang)]
    settings = tasks.job("atlas", dict.fromkeys(names, DATA), limit=5, threads=1, bf16=False)
    launch.run("evaluation.tasks", settings, out)
    return out, settings


@needs_xcopa
def test_xcopas_six_languages_run_offline_from_local_files(xcopa):
    found = tasks.results(xcopa[0], xcopa[1]["tasks"])
    assert len(found) == 18
    assert {(r["lang"], r["n"]) for r in found.values()} == {(lang, 5) for lang in SIX}
    for name, r in found.items():
        assert r["accuracy"] == pytest.approx(sum(r["correct"]) / 5) and r["chance"] == 0.5, name
        assert r["stderr"] == pytest.approx((r["accuracy"] * (1 - r["accuracy"]) / 4) ** 0.5), name
    # where there is a full stop, both readings ask the same
    for lang in ("id", "sw", "tr", "vi"):
        corrected, cut = found[f"xcopa_{lang}"], found[f"xcopa_{lang}_cut"]
        assert corrected["log_likelihoods"] == cut["log_likelihoods"]
    for lang in ("th", "ta"):
        corrected, cut = found[f"xcopa_{lang}"], found[f"xcopa_{lang}_cut"]
        assert corrected["log_likelihoods"] != cut["log_likelihoods"]


@needs_xcopa
def test_the_harness_finds_likely_what_the_model_finds_likely(xcopa):
    import torch

    model, tokenizer = load("atlas")
    docs, right = tasks.read_documents("xcopa_sw", tasks.data_file("xcopa_sw", DATA))[:5], []
    for doc in docs:
        sums = []
        for choice in tasks.xcopa_choices(doc):
            start = len(tokenizer(tasks.xcopa_context(doc))["input_ids"])
            ids = torch.tensor([tokenizer(f"{tasks.xcopa_context(doc)} {choice}")["input_ids"]])
            with torch.inference_mode():
                logs = model(ids).logits[0, :-1].log_softmax(-1)
                scores = logs.gather(-1, ids[0, 1:, None])[:, 0]
            sums.append(scores[start - 1:].sum().item())
        right.append(int(sums.index(max(sums)) == doc["label"]))
    assert tasks.results(xcopa[0], xcopa[1]["tasks"])["xcopa_sw"]["correct"] == right
    last = tasks.results(xcopa[0], xcopa[1]["tasks"])["xcopa_sw"]["log_likelihoods"][-1]
    assert last == pytest.approx(sums, abs=0.01)


@needs_xcopa
def test_a_killed_run_goes_on_with_the_next_task_and_a_finished_one_is_not_repeated(
        xcopa, tmp_path, capfd):
    out, settings = tmp_path / "base", xcopa[1]
    for path in (xcopa[0], xcopa[0].with_name("base.settings.json"),
                 xcopa[0].with_name(".base.key")):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    (out / "done.json").unlink()                     # killed before the last task
    gone = out / "xcopa_vi.json"
    before, lost = {p.name: p.stat().st_mtime_ns for p in out.glob("*.json")
                    if p != gone}, read_json(gone)
    gone.unlink()
    launch.run("evaluation.tasks", settings, out)
    assert {p.name: p.stat().st_mtime_ns for p in out.glob("*.json") if p.name in before} == before
    assert read_json(gone) == lost and (out / "done.json").exists()
    launch.run("evaluation.tasks", settings, out)
    assert "base: already done" in capfd.readouterr().out


def test_other_data_are_another_job_and_a_hub_id_is_known_by_its_name(tmp_path):
    keys = set()
    for ending in ("Mwisho mwema.", "Mwisho."):
        write_jsonl(tmp_path / "xstorycloze" / "sw.jsonl", [STORY | {"sentence_quiz2": ending}])
        for model in ("org/a", "org/b", BASE_MODEL):
            keys.add(launch.key_of("evaluation.tasks",
                                   tasks.job(model, {"xstorycloze_sw": tmp_path}, threads=1)))
    assert len(keys) == 6


# The Atlas's own tasks.


def told(language):
    """Every sentence of the language's pages that is true of a fact: {sentence: facts}."""
    true = {}
    for fact in world.facts():
        for template in sentences.texts(language)["topics"][fact.topic]["pages"]:
            for sentence in atlas_tasks.sentences(template):
                true.setdefault(sentence.format(**world.values(fact, language)), set()).add(fact)
    return true


@pytest.mark.parametrize("language", ["sw", "fi", "ur"])
def test_the_right_alternative_is_true_and_the_wrong_one_is_not(language):
    rows, true = atlas_tasks.copa(language, 400, 0), told(language)
    asked = set(web.split_facts(0)[1])
    assert {q: sum(r["question"] == q for r in rows) > 100
            for q in ("cause", "effect")} == {"cause": True, "effect": True}
    assert sum(r["label"] for r in rows) == 200 and len({r["premise"] for r in rows}) == 400
    for r in rows:
        both = [true[r["premise"]] & true.get(r[k], set()) for k in ("choice1", "choice2")]
        assert both[r["label"]] & asked and not both[1 - r["label"]], r


@pytest.mark.parametrize("language", ["sw", "fi", "ur"])
def test_inference_items_follow_or_contradict_or_speak_of_something_else(language):
    rows, true = atlas_tasks.nli(language, 300, 0), told(language)
    assert [sum(r["label"] == k for r in rows) for k in range(3)] == [100, 100, 100]
    for r in rows:
        facts = set.intersection(*(true[s] for s in atlas_tasks.sentences(r["premise"])
                                   if s in true))
        said = true.get(r["hypothesis"], set())
        if r["label"] == 0:
            assert facts & said, r
        elif r["label"] == 1:
            assert not facts & said and {f.country for f in said} & {f.country for f in facts}, r
        else:
            assert not said & facts, r


def test_items_are_the_same_each_time_of_another_seed_others_and_never_invented(tmp_path):
    first, again, other = (atlas_tasks.copa("sw", 20, seed) for seed in (0, 0, 1))
    assert first == again != other
    with pytest.raises(InputError,
                       match="give .* different items in 'sw', but 100000 were asked for; lower "
                             "task_limit"):
        atlas_tasks.nli("sw", 100000, 0)
    made = atlas_tasks.write(tmp_path, "fi", 10, 0)
    for family, rows in made.items():
        name = f"{family}_fi"
        assert tasks.read_documents(name, tasks.data_file(name, tmp_path)) == [
            {k: r[k] for k in tasks.FAMILIES[family].fields} for r in rows]
        assert len(tasks.preview(name, tmp_path, 2)) == 2 * tasks.FAMILIES[family].choices


def test_the_atlas_tasks_and_the_task_files_count_for_chapter_10_only():
    def used(name):
        code = "\n".join(notebooks.code_cells(notebooks.read_notebook(name)))
        return {str(p.relative_to(REPO)) for p in notebooks.used_modules(code)}

    mine, pattern = {"xinstruct_utils/atlas/tasks.py", "xinstruct_utils/evaluation/tasks.py",
                     "xinstruct_utils/evaluation/task_files/xcopa_th.yaml",
                     "xinstruct_utils/evaluation/task_files/_xcopa.common"}, "[0-9][0-9]_*.ipynb"
    assert mine | {"xinstruct_utils/atlas/pages.py"} <= used("10_task_evaluation")
    for path in (REPO / "notebooks").glob(pattern):
        assert path.stem == "10_task_evaluation" or not mine & used(path.stem), path.stem
    assert mine & {str(p.relative_to(REPO))
                   for p in notebooks.used_modules("import xinstruct_utils.atlas.tasks")}


# What is said of the answers.


@pytest.mark.parametrize(("tuned", "base", "beyond", "difference"), [
    ([1] * 40, [0, 1] * 20, 1, 0.5), ([0, 1] * 20, [1] * 40, -1, -0.5),
    ([1] * 3 + [0] * 37, [0] * 40, 0, 0.075), ([0, 1] * 20, [0, 1] * 20, 0, 0.0)])
def test_a_gain_is_computed_from_paired_answers(tuned, base, beyond, difference):
    got = tasks.gain(answers(tuned), answers(base))
    assert (got["beyond"], got["n"], got["difference"]) == (beyond, 40, pytest.approx(difference))


def test_answers_to_different_numbers_of_items_are_not_compared():
    with pytest.raises(InputError, match="xcopa_sw: 3 and 2 answers cannot be paired"):
        tasks.gain(answers([1, 0, 1]), answers([1, 0]))


def test_estimates_have_an_interval_and_leave_other_readings_out():
    rows = {"xcopa_sw": answers([1, 0, 1, 0]), "xcopa_sw_cut": answers([1, 1, 1, 1], variant="cut")}
    made = tasks.estimates({"base": rows, "refined": rows})
    assert set(made) == {"xcopa"} and set(made["xcopa"]) == {"base", "refined"}
    base = made["xcopa"]["base"]
    assert base["value"] == 0.5 and base["n"] == 4
    assert base["high"] - 0.5 == pytest.approx(0.5 - base["low"]) == pytest.approx(1.96 * 0.2887,
                                                                                   rel=1e-3)


def test_table_7_has_models_down_tasks_across_and_the_mean_of_the_corrected_readings():
    rows = {"xcopa_sw": answers([1, 0, 1, 0]), "xcopa_sw_cut": answers([1, 1, 1, 1], variant="cut"),
            "xnli_sw": answers([1, 1, 1, 0], family="xnli")}
    table = tasks.table7({"base": rows, "refined": rows})
    assert list(table.columns) == [("XCOPA", "sw"), ("XNLI", "sw"), ("Avg", "")]
    assert list(table.index) == ["base", "refined"]
    assert list(table.loc["base"]) == ["50.0 ± 28.9", "75.0 ± 25.0", "62.5"]
    assert tasks.table7({}).empty


def test_the_paper_says_nothing_of_what_it_did_not_ask():
    assert tasks.paper_rows("sw")["X-Instruction 7B"] == {"XNLI": 41.5, "XCOPA": 56.0,
                                                          "XStoryCloze": 56.6}
    assert tasks.paper_rows("ta")["LLaMA 2 7B"] == {"XNLI": None, "XCOPA": 54.2,
                                                    "XStoryCloze": None}


def test_the_recorded_xcopa_figures_have_all_six_languages_in_three_readings():
    bench = runpy.run_path(str(REPO / "benchmarks" / "xcopa.py"))
    found = {f"xcopa_th{v and '_' + v}": answers(c, variant=v, lang="th")
             for v, c in (("", [1, 1, 0, 1]), ("cut", [1, 0, 1, 1]), ("harness", [0, 0, 1, 0]))}
    assert bench["table"](found) == {"th": {"n": 4, "corrected": 75.0, "cut": 75.0, "harness": 25.0,
                                            "standard error": 25.0,
                                            "answers changed by the cut": 2}}
    known = read_json(tasks.FILES / "results.json")
    assert set(known["languages"]) == set(SIX) and {"model", "measured", "command"} <= set(known)
    for lang, row in known["languages"].items():
        assert set(row) == {"n", *tasks.READINGS.values(), "standard error",
                            "answers changed by the cut"}
        assert row["n"] == 500
        assert row["answers changed by the cut"] == 0 or lang in ("th", "ta")


def test_importing_the_module_is_instant():
    import subprocess
    import sys

    line = ("import sys, xinstruct_utils.evaluation.tasks; "
            "print({'torch', 'lm_eval', 'pandas', 'datasets'} & set(sys.modules))")
    loaded = subprocess.check_output([sys.executable, "-c", line], text=True, cwd=Path(REPO))
    assert loaded.strip() == "set()"
