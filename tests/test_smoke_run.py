"""The pipeline from end to end: Snakemake over tiny notebooks, and the method at smallest sizes."""

import os
import re
import shutil

import nbformat
import psutil
import pytest
from conftest import snakemake, tiny

from xinstruct_utils.__main__ import main
from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.reporting import gate
from xinstruct_utils.workflow import account
from xinstruct_utils.workflow.chapters import of_run
from xinstruct_utils.workflow.step import Step

CHAIN = ["01_seed_data", "02_corpus", "03_backtranslation", "04_refinement", "05_diversification",
         "06_statistics"]
HEAD = 'run: str = "atlas"  # run\nlang: str = "sw"  # language\n'

STEPS = ["01_seed_data", "02_corpus", "03_backtranslation", "04_refinement/iter1",
         "04_refinement/iter2", "05_diversification",
         "06_statistics", "07_quality_review", "08_instruction_tuning", "09_judge_evaluation",
         "10_task_evaluation",
         "11_human_evaluation", "12_ablations"]


LAST = ("13_results", "15_paper_tables")       # across languages
ON_FILES = "16_real_text"


def chapter(folder, name, says, prose="Why."):
    """A tiny notebook in the chain's place `name`, which writes `says`."""
    rounds, first = name == "04_refinement", name in (*CHAIN[:2], *LAST)
    head = HEAD.replace('"sw"', '"all"') if name in LAST else HEAD
    tiny(folder, name, head + ("iteration: int = 1  # round" if rounds else ""),
         "from xinstruct_utils.core.files import read_json, write_json\n"
         "from xinstruct_utils.workflow.step import Step\n\n"
         f'step = Step("{name}", run, lang{", iteration" if rounds else ""})',
         f'write_json(step.path("a.json"), {says!r})' if first else
         'read = read_json(step.input("01_seed_data", "a.json"))\n'
         f'write_json(step.path("a.json"), read + {says!r})',
         'step.finish(["a.json"])', prose=prose)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A finished run of tiny notebooks; the tests below change them one after the other."""
    home = tmp_path_factory.mktemp("chain")
    for name in ("s.jsonl", "my corpus.jsonl"):
        (home / name).write_text("")                 # that they are there is all that is asked
    for name in {*CHAIN, *(s.partition("/")[0] for s in STEPS), *LAST, ON_FILES}:
        chapter(home / "notebooks", name, [name])
    batch(home)
    return home


def batch(home, *more, fails=False, also=""):
    """A batch over the tiny notebooks, as a run on files; returns what it printed."""
    here = os.path.relpath(home, REPO)               # relative, and with a blank in one
    files = f"seed_path={here}/s.jsonl corpus_path='{here}/my corpus.jsonl'"
    child = snakemake(home / "runs", *more, "--config", "run=tiny", "profile=local", "langs=sw",
                      f"set=iterations=2 {files} {also} ",
                      notebooks=home / "notebooks")
    output, _ = child.communicate()
    assert (child.returncode != 0) == fails, output
    return output


def steps_run(output, word="done"):
    """The steps of which the verb said `word`."""
    return sorted(re.findall(rf"^{word}: \S*/tiny/sw/(\S+)", output, re.M))


def test_every_round_runs_once_and_a_run_on_files_ends_with_a_tuned_model_and_no_judge(chain):
    made = sorted(str(p.parent.relative_to(chain / "runs" / "tiny"))
                  for p in (chain / "runs").rglob("manifest.json"))
    assert made == [*(f"all/{s}" for s in LAST), *(f"sw/{s}" for s in STEPS[:9]), f"sw/{ON_FILES}"]
    told = read_json(chain / "runs" / "tiny" / "run.json")
    assert told["iterations"] == 2
    assert told["corpus_path"] == str(REPO / os.path.relpath(chain / "my corpus.jsonl", REPO))
    assert told["featured"] == "sw"


def last_chapters(profile):
    return [chapter.name for chapter in of_run(profile) if "05" < chapter.name[:2] < "13"]


@pytest.mark.parametrize("settings, more", [
    ({}, []), ({"tasks": ["atlas_nli"]}, []), ({"tasks": ["xcopa"]}, ["10_task_evaluation"]),
    ({"benchmarks": ["b.jsonl"], "judge_by": "openai"},
     ["09_judge_evaluation", "11_human_evaluation"])])
def test_a_run_on_files_has_the_chapters_that_its_settings_give_material_to(settings, more):
    profile = load_profile("local", seed_path="s.jsonl", corpus_path="c.jsonl", **settings)
    assert last_chapters(profile) == ["06_statistics", "07_quality_review", "08_instruction_tuning",
                                      *more]


def test_a_run_of_the_atlas_has_all_chapters_and_no_tasks_where_none_are_named():
    assert last_chapters(load_profile("smoke")) == [s for s in STEPS if s[:2] > "05"]
    assert "10_task_evaluation" not in last_chapters(load_profile("smoke", tasks=[]))


def test_a_second_call_runs_nothing(chain):
    assert "Nothing to be done" in batch(chain)


def test_other_questions_make_the_chapters_of_the_judge_and_nothing_else(chain):
    tiny(chain / "notebooks", "09_judge_evaluation", HEAD + 'benchmarks: list[str] = []  # q',
         "from xinstruct_utils.core.files import write_json\n"
         "from xinstruct_utils.workflow.step import Step\n\n"
         "step = Step('09_judge_evaluation', run, lang)",
         "write_json(step.path('a.json'), benchmarks)", "step.finish(['a.json'])")
    for name, more in (("one.jsonl", ["11_human_evaluation"]), ("two.jsonl", [])):
        (chain / name).write_text("")
        named = os.path.relpath(chain / name, REPO)
        output = batch(chain, also=f"judge_by=openai benchmarks={named} max_cost_usd=5")
        assert steps_run(output) == ["09_judge_evaluation", *more]
        made = read_json(chain / "runs" / "tiny" / "sw" / "09_judge_evaluation" / "a.json")
        assert made == [str(REPO / named)] == read_json(chain / "runs" / "tiny" / "run.json")[
            "benchmarks"]


def test_new_labels_of_people_ask_their_chapter_again(chain):
    path = chain / "runs" / "tiny" / "labels" / "sw" / "quality.jsonl"
    write_jsonl(path, [])
    tiny(chain / "notebooks", "07_quality_review", HEAD,
         "from xinstruct_utils.workflow.step import Step\n\n"
         "step = Step('07_quality_review', run, lang)",
         f"step.source({str(path)!r})", "step.finish([])")
    assert steps_run(batch(chain)) == ["07_quality_review"] and "Nothing to be done" in batch(chain)
    write_jsonl(path, [{"answers": {"valid": "yes"}}])
    assert steps_run(batch(chain)) == ["07_quality_review"] and "Nothing to be done" in batch(chain)


def test_prose_reruns_nothing_and_code_reruns_its_step_and_asks_what_follows(chain):
    chapter(chain / "notebooks", "05_diversification", ["05_diversification"], prose="Reworded.")
    assert "Nothing to be done" in batch(chain)
    chapter(chain / "notebooks", "05_diversification", ["edited"])
    output = batch(chain)
    assert steps_run(output) == ["05_diversification"]
    same = ["06_statistics", "07_quality_review", "08_instruction_tuning", ON_FILES]
    assert steps_run(output, "up to date") == same
    assert read_json(chain / "runs" / "tiny" / "sw" / "05_diversification" / "a.json") == [
        "01_seed_data", "edited"]
    assert "Nothing to be done" in batch(chain)


def test_a_step_edited_and_made_without_snakemake_is_noticed_by_it(chain):
    chapter(chain / "notebooks", "06_statistics", ["edited too"])
    assert steps_run(batch(chain)) == ["06_statistics"]


def test_a_failing_step_is_named_and_what_does_not_need_it_goes_on(chain):
    tiny(chain / "notebooks", "02_corpus", HEAD, "raise ValueError('no corpus here')")
    chapter(chain / "notebooks", "01_seed_data", ["01_seed_data", "again"])
    output = batch(chain, fails=True)
    assert "ValueError: no corpus here" in output and steps_run(output) == ["01_seed_data"]
    assert "ValueError" in (
        chain / "runs" / "tiny" / "sw" / "02_corpus" / "notebook.ipynb").read_text()
    chapter(chain / "notebooks", "02_corpus", ["02_corpus"])
    output = batch(chain)
    assert {"02_corpus", "03_backtranslation", "06_statistics"} <= set(steps_run(output))


def test_a_path_is_a_command(chain):
    target = chain / "runs" / "tiny" / "sw" / "04_refinement" / "iter1" / "manifest.json"
    shutil.rmtree(target.parent)
    assert steps_run(batch(chain, str(target))) == ["04_refinement/iter1"]


def test_bad_settings_are_one_line_before_anything_runs(chain):
    child = snakemake(chain / "runs", "--config", "run=tiny2", "profile=local", "set=iteratons=2")
    output, _ = child.communicate()
    assert child.returncode and output.count("error: ") == 1
    assert "unknown key 'iteratons' (did you mean 'iterations'?)" in output
    assert not (chain / "runs" / "tiny2").exists()


# The real thing, from here on.


@pytest.fixture
def finished(smoke, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_RUNS", str(smoke.root))
    return smoke.root / "smoke"


def test_every_step_of_the_smoke_run_has_its_manifest(finished):
    made = {str(p.parent.relative_to(finished)) for p in finished.rglob("manifest.json")}
    assert made == {f"sw/{s}" for s in STEPS} | {
        "all/00_atlas", *(f"all/{s}" for s in LAST)}


def test_the_smoke_run_passes_the_gate_of_the_book(finished):
    assert len(gate.check(gate.expected("smoke")[1])) == len(STEPS) + 1 + len(LAST)


def test_every_row_is_accounted_for_from_chapter_to_chapter(finished):
    told = account.whole(Step("06_statistics", "smoke", "sw"), 2)
    assert {c["chapter"] for c in told} == set(CHAIN[:5]) and told[0]["in"] == 60


def test_a_shard_of_the_corpus_that_lost_a_row_is_noticed(smoke, tmp_path, monkeypatch):
    shutil.copytree(smoke.root, tmp_path / "runs")
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path / "runs"))
    shard = Shards(tmp_path / "runs" / "smoke" / "sw" / "02_corpus" / "corpus", 32).file(1)
    write_jsonl(shard, list(read_jsonl(shard))[1:])
    with pytest.raises(InputError, match="02_corpus: .* rows left the stage 'cleaning'"):
        account.whole(Step("06_statistics", "smoke", "sw"), 2)


def test_outputs_load_with_datasets(finished, tmp_path):
    from datasets import load_dataset

    path = finished / "sw" / "05_diversification" / "x_instruction.jsonl"
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert list(rows["output"]) == [r["output"] for r in read_jsonl(path)]
    assert {"id", "instruction"} <= set(rows.column_names)


def test_ids_are_those_of_the_texts(finished):
    for row in read_jsonl(finished / "sw" / "03_backtranslation" / "candidates.jsonl"):
        assert row["id"] == content_id("sw", row["output"])


def test_figures_for_programs_have_names_and_no_holes(finished):
    figures = read_json(finished / "all" / "13_results" / "figures.json")
    assert {"generator_exact", "random_precision", "wall_s", "peak_rss_gib",
            "one_pass_label_agreement"} <= set(figures)
    assert {"verb_noun_f1_ewt", "verb_noun_coverage", "order_flip_rate", "valid_instruction_share",
            "acceptable_response_share",
            "task_accuracy"} <= set(figures)                     # those that issue 3 names
    assert len(figures["kept_precision"]["sw"]) == 2 and 0 < figures["peak_rss_gib"] < 6
    assert all(value not in (None, {}, []) for value in figures.values())


def test_executed_notebooks_hold_no_progress_debris(finished):
    for path in finished.rglob("notebook.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                text = output.get("text", "")
                assert "\r" not in text and "%|" not in text, path


def test_executed_notebooks_show_no_path_of_this_machine(finished):
    """In tables and values; `pages.tidy` cuts what is printed."""
    for path in finished.rglob("notebook.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                shown = "".join(output.get("data", {}).get(kind, "")
                                for kind in ("text/plain", "text/html"))
                assert str(finished.parent) not in shown and str(REPO) not in shown, (
                    path, shown[:300])


def test_nothing_of_the_smoke_run_goes_on(finished):
    mine = [p for p in psutil.process_iter()
            if _environ(p).get("XINSTRUCT_RUNS") == str(finished.parent)]
    assert mine == []


def _environ(process):
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.fixture
def copied(smoke, tmp_path, monkeypatch):
    """A copy of the smoke run: its folder, and a function that makes a chapter of it again."""
    shutil.copytree(smoke.root, tmp_path / "runs")
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path / "runs"))

    def again(chapter, *more):
        assert main(["run", chapter, "--run", "smoke", "--lang", "sw", *more]) == 0
    return tmp_path / "runs" / "smoke", again


def test_an_instruction_that_is_an_evaluation_prompt_is_dropped_and_counted(copied, tmp_path):
    home, again = copied
    path = home / "sw" / "03_backtranslation" / "candidates.jsonl"
    reason = "shares 13 words with an evaluation prompt"
    before = [r["instruction"] for r in read_jsonl(path)]
    write_jsonl(tmp_path / "b_sw.jsonl", [{"instruction": before[0].upper()}])
    rules = {"cleaning": ["length", "duplicates", "contamination"],
             "benchmarks": [str(tmp_path / "b_{lang}.jsonl")]}
    write_json(home / "run.json", read_json(home / "run.json") | rules)
    again("02_corpus")
    again("03_backtranslation")
    assert [r["instruction"] for r in read_jsonl(path)] == [i for i in before if i != before[0]]
    counts = read_json(path.parent / "manifest.json")["counts"]
    assert counts[-1]["dropped"][reason] == before.count(before[0])


def test_a_pair_that_is_too_long_for_the_model_has_no_rating_and_is_counted(copied):
    home, again = copied
    step = home / "sw" / "04_refinement" / "iter1"
    first, *others = read_jsonl(shard := step / "ratings0" / "shard-00000.jsonl")
    # as the engines write it
    write_jsonl(shard, [{"id": first["id"], "p0": None, "p1": None, "p2": None}, *others])
    before = {r["id"] for r in read_jsonl(step / "ratings.jsonl")}
    (step / "ratings.jsonl").unlink()
    again("04_refinement", "--iteration", "1")
    assert {r["id"] for r in read_jsonl(step / "ratings.jsonl")} == before - {first["id"]}
    counts = {c["stage"]: c["dropped"] for c in read_json(step / "manifest.json")["counts"]}
    assert counts["rated candidates"] == {"over the model's context": 1}


def test_a_baseline_is_tuned_and_asked_beside_ours_and_all_from_the_model_that_is_named_for_it(
        copied, tmp_path):
    home, again = copied
    base = shutil.copytree(BASE_MODEL, tmp_path / "larger")
    write_jsonl(tmp_path / "mt_sw.jsonl",
                [{"language": "sw", "instruction": f"Count to {k}", "output": "moja, mbili"}
                 for k in range(9)])
    settings = ["-p", f"baselines=mt={tmp_path}/mt_{{lang}}.jsonl", "-p", f"tuned_model={base}",
                "-p", f"larger_model={BASE_MODEL}"]
    again("08_instruction_tuning", *settings)
    models = home / "sw" / "08_instruction_tuning" / "models"
    assert {read_json(models / f"{m}.settings.json")["base_model"]
            for m in ("refined", "unrefined", "seed", "mt")} == {str(base)}
    assert read_json(models / "mt" / "train.json")["rows"] == 9
    again("09_judge_evaluation")
    answers = read_jsonl(home / "sw" / "09_judge_evaluation" / "answers.jsonl")
    assert {"mt", "refined_larger"} <= {r["model"] for r in answers}
    larger = read_json(models / "refined_larger.settings.json")
    assert larger["base_model"] == str(BASE_MODEL)
    rows = read_json(models / "refined_larger" / "train.json")["rows"]
    assert rows == read_json(models / "refined" / "train.json")["rows"]
    contests = read_json(home / "sw" / "09_judge_evaluation" / "measures.json")
    assert contests["refined_larger_vs_refined"]["n"] == contests["refined_vs_seed"]["n"]


def test_without_a_truth_planted_flaws_and_pairs_set_aside_are_measured(copied, tmp_path):
    home, again = copied
    aside = list(read_jsonl(home / "sw" / "01_seed_data" / "d0r.jsonl"))[:3]
    write_jsonl(home / "sw" / "01_seed_data" / "test.jsonl", aside)
    write_jsonl(tmp_path / "planted.jsonl",
                [{"kind": "error page", "place": "instead", "text": "404 Not Found"}])
    again("16_real_text", "-p", "planted_flaws=5", "-p", f"planted_path={tmp_path}/planted.jsonl")
    made = read_json(home / "sw" / "16_real_text" / "measures.json")
    assert set(made["planted_auc"]) == {"p2, round 1", "p2, round 2", "likelihood, round 1",
                                        "likelihood, round 2", "gain", "agreement", "length"}
    assert made["planted_auc"]["length"]["cut short"]["told_apart"] == 1
    assert made["planted_auc"]["length"]["error page"]["n"] == 5
    assert made["planted_auc"]["length"]["mismatched"]["auc"] == 0.5
    assert set(made["likelihood_auc"]) == {"1", "2"} and made["gain_auc"]["all"]["n"] == 5
    bits = made["bits_per_char"]
    assert bits["base"]["n"] == 3 and bits["refined"]["value"] < bits["base"]["value"]
    assert set(made["backtranslation_chrf"]) == {"generator", "base"}
    shutil.rmtree(home / "all" / "13_results")      # a run of the Atlas has no chapter 16 by itself
    again("13_results", "--lang", "all")
    figures = read_json(home / "all" / "13_results" / "figures.json")
    assert figures["bits_per_char"]["sw"] == bits


def test_a_finished_run_is_planned_as_nothing(smoke):
    child = snakemake(smoke.root, "--dry-run", "--config", "profile=smoke", "run=smoke")
    output, _ = child.communicate()
    assert "Nothing to be done" in output


def test_a_chapter_can_be_stepped_through_by_hand_in_a_clean_kernel(smoke, tmp_path, monkeypatch):
    """As in JupyterLab: in the notebooks' folder, without the verb; only the run's name differs."""
    from nbclient import NotebookClient

    shutil.copytree(smoke.root, tmp_path / "runs", ignore=shutil.ignore_patterns("01_seed_data"))
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    notebook = nbformat.read(REPO / "notebooks" / "01_seed_data.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            source = cell.source.replace('run: str = "atlas"', 'run: str = "smoke"')
            cell.source = f"{source}\nd0x_size = 40"
    NotebookClient(notebook, resources={"metadata": {"path": str(REPO / "notebooks")}}).execute()
    here, there = (root / "smoke" / "sw" / "01_seed_data" / "seed.jsonl"
                   for root in (tmp_path / "runs", smoke.root))
    assert here.read_bytes() == there.read_bytes() and (here.parent / "manifest.json").exists()


def test_every_row_of_the_data_set_names_the_page_that_its_output_is(smoke):
    """Whoever is asked to take a page down has to find its rows."""
    pages = {r["id"]: r["text"]
             for r in read_jsonl(smoke.root / "smoke" / "world" / "sw" / "corpus.jsonl")}
    rows = list(
        read_jsonl(smoke.root / "smoke" / "sw" / "05_diversification" / "x_instruction.jsonl"))
    assert rows and all(pages[r["source_id"]] == r["output"] for r in rows)


@pytest.mark.slow
def test_the_experiments_run_where_they_are_asked_for(tmp_path):
    """No run has them by default, so nothing else executes their chapters."""
    child = snakemake(tmp_path / "runs", "--config", "run=asked", "profile=smoke",
                      "set=experiments=true data_experiments=true experiment_seeds=1 iterations=1")
    output, _ = child.communicate()
    assert child.returncode == 0, output[-3000:]
    home = tmp_path / "runs" / "asked" / "sw" / "14_evaluator"
    rows = list(read_jsonl(home / "results.jsonl"))
    assert rows[0]["factor"] == "the run's own" and rows[-1]["level"] == "average of 1"
    assert len(read_json(home / "measures.json")["experiments"]) == len(rows) - 2
    home = home.parent / "17_data"
    names = [row["model"] for row in read_jsonl(home / "results.jsonl")]
    assert names[:2] == ["round 0", "round 1"]
    assert sum(" half, " in name for name in names) == 8
    measured = read_json(home / "measures.json")
    assert set(measured["data_duels"]) == {
        "round 1 against round 0", "better half against the other",
        "all of the better half against an eighth", "several clusters against one",
        "as many mined as translated pairs"}
    assert measured["data_directions"].keys() == {"sw to sw", "sw to en", "gain"}
    figures = read_json(tmp_path / "runs" / "asked" / "all" / "13_results" / "figures.json")
    claims = {row["name"]: row for row in figures["claims"]}
    assert claims["better_rated_teach"]["n"] == claims["english_is_easier"]["n"] == 1
