"""The settings of a run: noted at its first step, kept the same after that (run.json)."""

import argparse
import shlex
import sys
from typing import Any

from xinstruct_utils.config.load import checked, load_profile, parse_overrides
from xinstruct_utils.config.profile import EVALUATION, MACHINE, Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.core.paths import root, run_dir


def load_run(run: str) -> Profile:
    """The resolved profile of a run, from its run.json.

    Before the first step, it is the profile of the run's name.
    """
    path = run_dir(run) / "run.json"
    return checked(read_json(path), str(path)) if path.exists() else load_profile(run)


def resolve(run: str, profile: str | None = None,
            overrides: dict[str, Any] | None = None) -> Profile:
    """The profile of a run: the one named, else the run's own, else the one named like the run.

    overrides: values that go before those of the profile. Raises InputError.
    """
    overrides = overrides or {}
    path = run_dir(run) / "run.json"
    if profile or not path.exists():
        return load_profile(profile or run, **overrides)
    origin = f"{path} with {', '.join(overrides)}" if overrides else str(path)
    return checked(read_json(path) | overrides, origin)


def resolve_call(run: str, profile: str | None = None, langs: Any = None,
                 settings: Any = None) -> Profile:
    """The profile of a run as `make run` names it: PROFILE, LANGS and SET, as texts.

    langs: "sw ur" or "sw,ur"; settings: "key=value ...". Raises InputError, also for quotes that
    do not close.
    """
    try:
        words = shlex.split(str(settings or ""))
    except ValueError as error:
        raise InputError(f"SET is {settings!r}: {error}") from None
    if langs:
        words.append(f"languages={langs}")
    return resolve(run, profile or None, parse_overrides(words))


def open_run(run: str, profile: Profile, note: bool = True) -> None:
    """Note the profile of a run at its first step; later steps must have the same.

    The languages may differ from call to call: a run can be extended by another language. So may
    `MACHINE` and `EVALUATION`. Raises InputError for other settings; without `note`, that is all.
    """
    path = run_dir(run) / "run.json"
    values = profile.model_dump()
    if path.exists():
        old = checked(read_json(path), str(path)).model_dump()
        _compare(run, old, values)
        joined = [code for code in values["languages"] if code not in old["languages"]]
        values["languages"] = old["languages"] + joined
        values["featured"] = old["featured"]
        if values == old:
            return
    if note:
        write_json(path, values)


def _compare(run: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Say which settings of the evaluation are others. Raises InputError for the fixed ones."""
    changed = {key: f"{key} was {old[key]!r}, now {value!r}" for key, value in new.items()
               if old[key] != value}
    free = ("languages", "featured", *MACHINE, *EVALUATION)
    fixed = [words for key, words in changed.items() if key not in free]
    if fixed:
        raise InputError(f"run {run!r} was made with other settings ({'; '.join(fixed)}); use "
                         f"another --run name, or remove it with: make clean RUN={run}")
    evaluation = [words for key, words in changed.items() if key in EVALUATION]
    if evaluation:
        print(f"run {run!r}: {'; '.join(evaluation)}; the chapters that read this are made anew",
              file=sys.stderr)


def remove_run(run: str) -> None:
    """Delete a run and all its results.

    Raises InputError where there is none of that name, or where people labelled.
    """
    import shutil

    if not run_dir(run).is_dir():
        raise InputError(f"there is no run {run!r} in {root()}")
    labels = [file for file in sorted(run_dir(run).glob("labels/*/*.jsonl")) if file.stat().st_size]
    if labels:
        raise InputError(f"run {run!r} holds what people have labelled ({labels[0]}); no rerun "
                         f"brings that back: move {labels[0].parents[1]} to another place first, "
                         "or delete it yourself")
    shutil.rmtree(run_dir(run))
    print(f"removed: {run_dir(run)}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `remove`."""
    parser.add_argument("run", help="name of the run under papermill_runs/")


def command(args: argparse.Namespace) -> None:
    """Remove a run."""
    remove_run(args.run)
