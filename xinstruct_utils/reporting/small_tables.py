"""The paper's smaller tables beside a run's: 1 (directions), 3 (quality), 9 (prompts), 13 (codes).

`label` names the run's rows or columns; measures are {language: measures of a chapter}.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xinstruct_utils.core import languages
from xinstruct_utils.core.paper import place_of
from xinstruct_utils.reporting.table_cells import Measures, frame, ordered, text

if TYPE_CHECKING:
    from pandas import DataFrame

QUESTIONS = {"valid": "valid_instruction", "acceptable": "acceptable_response"}


def _own(codes: Iterable[str]) -> list[str]:
    """A run's languages, medium-resource ones first."""
    used = list(codes)
    return [code for code in ordered(used) if code in used]


def directions(measured: Measures, theirs: dict[str, float], label: str) -> "DataFrame":
    """Table 1: mean score (0-10) of answers in the language and in English.

    measured: measures of 17_data with "data_directions": {"sw to sw": score, "sw to en": ...,
    "gain": {"value", "low", "high", "n"}}.
    """
    rows = {}
    for code in dict.fromkeys([*(name[:2] for name in theirs), *_own(measured)]):
        own = measured.get(code, {}).get("data_directions", {})
        gain = own.get("gain")
        row = {}
        for source, scores in (("paper", theirs), (label, own)):
            row[source, "to itself"] = text(scores.get(f"{code} to {code}"), ".2f")
            row[source, "to English"] = text(scores.get(f"{code} to en"), ".2f")
        row[label, "gain (95% interval)"] = "" if gain is None else (
            f"{gain['value']:+.2f} ({gain['low']:.2f} to {gain['high']:.2f})")
        row[label, "n"] = "" if gain is None else str(gain["n"])
        if any(row.values()):
            rows[code] = row
    return frame(rows)


def quality(measured: Measures, theirs: dict[str, float], label: str) -> "DataFrame":
    """Table 3: items of which people say yes to two questions, in %, with the 95% interval."""
    rows = {}
    for question, name in QUESTIONS.items():
        rows[question, "paper"] = {"all": text(theirs[question])}
        row = {}
        for code in _own(measured):
            share = measured[code].get(f"{name}_share")
            if share is not None:
                low, high = (100 * end for end in measured[code][f"{name}_interval"])
                row[code] = f"{100 * share:.1f} ({low:.0f}–{high:.0f})"
        rows[question, label] = row
    by = {code: str(measured[code].get("review_by", "")) for code in _own(measured)}
    columns = ["all", *(code for code, who in by.items() if who)]
    rows["labelled by", label] = by
    return frame({key: {c: row.get(c, "") for c in columns} for key, row in rows.items()})


def prompts(judged: Measures, theirs: dict[str, int], label: str) -> "DataFrame":
    """Table 9: prompts of each benchmark, the paper's and those that this run judged."""
    counts: dict[str, dict[str, int]] = {name: {} for name in theirs}
    for code in _own(judged):
        row = judged[code].get("win_table", {}).get("refined", {})
        for name, cell in row.items():
            if (place := place_of(name)) in counts:
                counts[place][code] = cell["n"]
    return frame({name: {"paper": str(theirs[name]),
                         label: ", ".join(sorted({str(n) for n in own.values()})),
                         "languages": " ".join(own)} for name, own in counts.items()})


def codes(used: list[str]) -> "DataFrame":
    """Table 13: code, name and family of the languages, those of the run and English."""
    rows = {}
    for code in [*_own(used), "en"]:
        language = languages.ENGLISH if code == "en" else languages.get(code)
        rows[code] = {"language": language.name, "family": language.family}
    return frame(rows)
