"""Bookkeeping of many rows: killed on its way and begun again, the same bytes, and memory that does
not grow with the corpus."""

import json
import runpy
import subprocess
import sys

import pytest

from xinstruct_utils.core.paths import REPO


def figures(folder, rows, *more):
    """What benchmarks/scale.py says of each step."""
    line = [
        sys.executable,
        str(REPO / "benchmarks" / "scale.py"),
        str(rows),
        "--folder",
        str(folder),
        *more,
    ]
    made = subprocess.run(line, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    return {f["step"]: f for f in map(json.loads, made.stdout.splitlines()) if "step" in f}


def test_steps_killed_in_their_middle_end_in_the_same_bytes_and_rows_stay_on_disk(tmp_path):
    """The kill is an event, the renaming of a certain file: after so many seconds a fast machine
    had finished the step."""
    small, again = figures(tmp_path / "small", 2_000), figures(tmp_path / "again", 2_000, "--kill")
    assert {k: f["digest"] for k, f in again.items()} == {k: f["digest"] for k, f in small.items()}
    assert len(again) == 5 and all(f["killed once"] for f in again.values())
    large = figures(tmp_path / "large", 20_000)
    for step in large:
        growth = (large[step]["peak_mib"] - small[step]["peak_mib"]) * 2**20 / 18_000
        assert growth < 2_000, f"{step}: {growth:.0f} bytes of memory a row"


def test_a_step_that_is_not_killed_where_it_should_be_is_an_error(tmp_path, monkeypatch):
    scale = runpy.run_path(str(REPO / "benchmarks" / "scale.py"))
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    scale["prepare"](tmp_path, "scale", 2_000)
    with pytest.raises(SystemExit, match="was to be killed at nosuch.jsonl"):
        scale["run_step"]("01_seed_data", "scale", None, "nosuch.jsonl")
