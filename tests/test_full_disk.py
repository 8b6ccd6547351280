"""A disk that fills up in every step of a run: one message, exit status 2, then the same bytes.

Each step is run in a copy of the finished smoke run on a small tmpfs of its own, three times: with
no room at all, with half of the room that it needs, and with enough.
"""

import os
import shutil
import subprocess
import sys

import pytest
from test_faults import data_files

from xinstruct_utils.core.paths import REPO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or os.getuid() != 0,
        reason="only root can mount a small tmpfs to fill",
    ),
]
STEPS = [
    "sw/01_seed_data",
    "sw/02_corpus",
    "sw/03_backtranslation",
    "sw/04_refinement/iter1",
    "sw/04_refinement/iter2",
    "sw/05_diversification",
    "sw/06_statistics",
    "sw/07_quality_review",
    "sw/08_instruction_tuning",
    "sw/09_judge_evaluation",
    "sw/10_task_evaluation",
    "sw/11_human_evaluation",
    "sw/12_ablations",
    "all/13_results",
    "all/15_paper_tables",
]
PAGE = 4096


@pytest.fixture
def small(tmp_path):
    """A tmpfs of 256 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(place)]
    if subprocess.run(line, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def leave(place, free):
    """Fill a disk up to `free` bytes with a file beside the run."""
    ballast = place / "ballast"
    ballast.unlink(missing_ok=True)
    with open(ballast, "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(place).free - free)


def verb(root, step):
    """Run a step by the command; (exit status, what went to stderr)."""
    lang, name, *rest = step.split("/")
    words = ["run", name, "--run", "smoke", "--lang", lang]
    if rest:
        words += ["--iteration", rest[0].removeprefix("iter")]
    env = os.environ | {"XINSTRUCT_RUNS": str(root), "PYTHONPATH": str(REPO)}
    line = [sys.executable, "-m", "xinstruct_utils", *words]
    made = subprocess.run(line, cwd=REPO, env=env, capture_output=True, text=True)
    return made.returncode, made.stderr, made.stdout


def size_of(folder):
    """Bytes that a folder's files take on a disk, in whole pages."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return sum(-(-p.stat().st_size // PAGE) * PAGE for p in files)


def check(run, place, step):
    """What must hold for a step of a finished run, on a small disk."""
    shutil.copytree(run, place / "smoke", symlinks=True)
    home = place / "smoke" / step
    wanted = data_files(run / step)
    if step.startswith("sw/07") or step.startswith("sw/11"):
        shutil.rmtree(place / "smoke" / "labels", ignore_errors=True)
    shutil.rmtree(home)
    for room in (0, size_of(run / step) // 2):
        leave(place, room)
        status, err, out = verb(place, step)
        assert status == 2, (step, room, status, err[-2000:], out[-500:])
        assert err.startswith("error: the disk is full: no space was left for "), (room, err)
        assert err.count("\n") == 1 and "Traceback" not in err + out, (room, err, out)
        assert not (home / "manifest.json").exists(), room
    (place / "ballast").unlink()
    status, err, out = verb(place, step)
    assert status == 0 and "done:" in out, (err[-2000:], out)
    found = data_files(home)
    assert wanted.keys() == found.keys(), wanted.keys() ^ found.keys()
    other = [name for name in wanted if wanted[name] != found[name]]
    assert other == [], (step, other)
    assert not list(home.rglob(".tmp-*"))


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_one_message_and_the_step_goes_on_to_the_same_bytes(smoke, small, step):
    check(smoke.root / "smoke", small, step)
