"""Killed again and again at random moments, a run ends in the bytes of one that nobody disturbed:
with three kinds of engine.

XINSTRUCT_KILLS says how many kills in all (200), XINSTRUCT_SEED which moments (0).
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import snakemake
from test_faults import data_files, wait_until_gone
from test_server import free_port

from xinstruct_utils.core.paths import REPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's"),
]
KILLS = int(os.environ.get("XINSTRUCT_KILLS", 200))
SEED = int(os.environ.get("XINSTRUCT_SEED", 0))


def settings_of(engine):
    """What SET says for an engine."""
    if engine == "local":
        return ""
    if engine == "two ranks":
        return "inference_processes=2 "
    port = free_port()
    server = f"{sys.executable} {REPO / 'tests' / 'loopback.py'} {{model}} --port {{port}}"
    return (
        f"engine=server server_urls=http://127.0.0.1:{port}/vllm/v1 server_concurrency=4 "
        f"'server_command={server}' "
    )


def batch(root, settings):
    """Start the smoke run in a folder of runs."""
    return snakemake(root, "--config", "profile=smoke", "run=smoke", f"set={settings}")


def undisturbed(root, settings):
    """Run to the end: (data, seconds)."""
    begun = time.time()
    child = batch(root, settings)
    output, _ = child.communicate()
    assert child.returncode == 0, output[-4000:]
    return data_files(root / "smoke"), time.time() - begun


@pytest.mark.parametrize("engine", ["local", "two ranks", "server"])
def test_kills_at_random_moments_change_no_byte_leave_no_process_and_no_shard_twice(
    engine, tmp_path
):
    settings = settings_of(engine)
    wanted, seconds = undisturbed(tmp_path / "whole", settings)
    root = tmp_path / "killed"
    rng = random.Random(f"{SEED}/{engine}")
    kills = KILLS // 3
    killed = finished = 0
    while killed < kills:
        child = batch(root, settings)
        try:
            output, _ = child.communicate(timeout=rng.uniform(0.02, 0.25) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            killed += 1
            assert wait_until_gone(root) == []
        else:
            assert child.returncode == 0, output[-4000:]
            assert data_files(root / "smoke") == wanted
            finished += 1
            shutil.rmtree(root / "smoke")  # done before the last kill: once more from the start
    assert undisturbed(root, settings)[0] == wanted
    assert wait_until_gone(root) == []
    print(f"{engine}: {killed} kills, seed {SEED}, {finished + 1} whole runs, all the same bytes")
