"""What DESIGN and STYLE ask of notebook sources; every guard has a test that makes it fail."""

import ast
import copy
import statistics

import pytest

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.profile import GROUPS, Profile
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.workflow.notebooks import setting_groups

SOURCES = {p.stem: p for p in sorted((REPO / "notebooks").glob("*.ipynb"))}
OURS = {"run", "lang", "iteration"}      # parameters that no profile sets
# Settings of jobs that a notebook needs itself, too; all others reach a job by `step.settings`.
SHOWN = {"seed", "base_model"}
# Work of the notebook's own, of no job of a group: processes that clean, the corpus's shards, the
# encoder's threads.
OWN_WORK = {"02_corpus": {"threads", "shard_size"}, "05_diversification": {"threads"}}


def source(cell):
    return "".join(cell["source"])


def lines(cell):
    return sum(bool(line.strip()) for line in source(cell).splitlines())


def is_tagged(cell):
    """Is it the parameters cell? Each setting is a line of it, however many there are."""
    return "parameters" in cell["metadata"].get("tags", [])


def faults(notebook, values, shown=SHOWN):
    """All that is wrong with a notebook.

    values: those of profiles/atlas.yaml; shown: settings of jobs that may be its parameters.
    """
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return (size_faults(code) + source_faults(notebook) + prose_faults(notebook["cells"])
            + code_faults(code) + parameter_faults(code, values, shown) + verdict_faults(code))


def verdict_faults(code):
    """A chapter ends with what it found, in words: the last cell but that which notes the rest."""
    tagged = [k for k, cell in enumerate(code)
              if "verdict" in cell["metadata"].get("tags", [])]
    if tagged == [len(code) - 2] and "conclude(step" in source(code[-2]):
        return []
    return [f"cells tagged verdict: {tagged}, expected the last but one, which calls conclude"]


def size_faults(code):
    """What is too long; settings do not count."""
    found = []
    sizes = [lines(cell) for cell in code if not is_tagged(cell)]
    if not 12 <= len(code) <= 25:
        found.append(f"{len(code)} code cells, expected 12 to 25")
    if max(sizes) > 25:
        found.append(f"a cell of {max(sizes)} lines, 25 is the most")
    if sum(sizes) > 200:
        found.append(f"{sum(sizes)} lines of code, 200 is the most")
    if statistics.median(sizes) > 8:
        found.append(f"median cell of {statistics.median(sizes)} lines, 8 is the most")
    return found


def source_faults(notebook):
    """What an execution has left in the source."""
    found = []
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if any(cell["outputs"] or cell["execution_count"] is not None for cell in code):
        found.append("outputs or execution counts are in the source")
    executed = any({"papermill", "execution"} & set(cell["metadata"]) for cell in cells)
    if "papermill" in notebook["metadata"] or executed:
        found.append("metadata of papermill or of an execution is in the source")
    return found


def prose_faults(cells):
    """Where a reader is not told what comes and why."""
    found = []
    beginning = "\n".join(map(source, cells[:3]))
    if not source(cells[0]).startswith("# ") or "In this chapter" not in beginning:
        found.append("it does not begin with a title and 'In this chapter'")
    for before, cell in zip([None, *cells], cells, strict=False):
        prose = before and before["cell_type"] == "markdown" and source(before).strip()
        if cell["cell_type"] == "code" and not prose:
            found.append(f"no prose before the cell {source(cell).splitlines()[0]!r}")
    return found


def code_faults(code):
    """Signs of code that belongs into the package."""
    found = []
    for node in (n for c in code for n in ast.walk(ast.parse(source(c)))):
        if isinstance(node, ast.ClassDef):
            found.append(f"class {node.name}")
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 10:
            found.append(f"function {node.name} has more than ten lines")
        if isinstance(node, ast.Import | ast.ImportFrom) and "argparse" in ast.unparse(node):
            found.append("argparse")
    return found


def parameter_faults(code, values, shown):
    """What is wrong with the parameters cell."""
    tagged = [cell for cell in code if is_tagged(cell)]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells are tagged parameters, expected one"]
    found, text = [], source(tagged[0]).splitlines()
    for node in ast.parse(source(tagged[0])).body:
        if not isinstance(node, ast.AnnAssign):
            found.append(f"parameters: {ast.unparse(node)} is no typed literal")
            continue
        name, given = node.target.id, ast.literal_eval(node.value)
        if "#" not in text[node.end_lineno - 1]:
            found.append(f"parameters: {name} has no comment")
        if text[node.end_lineno - 1].count("=") > 1:
            found.append(f"parameters: papermill reads no line with two =, as that of {name}")
        if name not in OURS and (name not in values or values[name] != given):
            found.append(f"parameters: {name} is {given!r}, profiles/atlas.yaml has "
                         f"{values.get(name)!r}")
        for group in groups_with(name) if name not in shown else []:
            found.append(f"parameters: {name} is a setting of a job; take it by "
                         f'step.settings("{group}")')
    return found


def groups_with(name):
    """Groups of settings that a job gets whole, this one among them."""
    return [group for group, names in GROUPS.items() if name in names]


ATLAS = load_profile("atlas").model_dump()


# What the defaults take from the paper, since the Atlas has tasks, sizes, an opponent of its own.
OWN = {"tasks", "task_limit", "preference_items", "opponent"}


def test_defaults_of_a_profile_are_the_tuned_ones_of_the_atlas():
    assert {key for key, value in Profile().model_dump().items() if value != ATLAS[key]} == OWN


@pytest.mark.parametrize("name", SOURCES)
def test_notebook_keeps_the_rules(name):
    assert faults(read_json(SOURCES[name]), ATLAS, SHOWN | OWN_WORK.get(name, set())) == []


@pytest.mark.parametrize("name", OWN_WORK)
def test_a_notebook_with_settings_of_its_own_work_starts_no_job_of_their_group(name):
    groups = {group for setting in OWN_WORK[name] for group in groups_with(setting)}
    assert groups and not groups & set(setting_groups(name))


def test_no_function_is_defined_in_two_notebooks():
    defined = {}
    for name, path in SOURCES.items():
        for cell in read_json(path)["cells"]:
            for node in ast.walk(ast.parse(source(cell))) if cell["cell_type"] == "code" else []:
                if isinstance(node, ast.FunctionDef):
                    defined.setdefault(node.name, set()).add(name)
    assert {name: where for name, where in defined.items() if len(where) > 1} == {}


def test_the_notebooks_of_the_design_are_there():
    wanted = ("01_seed_data 02_corpus 03_backtranslation 04_refinement 05_diversification "
              "06_statistics 07_quality_review 08_instruction_tuning 09_judge_evaluation "
              "10_task_evaluation 11_human_evaluation 12_ablations 13_results")
    assert set(wanted.split()) <= set(SOURCES)


def cell(kind, text, **metadata):
    made = {"cell_type": kind, "source": text.splitlines(keepends=True), "metadata": metadata}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


@pytest.fixture
def good():
    """A small notebook without a fault."""
    cells = [cell("markdown", "# Title\n\n**In this chapter** we ask why."),
             cell("code", 'run: str = "atlas"  # run\nkeep: int = 3  # best',
                  tags=["parameters"])]
    for k in range(12):
        cells += [cell("markdown", "Because."), cell("code", f"x = {k}")]
    cells[-3] = cell("code", "conclude(step)", tags=["verdict"])
    return {"metadata": {}, "cells": cells}


def broken(good, change):
    change(made := copy.deepcopy(good))
    return faults(made, {"keep": 3})


def test_a_good_notebook_has_no_fault(good):
    assert faults(good, {"keep": 3}) == []


def put(index, text):
    return lambda nb: nb["cells"][index].update(source=text)


@pytest.mark.parametrize(("change", "word"), [
    (put(1, 'run: str = "atlas"  # run=NAME'), "no line with two ="),
    (lambda nb: nb["cells"].extend(14 * [cell("markdown", "So."), cell("code", "1")]),
     "27 code cells"),
    (lambda nb: nb["cells"].__delitem__(slice(-4, None)), "11 code cells"),
    (put(3, "x = 1\n" * 26), "a cell of 26 lines"),
    (lambda nb: [put(k, "x = 1\n" * 20)(nb) for k in range(3, 26, 2)], "lines of code"),
    (lambda nb: [put(k, "x = 1\n" * 9)(nb) for k in range(3, 26, 2)], "median cell of 9"),
    (lambda nb: nb["cells"][3].update(outputs=[{}]), "outputs or execution counts"),
    (lambda nb: nb["cells"][3].update(execution_count=1), "outputs or execution counts"),
    (lambda nb: nb["metadata"].update(papermill={}), "metadata of papermill"),
    (lambda nb: nb["cells"][3]["metadata"].update(papermill={}), "metadata of papermill"),
    (lambda nb: nb["cells"][3]["metadata"].update(execution={}), "of an execution"),
    (put(0, "Title\n\nIn this chapter"), "begin with a title"),
    (put(0, "# Title"), "In this chapter"),
    (lambda nb: nb["cells"].__delitem__(4), "no prose before the cell 'x = 1'"),
    (put(4, " "), "no prose"),
    (put(3, "class A:\n    pass"), "class A"),
    (put(3, "def f():\n" + 10 * "    x = 1\n"), "function f has more"),
    (put(3, "import argparse"), "argparse"),
    (put(3, "from argparse import ArgumentParser"), "argparse"),
    (lambda nb: nb["cells"][1]["metadata"].clear(), "0 cells are tagged"),
    (lambda nb: nb["cells"][3]["metadata"].update(tags=["parameters"]), "2 cells are tagged"),
    (lambda nb: nb["cells"][-3]["metadata"].clear(), "cells tagged verdict: []"),
    (put(-3, "x = 1"), "which calls conclude"),
    (put(1, "keep = 3  # best"), "no typed literal"),
    (put(1, "keep: int = 3"), "keep has no comment"),
    (put(1, "keep: int = 4  # best"), "keep is 4, profiles/atlas.yaml has 3"),
    (put(1, "kep: int = 3  # best"), "kep is 3, profiles/atlas.yaml has None"),
    (put(1, "learning_rate: float = 0.001  # step size"), 'take it by step.settings("training")'),
    (put(1, "token_budget: int = 8192  # tokens"), 'take it by step.settings("inference")')])
def test_every_guard_fails_on_what_it_guards_against(good, change, word):
    assert any(word in fault for fault in broken(good, change))


def test_a_notebook_may_have_as_many_settings_as_it_needs(good):
    """A cap on them made people move settings out of sight."""
    names = [f"a{k}" for k in range(300)]
    good["cells"][1]["source"] = "\n".join(f"{name}: int = 1  # one" for name in names)
    assert faults(good, dict.fromkeys(names, 1)) == []


def test_what_a_notebook_needs_itself_may_be_shown(good):
    good["cells"][1]["source"] = "seed: int = 0  # of all\nbase_model: str = 'atlas'  # or a hub id"
    assert faults(good, {"seed": 0, "base_model": "atlas"}) == []
