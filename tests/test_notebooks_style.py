"""What DESIGN and STYLE ask of notebook sources; every guard has a test that makes it fail."""

import ast
import copy
import statistics

import pytest

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO

SOURCES = {p.stem: p for p in sorted((REPO / "notebooks").glob("*.ipynb"))}
OURS = {"run", "lang", "iteration"}      # parameters that no profile sets


def source(cell):
    return "".join(cell["source"])


def lines(cell):
    return sum(bool(line.strip()) for line in source(cell).splitlines())


def faults(notebook, values):
    """All that is wrong with a notebook; `values` are those of profiles/atlas.yaml."""
    cells, found = notebook["cells"], []
    code = [c for c in cells if c["cell_type"] == "code"]
    sizes = [lines(c) for c in code]
    if not 12 <= len(code) <= 25:
        found.append(f"{len(code)} code cells, expected 12 to 25")
    if max(sizes) > 25:
        found.append(f"a cell of {max(sizes)} lines, 25 is the most")
    if sum(sizes) > 200:
        found.append(f"{sum(sizes)} lines of code, 200 is the most")
    if statistics.median(sizes) > 8:
        found.append(f"median cell of {statistics.median(sizes)} lines, 8 is the most")
    if any(c["outputs"] or c["execution_count"] is not None for c in code):
        found.append("outputs or execution counts are in the source")
    if "papermill" in notebook["metadata"] or any({"papermill", "execution"} & set(c["metadata"]) for c in cells):
        found.append("metadata of papermill or of an execution is in the source")
    if not source(cells[0]).startswith("# ") or "In this chapter" not in "\n".join(source(c) for c in cells[:3]):
        found.append("it does not begin with a title and 'In this chapter'")
    for before, cell in zip([None, *cells], cells, strict=False):
        if cell["cell_type"] == "code" and not (before and before["cell_type"] == "markdown" and source(before).strip()):
            found.append(f"no prose before the cell {source(cell).splitlines()[0]!r}")
    return found + code_faults(code) + parameter_faults(code, values)


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


def parameter_faults(code, values):
    """What is wrong with the parameters cell."""
    tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
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
        if name not in OURS and (name not in values or values[name] != given):
            found.append(f"parameters: {name} is {given!r}, profiles/atlas.yaml has {values.get(name)!r}")
    return found


ATLAS = load_profile("atlas").model_dump()


# What the defaults take from the paper, since the Atlas has tasks and sizes of its own.
OWN = {"tasks", "task_limit", "preference_items"}


def test_defaults_of_a_profile_are_the_tuned_ones_of_the_atlas():
    assert {key for key, value in Profile().model_dump().items() if value != ATLAS[key]} == OWN


@pytest.mark.parametrize("name", SOURCES)
def test_notebook_keeps_the_rules(name):
    assert faults(read_json(SOURCES[name]), ATLAS) == []


def test_no_function_is_defined_in_two_notebooks():
    defined = {}
    for name, path in SOURCES.items():
        for cell in read_json(path)["cells"]:
            for node in ast.walk(ast.parse(source(cell))) if cell["cell_type"] == "code" else []:
                if isinstance(node, ast.FunctionDef):
                    defined.setdefault(node.name, set()).add(name)
    assert {name: where for name, where in defined.items() if len(where) > 1} == {}


def test_the_notebooks_of_the_design_are_there():
    wanted = "01_seed_data 02_corpus 03_backtranslation 04_refinement 05_diversification 06_statistics 07_quality_review " \
             "08_instruction_tuning 09_judge_evaluation 10_task_evaluation 11_human_evaluation 12_ablations 13_results"
    assert set(wanted.split()) <= set(SOURCES)


def cell(kind, text, **metadata):
    made = {"cell_type": kind, "source": text.splitlines(keepends=True), "metadata": metadata}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


@pytest.fixture
def good():
    """A small notebook without a fault."""
    cells = [cell("markdown", "# Title\n\n**In this chapter** we ask why."),
             cell("code", 'run: str = "atlas"  # run\nkeep: int = 3  # best', tags=["parameters"])]
    for k in range(12):
        cells += [cell("markdown", "Because."), cell("code", f"x = {k}")]
    return {"metadata": {}, "cells": cells}


def broken(good, change):
    change(made := copy.deepcopy(good))
    return faults(made, {"keep": 3})


def test_a_good_notebook_has_no_fault(good):
    assert faults(good, {"keep": 3}) == []


def put(index, text):
    return lambda nb: nb["cells"][index].update(source=text)


@pytest.mark.parametrize(("change", "word"), [
    (lambda nb: nb["cells"].extend(14 * [cell("markdown", "So."), cell("code", "1")]), "27 code cells"),
    (lambda nb: nb["cells"].__delitem__(slice(-4, None)), "11 code cells"),
    (put(3, "x = 1\n" * 26), "a cell of 26 lines"),
    (lambda nb: [put(k, "x = 1\n" * 20)(nb) for k in range(3, 26, 2)], "lines of code"),
    (lambda nb: [put(k, "x = 1\n" * 9)(nb) for k in range(3, 26, 2)], "median cell of 9"),
    (lambda nb: nb["cells"][3].update(outputs=[{}]), "outputs or execution counts"),
    (lambda nb: nb["cells"][3].update(execution_count=1), "outputs or execution counts"),
    (lambda nb: nb["metadata"].update(papermill={}), "metadata of papermill"),
    (lambda nb: nb["cells"][3]["metadata"].update(papermill={}), "metadata of papermill"),
    (lambda nb: nb["cells"][3]["metadata"].update(execution={}), "of an execution"),
    (put(0, "Title\n\nIn this chapter"), "begin with a title"), (put(0, "# Title"), "In this chapter"),
    (lambda nb: nb["cells"].__delitem__(4), "no prose before the cell 'x = 1'"), (put(4, " "), "no prose"),
    (put(3, "class A:\n    pass"), "class A"), (put(3, "def f():\n" + 10 * "    x = 1\n"), "function f has more"),
    (put(3, "import argparse"), "argparse"), (put(3, "from argparse import ArgumentParser"), "argparse"),
    (lambda nb: nb["cells"][1]["metadata"].clear(), "0 cells are tagged"),
    (lambda nb: nb["cells"][3]["metadata"].update(tags=["parameters"]), "2 cells are tagged"),
    (put(1, "keep = 3  # best"), "no typed literal"), (put(1, "keep: int = 3"), "keep has no comment"),
    (put(1, "keep: int = 4  # best"), "keep is 4, profiles/atlas.yaml has 3"),
    (put(1, "kep: int = 3  # best"), "kep is 3, profiles/atlas.yaml has None")])
def test_every_guard_fails_on_what_it_guards_against(good, change, word):
    assert any(word in fault for fault in broken(good, change))
