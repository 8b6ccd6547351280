"""The one verb: `python -m xinstruct_utils run NOTEBOOK --run R --lang L [--iteration K] [-p key=value ...]`.

Runs one notebook through papermill, with the profile's values for the parameters that it declares. A step that is what its
code, settings and inputs would make is up to date (`staleness`); one that was begun with the same ones resumes; any other
is made anew, and the verb says why.
"""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from xinstruct_utils.config.load import parse_overrides
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.config.runs import load_run, open_run, resolve
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_bytes, write_json
from xinstruct_utils.core.paths import REPO, root, run_dir, step_dir
from xinstruct_utils.core.process import peak_rss
from xinstruct_utils.core.secrets import hide_known
from xinstruct_utils.prompts.requests import templates_digest
from xinstruct_utils.workflow.manifest import write_manifest
from xinstruct_utils.workflow.notebooks import notebooks_dir
from xinstruct_utils.workflow.staleness import step_key, why_begun_anew, why_stale


def run_step(name: str, run: str, lang: str, iteration: int | None = None, profile: str | None = None,
             overrides: dict | None = None, begun: float | None = None) -> Path:
    """Run one step, or find it up to date. Returns its folder. Raises InputError, or RuntimeError if the notebook fails.

    begun: the clock's time from which the step's wall time counts.
    """
    loaded = _with_language(run, lang, resolve(run, profile, overrides))
    step_key(name, loaded, run, lang, iteration)          # a wrong call is refused before the run is noted
    open_run(run, loaded)
    if lang == "all":
        loaded = load_run(run)                            # with the languages that joined in earlier calls
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


def _locked(home: Path, key: dict, facts: dict, begun: float) -> None:
    """Run the step, whose lock is held, unless it is up to date."""
    reason = why_stale(home, facts["run"], key)
    if reason is None:
        print(f"up to date: {home}")
        return
    anew = why_begun_anew(home, facts["run"], key)
    if anew:
        print(f"made anew: {home}: {anew}")
    if anew or not (home / "started.json").exists():      # made by hand, in Jupyter: nothing says with which settings
        _clear(home)
    for path in (home / "manifest.json", home / "notebook.ipynb", *home.rglob(".tmp-*")):
        path.unlink(missing_ok=True)
    attempt = datetime.now(UTC).isoformat()
    write_json(home / "started.json", key | {"attempt": attempt})
    notebook = execute(facts["notebook"], home, key["parameters"])
    facts |= read_json(home / "finish.json") | _cost(home, notebook, begun)
    write_manifest(home, facts | {"attempt": attempt, "templates_digest": templates_digest()})
    print(f"done: {home} in {facts['wall_s']:.1f} s")


def _clear(folder):
    """Empty a step's folder, except what `launch.run` made: it knows by itself whether that still fits."""
    for path in folder.iterdir():
        if path.name in (".lock", "logs") or path.name.endswith(".key") or (folder / f".{path.name}.key").exists():
            continue
        if not path.is_dir() or path.is_symlink():
            path.unlink()
        elif any(path.rglob(".*.key")):
            _clear(path)
        else:
            shutil.rmtree(path)


def execute(name, home, parameters):
    """Execute the notebook with papermill into <step>/notebook.ipynb. Returns it; RuntimeError with its exception."""
    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema would compile a grammar of web addresses for a second
    import papermill
    from traitlets.config import Config

    (home / "finish.json").unlink(missing_ok=True)
    out = home / "notebook.ipynb"
    # The kernel runs in a session of its own, so it must be told to go when this process is killed.
    last_will = f"__import__('xinstruct_utils.core.process').core.process.die_with_parent({os.getpid()})"
    environ = dict(XINSTRUCT_STEP=str(home), XINSTRUCT_RUNS=str(root()), PYTHONHASHSEED="0",
                   JUPYTER_PREFER_ENV_PATH="1", OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"))
    # Sockets instead of ports: nothing for two kernels to collide at, nothing for others to listen to.
    with tempfile.TemporaryDirectory(prefix="xinstruct-") as sockets, mock.patch.dict(os.environ, environ):
        try:
            made = papermill.execute_notebook(
                notebooks_dir() / f"{name}.ipynb", out, parameters, kernel_name="python3", cwd=str(REPO), progress_bar=False,
                request_save_on_cell_execute=False, extra_arguments=[f"--IPKernelApp.exec_lines={last_will}", "--log-level=50"],
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}))
        except papermill.PapermillExecutionError as error:
            if error.ename == InputError.__name__:
                raise InputError(error.evalue) from None
            raise RuntimeError(f"the notebook with the failure is {out}\n{name} failed in cell {error.cell_index}: "
                               f"{error.ename}: {error.evalue}") from None
        finally:
            _without_keys(out)
    if not (home / "finish.json").exists():
        raise RuntimeError(f"{name} ended without step.finish(...), which belongs into its last cell")
    return made


def _without_keys(path):
    """Take keys of the environment out of an executed notebook: a library's error may tell what a server sent back."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if (shown := hide_known(text)) != text:
        write_bytes(path, [shown.encode()])


def _cost(home, notebook, begun):
    """Wall time (with what earlier attempts spent on heavy parts that are still used), start-up and peak memory."""
    for left in (p for p in home.rglob(".*.key") if p.stat().st_mtime < begun):  # of other code, not used any more
        shutil.rmtree(left.with_name(left.name[1:-4]), ignore_errors=True)
        left.unlink()
    heavy = {p: {"wall_s": 0, "startup_s": 0, "peak_rss_mib": 0} | read_json(p).get("cost", {}) for p in home.rglob("done.json")}
    first = next(c for c in notebook["cells"] if c["cell_type"] == "code")["metadata"]["papermill"]["start_time"]
    startup = datetime.fromisoformat(first).timestamp() - begun
    earlier = sum(c["wall_s"] for p, c in heavy.items() if p.stat().st_mtime < begun)
    own = peak_rss() + read_json(home / "finish.json")["kernel_rss_mib"]
    return {"wall_s": round(time.time() - begun + earlier, 2), "heavy_s": round(sum(c["wall_s"] for c in heavy.values()), 2),
            "startup_s": round(startup + sum(c["startup_s"] or 0 for c in heavy.values()), 2),
            "peak_rss_mib": round(own + max([c["peak_rss_mib"] for c in heavy.values()], default=0))}


def arguments(parser):
    """Arguments of `run`."""
    parser.add_argument("notebook")
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True, help="ISO 639-1 code, or 'all' for 13_results")
    parser.add_argument("--iteration", type=int, help="round of refinement")
    parser.add_argument("--profile", help="profile name or file; default: the run's own, or the one of the run's name")
    parser.add_argument("-p", action="append", default=[], metavar="key=value", help="override a profile's value for this run")


def command(args):
    """Run one step."""
    import psutil

    began = psutil.Process().create_time()
    given = parse_overrides(args.p)
    run_step(args.notebook, args.run, args.lang, args.iteration, args.profile, given, began)
