"""The page of settings: every key of a profile, with what each profile says, read from the code."""

import re

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.profile import EVALUATION, MACHINE, Profile
from xinstruct_utils.reporting.status import table
from xinstruct_utils.workflow.notebooks import notebooks_dir, read_notebook

SHOWN = ("local", "modern", "paper")             # profiles whose values stand beside the default
def meanings() -> dict[str, str]:
    """{key: what it means}, from the comments of the notebooks' parameters cells."""
    found: dict[str, str] = {}
    for path in sorted(notebooks_dir().glob("[01][1-9]*.ipynb")):
        for cell in read_notebook(path.stem)["cells"]:
            if "parameters" in cell["metadata"].get("tags", []):
                lines = "".join(cell["source"]).splitlines()
                told = (re.match(r"(\w+): .+?  # (.+)$", line) for line in lines)
                found = {match[1]: match[2] for match in told if match} | found
    return found


def _shown(value: object) -> str:
    """A value as a person writes it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def keys() -> str:
    """HTML of the page's table."""
    defaults, told = Profile().model_dump(), meanings()
    profiles = {name: load_profile(name).model_dump() for name in SHOWN}
    rows = []
    for key, default in defaults.items():
        others = {name: _shown(own[key]) if own[key] != default else ""
                  for name, own in profiles.items()}
        kind = "machine" if key in MACHINE else "evaluation" if key in EVALUATION else ""
        rows.append({"key": key, "what it is": told.get(key, ""), "default": _shown(default),
                     **others, "may change": kind})
    return table(rows, "The keys of a profile")
