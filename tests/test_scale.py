"""Bookkeeping of many rows: killed on its way and begun again, the same bytes, and memory that does not grow with the corpus."""

import json
import subprocess
import sys

from xinstruct_utils import artifacts


def figures(folder, rows, *more):
    """What benchmarks/scale.py says of each step."""
    line = [sys.executable, str(artifacts.REPO / "benchmarks" / "scale.py"), str(rows), "--folder", str(folder), *more]
    made = subprocess.run(line, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    return {f["step"]: f for f in map(json.loads, made.stdout.splitlines()) if "step" in f}


def test_killed_steps_end_in_the_same_bytes_and_rows_stay_on_disk(tmp_path):
    whole = figures(tmp_path / "whole", 20_000)
    again = figures(tmp_path / "again", 20_000, "--kill", "2")
    small = figures(tmp_path / "small", 2_000)
    assert {k: f["digest"] for k, f in again.items()} == {k: f["digest"] for k, f in whole.items()}
    assert sum(f["killed once"] for f in again.values()) >= 3
    for step in ("03_backtranslation", "04_refinement"):        # 02 holds a set of ids, 05 the kept candidates
        growth = (whole[step]["peak_mib"] - small[step]["peak_mib"]) * 2**20 / 18_000
        assert growth < 2_000, f"{step}: {growth:.0f} bytes of memory a row"
