"""Is a step stale? The one answer: by hashes of its code, settings, inputs and outputs, with the reason in words."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

from xinstruct_utils.config.profile import GROUPS, MACHINE, Profile
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import known_hash, read_json, write_bytes
from xinstruct_utils.core.paths import hashes_dir, root, run_dir, shown
from xinstruct_utils.workflow.chapters import RESULTS, StepId, read_by, steps_of
from xinstruct_utils.workflow.manifest import input_hash
from xinstruct_utils.workflow.notebooks import code_key, parameters_of, setting_groups

WORDS = {"code_digest": "its code", "modules_digest": "the package's code", "parameters": "its parameters",
         "settings": "its settings", "languages": "the run's languages"}


def step_key(name: str, profile: Profile, run: str, lang: str, iteration: int | None = None) -> dict:
    """What a step depends on besides its inputs: parameters, settings, digests of code; across languages, these too.

    Raises InputError where the notebook and the call do not fit (see `notebooks.parameters_of`).
    """
    values = profile.model_dump()
    groups = setting_groups(name)
    key = {"parameters": parameters_of(name, profile, run, lang, iteration), **code_key(name),
           "settings": {group: {k: values[k] for k in GROUPS[group]} for group in groups}}
    if lang == "all":
        key["languages"] = profile.languages      # a run can grow by a language
    return key


def _steady(part: str, value):
    """A part of a key without what says only where and how fast a step ran."""
    if part == "parameters" and value:
        return {name: x for name, x in value.items() if name not in MACHINE}
    if part == "settings" and value:
        return {group: _steady("parameters", values) for group, values in value.items()}
    return value


def differing(noted: dict, key: dict) -> list[str]:
    """Names of the parts of `key` that a step's file says otherwise."""
    return [part for part in key if _steady(part, noted.get(part)) != _steady(part, key[part])]


def changed_files(folder: Path, hashes: dict[str, str], hash_of: Callable[[Path], str]) -> list[str]:
    """Names of those files (relative to `folder`) that are gone or have another hash."""
    return [name for name, known in hashes.items()
            if not (folder / name).exists() or hash_of(folder / name) != known]


def hash_in(run: str) -> Callable[[Path], str]:
    """`known_hash` with the notes of a run."""
    return functools.partial(known_hash, notes=hashes_dir(run))


def input_hash_in(run: str) -> Callable[[Path], str]:
    """`input_hash` with the notes of a run."""
    return functools.partial(input_hash, notes=hashes_dir(run))


def why_stale(home: Path, run: str, key: dict) -> str | None:
    """Why a step has to be made (again), in words; None where it is what its code, settings and inputs would make."""
    if not (home / "manifest.json").exists():
        return "it was begun and not finished" if (home / "started.json").exists() else "it was never made"
    if not (home / "notebook.ipynb").exists():
        return "its executed notebook is missing"
    manifest = read_json(home / "manifest.json")
    started = read_json(home / "started.json") if (home / "started.json").exists() else {}
    if started.get("attempt") != manifest.get("attempt"):
        return "a later attempt was not finished"
    if parts := differing(manifest, key):
        return " and ".join(WORDS[part] for part in parts) + " changed"
    if names := changed_files(root(), manifest["inputs"], input_hash_in(run)):
        return f"what it reads changed: {', '.join(names)}"
    if names := changed_files(home, manifest["outputs"], hash_in(run)):
        return f"what it wrote was changed: {', '.join(names)}"
    return None


def why_begun_anew(home: Path, run: str, key: dict) -> str | None:
    """Why what an unfinished attempt has left cannot be gone on with, in words; None where it can."""
    if not (home / "started.json").exists():
        return None
    if parts := differing(read_json(home / "started.json"), key):
        return " and ".join(WORDS[part] for part in parts) + " changed"
    inputs = read_json(home / "inputs.json") if (home / "inputs.json").exists() else {}
    if names := changed_files(root(), inputs, input_hash_in(run)):
        return f"what it reads changed: {', '.join(names)}"
    return None


def _key_of(step: StepId, run: str, profile: Profile, noted: Profile) -> dict:
    """A step's key; across languages, of all that the run has by now (`noted`)."""
    languages = list(dict.fromkeys([*noted.languages, *profile.languages]))
    whole = profile.model_copy(update={"languages": languages}) if step.lang == "all" else profile
    return step_key(step.notebook, whole, run, step.lang, step.iteration)


def stale_steps(run: str, profile: Profile) -> dict[StepId, str]:
    """The steps of a run that have to run, each with its reason, in their order.

    A step that reads from such a step is among them: it is looked at again when that one is finished, and may be up to date.
    """
    stale: dict[StepId, str] = {}
    noted = load_run(run) if (run_dir(run) / "run.json").exists() else profile
    for step in steps_of(profile):
        before = [str(other) for other in read_by(step, profile) if other in stale]
        home = step.home(run)
        try:
            reason = why_stale(home, run, _key_of(step, run, profile, noted))
        except InputError as error:               # the verb says the same when it comes to this step
            reason = str(error)
        if reason is None and before:
            reason = f"it reads {'other steps' if step.notebook == RESULTS else ', '.join(before)}"
        if reason is not None:
            stale[step] = reason
    return stale


def file_of_now(run: str) -> str:
    """A file of a run that is newer than all of its manifests (Snakemake goes by times; this one says: run again)."""
    path = run_dir(run) / ".now"
    write_bytes(path, [str(time.time_ns()).encode()])     # Snakemake compares contents too
    return shown(path)
