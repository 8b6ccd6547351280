"""The truth of the Atlas stays out of the method: 01-05 and 08 write the same bytes when it is removed."""

import os
import shutil
import subprocess
import sys

from xinstruct_utils.artifacts import REPO

STEPS = [("01_seed_data",), ("02_corpus",), ("03_backtranslation",), ("04_refinement", "--iteration", "1"),
         ("05_diversification",), ("08_instruction_tuning",)]
TIMED = {"measures.json", "manifest.json", "finish.json", "notebook.ipynb", "done.json", "started.json", "inputs.json"}


def run_all(root):
    for notebook, *more in STEPS:
        line = [sys.executable, "-m", "xinstruct_utils.run", notebook, "--run", "r", "--lang", "sw", *more, "--profile", "smoke",
                "-p", "iterations=1"]
        made = subprocess.run(line, cwd=REPO, env=os.environ | {"XINSTRUCT_RUNS": str(root)}, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr[-2000:]


def data_files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("r/sw/**/*.*"))
            if p.is_file() and p.name not in TIMED and not p.name.endswith((".log", ".settings.json", ".key"))
            and "logs" not in p.parts and ".kept" not in p.parts}


def test_the_method_writes_the_same_bytes_without_the_truth(tmp_path):
    run_all(tmp_path / "with")
    shutil.copytree(tmp_path / "with" / "r" / "world", tmp_path / "without" / "r" / "world")
    run_all(tmp_path / "without")
    assert (tmp_path / "with" / "r" / "truth").exists() and not (tmp_path / "without" / "r" / "truth").exists()
    seen, blind = data_files(tmp_path / "with"), data_files(tmp_path / "without")
    assert len(seen) > 20 and seen.keys() == blind.keys()
    assert [name for name in seen if seen[name] != blind[name]] == []


def test_rows_that_the_method_reads_hold_no_truth(tmp_path, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path))
    from xinstruct_utils import artifacts, config
    from xinstruct_utils.atlas import pages

    paths = pages.build_world("r", "sw", config.load_profile("smoke"))
    assert set(next(artifacts.read_jsonl(paths["corpus"]))) == {"id", "language", "text"}
    assert set(next(artifacts.read_jsonl(paths["seed"]))) == {"id", "language", "instruction", "output"}
