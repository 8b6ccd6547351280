"""The table of chapters agrees with the notebooks; what is stale, and why, is said in words."""

import ast
import os
from datetime import UTC, datetime
from unittest import mock

import pytest
from conftest import a_copy, tiny

from xinstruct_utils.__main__ import main
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.profile import MACHINE, Profile
from xinstruct_utils.config.runs import open_run
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.workflow import execute
from xinstruct_utils.workflow.chapters import CHAPTERS, Chapter, StepId, read_by, steps_of
from xinstruct_utils.workflow.notebooks import code_cells, declared, read_notebook
from xinstruct_utils.workflow.staleness import file_of_now, stale_steps

SOURCES = {path.stem: read_json(path) for path in (REPO / "notebooks").glob("*.ipynb")}


def names_read(notebook):
    """Chapters that a notebook names in `step.input(...)` or `step.measures_of(...)`."""
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    firsts = [call.args[0] for call in calls
              if getattr(call.func, "attr", None) in ("input", "measures_of")]
    return {first.value for first in firsts if isinstance(first, ast.Constant)}


def reachable(name, table):
    """What is finished when a chapter runs: what it reads, and what that reads."""
    chapter = table[name]
    found = {name} if chapter.rounds else set()
    others = [other for other in table if not table[other].last]
    for other in others if chapter.last else chapter.reads:
        if other != name:
            found |= {other} | reachable(other, table)
    return found


def disagreements(chapters, sources):
    """Where the table and the notebooks say different things."""
    table = {chapter.name: chapter for chapter in chapters}
    faults = [f"{name} is not in the table" for name in sources.keys() - table.keys()]
    faults += [f"{name} has no notebook" for name in table.keys() - sources.keys()]
    for name in table.keys() & sources.keys():
        parameters = declared(sources[name])
        if table[name].rounds != ("iteration" in parameters):
            faults.append(f"{name}: rounds and the parameter iteration disagree")
        if table[name].across != (parameters["lang"] == "all"):
            faults.append(f"{name}: across and the default of lang disagree")
        for other in sorted(names_read(sources[name]) - reachable(name, table)):
            faults.append(f"{name} reads {other}, which need not be finished then")
    return faults


def test_the_table_of_chapters_and_the_notebooks_agree():
    assert disagreements(CHAPTERS, SOURCES) == []


def test_the_check_sees_what_the_notebooks_read():
    assert names_read(SOURCES["12_ablations"]) >= {"04_refinement", "09_judge_evaluation"}


def source(*cells, parameters='lang: str = "sw"'):
    """A notebook as `read_notebook` gives it."""
    tagged = {"cell_type": "code", "source": [parameters], "metadata": {"tags": ["parameters"]}}
    more = [{"cell_type": "code", "source": [cell], "metadata": {}} for cell in cells]
    return {"cells": [tagged, *more]}


ROUNDS = 'lang: str = "sw"\niteration: int = 1'
TOY = (Chapter("01_a"), Chapter("02_b", ("01_a",), rounds=True),
       Chapter("03_c", across=True, last=True))


@pytest.mark.parametrize(("change", "fault"), [
    ({"04_d": source()}, "04_d is not in the table"),
    ({"01_a": None}, "01_a has no notebook"),
    ({"01_a": source(parameters=ROUNDS)}, "01_a: rounds and the parameter iteration disagree"),
    ({"02_b": source()}, "02_b: rounds and the parameter iteration disagree"),
    ({"01_a": source(parameters='lang: str = "all"')}, "01_a: across and the default"),
    ({"03_c": source()}, "03_c: across and the default of lang disagree"),
    ({"01_a": source('step.input("02_b", "x.jsonl")')}, "01_a reads 02_b, which need not be"),
    ({"01_a": source('step.measures_of("03_c")')}, "01_a reads 03_c, which need not be")])
def test_every_disagreement_is_found(change, fault):
    good = {"01_a": source(), "03_c": source('step.input("02_b", "x")',
                                             parameters='lang: str = "all"'),
            "02_b": source('step.input("02_b", "x", iteration=1)', 'step.input("01_a", "x")',
                           parameters=ROUNDS)}
    assert disagreements(TOY, good) == []
    changed = {name: notebook for name, notebook in (good | change).items() if notebook}
    assert any(fault in found for found in disagreements(TOY, changed))


def test_a_joint_baseline_reads_all_languages_and_is_read_by_each():
    profile = Profile(languages=["sw", "fi"], baselines=["distilled"],
                      joint_baselines=["distilled_joint=distilled"])
    joint = StepId("18_joint_baselines", "all")
    assert read_by(joint, profile) == [StepId("08_instruction_tuning", code)
                                       for code in ("sw", "fi")]
    assert joint in read_by(StepId("09_judge_evaluation", "fi"), profile)
    assert joint not in read_by(StepId("09_judge_evaluation", "fi"), Profile())


@pytest.mark.parametrize("profile", [
    Profile(), load_profile("study"), load_profile("paper"), load_profile("smoke", iterations=1),
    load_profile("local", seed_path="s", corpus_path="c", tasks=[])], ids=lambda p: p.source)
def test_every_step_comes_after_what_it_reads_and_has_a_rule_of_its_own(profile):
    steps = steps_of(profile)
    assert len({str(step) for step in steps}) == len(steps)
    for number, step in enumerate(steps):
        assert set(read_by(step, profile)) <= set(steps[:number]), step


# What is stale: the real verb over tiny notebooks, with their cells run in this process.


PROFILE = load_profile("smoke")
STEPS = [str(step) for step in steps_of(PROFILE)]
HEAD = 'run: str = "atlas"  # run\nlang: str = "{lang}"  # language\n'


def write_chapter(folder, chapter, says="a", prose="Why."):
    """A tiny notebook that reads what the table says, and writes `says`."""
    parameters = HEAD.format(lang="all" if chapter.across else "sw")
    reads = {k: [(other.notebook, other.lang, other.iteration) for other in
                 read_by(StepId(chapter.name, "all" if chapter.across else "sw", k), PROFILE)]
             for k in chapter.rounds_of(PROFILE)}
    if chapter.rounds:
        parameters += "iteration: int = 1  # round"
    tiny(folder, chapter.name, parameters,
         "from xinstruct_utils.core.files import write_json\n"
         "from xinstruct_utils.workflow.step import Step\n\n"
         f"k = {'iteration' if chapter.rounds else None}\n"
         f'step = Step("{chapter.name}", run, lang, k)',
         f"for name, of, number in {reads!r}[k]:\n"
         '    step.input(name, "a.json", lang=of, iteration=number)',
         f'write_json(step.path("a.json"), {says!r})',
         'step.finish(["a.json"])', prose=prose)


def run_cells(name, home, parameters):
    """As `execute.execute`, without a kernel of its own, which takes two seconds to start."""
    notebook = read_notebook(name)
    scope = {}
    with mock.patch.dict(os.environ, {"XINSTRUCT_STEP": str(home)}):
        for number, cell in enumerate(code_cells(notebook)):
            exec(cell, scope)
            if number == 0:
                scope |= parameters
    now = {"papermill": {"start_time": datetime.now(UTC).isoformat()}}
    for cell in notebook["cells"]:
        cell["metadata"] |= now
    write_json(home / "notebook.ipynb", notebook)
    return notebook


def run_step(step):
    """The verb for a step, in this process."""
    return execute.run_step(step.notebook, "tiny", step.lang, step.iteration, "smoke")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A finished run of tiny notebooks; tests work on copies."""
    home = tmp_path_factory.mktemp("stale")
    for chapter in CHAPTERS:
        write_chapter(home / "notebooks", chapter)
    environ = {"XINSTRUCT_RUNS": str(home / "runs"), "XINSTRUCT_NOTEBOOKS": str(home / "notebooks")}
    with (mock.patch.dict(os.environ, environ),
          mock.patch.object(execute, "execute", run_cells)):
        for step in steps_of(PROFILE):
            run_step(step)
    return home


@pytest.fixture
def home(built, tmp_path, monkeypatch):
    """A copy of the finished run, which may be changed."""
    monkeypatch.setattr(execute, "execute", run_cells)
    return a_copy(built, tmp_path, monkeypatch)


def reasons(run="tiny", profile=PROFILE):
    """{step: why it is stale}, in words."""
    return {str(step): reason for step, reason in stale_steps(run, profile).items()}


def edit(home, name, **changes):
    chapter = next(chapter for chapter in CHAPTERS if chapter.name == name)
    write_chapter(home / "notebooks", chapter, **changes)


def test_of_a_fresh_run_all_steps_were_never_made(home):
    assert list(reasons("fresh").items()) == [(step, "it was never made") for step in STEPS]
    assert not (home / "runs" / "fresh").exists()


def test_of_a_finished_run_nothing_is_stale_and_nothing_runs(home, capsys):
    assert reasons() == {}
    run_step(steps_of(PROFILE)[-1])
    assert capsys.readouterr().out.startswith("up to date: ")


def test_edited_prose_makes_nothing_stale(home):
    for chapter in CHAPTERS:
        write_chapter(home / "notebooks", chapter, prose="Because, at length.")
    assert reasons() == {}


AFTER_05 = {
    "sw/05_diversification": "its code changed",
    "sw/06_statistics": "it reads sw/05_diversification",
    "sw/07_quality_review": "it reads sw/05_diversification",
    "sw/08_instruction_tuning": "it reads sw/05_diversification",
    "sw/09_judge_evaluation": "it reads sw/08_instruction_tuning",
    "sw/10_task_evaluation": "it reads sw/08_instruction_tuning",
    "sw/11_human_evaluation": "it reads sw/09_judge_evaluation",
    "sw/12_ablations": "it reads sw/09_judge_evaluation",
    "all/13_results": "it reads other steps",
    "all/15_paper_tables": "it reads other steps",
}
LAST = ("all/13_results", "all/15_paper_tables")


def test_edited_code_makes_its_step_stale_and_what_reads_from_it_each_with_its_reason(home):
    edit(home, "05_diversification", says="b")
    assert reasons() == AFTER_05


def test_a_round_is_read_by_the_next_one(home):
    edit(home, "04_refinement", says="b")
    stale = reasons()
    assert stale["sw/04_refinement/iter1"] == stale["sw/04_refinement/iter2"] == "its code changed"
    assert stale["sw/12_ablations"] == "it reads sw/04_refinement/iter2, sw/09_judge_evaluation"


def test_when_the_edited_step_is_made_only_those_stay_stale_whose_input_changed(home):
    edit(home, "05_diversification", says="b")
    run_step(StepId("05_diversification", "sw"))
    stale = reasons()
    for name in ("sw/06_statistics", *LAST):
        assert stale[name] == "what it reads changed: tiny/sw/05_diversification/a.json"
    edit(home, "05_diversification")
    run_step(StepId("05_diversification", "sw"))
    assert reasons() == {}


@pytest.mark.parametrize(("file", "reason"), [
    ("notebook.ipynb", "its executed notebook is missing"),
    ("manifest.json", "it was begun and not finished"),
    ("started.json", "a later attempt was not finished"),
    ("a.json", "what it wrote was changed: a.json")])
def test_a_file_that_is_gone_makes_its_step_stale(home, file, reason):
    step = "sw/07_quality_review"
    (home / "runs" / "tiny" / step / file).unlink()
    after = "it reads other steps"
    if file == "a.json":
        after = f"what it reads changed: tiny/{step}/a.json"
    assert reasons() == {step: reason, **dict.fromkeys(LAST, after)}


def test_a_language_that_joins_makes_its_own_steps_and_the_results(home):
    stale = reasons(profile=load_profile("smoke", languages=["fi"]))
    assert [step for step in stale if step.startswith("sw/")] == []
    assert {stale[step] for step in LAST} == {"the run's languages changed"}
    assert stale["fi/08_instruction_tuning"] == "it was never made" and len(stale) == len(STEPS)


def test_where_and_how_fast_a_run_goes_on_makes_nothing_stale(home):
    assert reasons(profile=load_profile("smoke", threads=7, max_cost_usd=9.0)) == {}
    assert {"threads", "max_cost_usd"} <= set(MACHINE)


def test_a_step_that_has_no_notebook_says_so_in_the_plan(home):
    (home / "notebooks" / "06_statistics.ipynb").unlink()
    assert "no notebook '06_statistics'" in reasons()["sw/06_statistics"]


def everything(folder):
    """All that is in a folder: names, times and contents."""
    return {str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
            for path in folder.rglob("*")}


def test_the_plan_prints_each_step_with_its_reason_and_writes_nothing(home, capsys):
    edit(home, "05_diversification", says="b")
    before = everything(home)
    assert main(["plan", "--run", "tiny"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:len(AFTER_05)] == [f"{step}: {reason}" for step, reason in AFTER_05.items()]
    assert printed[len(AFTER_05)] == f"{len(AFTER_05)} of {len(STEPS)} steps to run"
    assert everything(home) == before


def test_the_plan_of_a_finished_run_is_empty_and_that_of_a_fresh_one_has_all_steps(home, capsys):
    assert main(["plan", "--run", "tiny"]) == 0
    assert capsys.readouterr().out.startswith(f"0 of {len(STEPS)} steps to run\n")
    assert main(["plan", "--run", "fresh", "--profile", "smoke"]) == 0
    assert f"{len(STEPS)} of {len(STEPS)} steps to run" in capsys.readouterr().out
    assert not (home / "runs" / "fresh").exists()


def test_the_plan_refuses_what_the_run_would_refuse(home, capsys):
    assert main(["plan", "--run", "tiny", "--profile", "smoke", "--set", "keep=41"]) == 2
    assert "keep was 40, now 41" in capsys.readouterr().err


def test_a_file_of_now_is_newer_than_every_manifest_and_never_the_same(home):
    open_run("tiny", PROFILE)
    now = home / "runs" / "tiny" / ".now"
    file_of_now("tiny")
    first = now.read_bytes()
    newest = max(path.stat().st_mtime_ns for path in home.rglob("manifest.json"))
    assert now.stat().st_mtime_ns > newest
    file_of_now("tiny")
    assert now.read_bytes() != first
