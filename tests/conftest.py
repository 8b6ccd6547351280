"""Shared parts of the tests: runs in a folder of their own, tiny notebooks, one real smoke run."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.workflow import chapters

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
for name in ("XINSTRUCT_RUNS", "XINSTRUCT_NOTEBOOKS", "XINSTRUCT_STEP"):
    os.environ.pop(name, None)


Smoke = namedtuple("Smoke", "root wall_s output")


def pytest_collection_modifyitems(items):
    """For tests side by side (`make test`, a file at a time): the longest file goes first."""
    items.sort(key=lambda item: item.path.stem != "test_faults")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder of runs."""
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A function that writes a tiny notebook: name, parameters cell, further code cells."""
    monkeypatch.setenv("XINSTRUCT_NOTEBOOKS", str(tmp_path / "notebooks"))
    return lambda *cells: tiny(tmp_path / "notebooks", *cells)


def a_copy(made, tmp_path, monkeypatch):
    """A copy of a folder with notebooks and runs, in which tests may change both; its path."""
    home = shutil.copytree(made, tmp_path / "home")
    monkeypatch.setenv("XINSTRUCT_RUNS", str(home / "runs"))
    monkeypatch.setenv("XINSTRUCT_NOTEBOOKS", str(home / "notebooks"))
    return home


def only(monkeypatch, *names):
    """Let a run have these chapters only, so that a book of a few tiny notebooks is whole."""
    kept = tuple(chapter for chapter in chapters.CHAPTERS if chapter.name in names)
    monkeypatch.setattr(chapters, "CHAPTERS", kept)


def tiny(folder, name, parameters, *cells, prose="Why."):
    """Write a notebook of a parameters cell, code cells, and a line of prose before each."""
    from nbformat import v4, write

    made = v4.new_notebook(metadata={
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                                     "language_info": {"name": "python"}})
    for source in (parameters, *cells):
        made.cells += [v4.new_markdown_cell(prose), v4.new_code_cell(source)]
    made.cells[1].metadata["tags"] = ["parameters"]
    for k, cell in enumerate(made.cells):
        cell["id"] = f"cell-{k}"
    folder.mkdir(parents=True, exist_ok=True)
    write(made, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def job_settings(rows, **more):
    """Settings of an inference job of the Atlas model on a file of rows: greedy, short answers."""
    return dict(task="generate", model="atlas", input=str(rows), shard_size=8, bf16=False,
                threads=1, seed=0, token_budget=2048, temperature=0.0, top_p=1.0,
                max_new_tokens=8) | more


def snakemake(root, *more, notebooks=None, **kwargs):
    """Start Snakemake as the Makefile does, in a session of its own; returns the process."""
    env = os.environ | {"XINSTRUCT_RUNS": str(root)}
    if notebooks:
        env["XINSTRUCT_NOTEBOOKS"] = str(notebooks)
    line = [sys.executable, "-m", "snakemake", "--cores", "2", *more]
    return subprocess.Popen(line, cwd=REPO, env=env, text=True, start_new_session=True,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, **kwargs)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """One undisturbed run of the smoke profile: its folder of runs, seconds, what was printed.

    Processes of pytest-xdist share it: the first one makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    with open(root.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = root.with_suffix(".json")
        if not told.exists():
            begun = time.time()
            child = snakemake(root, "--config", "profile=smoke", "run=smoke")
            output, _ = child.communicate()
            assert child.returncode == 0, output[-4000:]
            write_json(told, [time.time() - begun, output])
    return Smoke(root, *read_json(told))
