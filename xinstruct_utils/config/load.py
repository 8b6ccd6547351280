"""Profiles: one flat YAML file of literals each; unknown keys and wrong types are errors that name the file."""

import difflib
import re
from pathlib import Path
from typing import get_origin

from pydantic import ValidationError

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.secrets import holds_secret


def checked(values, origin):
    """The values as a Profile. Raises InputError that names `origin`, the key, and a key of like name."""
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            key = str(e["loc"][0])
            close = difflib.get_close_matches(key, Profile.model_fields, 1)
            lines.append(f"unknown key {key!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
                         if e["type"] == "extra_forbidden" else f"{key}: {e['msg']}, but {e['input']!r} came")
        raise InputError(f"{origin}: {'; '.join(lines)}; the keys are those of xinstruct_utils.config.profile.Profile") from None
    for code in [*profile.languages, profile.featured]:
        languages.get(code)
    if shown := [key for key, value in profile if holds_secret(str(value))]:
        raise InputError(f"{origin}: {', '.join(shown)} holds what looks like a key or a password, and settings are written into "
                         "the run; keep it in an environment variable: a server that server_command starts has it too, "
                         "XINSTRUCT_SERVER_KEY is sent to it, and $NAME in an address is filled in, as http://me:$NAME@host/v1")
    if profile.source == "files" and not (profile.seed_path and (profile.corpus_path or profile.corpus_source != "files")):
        raise InputError(f"{origin}: source is 'files', so seed_path and corpus_path are needed, for instance "
                         'SET="seed_path=my/seed.jsonl corpus_path=my/corpus.jsonl"')
    if profile.engine == "server" and not all(url.startswith(("http://", "https://")) for url in profile.server_urls or [""]):
        raise InputError(f"{origin}: engine is 'server', so server_urls is needed: a list of addresses, for instance "
                         'SET="server_urls=http://127.0.0.1:8000/v1,http://127.0.0.1:8001/v1"')
    if profile.accelerate_config:
        path, started = accelerate_config(profile.accelerate_config)
        if started["num_processes"] != profile.train_processes:
            raise InputError(f"{origin}: train_processes is {profile.train_processes}, but {path} starts "
                             f"{started['num_processes']}; make them equal")
    named = [b.partition("=") for b in profile.baselines]
    if bad := [f"{name}{sign}{file}" for name, sign, file in named
               if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name) or not file or name in ("refined", "unrefined", "seed")]:
        raise InputError(f"{origin}: baselines: expected name=file.jsonl, the name not refined, unrefined or seed, but "
                         f"{', '.join(bad)} came")
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
    for key in ("seed_path", "corpus_path", "translations_path", "base_model", "tuned_model", "encoder", "task_data"):
        given = values.get(key)
        if isinstance(given, str) and (key.endswith("_path") or Path(given).is_dir()) and given not in ("atlas", "minilm"):
            values[key] = str(Path(given).expanduser().absolute())
    for key in ("opponent", "human_labels"):
        if str(values.get(key)).endswith(".jsonl"):
            values[key] = str(Path(values[key]).expanduser().absolute())
    if str(values.get("accelerate_config")).endswith((".yaml", ".yml")):
        values["accelerate_config"] = str(Path(values["accelerate_config"]).expanduser().absolute())
    if isinstance(values.get("benchmarks"), list):
        values["benchmarks"] = [str(Path(str(path)).expanduser().absolute()) for path in values["benchmarks"]]
    for key in ("baselines", "others"):
        if isinstance(values.get(key), list):                          # name=file
            parts = [str(given).partition("=") for given in values[key]]
            values[key] = [f"{name}{sign}{Path(path).expanduser().absolute() if path else ''}" for name, sign, path in parts]
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
        if get_origin(kind) is list:
            made[key] = value.strip("[]").replace(",", " ").split()
        elif kind in (str, str | None):
            made[key] = value
        else:
            try:
                made[key] = _read_yaml(value)
            except yaml.YAMLError:
                made[key] = value
    return made

