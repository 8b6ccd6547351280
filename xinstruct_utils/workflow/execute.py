"""The one verb: `python -m xinstruct_utils run NOTEBOOK --run R --lang L [--iteration K] [-p key=value ...]`.

Runs one notebook through papermill, with the profile's values for the parameters that it declares. A step whose manifest
fits code, parameters, inputs and outputs is up to date; one that was begun with the same ones resumes; one made by other
code, parameters or inputs is an error, or is made anew with --force.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from datetime import datetime
from errno import ENOSPC
from unittest import mock

from xinstruct_utils.config.load import parse_overrides
from xinstruct_utils.config.profile import MACHINE
from xinstruct_utils.config.runs import load_run, open_run, resolve
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError, disk_full
from xinstruct_utils.core.files import file_hash, read_json, write_bytes, write_json
from xinstruct_utils.core.paths import REPO, root, run_dir, step_dir
from xinstruct_utils.core.process import peak_rss
from xinstruct_utils.core.secrets import hide_known
from xinstruct_utils.prompts.requests import templates_digest
from xinstruct_utils.workflow.manifest import input_hash, write_manifest
from xinstruct_utils.workflow.notebooks import code_key, notebooks_dir, parameters_of


def unchanged(folder, hashes, of=file_hash):
    """Do files (relative to `folder`) still have these hashes?"""
    return all((folder / name).exists() and of(folder / name) == known for name, known in hashes.items())


def differing(told, key):
    """Names of what a step's file says otherwise than `key`; parameters of where and how fast it ran do not count."""
    def steady(k, value):
        return {n: x for n, x in value.items() if n not in MACHINE} if k == "parameters" and value else value

    return [k for k in key if steady(k, told.get(k)) != steady(k, key[k])]


def up_to_date(home, key):
    """Is a finished step still what its code, parameters and inputs would make?"""
    if not (home / "manifest.json").exists() or not (home / "notebook.ipynb").exists():
        return False
    manifest = read_json(home / "manifest.json")
    return (not differing(manifest, key) and unchanged(home, manifest["outputs"])
            and unchanged(root(), manifest["inputs"], input_hash))


def run_step(name, run, lang, iteration=None, profile=None, overrides=None, force=False, begun=None):
    """Run one step, or find it done. Returns its folder. Raises InputError, or RuntimeError if the notebook fails.

    `begun` is the clock's time from which the step's wall time counts.
    """
    loaded, known = resolve(run, profile, overrides), (run_dir(run) / "run.json").exists()
    if lang != "all" and languages.get(lang) and lang not in loaded.languages:
        alone = {"languages": [*loaded.languages, lang]} if known else {"languages": [lang], "featured": lang}
        loaded = loaded.model_copy(update=alone)
    key = {"parameters": parameters_of(name, loaded, run, lang, iteration)} | code_key(name)
    open_run(run, loaded)
    if lang == "all":
        key["languages"] = load_run(run).languages  # a run can grow by a language
    home = step_dir(run, lang, name, iteration)
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is working on {home}; wait for it") from None
        facts = {"notebook": name, "run": run, "lang": lang, "iteration": iteration} | key
        _locked(home, key, facts, force, begun or time.time())
    return home


def _locked(home, key, facts, force, begun):
    files = {home / "notebook.ipynb": home / ".kept" / "notebook", home / "manifest.json": home / ".kept" / "manifest"}
    for file, kept in files.items():               # Snakemake takes both away before it asks for a step
        if kept.exists() and not file.exists():
            write_bytes(file, [kept.read_bytes()])
    if up_to_date(home, key):
        os.utime(home / "manifest.json")           # newer than its inputs, for those who go by clocks
        print(f"up to date: {home}")
        return
    changed = _changed(home, key)
    if not (home / "started.json").exists():       # made by hand, in Jupyter: nothing says with which settings
        _clear(home)
    if changed and not force:
        raise InputError(f"{home} was made by other {' and '.join(changed)}; run again with --force to make this step anew, or "
                         "use another --run name")
    if changed:
        _clear(home)
    for path in (home / "manifest.json", *files.values(), *home.rglob(".tmp-*")):
        path.unlink(missing_ok=True)
    write_json(home / "started.json", key)
    notebook = execute(facts["notebook"], home, key["parameters"])
    facts |= read_json(home / "finish.json") | _cost(home, notebook, begun) | {"templates_digest": templates_digest()}
    write_manifest(home, facts)
    for file, kept in files.items():
        write_bytes(kept, [file.read_bytes()])
    print(f"done: {home} in {facts['wall_s']:.1f} s")


def _changed(home, key):
    """What of an earlier attempt's code, parameters or inputs is different now: a list of words."""
    if not (home / "started.json").exists():
        return []
    words = [k.replace("_digest", "") for k in differing(read_json(home / "started.json"), key)]
    inputs = read_json(home / "inputs.json") if (home / "inputs.json").exists() else {}
    return words + ([] if unchanged(root(), inputs, input_hash) else ["inputs"])


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
            if os.strerror(ENOSPC) in error.evalue or "disk is full" in error.evalue:     # SQLite has words of its own
                raise disk_full(OSError(ENOSPC, ""), home) from None
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


def drop_stale(run):
    """Remove a run's manifests that are not of today's code, and those of all steps that read from them.

    Snakemake does not remake what is missing in the middle of a chain. A later step that still fits is found up to
    date by its kept manifest, at once.
    """
    base, gone = run_dir(run), set()
    told = {path.parent: read_json(path) for path in base.glob("*/[0-9]*/**/manifest.json") if path.parent.name != ".kept"}
    for home, manifest in told.items():
        with contextlib.suppress(InputError):      # a notebook that is gone
            if any(manifest.get(k) != v for k, v in code_key(manifest["notebook"]).items()):
                gone.add(home)
    begun = {path.parent for path in base.glob("*/[0-9]*/**/started.json")}
    gone |= begun - set(told)                      # begun again and not finished: what reads from it has to wait
    more = set(gone)
    while more:
        more = {home for home, manifest in told.items() if home not in gone
                and any(done in (root() / name).parents for name in manifest["inputs"] for done in gone)}
        gone |= more
    for home in gone:
        (home / "manifest.json").unlink(missing_ok=True)


def arguments(parser):
    """Arguments of `run`."""
    parser.add_argument("notebook")
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True, help="ISO 639-1 code, or 'all' for 13_results")
    parser.add_argument("--iteration", type=int, help="round of refinement")
    parser.add_argument("--profile", help="profile name or file; default: the run's own, or the one of the run's name")
    parser.add_argument("-p", action="append", default=[], metavar="key=value", help="override a profile's value for this run")
    parser.add_argument("--force", action="store_true", help="make the step anew if it was made by other code or parameters")


def command(args):
    """Run one step."""
    import psutil

    began = psutil.Process().create_time()
    given = parse_overrides(args.p)
    run_step(args.notebook, args.run, args.lang, args.iteration, args.profile, given, args.force, began)
