"""Profiles: one flat YAML file of literals each; unknown keys and wrong types are errors that name the file."""

import difflib
import sys
from pathlib import Path

from pydantic import ValidationError

from .artifacts import REPO, InputError, read_json, root, run_dir, write_json
from .profile import Profile

# Keys that say which machine a run stands on: a run may go on on another one, with the same results.
MACHINE = ("accelerate_config", "train_processes", "device_rows", "inference_processes", "server_urls", "server_concurrency",
           "server_command", "server_wait_s")


def checked(values, origin):
    """The values as a Profile. Raises InputError that names `origin`, the key, and a key of like name."""
    from . import clean, languages

    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            key = str(e["loc"][0])
            close = difflib.get_close_matches(key, Profile.model_fields, 1)
            lines.append(f"unknown key {key!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
                         if e["type"] == "extra_forbidden" else f"{key}: {e['msg']}, but {e['input']!r} came")
        raise InputError(f"{origin}: {'; '.join(lines)}; the keys are those of xinstruct_utils.config.Profile") from None
    for code in [*profile.languages, profile.featured]:
        languages.get(code)
    if profile.source == "files" and not (profile.seed_path and (profile.corpus_path or profile.corpus_source != "files")):
        raise InputError(f"{origin}: source is 'files', so seed_path and corpus_path are needed, for instance "
                         'SET="seed_path=my/seed.jsonl corpus_path=my/corpus.jsonl"')
    if profile.engine == "server" and not all(url.startswith(("http://", "https://")) for url in profile.server_urls or [""]):
        raise InputError(f"{origin}: engine is 'server', so server_urls is needed: a list of addresses, for instance "
                         'SET="server_urls=http://127.0.0.1:8000/v1,http://127.0.0.1:8001/v1"')
    clean.chosen(profile.cleaning)
    if profile.accelerate_config:
        path, started = accelerate_config(profile.accelerate_config)
        if started["num_processes"] != profile.train_processes:
            raise InputError(f"{origin}: train_processes is {profile.train_processes}, but {path} starts "
                             f"{started['num_processes']}; make them equal")
    for key in ("batch_rows", "batch_rows_under_3k"):
        if (rows := getattr(profile, key)) % profile.train_processes:
            raise InputError(f"{origin}: {key} is {rows}, which cannot be shared out to {profile.train_processes} "
                             "train_processes; expected a multiple of them")
    if profile.source == "files" and profile.benchmarks and profile.judge_by == "oracle":
        raise InputError(f"{origin}: benchmarks need a judge, and the oracle knows the Atlas only; set judge_by=openai")
    return profile


def accelerate_config(name):
    """(Path, values) of an accelerate configuration: a name in profiles/accelerate, or a file. Raises InputError."""
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else REPO / "profiles" / "accelerate" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (REPO / "profiles" / "accelerate").glob("*.yaml")))
        raise InputError(f"accelerate_config is {name!r}: expected a YAML file that `accelerate config` made, or one of {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    counts = [values.get(k) for k in ("num_machines", "num_processes")] if isinstance(values, dict) else [None]
    if not all(type(n) is int and n > 0 for n in counts):
        raise InputError(f"{path}: expected num_machines and num_processes, whole numbers above 0, but {counts} came")
    return path, values


def _read_yaml(text):
    """YAML, in which 1e-5 is a number (PyYAML's rules, of YAML 1.1, make it a string)."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
    return yaml.load(text, Loader)


def load_profile(name_or_path, **overrides):
    """A profile by name (profiles/<name>.yaml) or path, with overrides. Raises InputError.

    Relative paths become absolute, so that a run reads the same files wherever it is gone on with.
    """
    import yaml

    path = Path(name_or_path) if str(name_or_path).endswith((".yaml", ".yml")) else REPO / "profiles" / f"{name_or_path}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in (REPO / "profiles").glob("*.yaml")))
        raise InputError(f"no profile {str(name_or_path)!r}: expected a YAML file or one of {known} (with --profile, or PROFILE= "
                         "of make)")
    try:
        values = _read_yaml(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected 'key: value' lines, but {type(values).__name__} came")
    values |= overrides
    if overrides.get("languages") and values.get("featured") not in values["languages"]:
        values["featured"] = values["languages"][0]
    for key in ("seed_path", "corpus_path", "translations_path", "base_model", "encoder", "task_data"):
        given = values.get(key)
        if isinstance(given, str) and (key.endswith("_path") or Path(given).is_dir()) and given not in ("atlas", "minilm"):
            values[key] = str(Path(given).expanduser().absolute())
    for key in ("opponent", "human_labels"):
        if str(values.get(key)).endswith(".jsonl"):
            values[key] = str(Path(values[key]).expanduser().absolute())
    if isinstance(values.get("others"), list):                    # name=file
        parts = [str(entry).partition("=") for entry in values["others"]]
        values["others"] = [name + sign + (str(Path(file).expanduser().absolute()) if sign else "") for name, sign, file in parts]
    if str(values.get("accelerate_config")).endswith((".yaml", ".yml")):
        values["accelerate_config"] = str(Path(values["accelerate_config"]).expanduser().absolute())
    if isinstance(values.get("benchmarks"), list):
        values["benchmarks"] = [str(Path(str(path)).expanduser().absolute()) for path in values["benchmarks"]]
    return checked(values, str(path) + (" with " + ", ".join(overrides) if overrides else ""))


def parse_overrides(pairs):
    """`key=value` strings as a dict of literals (YAML rules: 3 is a number, true a boolean; texts are taken as they are)."""
    import yaml

    made = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise InputError(f"expected key=value, but {pair!r} came")
        kind = Profile.model_fields[key].annotation if key in Profile.model_fields else None
        if kind == list[str]:
            made[key] = value.strip("[]").replace(",", " ").split()
        elif kind in (str, str | None):
            made[key] = value
        else:
            try:
                made[key] = _read_yaml(value)
            except yaml.YAMLError:
                made[key] = value
    return made


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


def open_run(run, profile, note=True):
    """Note the profile of a run at its first step; later steps must have the same. Raises InputError.

    The languages may differ from call to call: a run can be extended by another language. So may the machine.
    """
    path, values = run_dir(run) / "run.json", profile.model_dump()
    if path.exists():
        old = checked(read_json(path), str(path)).model_dump()
        may = ("languages", "featured", *MACHINE)
        changed = {k: (old[k], v) for k, v in values.items() if old[k] != v and k not in may}
        if changed:
            told = "; ".join(f"{k} was {a!r}, now {b!r}" for k, (a, b) in changed.items())
            raise InputError(f"run {run!r} was made with other settings ({told}); use another --run name, or remove it with: "
                             f"make clean RUN={run}")
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


if __name__ == "__main__":  # python -m xinstruct_utils.config remove RUN
    try:
        {"remove": remove_run}[sys.argv[1]](sys.argv[2])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
