"""What the paper's tables and a run's have in common: their cells, their rows, their names.

Cells are texts; what is not known is an empty one. A difference is here minus the paper, in the
paper's unit, where both have the figure.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    from pandas import DataFrame

MEDIUM = [code for code, row in languages.LANGUAGES.items() if row.level == "medium"]
LOW = [code for code in languages.LANGUAGES if code not in MEDIUM]
Measures = dict[str, dict]                       # {language: measures of a chapter}
# Baselines that a run makes in the places of the paper's.
MADE = {"translated": "Alpaca-MT", "distilled": "Bactrian-M", "distilled_joint": "Bactrian-X"}


def label(profile: Profile) -> str:
    """What the run's columns are called.

    The Atlas is a toy and says so, a real run names its base model.
    """
    if profile.source == "atlas":
        return "Atlas (toy)"
    return f"here ({Path(profile.base_model).name})"


def size_of(base_model: str) -> str:
    """Which of the paper's two sizes a base model stands for."""
    return "13B" if "13b" in base_model.lower() else "7B"


def counterpart(model: str, profile: Profile) -> str:
    """The paper's row for a model of a run, of the size of the base that it was tuned from.

    A `larger_model` stands for 13B whatever its name. `others` bear the paper's names where they
    are the paper's models.
    """
    size = size_of(profile.tuned_model or profile.base_model)
    if model.startswith("refined_larger"):
        model, size = model.replace("refined_larger", "refined"), "13B"
    model = MADE.get(model, model)
    if model in MADE.values():
        return f"{model} {size}" if model != "Alpaca-MT" else "Alpaca-MT 7B"    # the only one
    if model == "refined":
        return f"X-Instruction {size}"
    if model == "refined (zero-shot)":
        return f"X-Instruction {size}, zero-shot"
    return model


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known, or None."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def text(value: float | None, form: str = ".1f") -> str:
    """A figure as a cell: "" where it is not known."""
    return "" if value is None or value != value else f"{value:{form}}"


def mean_cell(values: Iterable[float | None]) -> str:
    """Mean over repetitions with its 95% interval, of those that are known, as a cell."""
    known = [value for value in values if value is not None and value == value]
    if not known:
        return ""
    middle, low, high = mean_interval(known)
    return f"{middle:.3f}" if low is None else f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def difference(here: float | None, paper: float | None) -> str:
    """Here minus the paper as a cell, where both are known."""
    return "" if here is None or paper is None else text(here - paper, "+.1f")


def frame(rows: dict) -> "DataFrame":
    """A table of {row: {column: cell}}; keys that are tuples are names in several levels."""
    import pandas as pd

    def index(names):
        several = len(names) and isinstance(names[0], tuple)
        return pd.MultiIndex.from_tuples(names) if several else names

    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index, table.columns = index(table.index), index(table.columns)
    return table.astype(object).where(table.notna(), "")


def spread(values: Iterable[float | None] | None) -> str:
    """[mean, standard deviation] as a cell; the deviation may be absent."""
    return " ± ".join(text(v) for v in values if v is not None) if values else ""


def ordered(codes: Iterable[str]) -> list[str]:
    """The paper's ten languages, medium before low, then those that only the run has."""
    return [*MEDIUM, *LOW, *(c for c in codes if c not in languages.LANGUAGES)]


def models_of(judged: Measures, name: str) -> list[str]:
    """The models that a figure was measured for in any language, in the order of their coming."""
    return list(dict.fromkeys(m for measures in judged.values() for m in measures.get(name, {})))
