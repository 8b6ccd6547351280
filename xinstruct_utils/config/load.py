"""Profiles: one flat YAML file of literals each; bad keys and values are errors that name it."""

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from xinstruct_utils.config.profile import ATLAS_MODELS, ATLAS_OPPONENT, Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.secrets import holds_secret

PROFILES = REPO / "profiles"
ACCELERATE = PROFILES / "accelerate"
YAML_ENDINGS = (".yaml", ".yml")
# Names that are no folders, though a folder may be called so.
PACKAGED = (*ATLAS_MODELS, ATLAS_OPPONENT, "minilm", "smollm2")
# Models that a run tunes itself; a baseline or an opponent of that name would hide one of them.
OUR_MODELS = ("refined", "unrefined", "seed")
LARGEST_RATE = 5e-4      # of full training of a model that is no toy
# Further ones that it can make the data of; the second and third in the Atlas only.
MADE = ("rated", "translated", "distilled")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w -]*")         # "Bactrian-M 13B", as the paper has it


def checked(values: dict[str, Any], origin: str) -> Profile:
    """The values as a Profile. Raises InputError that names `origin`, the key, and a like key."""
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(map(_fault, error.errors()))
        raise InputError(f"{origin}: {faults}; the keys are those of "
                         "xinstruct_utils.config.profile.Profile") from None
    for code in [*profile.languages, profile.featured]:
        languages.get(code)
    for check in CHECKS:
        fault = check(profile)
        if fault:
            raise InputError(f"{origin}: {fault}")
    return profile


def _fault(error: Any) -> str:
    """One of pydantic's errors, in words."""
    key = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['msg']}, but {error['input']!r} came"
    like = difflib.get_close_matches(key, Profile.model_fields, 1)
    return f"unknown key {key!r}" + (f" (did you mean {like[0]!r}?)" if like else "")


def lack_of_sources(profile: Profile) -> str | None:
    """A run on files has seed data, and a corpus unless that comes from the hub."""
    if profile.source != "files":
        return None
    if profile.seed_path and (profile.corpus_path or profile.corpus_source != "files"):
        return None
    return ("source is 'files', so seed_path and corpus_path are needed, for instance "
            'SET="seed_path=my/seed.jsonl corpus_path=my/corpus.jsonl"')


def lack_of_servers(profile: Profile) -> str | None:
    """The engine "server" has addresses."""
    if profile.engine != "server":
        return None
    urls = profile.server_urls
    if urls and all(url.startswith(("http://", "https://")) for url in urls):
        return None
    return ("engine is 'server', so server_urls is needed: a list of addresses, for instance "
            'SET="server_urls=http://127.0.0.1:8000/v1,http://127.0.0.1:8001/v1"')


def other_number_of_processes(profile: Profile) -> str | None:
    """An accelerate configuration starts as many processes as the profile counts with."""
    if not profile.accelerate_config:
        return None
    path, config = accelerate_config(profile.accelerate_config)
    if config["num_processes"] == profile.train_processes:
        return None
    return (f"train_processes is {profile.train_processes}, but {path} starts "
            f"{config['num_processes']}; make them equal")


def bad_baselines(profile: Profile) -> str | None:
    """Baselines have names of their own, and files, or are made by the run."""
    made = MADE if profile.source == "atlas" else MADE[:1]
    bad = [text for text in profile.baselines if text not in made and not _is_baseline(text)]
    if not bad:
        return None
    return (f"baselines: expected {', '.join(made)} or name=file.jsonl, the name not one of "
            f"{', '.join((*OUR_MODELS, *MADE))}, but {', '.join(bad)} came")


def _is_baseline(text: str) -> bool:
    name, _, file = text.partition("=")
    return bool(PLAIN_NAME.fullmatch(name) and file and name not in (*OUR_MODELS, *MADE))


def bad_joint_baselines(profile: Profile) -> str | None:
    """A joint baseline has a name of its own, and learns from a baseline's rows or a file's."""
    taken = [*OUR_MODELS, *MADE, *names_of(profile.baselines)]
    for text in profile.joint_baselines:
        name, _, source = text.partition("=")
        learns = source in names_of(profile.baselines) or source.endswith(".jsonl")
        if not (PLAIN_NAME.fullmatch(name) and name not in taken and learns):
            return (f"joint_baselines: expected name=baseline or name=file.jsonl, the name not "
                    f"one of {', '.join(taken)}, the baseline one of "
                    f"{', '.join(names_of(profile.baselines)) or 'none'}, but {text} came")
        taken.append(name)
    return None


def names_of(baselines: Iterable[str]) -> list[str]:
    """The names of baselines, which may be given as name=source."""
    return [text.partition("=")[0] for text in baselines]


def batches_that_cannot_be_shared(profile: Profile) -> str | None:
    """Each process of a training has as many rows of a batch as the others."""
    for key in ("batch_rows", "batch_rows_under_3k"):
        rows = getattr(profile, key)
        if rows % profile.train_processes:
            return (f"{key} is {rows}, which cannot be shared out to {profile.train_processes} "
                    "train_processes; expected a multiple of them")
    return None


def lack_of_a_judge(profile: Profile) -> str | None:
    """Questions on files have a judge that can read them."""
    if profile.source == "files" and profile.benchmarks and profile.judge_by == "oracle":
        return ("benchmarks need a judge, and the oracle knows the Atlas only; set "
                "judge_by=openai")
    return None


def a_toys_learning_rate(profile: Profile) -> str | None:
    """A real model is not trained with the rate of the Atlas's, which is much smaller."""
    toy = profile.base_model in ATLAS_MODELS or profile.source == "atlas"
    if toy or profile.lora_rank or profile.learning_rate <= LARGEST_RATE:
        return None
    return (f"learning_rate is {profile.learning_rate}, which suits the Atlas's toy model and "
            f"would ruin {profile.base_model}; for full training set it to about 2e-4 below a "
            "billion parameters and 1e-5 above (paper: 1e-5), or train adapters: "
            'SET="lora_rank=32 learning_rate=2e-4"')


# What no single key can say; each gives the fault in words, or None.
def keys_in_settings(profile: Profile) -> str | None:
    """Settings are written into the run, so no key may stand in one."""
    names = [name for name, value in profile if holds_secret(str(value))]
    if not names:
        return None
    return (f"{', '.join(names)} holds what looks like a key or a password, and settings are "
            "written into the run; keep it in an environment variable: a server that "
            "server_command starts has it too, XINSTRUCT_SERVER_KEY is sent to it, and $NAME in an "
            "address is filled in, as http://me:$NAME@host/v1")


CHECKS: tuple[Callable[[Profile], str | None], ...] = (
    keys_in_settings,
    a_toys_learning_rate,
    lack_of_sources,
    lack_of_servers,
    other_number_of_processes,
    bad_baselines,
    bad_joint_baselines,
    batches_that_cannot_be_shared,
    lack_of_a_judge,
)


def _names_in(folder: Path) -> str:
    """Names of the YAML files of a folder, as an error lists them."""
    return ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))


def _yaml_in(path: Path, read: Callable[[str], Any]) -> Any:
    """What a YAML file holds. Raises InputError where it is none."""
    import yaml

    try:
        return read(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None


def accelerate_config(name: str) -> tuple[Path, dict[str, Any]]:
    """(Path, values) of an accelerate configuration: a name in profiles/accelerate, or a file.

    Raises InputError where it is neither, or says no number of machines and processes.
    """
    import yaml

    path = Path(name) if name.endswith(YAML_ENDINGS) else ACCELERATE / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"accelerate_config is {name!r}: expected a YAML file that `accelerate "
                         f"config` made, or one of {_names_in(ACCELERATE)}")
    values = _yaml_in(path, yaml.safe_load)
    counts: list[Any] = [None]
    if isinstance(values, dict):
        counts = [values.get(key) for key in ("num_machines", "num_processes")]
    if not all(type(n) is int and n > 0 for n in counts):
        raise InputError(f"{path}: expected num_machines and num_processes, whole numbers above "
                         f"0, but {counts} came")
    return path, values


def _read_yaml(text: str) -> Any:
    """YAML, in which 1e-5 is a number (PyYAML's rules, of YAML 1.1, make it a string)."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    exponent = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+0123456789"))
    return yaml.load(text, Loader)


def load_profile(name_or_path: str | Path, **overrides: Any) -> Profile:
    """A profile by name (profiles/<name>.yaml) or path, with overrides. Raises InputError.

    Relative paths become absolute, so that a run reads the same files wherever it is gone on with.
    """
    name = str(name_or_path)
    path = Path(name) if name.endswith(YAML_ENDINGS) else PROFILES / f"{name}.yaml"
    if not path.exists():
        raise InputError(f"no profile {name!r}: expected a YAML file or one of "
                         f"{_names_in(PROFILES)} (with --profile, or PROFILE= of make)")
    values = _yaml_in(path, _read_yaml) or {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected 'key: value' lines, but {type(values).__name__} came")
    values |= overrides
    if overrides.get("languages") and values.get("featured") not in values["languages"]:
        values["featured"] = values["languages"][0]
    values = {key: _with_absolute_paths(key, value) for key, value in values.items()}
    return checked(values, f"{path} with {', '.join(overrides)}" if overrides else str(path))


def _with_absolute_paths(key: str, value: Any) -> Any:
    """A setting whose files, where it names some, have absolute paths."""
    if isinstance(value, str) and is_path(key, value):
        return _absolute(value)
    if key == "benchmarks" and isinstance(value, list):
        return [_absolute(str(file)) for file in value]
    if key in ("baselines", "others") and isinstance(value, list):
        return [text if text in MADE else _with_absolute_file(text) for text in map(str, value)]
    if key == "joint_baselines" and isinstance(value, list):
        return [_with_absolute_file(text) if text.endswith(".jsonl") else text
                for text in map(str, value)]
    return value


def is_path(key: str, value: str) -> bool:
    """Is the value of this setting a path here? Else it is a name: a hub id, a model's."""
    if value in ("", *PACKAGED):
        return False
    if key in ("seed_path", "corpus_path", "translations_path", "planted_path"):
        return True
    if key in ("opponent", "human_labels"):
        return value.endswith(".jsonl")
    if key == "accelerate_config":
        return value.endswith(YAML_ENDINGS)
    if key in ("base_model", "tuned_model", "larger_model", "encoder", "task_data"):
        return Path(value).is_dir()
    return False


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _with_absolute_file(named: str) -> str:
    """As it is, `name=file` with an absolute file."""
    name, sign, file = named.partition("=")
    return f"{name}{sign}{_absolute(file) if file else ''}"


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` strings as a dict of literals. Raises InputError.

    YAML's rules: 3 is a number, true a boolean; what a profile holds as text is taken as it is.
    """
    overrides = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise InputError(f"expected key=value, but {pair!r} came")
        overrides[key] = _literal(key, value)
    return overrides


def _literal(key: str, value: str) -> Any:
    """The text of a setting as a value of its type."""
    import yaml

    kind = Profile.model_fields[key].annotation if key in Profile.model_fields else None
    if get_origin(kind) is list:
        return value.strip("[]").replace(",", " ").split()
    if kind in (str, str | None):
        return value
    try:
        return _read_yaml(value)
    except yaml.YAMLError:
        return value
