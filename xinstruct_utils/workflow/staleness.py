"""Is a step stale? The one answer, with the reason in words.

It goes by hashes of the step's code, settings, inputs and outputs.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xinstruct_utils.config.profile import MACHINE, Profile
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import known_hash, read_json, write_bytes
from xinstruct_utils.core.paths import hashes_dir, root, run_dir, shown
from xinstruct_utils.workflow.chapters import BY_NAME, StepId, read_by, steps_of
from xinstruct_utils.workflow.manifest import input_hash
from xinstruct_utils.workflow.notebooks import code_key, parameters_of, setting_groups

Key = dict[str, Any]

# What a part of a key is called in a reason.
WORDS = {
    "code_digest": "its code",
    "modules_digest": "the package's code",
    "parameters": "its parameters",
    "settings": "its settings",
    "languages": "the run's languages",
}


def step_key(name: str, profile: Profile, run: str, lang: str,
             iteration: int | None = None) -> Key:
    """What a step depends on besides its inputs: parameters, settings, digests of code.

    Across languages, on these too. Raises InputError where the notebook and the call do not fit
    (see `notebooks.parameters_of`).
    """
    settings = {group: profile.group(group) for group in setting_groups(name)}
    key = {"parameters": parameters_of(name, profile, run, lang, iteration), **code_key(name),
           "settings": settings}
    if lang == "all":
        key["languages"] = profile.languages      # a run can grow by a language
    return key


def _steady(part: str, value: Any) -> Any:
    """A part of a key without what says only where and how fast a step ran."""
    if part == "parameters" and value:
        return {name: given for name, given in value.items() if name not in MACHINE}
    if part == "settings" and value:
        return {group: _steady("parameters", settings) for group, settings in value.items()}
    return value


def differing(noted: Key, key: Key) -> list[str]:
    """Names of the parts of `key` that a step's file says otherwise."""
    return [part for part in key if _steady(part, noted.get(part)) != _steady(part, key[part])]


def _words(parts: list[str]) -> str:
    """Parts of a key that differ, as a reason."""
    return " and ".join(WORDS[part] for part in parts) + " changed"


def _noted(path: Path) -> dict[str, Any]:
    """A file of a step, {} where it is not there."""
    return read_json(path) if path.exists() else {}


def changed_files(folder: Path, hashes: dict[str, str],
                  hash_of: Callable[[Path], str]) -> list[str]:
    """Names of those files (relative to `folder`) that are gone or have another hash."""
    return [name for name, known in hashes.items()
            if not (folder / name).exists() or hash_of(folder / name) != known]


def hash_in(run: str) -> Callable[[Path], str]:
    """`known_hash` with the notes of a run."""
    return functools.partial(known_hash, notes=hashes_dir(run))


def input_hash_in(run: str) -> Callable[[Path], str]:
    """`input_hash` with the notes of a run."""
    return functools.partial(input_hash, notes=hashes_dir(run))


def _why_inputs(hashes: dict[str, str], run: str) -> str | None:
    """That inputs are others than those of these hashes, in words."""
    names = changed_files(root(), hashes, input_hash_in(run))
    return f"what it reads changed: {', '.join(names)}" if names else None


def why_stale(home: Path, run: str, key: Key) -> str | None:
    """Why a step has to be made (again), in words.

    None where it is what its code, settings and inputs would make.
    """
    started = _noted(home / "started.json")
    manifest = _noted(home / "manifest.json")
    if not manifest:
        return "it was begun and not finished" if started else "it was never made"
    if not (home / "notebook.ipynb").exists():
        return "its executed notebook is missing"
    if started.get("attempt") != manifest.get("attempt"):
        return "a later attempt was not finished"
    if parts := differing(manifest, key):
        return _words(parts)
    if reason := _why_inputs(manifest["inputs"], run):
        return reason
    if names := changed_files(home, manifest["outputs"], hash_in(run)):
        return f"what it wrote was changed: {', '.join(names)}"
    return None


def why_begun_anew(home: Path, run: str, key: Key) -> str | None:
    """Why what an unfinished attempt has left cannot be gone on with; None where it can."""
    started = _noted(home / "started.json")
    if not started:
        return None
    if parts := differing(started, key):
        return _words(parts)
    return _why_inputs(_noted(home / "inputs.json"), run)


def _key_of(step: StepId, run: str, profile: Profile, noted: Profile) -> Key:
    """A step's key; across languages, of all that the run has by now (`noted`)."""
    if step.lang == "all":
        languages = list(dict.fromkeys([*noted.languages, *profile.languages]))
        profile = profile.model_copy(update={"languages": languages})
    return step_key(step.notebook, profile, run, step.lang, step.iteration)


def stale_steps(run: str, profile: Profile) -> dict[StepId, str]:
    """The steps of a run that have to run, each with its reason, in their order.

    A step that reads from such a step is among them: it is looked at again when that one is
    finished, and may be up to date.
    """
    stale: dict[StepId, str] = {}
    noted = load_run(run) if (run_dir(run) / "run.json").exists() else profile
    for step in steps_of(profile):
        try:
            reason = why_stale(step.home(run), run, _key_of(step, run, profile, noted))
        except InputError as error:            # the verb says the same when it comes to this step
            reason = str(error)
        if reason is None:
            reason = _why_after([other for other in read_by(step, profile) if other in stale], step)
        if reason is not None:
            stale[step] = reason
    return stale


def _why_after(stale: list[StepId], step: StepId) -> str | None:
    """That a step reads from stale ones, in words."""
    if not stale:
        return None
    if BY_NAME[step.notebook].last:
        return "it reads other steps"
    return f"it reads {', '.join(map(str, stale))}"


def file_of_now(run: str) -> str:
    """A file of a run that is newer than all of its manifests.

    Snakemake goes by times; this one says: run again.
    """
    path = run_dir(run) / ".now"
    write_bytes(path, [str(time.time_ns()).encode()])     # Snakemake compares contents too
    return shown(path)
