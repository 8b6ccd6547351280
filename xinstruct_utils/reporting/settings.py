"""The page of settings: every key of a profile, with what each profile says, read from the code."""

from pathlib import Path

from xinstruct_utils.config import load, profile
from xinstruct_utils.reporting.status import table

SHOWN = ("small", "local", "modern", "paper")    # profiles whose values stand beside the default


def meanings() -> dict[str, str]:
    """{key: what it means}, in the order of the keys."""
    import yaml

    path = Path(profile.__file__).with_name("meanings.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _shown(value: object) -> str:
    """A value as a person writes it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def keys() -> str:
    """HTML of the page's table."""
    defaults, told = profile.Profile().model_dump(), meanings()
    profiles = {name: load.load_profile(name).model_dump() for name in SHOWN}
    rows = []
    for key, default in defaults.items():
        others = "; ".join(f"{name}: {_shown(own[key]) or 'empty'}"
                           for name, own in profiles.items() if own[key] != default)
        kind = ("machine" if key in profile.MACHINE
                else "evaluation" if key in profile.EVALUATION else "")
        rows.append({"key": key, "what it is": told[key], "default": _shown(default),
                     "in other profiles": others, "may change": kind})
    return table(rows, "The keys of a profile")
