"""The one verb: `python -m xinstruct_utils.run NOTEBOOK --run R --lang L [--iteration K] [-p key=value ...]`.

Runs one notebook through papermill, with the profile's values for the parameters that it declares. A step whose manifest
fits code, parameters and inputs is up to date; one that was begun with the same key resumes; one made by other
code or parameters is an error, or is made anew with --force.
"""

import argparse
import ast
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

from . import artifacts, config
from .artifacts import REPO, InputError


def notebooks_dir():
    """Where the notebook sources are ($XINSTRUCT_NOTEBOOKS, or notebooks/)."""
    return Path(os.environ.get("XINSTRUCT_NOTEBOOKS") or REPO / "notebooks")


def read_notebook(name):
    """A notebook source by name. Raises InputError for an unknown one."""
    import nbformat

    path = notebooks_dir() / f"{name}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in notebooks_dir().glob("*.ipynb")))
        raise InputError(f"no notebook {name!r}: expected one of {known}")
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    """Sources of the code cells, in order: what a step depends on; prose does not count."""
    return [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]


def declared(notebook):
    """Names and defaults of the notebook's parameters cell."""
    cell = next(c["source"] for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    return {n.target.id: ast.literal_eval(n.value) for n in ast.parse(cell).body if isinstance(n, ast.AnnAssign)}


# What heavy steps run in subprocesses, which no import statement shows.
LAUNCHED = {"launch": ("train", "inference")}


def used_modules(cells):
    """Files of the package that the cells use, directly or through each other; the Atlas counts as a whole."""
    package = REPO / "xinstruct_utils"
    found, todo = set(), ["\n".join(cells)]
    while todo:
        for node in ast.walk(ast.parse(todo.pop())):
            names = []
            if isinstance(node, ast.ImportFrom):
                base = (node.module or "").removeprefix("xinstruct_utils").strip(".")
                if node.level or (node.module or "").startswith("xinstruct_utils"):
                    names = [base.split(".")[0]] if base else [a.name for a in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name.split(".")[1] for a in node.names if a.name.startswith("xinstruct_utils.")]
            for name in [m for n in names for m in (n, *LAUNCHED.get(n, ()))]:
                files = [package / f"{name}.py"] if name != "atlas" else [
                    *sorted((package / "atlas").glob("*.py")), *sorted((package / "atlas" / "texts").glob("*.yaml")),
                    package / "atlas" / "base_model" / "MANIFEST.json"]
                for file in files:
                    if file.exists() and file not in found:
                        found.add(file)
                        if file.suffix == ".py":
                            todo.append(file.read_text(encoding="utf-8"))
    # Figures, the book and this verb do not change what a step computes.
    return sorted(f for f in found if f.name not in ("plots.py", "book.py", "run.py"))


def code_key(name):
    """Digest of a notebook's code cells and of the package modules they use."""
    cells = code_cells(read_notebook(name))
    modules = {str(f.relative_to(REPO)): artifacts.file_hash(f) for f in used_modules(cells)}
    return {"code_digest": artifacts.digest(cells), "modules_digest": artifacts.digest(modules)}


def parameters_of(name, profile, run, lang, iteration):
    """The notebook's parameters with the profile's values. Raises InputError where the notebook wants what none has."""
    names, values = declared(read_notebook(name)), profile.model_dump() | {"run": run, "lang": lang}
    if ("iteration" in names) != (iteration is not None):
        raise InputError(f"{name} {'needs' if 'iteration' in names else 'has no'} --iteration")
    values |= {"iteration": iteration}
    unknown = [n for n in names if n not in values]
    if unknown:
        raise InputError(f"{name}: its parameters cell declares {', '.join(unknown)}, which no profile has; add it to "
                         "xinstruct_utils.config.Profile")
    return {n: values[n] for n in names}


def up_to_date(manifest, key):
    """Does a finished step fit its key, and are its inputs still the same files?"""
    return all(manifest.get(k) == v for k, v in key.items()) and all(
        (artifacts.root() / p).exists() and artifacts.file_hash(artifacts.root() / p) == h for p, h in manifest["inputs"].items())


def run_step(name, run, lang, iteration=None, profile=None, overrides=None, force=False):
    """Run one step, or find it done. Returns its folder. Raises InputError, or RuntimeError if the notebook fails."""
    overrides = overrides or {}
    known = (artifacts.root() / run / "run.json").exists()
    loaded = config.load_profile(profile, **overrides) if profile else (
        config._checked(config.load_run(run).model_dump() | overrides, "the parameters") if known
        else config.load_profile(run, **overrides))
    if lang != "all":
        from . import languages

        languages.get(lang)
        if not known and lang not in loaded.languages:
            loaded = loaded.model_copy(update={"languages": [lang], "featured": lang})
    parameters = parameters_of(name, loaded, run, lang, iteration)
    config.open_run(run, loaded)
    home = artifacts.step_dir(run, lang, name, iteration)
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is working on {home}; wait for it") from None
        _locked(name, run, lang, iteration, parameters, home, force)
    return home


def _locked(name, run, lang, iteration, parameters, home, force):
    key = code_key(name) | {"parameters": parameters}
    manifest, started = home / "manifest.json", home / "started.json"
    if manifest.exists() and up_to_date(artifacts.read_json(manifest), key):
        print(f"up to date: {home}")
        return
    if started.exists() and artifacts.read_json(started) != key:
        changed = [k for k, v in artifacts.read_json(started).items() if key.get(k) != v]
        if not force:
            raise InputError(f"{home} was made by other {' and '.join(changed).replace('_digest', '')}; run again with --force "
                             "to make this step anew, or use another --run name")
        for path in home.iterdir():
            if path.name != ".lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    manifest.unlink(missing_ok=True)
    artifacts.write_json(started, key)
    cost = execute(name, home, parameters)
    facts = artifacts.read_json(home / "finish.json")
    from . import prompts

    artifacts.write_manifest(home, {"notebook": name, "run": run, "lang": lang, "iteration": iteration} | key | facts | cost
                             | {"templates_digest": prompts.digest()})
    print(f"done: {home} in {cost['wall_s']:.1f} s")


def execute(name, home, parameters):
    """Execute the notebook with papermill into <step>/notebook.ipynb. Returns wall time, start-up and peak memory."""
    import nbformat
    import papermill
    import psutil

    os.environ["XINSTRUCT_STEP"] = str(home)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    (home / "finish.json").unlink(missing_ok=True)
    out, begun = home / "notebook.ipynb", time.time()
    try:
        made = papermill.execute_notebook(notebooks_dir() / f"{name}.ipynb", out, parameters=parameters, kernel_name="python3",
                                          cwd=str(REPO), progress_bar=False, log_output=False, request_save_on_cell_execute=False)
    except papermill.PapermillExecutionError as error:
        text = f"{error.ename}: {error.evalue}"
        raise RuntimeError(f"{name} failed in cell {error.cell_index}: {text}\nthe notebook with the failure is {out}") from None
    costs, startup = _heavy_costs(home), 0.0
    first = next((c for c in made["cells"] if c["cell_type"] == "code"), None)
    if first:
        from datetime import datetime

        when = datetime.fromisoformat(first["metadata"]["papermill"]["start_time"]).timestamp()
        startup = max(0.0, when - begun)
    nbformat.write(made, out)
    own = psutil.Process().memory_info().rss / 2**20
    return {"wall_s": round(time.time() - begun, 2), "startup_s": round(startup + sum(c["startup_s"] or 0 for c in costs), 2),
            "heavy_s": round(sum(c["wall_s"] for c in costs), 2),
            "peak_rss_mib": round(own + max([c["peak_rss_mib"] for c in costs], default=0))}


def _heavy_costs(home):
    return [artifacts.read_json(p).get("cost") or {"wall_s": 0, "startup_s": 0, "peak_rss_mib": 0} for p in home.rglob("done.json")]


def main(argv=None):
    """Command line; exit code 0 done, 1 the notebook failed, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m xinstruct_utils.run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook")
    parser.add_argument("--run", required=True, help="name of the run under papermill_runs/")
    parser.add_argument("--lang", required=True, help="ISO 639-1 code, or 'all' for 13_results")
    parser.add_argument("--iteration", type=int, help="round of refinement")
    parser.add_argument("--profile", help="profile name or file; default: the run's own, or the one of the run's name")
    parser.add_argument("-p", action="append", default=[], metavar="key=value", help="override a profile's value for this run")
    parser.add_argument("--force", action="store_true", help="make the step anew if it was made by other code or parameters")
    args = parser.parse_args(argv)
    try:
        run_step(args.notebook, args.run, args.lang, args.iteration, args.profile, config.parse_overrides(args.p), args.force)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
