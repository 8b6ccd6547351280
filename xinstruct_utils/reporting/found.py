"""The page "What was found": each claim of the paper with its verdict, computed from runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.markup import escaped
from xinstruct_utils.core.paths import root, step_dir
from xinstruct_utils.evaluation.findings import counted_noun as counted
from xinstruct_utils.evaluation.findings import failures

STUDY = "study"                                  # name of the published run that is the study
CLASSES = {"holds": "yes", "opposite": "no", "not seen": "undecided", "not measured": "unknown"}

Claims = Sequence[Mapping[str, Any]]


def claims_of(figures: Path) -> Claims:
    """The measured claims in a figures.json; none where there is no such file."""
    return read_json(figures).get("claims", []) if figures.exists() else []


def claims_table(claims: Claims, caption: str) -> str:
    """HTML: a line for each claim, with the paper's figure, ours, interval, n and the verdict."""
    head = ("claim", "section", "the paper", "here, points", "95% interval", "n", "verdict")
    lines = [_row([escaped(word) for word in head], "th")]
    for row in claims:
        here = "" if row["here"] is None else f"{row['here']:+.1f}"
        interval = ""
        if row["interval"]:
            interval = f"{row['interval'][0]:+.1f} to {row['interval'][1]:+.1f}"
        n = ""
        if row["n"]:
            n = f"{counted(row['languages'], 'language')} x {counted(row['seeds'], 'seed')}"
            if row["languages"] * row["seeds"] != row["n"]:
                n = f"{row['n']} cells"
        cells = [escaped(row[key]) for key in ("claim", "section", "paper")]
        badge = f'<span class="answer {CLASSES[row["verdict"]]}">{escaped(row["verdict"])}</span>'
        lines.append(_row([*cells, here, interval, n, badge], "td"))
    return _table(lines, caption)


def languages_table(claims: Claims, caption: str) -> str:
    """HTML: claims by languages, the mean over seeds in each cell, coloured by its sign alone."""
    measured = [row for row in claims if row["cells"]]
    codes = list(dict.fromkeys(cell["language"] for row in measured for cell in row["cells"]))
    lines = [_row(["claim", *map(escaped, codes)], "th")]
    for row in measured:
        values = defaultdict(list)
        for cell in row["cells"]:
            values[cell["language"]].append(cell["points"])
        cells = [_signed(fmean(values[code])) if code in values else "" for code in codes]
        lines.append(_row([escaped(row["claim"]), *cells], "td"))
    return _table(lines, caption)


def _signed(value: float) -> str:
    kind = "yes" if value > 0 else "no" if value < 0 else "undecided"
    return f'<span class="cell {kind}">{value:+.1f}</span>'


def _row(cells: Iterable[str], kind: str) -> str:
    return "<tr>" + "".join(f"<{kind}>{cell}</{kind}>" for cell in cells) + "</tr>"


def _table(lines: Sequence[str], caption: str) -> str:
    return (f'<table class="found"><caption>{escaped(caption)}</caption><thead>{lines[0]}</thead>'
            f"<tbody>{''.join(lines[1:])}</tbody></table>")


def _part(claims: Claims, name: str, absent: str) -> str:
    """HTML and Markdown of one source of claims: what failed first, then both tables."""
    measured = [row for row in claims if row["verdict"] != "not measured"]
    if not measured:
        return absent
    held = sum(row["verdict"] == "holds" for row in measured)
    parts = [f"{held} of {len(measured)} measured claims hold."]
    if said := failures(measured):
        parts.append("What failed, or was not seen:")
        parts.append("\n".join(f"- {escaped(sentence)}" for sentence in said))
    parts += [claims_table(claims, f"Claims of the paper, {name}"),
              languages_table(claims, f"The same by language, {name}: mean over seeds, points")]
    return "\n\n".join(parts)


def words(run: str, profile: Profile) -> dict[str, str]:
    """Words of the page's template: {"run", "study", "languages", "name"}."""
    own = claims_of(step_dir(run, "all", "13_results") / "figures.json")
    study = claims_of(root() / "published" / STUDY / "figures.json")
    names = ", ".join(languages.get(code).name for code in profile.languages)
    return {"name": run, "languages": names,
            "run": _part(own, "this run", "This run has measured none of the claims."),
            "study": _part(study, "the study", "No study has been published with this book yet.")}


def summary(claims: Claims) -> str:
    """Markdown of a README's block: the claims with their figures, a line each."""
    lines = ["| claim | here, points (95% interval) | n | verdict |", "|---|---|---|---|"]
    for row in claims:
        if row["verdict"] == "not measured":
            continue
        interval = ""
        if row["interval"]:
            interval = f" ({row['interval'][0]:+.1f} to {row['interval'][1]:+.1f})"
        cells = f"{counted(row['languages'], 'language')}, {counted(row['seeds'], 'seed')}"
        line = (f"{row['claim']} ({row['section']})", f"{row['here']:+.1f}{interval}", cells,
                f"**{row['verdict']}**")
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def renew(readme: Path, run: str, claims: Claims) -> bool:
    """Write a run's claims between the marks of its name in a README. Returns whether it did.

    The marks are `<!-- found RUN -->` and `<!-- end of found -->`.
    """
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    begin, end = f"<!-- found {run} -->", "<!-- end of found -->"
    if begin not in text or not claims:
        return False
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    measured = [row for row in claims if row["verdict"] != "not measured"]
    held = sum(row["verdict"] == "holds" for row in measured)
    block = f"{held} of {len(measured)} measured claims hold in the run `{run}`."
    readme.write_text(f"{before}{begin}\n{block}\n\n{summary(claims)}\n{end}{after}",
                      encoding="utf-8")
    return True
