"""The files that a run's settings name: is each there before the first hour is spent?"""

from collections.abc import Iterator
from pathlib import Path

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.errors import InputError

# What brings the files that `profiles/paper.yaml` names.
WHERE = "book/reproduce/paper_scale.md says where the paper's come from"


def named_files(profile: Profile) -> Iterator[tuple[str, str]]:
    """(setting, path) of each file or folder that a step will read, {lang} as it is.

    Labels and translations that people bring later are not among them.
    """
    if profile.source == "files":
        yield "seed_path", profile.seed_path or ""
        if profile.corpus_source == "files":
            yield "corpus_path", profile.corpus_path or ""
        yield "planted_path", profile.planted_path
    for file in profile.benchmarks:
        yield "benchmarks", file
    if profile.opponent.endswith(".jsonl"):
        yield "opponent", profile.opponent
    for key in ("others", "baselines", "joint_baselines"):
        for text in getattr(profile, key):
            name, _, file = text.partition("=")
            if key != "joint_baselines" or file.endswith(".jsonl"):
                yield f"{key}, {name}", file


def missing(profile: Profile) -> list[str]:
    """Files that are not there, as "setting: path", each once."""
    found = []
    for key, file in named_files(profile):
        paths = dict.fromkeys(file.replace("{lang}", lang) for lang in profile.languages)
        found += [f"{key}: {path}" for path in paths if path and not Path(path).exists()]
    return found


def check(profile: Profile) -> None:
    """Raises InputError that names every file which is not there."""
    if absent := missing(profile):
        lines = "\n  ".join(absent)
        raise InputError(f"these files are named by the settings and are not there:\n  {lines}\n"
                         f"bring them, or empty the setting, for instance SET=\"benchmarks=\"; "
                         f"{WHERE}")
