"""The settings of a run: noted at its first step, kept the same after that (run.json)."""

import shlex
import sys

from xinstruct_utils.config.load import checked, load_profile, parse_overrides
from xinstruct_utils.config.profile import EVALUATION, MACHINE
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.core.paths import root, run_dir


def load_run(run):
    """The resolved profile of a run, from its run.json; before the first step, the profile of the run's name."""
    path = run_dir(run) / "run.json"
    return checked(read_json(path), str(path)) if path.exists() else load_profile(run)


def resolve(run, profile=None, overrides=None):
    """The profile of a run: the one named, else the run's own, else the one named like the run; with overrides."""
    path = run_dir(run) / "run.json"
    if profile or not path.exists():
        return load_profile(profile or run, **(overrides or {}))
    return checked(read_json(path) | (overrides or {}), f"{path} with {', '.join(overrides)}" if overrides else str(path))


def resolve_call(run, profile=None, langs=None, settings=None):
    """The profile of a run as `make run` names it: PROFILE, LANGS ("sw ur" or "sw,ur") and SET ("key=value ..."), as texts.

    Raises InputError, also for quotes that do not close.
    """
    try:
        words = shlex.split(str(settings or ""))
    except ValueError as error:
        raise InputError(f"SET is {settings!r}: {error}") from None
    if langs:
        words.append(f"languages={langs}")
    return resolve(run, profile or None, parse_overrides(words))


def open_run(run, profile, note=True):
    """Note the profile of a run at its first step; later steps must have the same. Raises InputError.

    The languages may differ from call to call: a run can be extended by another language. So may `MACHINE` and `EVALUATION`.
    """
    path, values = run_dir(run) / "run.json", profile.model_dump()
    if path.exists():
        old = checked(read_json(path), str(path)).model_dump()
        changed = {k: f"{k} was {old[k]!r}, now {v!r}" for k, v in values.items() if old[k] != v}
        if bad := [told for k, told in changed.items() if k not in ("languages", "featured", *MACHINE, *EVALUATION)]:
            raise InputError(f"run {run!r} was made with other settings ({'; '.join(bad)}); use another --run name, or remove it "
                             f"with: make clean RUN={run}")
        if told := [told for k, told in changed.items() if k in EVALUATION]:
            print(f"run {run!r}: {'; '.join(told)}; the chapters that read this are made anew", file=sys.stderr)
        values["languages"] = old["languages"] + [c for c in values["languages"] if c not in old["languages"]]
        values["featured"] = old["featured"]
        if values == old:
            return
    if note:
        write_json(path, values)


def remove_run(run):
    """Delete a run and all its results. Raises InputError where there is none of that name, or where people labelled."""
    import shutil

    if not run_dir(run).is_dir():
        raise InputError(f"there is no run {run!r} in {root()}")
    people = [p for p in sorted(run_dir(run).glob("labels/*/*.jsonl")) if p.stat().st_size]
    if people:
        raise InputError(f"run {run!r} holds what people have labelled ({people[0]}); no rerun brings that back: move "
                         f"{people[0].parents[1]} to another place first, or delete it yourself")
    shutil.rmtree(run_dir(run))
    print(f"removed: {run_dir(run)}")


def arguments(parser):
    """Arguments of `remove`."""
    parser.add_argument("run", help="name of the run under papermill_runs/")


def command(args):
    """Remove a run."""
    remove_run(args.run)
