"""The one verb: one notebook for a run and a language (and a round).

    python -m xinstruct_utils run NOTEBOOK --run R --lang L [--iteration K] [-p key=value ...]

Runs it through papermill, with the profile's values for the parameters that it declares. A step
that is what its code, settings and inputs would make is up to date (`staleness`); one that was
begun with the same ones resumes; any other is made anew, and the verb says why.
"""

import argparse
import fcntl
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path
from typing import Any
from unittest import mock

from xinstruct_utils.config.load import parse_overrides
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.config.runs import load_run, open_run, resolve
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError, no_space
from xinstruct_utils.core.files import read_json, write_bytes, write_json
from xinstruct_utils.core.paths import REPO, root, run_dir, step_dir
from xinstruct_utils.core.process import peak_rss
from xinstruct_utils.core.secrets import hide_known
from xinstruct_utils.prompts.requests import templates_digest
from xinstruct_utils.workflow.manifest import write_manifest
from xinstruct_utils.workflow.notebooks import notebooks_dir
from xinstruct_utils.workflow.staleness import Key, step_key, why_begun_anew, why_stale


def run_step(name: str, run: str, lang: str, iteration: int | None = None,
             profile: str | None = None, overrides: dict[str, Any] | None = None,
             begun: float | None = None) -> Path:
    """Run one step, or find it up to date. Returns its folder.

    begun: the clock's time from which the step's wall time counts. Raises InputError, or
    RuntimeError if the notebook fails.
    """
    loaded = _with_language(run, lang, resolve(run, profile, overrides))
    step_key(name, loaded, run, lang, iteration)     # a wrong call is refused before it is noted
    open_run(run, loaded)
    if lang == "all":
        loaded = load_run(run)                       # with languages that joined in earlier calls
    key = step_key(name, loaded, run, lang, iteration)
    home = step_dir(run, lang, name, iteration)
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is working on {home}; wait for it") from None
        facts = {"notebook": name, "run": run, "lang": lang, "iteration": iteration} | key
        _locked(home, key, facts, begun or time.time())
    return home


def _with_language(run: str, lang: str, profile: Profile) -> Profile:
    """The profile with this language among its own. Raises InputError for an unknown one."""
    if lang == "all" or languages.get(lang).code in profile.languages:
        return profile
    if (run_dir(run) / "run.json").exists():
        return profile.model_copy(update={"languages": [*profile.languages, lang]})
    return profile.model_copy(update={"languages": [lang], "featured": lang})


def _locked(home: Path, key: Key, facts: dict[str, Any], begun: float) -> None:
    """Run the step, whose lock is held, unless it is up to date."""
    reason = why_stale(home, facts["run"], key)
    if reason is None:
        _tell(f"up to date: {home}")
        return
    anew = why_begun_anew(home, facts["run"], key)
    if anew:
        _tell(f"made anew: {home}: {anew}")
    # What was made by hand, in Jupyter, does not say with which settings.
    by_hand = not (home / "started.json").exists()
    if anew or by_hand:
        _clear(home)
    for path in (home / "manifest.json", home / "notebook.ipynb", *home.rglob(".tmp-*")):
        path.unlink(missing_ok=True)
    attempt = datetime.now(UTC).isoformat()
    write_json(home / "started.json", key | {"attempt": attempt})
    notebook = execute(facts["notebook"], home, key["parameters"])
    facts |= read_json(home / "finish.json") | _cost(home, notebook, begun)
    write_manifest(home, facts | {"attempt": attempt, "templates_digest": templates_digest()})
    _tell(f"done: {home} in {facts['wall_s']:.1f} s")


def _tell(line: str) -> None:
    """Print a line in one write, so that lines of jobs that run side by side stay whole."""
    print(line + "\n", end="", flush=True)


def _clear(folder: Path) -> None:
    """Empty a step's folder, except what `launch.run` made: it knows by itself what still fits."""
    for path in folder.iterdir():
        if _is_for_launch(path):
            continue
        if not path.is_dir() or path.is_symlink():
            path.unlink()
        elif any(path.rglob(".*.key")):
            _clear(path)
        else:
            shutil.rmtree(path)


def _is_for_launch(path: Path) -> bool:
    """Is this a lock, a log, or a job's folder or key?"""
    is_key = path.name.endswith(".key")
    return (path.name in (".lock", "logs") or is_key
            or path.with_name(f".{path.name}.key").exists())


def execute(name: str, home: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Execute the notebook with papermill into <step>/notebook.ipynb. Returns it.

    Raises InputError where the notebook did, RuntimeError with any other exception.
    """
    (home / "finish.json").unlink(missing_ok=True)
    environ = {
        "XINSTRUCT_STEP": str(home),
        "XINSTRUCT_RUNS": str(root()),
        "PYTHONHASHSEED": "0",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    # Sockets instead of ports: nothing for two kernels to collide at, nothing to listen to.
    with (tempfile.TemporaryDirectory(prefix="xinstruct-") as sockets,
          mock.patch.dict(os.environ, environ)):
        notebook = _papermill(name, home / "notebook.ipynb", parameters, sockets)
    if not (home / "finish.json").exists():
        raise RuntimeError(f"{name} ended without step.finish(...), which belongs into its last "
                           "cell")
    return notebook


def _papermill(name: str, out: Path, parameters: dict[str, Any], sockets: str) -> dict[str, Any]:
    """The executed notebook; the kernel talks through sockets in a folder."""
    # Without this, jsonschema would compile a grammar of web addresses for a second.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from traitlets.config import Config

    # The kernel runs in a session of its own, so it must be told to go when this one is killed.
    process = "__import__('xinstruct_utils.core.process').core.process"
    last_will = f"{process}.die_with_parent({os.getpid()})"
    kernel = {"transport": "ipc", "ip": f"{sockets}/kernel"}
    try:
        return papermill.execute_notebook(
            notebooks_dir() / f"{name}.ipynb", out, parameters, kernel_name="python3",
            cwd=str(REPO), progress_bar=False, request_save_on_cell_execute=False,
            extra_arguments=[f"--IPKernelApp.exec_lines={last_will}", "--log-level=50"],
            config=Config({"KernelManager": kernel}))
    except papermill.PapermillExecutionError as error:
        if error.ename == InputError.__name__:
            raise InputError(error.evalue) from None
        if os.strerror(ENOSPC) in error.evalue or "disk is full" in error.evalue:  # SQLite's words
            raise no_space(out.parent) from None
        raise RuntimeError(f"the notebook with the failure is {out}\n{name} failed in cell "
                           f"{error.cell_index}: {error.ename}: {error.evalue}") from None
    finally:
        _without_keys(out)


def _without_keys(path: Path) -> None:
    """Take keys of the environment out of an executed notebook.

    A library's error may tell what a server sent back.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    shown = hide_known(text)
    if shown != text:
        write_bytes(path, [shown.encode()])


def _cost(home: Path, notebook: dict[str, Any], begun: float) -> dict[str, float]:
    """Wall time, start-up and peak memory of a step.

    The wall time counts what earlier attempts spent on heavy parts that are still used.
    """
    _remove_unused(home, begun)
    heavy, earlier = [], 0.0
    for done in home.rglob("done.json"):
        cost = {"wall_s": 0, "startup_s": 0, "peak_rss_mib": 0} | read_json(done).get("cost", {})
        heavy.append(cost)
        if done.stat().st_mtime < begun:
            earlier += cost["wall_s"]
    startup = _first_cell(notebook) - begun + sum(cost["startup_s"] or 0 for cost in heavy)
    own = peak_rss() + read_json(home / "finish.json")["kernel_rss_mib"]
    return {"wall_s": round(time.time() - begun + earlier, 2),
            "heavy_s": round(sum(cost["wall_s"] for cost in heavy), 2),
            "startup_s": round(startup, 2),
            "peak_rss_mib": round(own + max((c["peak_rss_mib"] for c in heavy), default=0))}


def _remove_unused(home: Path, begun: float) -> None:
    """Remove jobs' folders that this attempt did not use: they are of other code."""
    for key in list(home.rglob(".*.key")):
        if key.exists() and key.stat().st_mtime < begun:
            shutil.rmtree(key.with_name(key.name[1:-4]), ignore_errors=True)
            key.unlink()


def _first_cell(notebook: dict[str, Any]) -> float:
    """The clock's time at which a notebook's first code cell began."""
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    return datetime.fromisoformat(first["metadata"]["papermill"]["start_time"]).timestamp()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`."""
    parser.add_argument("notebook")
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True,
                        help="ISO 639-1 code, or 'all' for a chapter across languages")
    parser.add_argument("--iteration", type=int, help="round of refinement")
    parser.add_argument("--profile", help="profile name or file; default: the run's own, or the "
                                          "one of the run's name")
    parser.add_argument("-p", action="append", default=[], metavar="key=value",
                        help="override a profile's value for this run")


def command(args: argparse.Namespace) -> None:
    """Run one step."""
    import psutil

    begun = psutil.Process().create_time()
    overrides = parse_overrides(args.p)
    run_step(args.notebook, args.run, args.lang, args.iteration, args.profile, overrides, begun)
