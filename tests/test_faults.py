"""Killed ten times at random moments, the smoke run ends in the bytes of one left undisturbed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import snakemake

KILLS = 10
# Files that hold clocks, paths, or what a kernel printed; all others are data. The bytes of a
# database depend on how often it was opened; its labels stand beside it as JSONL.
TIMED = {"notebook.ipynb", "manifest.json", "measures.json", "figures.json", "finish.json",
         "done.json", "inputs.json", "started.json", ".lock"}


def data_files(run):
    """{path: bytes} of a run's data."""
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*"))
            if p.is_file() and p.name not in TIMED
            and not p.name.endswith((".log", ".settings.json", ".sqlite", "-wal", "-shm"))
            and not {"logs", ".hashes", ".now"} & set(p.parts)}


def survivors(root):
    """Processes of a folder of runs that live, in any session: it is in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("XINSTRUCT_RUNS") == str(root)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            pass
    return found


def wait_until_gone(root, seconds=5):
    until = time.time() + seconds
    while survivors(root) and time.time() < until:
        time.sleep(0.05)
    return survivors(root)


def test_a_survivor_would_be_seen(tmp_path):
    child = subprocess.Popen(["sleep", "60"], env=os.environ | {"XINSTRUCT_RUNS": str(tmp_path)},
                             start_new_session=True)
    time.sleep(0.2)
    assert len(survivors(tmp_path)) == 1
    child.kill()
    child.wait()
    assert survivors(tmp_path) == []


def test_a_changed_byte_of_data_would_be_seen(smoke, tmp_path):
    shutil.copytree(smoke.root / "smoke" / "sw" / "05_diversification", tmp_path / "copy")
    before = data_files(tmp_path / "copy")
    path = tmp_path / "copy" / "x_instruction.jsonl"
    path.write_bytes(path.read_bytes()[:-2] + b" \n")
    assert before != data_files(tmp_path / "copy") and len(data_files(smoke.root / "smoke")) > 40


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_ten_kills_at_random_moments_change_no_byte_and_leave_no_process(smoke, tmp_path):
    rng, killed, moments = random.Random(2024), 0, []
    while killed < KILLS:
        child = snakemake(tmp_path, "--config", "profile=smoke", "run=smoke")
        patience = rng.uniform(0.02, 0.18) * smoke.wall_s
        try:
            output, _ = child.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            killed += 1
            moments.append(len(list(tmp_path.rglob("manifest.json"))))
            assert wait_until_gone(tmp_path) == []
        else:
            assert child.returncode == 0, output[-4000:]
            # done before the tenth kill: once more from the start
            shutil.rmtree(tmp_path / "smoke")
    child = snakemake(tmp_path, "--config", "profile=smoke", "run=smoke")
    output, _ = child.communicate()
    assert child.returncode == 0, output[-4000:]
    assert wait_until_gone(tmp_path) == []
    print("steps done at each kill:", moments)
    wanted, found = data_files(smoke.root / "smoke"), data_files(tmp_path / "smoke")
    assert wanted.keys() == found.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []
