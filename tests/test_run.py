"""The one verb on tiny notebooks with real kernels: states of a step, errors, and kills."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from conftest import a_copy, tiny

from xinstruct_utils.__main__ import main
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import load_run, open_run
from xinstruct_utils.core import files
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import file_hash, read_json, read_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.workflow import execute

FIRST = ['''from pathlib import Path

from xinstruct_utils.core.paths import root
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.workflow.step import Step

step = Step("01_first", run, lang)
rows = step.source(Path(root()) / "source.txt").read_text().split()''',
         '''shards = Shards(step.path("rows"), 2)
for index, chunk in shards.pending(rows):
    shards.write(index, [{"text": t, "keep": keep} for t in chunk])
step.count("all", len(rows), len(rows), {})''',
         'step.measure(n=len(rows))', 'step.finish(["rows"])']
SECOND = ['''from xinstruct_utils.core.files import write_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.workflow.step import Step

step = Step("02_second", run, lang, iteration)
rows = list(Shards(step.input("01_first", "rows"), 2).read())
write_jsonl(step.path("out.jsonl"), [r["text"] for r in rows])
step.finish(["out.jsonl"])''']
HEAD = 'run: str = "atlas"  # run\nlang: str = "sw"  # language\n'
FIRST_PARAMETERS = f"{HEAD}keep: int = 3  # best"
SECOND_PARAMETERS = f"{HEAD}iteration: int = 1  # round"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two tiny notebooks and a run of both; tests work on copies."""
    home = tmp_path_factory.mktemp("made")
    tiny(home / "notebooks", "01_first", FIRST_PARAMETERS, *FIRST)
    tiny(home / "notebooks", "02_second", SECOND_PARAMETERS, *SECOND)
    (home / "runs").mkdir()
    (home / "runs" / "source.txt").write_text("a b c")
    env = os.environ | {"XINSTRUCT_RUNS": str(home / "runs"),
                        "XINSTRUCT_NOTEBOOKS": str(home / "notebooks")}
    for name, *more in (("01_first",), ("02_second", "--iteration", "1")):
        line = [sys.executable, "-m", "xinstruct_utils", "run", name, "--run", "smoke", "--lang",
                "sw", *more]
        told = subprocess.run(line, cwd=REPO, env=env, capture_output=True, text=True)
        assert told.returncode == 0 and told.stdout.startswith("done: ") and told.stderr == "", told
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of the finished run; notebooks and runs may be changed."""
    return a_copy(made, tmp_path, monkeypatch)


def verb(*words):
    """The verb in a process of its own: (exit status, stdout, stderr)."""
    made = subprocess.run([sys.executable, "-m", "xinstruct_utils", "run", *words], cwd=REPO,
                          capture_output=True, text=True)
    return made.returncode, made.stdout, made.stderr


def first(*more):
    return main(["run", "01_first", "--run", "smoke", "--lang", "sw", *more])


def second(*more):
    return main(["run", "02_second", "--run", "smoke", "--lang", "sw", "--iteration", "1", *more])


def edit(home, name, *cells, parameters=FIRST_PARAMETERS, prose="Why."):
    tiny(home / "notebooks", name, parameters, *cells, prose=prose)


def step(home, name="01_first"):
    return home / "runs" / "smoke" / "sw" / name


def test_a_manifest_tells_what_was_done_with_what_and_at_what_cost(home):
    told = read_json(step(home) / "manifest.json")
    assert told["parameters"] == {"run": "smoke", "lang": "sw", "keep": load_profile("smoke").keep}
    assert (told["notebook"], told["run"], told["lang"],
            told["iteration"]) == ("01_first", "smoke", "sw", None)
    assert told["counts"] == [{"stage": "all", "in": 3, "out": 3, "dropped": {}}]
    assert told["outputs"] == {"rows": file_hash(step(home) / "rows")}
    assert told["inputs"] == {"source.txt": file_hash(home / "runs" / "source.txt")}
    assert 0 < told["startup_s"] < told["wall_s"] < 120 and 30 < told["peak_rss_mib"] < 3000
    assert told["versions"]["papermill"] and told["machine"]["cores"] and "T" in told["finished_at"]
    assert {"code_digest", "modules_digest", "templates_digest", "git_commit"} <= set(told)
    assert read_json(home / "runs" / "smoke" / "sw" / "02_second" / "iter1" / "manifest.json")[
        "iteration"] == 1


def test_the_executed_notebook_lies_beside_the_manifest_with_its_parameters(home):
    notebook = nbformat.read(step(home) / "notebook.ipynb", as_version=4)
    assert any("injected-parameters" in c.metadata.get("tags", []) and '"smoke"' in c.source
               for c in notebook.cells)
    assert "finished: rows" in str(notebook.cells[-1].outputs)


def test_a_finished_step_is_not_run_again(home, capsys):
    before = (step(home) / "notebook.ipynb").stat().st_mtime_ns
    assert first() == 0 and capsys.readouterr().out.startswith("up to date")
    assert (step(home) / "notebook.ipynb").stat().st_mtime_ns == before


def test_editing_prose_reruns_nothing(home, capsys):
    edit(home, "01_first", *FIRST, prose="Because I say so, at length.")
    assert first() == 0 and "up to date" in capsys.readouterr().out


def test_editing_code_makes_the_step_anew_and_says_why(home, capsys):
    edit(home, "01_first", *[c.replace('"keep": keep', '"keep": -1') for c in FIRST])
    assert first() == 0 and ": its code changed" in capsys.readouterr().out.splitlines()[0]
    assert {r["keep"] for r in Shards(step(home) / "rows", 2).read()} == {-1}


def test_what_follows_from_an_edited_step_runs_only_if_its_input_changed(home, capsys):
    edit(home, "01_first", *FIRST[:2], "step.measure(n=2)", FIRST[3])
    assert first() == 0 and second() == 0
    assert "up to date" in capsys.readouterr().out.splitlines()[-1]
    edit(home, "01_first", *[c.replace('"text": t', '"text": t + t') for c in FIRST])
    assert first() == 0 and second() == 0
    assert "what it reads changed: smoke/sw/01_first/rows" in capsys.readouterr().out
    assert list(read_jsonl(step(home, "02_second") / "iter1" / "out.jsonl")) == ["aa", "bb", "cc"]


def test_a_changed_source_leaves_no_shard_of_the_old_one(home, capsys):
    (home / "runs" / "source.txt").write_text("x y z")
    assert first() == 0 and "what it reads changed: source.txt" in capsys.readouterr().out
    assert [r["text"] for r in Shards(step(home) / "rows", 2).read()] == ["x", "y", "z"]


def test_a_step_that_was_cut_off_goes_on_from_its_shards(home, capsys):
    (step(home) / "manifest.json").unlink()
    shards = sorted((step(home) / "rows").iterdir())
    kept, times = shards[0].stat().st_mtime_ns, [p.read_bytes() for p in shards]
    shards[1].unlink()
    (step(home) / "rows" / ".tmp-1-shard-00001.jsonl").write_text('{"half')
    assert first() == 0 and capsys.readouterr().out.startswith("done")
    assert shards[0].stat().st_mtime_ns == kept and [p.read_bytes() for p in shards] == times
    assert sorted((step(home) / "rows").iterdir()) == shards


def test_what_was_stepped_through_by_hand_is_not_taken_over(home, capsys):
    for name in ("manifest.json", "started.json", "notebook.ipynb"):
        (step(home) / name).unlink()
    Shards(step(home) / "rows", 2).write(0,
                                         [{"text": "a", "keep": 999}, {"text": "b", "keep": 999}])
    assert first() == 0 and capsys.readouterr().out.startswith("done")
    assert {r["keep"]
            for r in Shards(step(home) / "rows", 2).read()} == {load_profile("smoke").keep}


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0,
                    reason="only root can mount a small tmpfs to fill")
@pytest.mark.parametrize("kib", [8, 48])  # full before the notebook starts, and while it is written
def test_a_disk_that_is_full_is_one_clear_error_and_leaves_finished_steps(home, kib):
    target = home / "runs" / "smoke" / "sw" / "02_second" / "iter2"
    target.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(target)],
                      check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        edit(home, "02_second", *SECOND, 'print(200_000 * "x")', parameters=SECOND_PARAMETERS)
        status, out, err = verb("02_second", "--run", "smoke", "--lang", "sw", "--iteration", "2")
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)
    assert status == 2 and err.startswith("error: the disk is full")
    assert err.count("\n") == 1 and "Traceback" not in out
    assert first() == 0 and not list(target.iterdir())


def test_a_step_that_was_refused_for_its_cost_goes_on_with_more_money_and_a_finished_one_stays(
        home, capsys):
    cost = "max_cost_usd: float = 0.0  # USD"
    edit(home, "01_first", *FIRST[:2],
         "from xinstruct_utils.core.errors import InputError\n\n"
         "if max_cost_usd < 5:\n    raise InputError('set max_cost_usd higher')",
         *FIRST[2:], parameters=f"{FIRST_PARAMETERS}\n{cost}")
    assert first() == 2 and "set max_cost_usd higher" in capsys.readouterr().err
    begun = {p.name: p.stat().st_mtime_ns for p in (step(home) / "rows").iterdir()}
    assert first("-p", "max_cost_usd=5") == 0 and "done" in capsys.readouterr().out
    assert {p.name: p.stat().st_mtime_ns for p in (step(home) / "rows").iterdir()} == begun
    assert len(begun) == 2
    assert first("-p", "max_cost_usd=1", "-p", "threads=4") == 0
    assert "up to date" in capsys.readouterr().out
    assert load_run("smoke").threads == 4


def test_an_output_that_was_changed_by_hand_is_made_again(home, capsys):
    out = step(home, "02_second") / "iter1" / "out.jsonl"
    before = out.read_bytes()
    out.write_text("mine\n")
    assert second() == 0 and capsys.readouterr().out.startswith("done")
    assert out.read_bytes() == before


def test_a_manifest_that_came_back_after_a_failed_attempt_is_not_believed(home, capsys):
    """Snakemake puts an output back that was there before a job failed."""
    manifest = (step(home) / "manifest.json").read_bytes()
    edit(home, "01_first", *FIRST[:2], "1 / 0", *FIRST[2:])
    assert first() == 1 and not (step(home) / "manifest.json").exists()
    (step(home) / "manifest.json").write_bytes(manifest)
    edit(home, "01_first", *FIRST)
    assert first() == 0 and "done" in capsys.readouterr().out


def test_large_files_are_not_read_again_while_their_size_and_time_are_the_same(
        tmp_path, monkeypatch):
    path, notes, reads = tmp_path / "weights", tmp_path / "notes", []
    path.write_bytes(b"x" * files.SMALL)
    monkeypatch.setattr(files, "file_hash", lambda p: reads.append(p) or file_hash(p))
    first = files.known_hash(path, notes)
    assert files.known_hash(path, notes) == first == file_hash(path) and len(reads) == 1
    path.write_bytes(b"y" * files.SMALL)
    assert files.known_hash(path, notes) == file_hash(path) != first and len(reads) == 2


def test_a_run_with_other_settings_is_refused(home, capsys):
    assert first("-p", "keep=41") == 2 and "keep was 40, now 41" in capsys.readouterr().err
    assert first("--profile", "atlas") == 2 and "make clean RUN=smoke" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    (["01_first", "--run", "smoke", "--lang", "sw", "-p", "kep=1"],
     "unknown key 'kep' (did you mean 'keep'?)"),
    (["01_first", "--run", "smoke", "--lang", "xx"], "unknown language code 'xx'"),
    (["01_first", "--run", "../x", "--lang", "sw"], "needs a plain name"),
    (["01_first", "--run", "unheard", "--lang", "sw"], "no profile 'unheard'"),
    (["03_third", "--run", "smoke", "--lang", "sw"], "expected one of 01_first, 02_second"),
    (["02_second", "--run", "smoke", "--lang", "sw"], "02_second needs --iteration"),
    (["02_second", "--run", "smoke", "--lang", "sw", "--iteration", "3"], "a round from 1 to 2"),
    (["01_first", "--run", "smoke", "--lang", "sw", "--iteration", "1"],
     "01_first has no --iteration")])
def test_a_wrong_call_is_one_line_and_exit_status_2(home, capsys, words, message):
    assert main(["run", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and told.count("\n") == 1


def test_a_missing_predecessor_is_one_clear_error_without_a_traceback(home):
    shutil.rmtree(step(home))
    status, out, err = verb("02_second", "--run", "smoke", "--lang", "sw", "--iteration", "2")
    assert status == 2 and "Traceback" not in err + out
    assert err.startswith("error: 02_second needs 01_first")
    assert "run first: python -m xinstruct_utils run 01_first --run smoke --lang sw" in err
    assert err.count("\n") == 1
    assert not (step(home, "02_second") / "iter2" / "manifest.json").exists()


def test_a_failed_notebook_says_why_in_its_last_line_and_leaves_no_manifest(home):
    edit(home, "01_first", "x = {}", "x['absent']")
    status, _, err = verb("01_first", "--run", "smoke", "--lang", "sw")
    assert status == 1 and err.splitlines()[-1].endswith("KeyError: 'absent'")
    assert "notebook.ipynb" in err
    assert "Traceback" not in err and not (step(home) / "manifest.json").exists()
    assert "KeyError" in (step(home) / "notebook.ipynb").read_text()
    # finished steps are intact
    assert (step(home, "02_second") / "iter1" / "manifest.json").exists()


@pytest.mark.parametrize("line", [
    "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))",
    "import sqlite3\nraise sqlite3.OperationalError('database or disk is full')",
])
def test_a_library_that_finds_the_disk_full_is_told_as_all_others(home, line):
    edit(home, "01_first", line)
    status, _, err = verb("01_first", "--run", "smoke", "--lang", "sw")
    assert status == 2 and err.startswith("error: the disk is full: no space was left for ")
    assert err.count("\n") == 1 and str(step(home)) in err


def test_a_notebook_that_does_not_finish_its_step_is_an_error(home, capsys):
    edit(home, "01_first", "1")
    assert first() == 1 and "without step.finish" in capsys.readouterr().err


def test_two_processes_do_not_work_on_one_step(home, capsys):
    with open(step(home) / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert first() == 2 and "another process is working on" in capsys.readouterr().err
    assert first() == 0


def test_results_over_all_languages_are_made_again_when_a_language_joins(home, capsys):
    cells = [
        "from xinstruct_utils.config.runs import load_run\n"
        "from xinstruct_utils.core.files import write_json\n"
        'from xinstruct_utils.workflow.step import Step\n\nstep = Step("03_all", run, lang)',
             'write_json(step.path("a.json"), load_run(run).languages)', 'step.finish(["a.json"])']
    edit(home, "03_all", *cells, parameters='run: str = "atlas"  # run\nlang: str = "all"  # all')
    call = ["03_all", "--run", "smoke", "--lang", "all"]
    assert main(["run", *call]) == 0 and main(["run", *call]) == 0
    assert "up to date" in capsys.readouterr().out
    open_run("smoke", load_profile("smoke", languages=["fi"]))
    assert main(["run", *call]) == 0
    assert read_json(home / "runs" / "smoke" / "all" / "03_all" / "a.json") == ["sw", "fi"]


def test_heavy_results_outlive_an_edit_that_does_not_concern_them_and_unused_ones_go(home):
    here = step(home)
    for name in ("models/used", "models/unused"):
        (here / name).mkdir(parents=True)
        (here / name / "done.json").write_text(
            '{"key": "k", "cost": {"wall_s": 100, "startup_s": 1, "peak_rss_mib": 5}}')
        (here / "models" / f".{name[7:]}.key").write_text("k")
        for file in (here / name / "done.json", here / "models" / f".{name[7:]}.key"):
            os.utime(file, (1, 1))                 # made long ago
    # as launch.run does with what still fits
    edit(home, "01_first", *FIRST, 'step.path("models", ".used.key").touch()')
    assert first() == 0
    assert (here / "models" / "used").exists() and not (here / "models" / "unused").exists()
    told = read_json(here / "manifest.json")
    # what it cost to make, not what this call took
    assert told["heavy_s"] == 100 and told["wall_s"] > 100


def processes_of(root):
    """Processes that belong to a folder of runs, by their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("XINSTRUCT_RUNS") == str(root) and process.status(
                ) != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return [p for p in found if p.pid != os.getpid()]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("moment", ["kernel starting", "child running"])
def test_kernel_and_children_go_when_the_verb_is_killed(home, moment):
    edit(home, "01_first",
         'import subprocess\n\nfrom xinstruct_utils.core.process import die_with_parent',
         'subprocess.run(["sleep", "600"], preexec_fn=die_with_parent)')
    line = [sys.executable, "-m", "xinstruct_utils", "run", "01_first", "--run", "smoke", "--lang",
            "sw"]
    child = subprocess.Popen(line, cwd=REPO, start_new_session=True)
    wanted, until = "ipykernel" if moment == "kernel starting" else "sleep", time.time() + 60
    while not any(wanted in " ".join(p.cmdline()) for p in processes_of(home / "runs")
                  if p.is_running()):
        assert time.time() < until, f"no {wanted} appeared"
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    until = time.time() + 5
    while processes_of(home / "runs") and time.time() < until:
        time.sleep(0.05)
    assert processes_of(home / "runs") == []


def test_an_unknown_parameter_of_a_notebook_is_an_error_where_papermill_would_warn(home, capsys):
    edit(home, "01_first", *FIRST, parameters=FIRST_PARAMETERS + "\nbest: int = 3")
    assert first() == 2 and "declares best, which no profile has" in capsys.readouterr().err


def test_the_step_api_says_the_same(home):
    with pytest.raises(InputError, match="unknown language code"):
        execute.run_step("01_first", "smoke", "xx")
    assert execute.run_step("01_first", "smoke", "sw") == step(home)
