"""The pipeline from end to end: Snakemake over tiny notebooks, and the real method at the smallest sizes."""

import re
import shutil

import nbformat
import psutil
import pytest
from conftest import snakemake, tiny

from xinstruct_utils import artifacts, book
from xinstruct_utils.artifacts import REPO, read_json, read_jsonl

CHAIN = ["01_seed_data", "02_corpus", "03_backtranslation", "04_refinement", "05_diversification", "06_statistics"]
HEAD = 'run: str = "atlas"  # run\nlang: str = "sw"  # language\n'

STEPS = ["01_seed_data", "02_corpus", "03_backtranslation", "04_refinement/iter1", "04_refinement/iter2", "05_diversification",
         "06_statistics", "07_quality_review", "08_instruction_tuning", "09_judge_evaluation", "10_task_evaluation",
         "11_human_evaluation", "12_ablations"]


def chapter(folder, name, says, prose="Why."):
    """A tiny notebook in the chain's place `name`, which writes `says`."""
    rounds = name == "04_refinement"
    tiny(folder, name, HEAD + ("iteration: int = 1  # round" if rounds else ""),
         "from xinstruct_utils import artifacts\n\n"
         f'step = artifacts.Step("{name}", run, lang{", iteration" if rounds else ""})',
         f'artifacts.write_json(step.path("a.json"), {says!r})' if name in CHAIN[:2] else
         f'artifacts.write_json(step.path("a.json"), artifacts.read_json(step.input("01_seed_data", "a.json")) + {says!r})',
         'step.finish(["a.json"])', prose=prose)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A finished run of tiny notebooks; the tests below change them one after the other."""
    home = tmp_path_factory.mktemp("chain")
    for name in {*CHAIN, *(s.partition("/")[0] for s in STEPS), "13_results"}:
        chapter(home / "notebooks", name, [name])
    batch(home)
    return home


def batch(home, *more, fails=False):
    """A batch over the tiny notebooks, as a run on files; returns what it printed."""
    child = snakemake(home / "runs", *more, "--config", "run=tiny", "profile=local", "langs=sw",
                      "set=iterations=2 seed_path=s.jsonl corpus_path='my corpus.jsonl' ", notebooks=home / "notebooks")
    output, _ = child.communicate()
    assert (child.returncode != 0) == fails, output
    return output


def steps_run(output, word="done"):
    """The steps of which the verb said `word`."""
    return sorted(re.findall(rf"^{word}: \S*/tiny/sw/(\S+)", output, re.M))


def test_every_round_of_every_chapter_runs_once_and_a_run_on_files_needs_no_judge(chain):
    made = sorted(str(p.parent.relative_to(chain / "runs" / "tiny")) for p in (chain / "runs").rglob("manifest.json"))
    assert made == [f"sw/{s}" for s in STEPS[:8]]
    told = read_json(chain / "runs" / "tiny" / "run.json")
    assert told["iterations"] == 2 and told["corpus_path"] == str(REPO / "my corpus.jsonl") and told["featured"] == "sw"


def test_a_second_call_runs_nothing(chain):
    assert "Nothing to be done" in batch(chain)


def test_new_labels_of_people_ask_their_chapter_again(chain):
    path = chain / "runs" / "tiny" / "labels" / "sw" / "quality.jsonl"
    artifacts.write_jsonl(path, [{"answers": {"valid": "yes"}}])
    assert steps_run(batch(chain), "up to date") == ["07_quality_review"] and "Nothing to be done" in batch(chain)


def test_prose_reruns_nothing_and_code_reruns_its_step_and_asks_what_follows(chain):
    chapter(chain / "notebooks", "05_diversification", ["05_diversification"], prose="Reworded.")
    assert "Nothing to be done" in batch(chain)
    chapter(chain / "notebooks", "05_diversification", ["edited"])
    output = batch(chain)
    assert steps_run(output) == ["05_diversification"]
    assert steps_run(output, "up to date") == ["06_statistics", "07_quality_review"]
    assert read_json(chain / "runs" / "tiny" / "sw" / "05_diversification" / "a.json") == ["01_seed_data", "edited"]
    assert "Nothing to be done" in batch(chain)


def test_a_step_edited_and_made_without_snakemake_is_noticed_by_it(chain):
    chapter(chain / "notebooks", "06_statistics", ["edited too"])
    assert steps_run(batch(chain)) == ["06_statistics"]


def test_a_failing_step_is_named_and_what_does_not_need_it_goes_on(chain):
    tiny(chain / "notebooks", "02_corpus", HEAD, "raise ValueError('no corpus here')")
    chapter(chain / "notebooks", "01_seed_data", ["01_seed_data", "again"])
    output = batch(chain, fails=True)
    assert "ValueError: no corpus here" in output and steps_run(output) == ["01_seed_data"]
    assert "ValueError" in (chain / "runs" / "tiny" / "sw" / "02_corpus" / "notebook.ipynb").read_text()
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
    assert child.returncode and output.count("\n") == 1 and "unknown key 'iteratons' (did you mean 'iterations'?)" in output
    assert not (chain / "runs" / "tiny2").exists()


# The real thing, from here on.


@pytest.fixture
def finished(smoke, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_RUNS", str(smoke.root))
    return smoke.root / "smoke"


def test_every_step_of_the_smoke_run_has_its_manifest(finished):
    made = {str(p.parent.relative_to(finished)) for p in finished.rglob("manifest.json")}
    assert made == {f"sw/{s}" for s in STEPS} | {"all/13_results"}


def test_the_smoke_run_passes_the_gate_of_the_book(finished):
    assert len(book.gate(book.expected("smoke")[1])) == len(STEPS) + 1


def test_every_row_is_accounted_for(finished):
    for path in finished.rglob("manifest.json"):
        for c in read_json(path)["counts"]:
            assert c["in"] == c["out"] + sum(c["dropped"].values()), (path, c)


def test_outputs_load_with_datasets(finished, tmp_path):
    from datasets import load_dataset

    path = finished / "sw" / "05_diversification" / "x_instruction.jsonl"
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert list(rows["output"]) == [r["output"] for r in read_jsonl(path)] and {"id", "instruction"} <= set(rows.column_names)


def test_ids_are_those_of_the_texts(finished):
    for row in read_jsonl(finished / "sw" / "03_backtranslation" / "candidates.jsonl"):
        assert row["id"] == artifacts.content_id("sw", row["output"])


def test_figures_for_programs_have_names_and_no_holes(finished):
    figures = read_json(finished / "all" / "13_results" / "figures.json")
    assert {"generator_exact", "random_precision", "wall_s", "peak_rss_gib", "one_pass_label_agreement"} <= set(figures)
    assert {"verb_noun_f1_ewt", "verb_noun_coverage", "order_flip_rate", "valid_instruction_share", "acceptable_response_share",
            "task_accuracy"} <= set(figures)                     # those that issue 3 names
    assert len(figures["kept_precision"]["sw"]) == 2 and 0 < figures["peak_rss_gib"] < 6
    assert all(value not in (None, {}, []) for value in figures.values())


def test_executed_notebooks_hold_no_progress_debris(finished):
    for path in finished.rglob("notebook.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                assert "\r" not in output.get("text", "") and "%|" not in output.get("text", ""), path


def test_nothing_of_the_smoke_run_goes_on(finished):
    mine = [p for p in psutil.process_iter() if _environ(p).get("XINSTRUCT_RUNS") == str(finished.parent)]
    assert mine == []


def _environ(process):
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_a_finished_run_is_planned_as_nothing(smoke):
    child = snakemake(smoke.root, "--dry-run", "--config", "profile=smoke", "run=smoke")
    output, _ = child.communicate()
    assert "Nothing to be done" in output


def test_a_chapter_can_be_stepped_through_by_hand_in_a_clean_kernel(smoke, tmp_path, monkeypatch):
    """As in JupyterLab: in the folder of the notebooks, without the verb; only the run's name differs."""
    from nbclient import NotebookClient

    shutil.copytree(smoke.root, tmp_path / "runs", ignore=shutil.ignore_patterns("01_seed_data"))
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    notebook = nbformat.read(REPO / "notebooks" / "01_seed_data.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace('"atlas"', '"smoke"') + "\nd0x_size = 40"
    NotebookClient(notebook, resources={"metadata": {"path": str(REPO / "notebooks")}}).execute()
    here, there = (root / "smoke" / "sw" / "01_seed_data" / "seed.jsonl" for root in (tmp_path / "runs", smoke.root))
    assert here.read_bytes() == there.read_bytes() and (here.parent / "manifest.json").exists()
