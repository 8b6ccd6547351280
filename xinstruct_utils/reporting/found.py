"""The page "What was found": each claim of the paper with its verdict, computed from runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.markup import escaped
from xinstruct_utils.core.paths import root, step_dir
from xinstruct_utils.evaluation.findings import (
    ANSWERS,
    CLAIM_ANSWERS,
    cells_in_words,
    failures,
    in_paper,
)
from xinstruct_utils.evaluation.findings import counted_noun as counted

STUDY = "study"                                  # name of the published run that is the study
CLASSES = {**CLAIM_ANSWERS, "not measured": "unknown"}

Claims = Sequence[Mapping[str, Any]]


def claims_of(figures: Path) -> Claims:
    """The measured claims in a figures.json; none where there is no such file."""
    return read_json(figures).get("claims", []) if figures.exists() else []


def claims_table(claims: Claims, caption: str) -> str:
    """HTML: a line for each claim, with the paper's figure, ours, interval, n and the verdict."""
    head = ("claim", "verdict", "here, points", "95% interval", "n", "the paper")
    lines = [_row([escaped(word) for word in head], "th")]
    for row in claims:
        here = "" if row["here"] is None else f"{row['here']:+.1f}"
        interval = ""
        if row["interval"]:
            interval = f"{row['interval'][0]:+.1f} to {row['interval'][1]:+.1f}"
        n = cells_in_words(row) if row["n"] else ""
        claim = escaped(row["claim"] + in_paper(row))
        badge = f'<span class="answer {CLASSES[row["verdict"]]}">{escaped(row["verdict"])}</span>'
        lines.append(_row([claim, badge, here, interval, n, escaped(row["paper"])], "td"))
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
    """HTML and Markdown of one source of claims: what holds, what failed, then both tables."""
    measured = [row for row in claims if row["verdict"] != "not measured"]
    if not measured:
        return absent
    held = [f"- {escaped(row['claim'])}: {row['here']:+.1f} points" for row in measured
            if row["verdict"] == "holds"]
    parts = [f"{len(held)} of {len(measured)} measured claims hold."]
    if held:
        parts += ["What holds:", "\n".join(held)]
    if said := failures(measured):
        parts.append("What failed, or was not seen:")
        parts.append("\n".join(f"- {escaped(sentence)}" for sentence in said))
    parts += [claims_table(claims, f"Claims of the paper, {name}"),
              languages_table(claims, f"The same by language, {name}: mean over seeds, points")]
    return "\n\n".join(parts)


# What the one answer at the front is made of, and how it speaks of each.
FRONT = {"refined_vs_unrefined": "pairs that the run's ranking chose",
         "rated_vs_unrefined": "pairs that the paper's evaluator would choose"}


def answer(run: str) -> str:
    """Markdown: does choosing pairs help? Of the published study, or else of this run.

    Wins minus losses of two models against one that was tuned on as many unrefined pairs.
    """
    study = claims_of(root() / "published" / STUDY / "figures.json")
    claims = study or claims_of(step_dir(run, "all", "13_results") / "figures.json")
    source = "the published study" if study else "this run"
    said = []
    for row in claims:
        if row["name"] in FRONT and row["verdict"] != "not measured":
            interval = ""
            if row["interval"]:
                interval = f", 95% interval {row['interval'][0]:+.1f} to {row['interval'][1]:+.1f}"
            said.append(f"{FRONT[row['name']]}: {row['here']:+.1f} points (**{row['verdict']}**"
                        f"{interval}, {cells_in_words(row)})")
    if not said:
        return "No claim about this was measured here."
    return ("**Does choosing pairs help?** Wins minus losses against a model tuned on as many "
            f"unrefined pairs, in {source} of the Atlas: {'; '.join(said)}.")


def _about_study() -> str:
    """Markdown: of what a published study consists; "" where there is none."""
    path = root() / "published" / STUDY / "figures.json"
    if not path.exists():
        return ""
    parts = read_json(path).get("runs", {}).values()
    seeds = read_json(path).get("claims", [{}])[0].get("seeds")
    lines = [f"- {' '.join(part['languages'])}: {', '.join(part['processors'])}, commit "
             f"{', '.join(commit[:7] for commit in part['commits'])}" for part in parts]
    note = ("There is one seed, so every interval is over languages alone." if seeds == 1 else
            f"There are up to {seeds} seeds.")
    return ("Runs of the profile `study` in the Atlas, which differ from this book's own run in "
            f"seed, machine or settings. {note}\n\n" + escaped("\n".join(lines)))


EFFECTS = ("what is changed", "how", "AUC more, points", "95% interval", "seeds", "verdict")


def _about_evaluators() -> str:
    """HTML and Markdown: what the study's experiments with the evaluator say (chapter 14)."""
    parts = []
    for folder in sorted((root() / "published" / STUDY / "experiments").glob("*/14_evaluator")):
        name = languages.get(folder.parent.name).name
        effects = read_json(folder / "measures.json").get("experiments", [])
        said = Counter(row["verdict"] for row in effects)
        parts.append(f"{name}: of {counted(len(effects), 'change')} to what the evaluator is or "
                     f"learns, {said['higher']} raised its AUC with an interval that leaves out "
                     f"zero, {said['lower']} lowered it; {said['undecided']} were undecided.")
        parts.append(_table([_row(EFFECTS, "th"), *map(_effect, effects)],
                            f"AUC more than the run's own evaluator, points, {name}"))
    return "\n\n".join(parts) or "No experiment has been published with this book yet."


def _effect(row: Mapping[str, Any]) -> str:
    """A line of one change to the evaluator."""
    ends = [row["low"], row["high"]]
    interval = "" if None in ends else f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}"
    answer = ANSWERS[row["verdict"]]
    badge = f'<span class="answer {answer}">{escaped(row["verdict"])}</span>'
    return _row([escaped(row["factor"]), escaped(row["level"]), f"{100 * row['AUC more']:+.1f}",
                 interval, str(row["n"]), badge], "td")


def words(run: str, profile: Profile) -> dict[str, str]:
    """Words of the page's template, book/templates/found.md, by their names there."""
    own = claims_of(step_dir(run, "all", "13_results") / "figures.json")
    study = claims_of(root() / "published" / STUDY / "figures.json")
    names = ", ".join(languages.get(code).name for code in profile.languages)
    return {"name": run, "languages": names, "about": _about_study(), "answer": answer(run),
            "evaluators": _about_evaluators(),
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
        line = (row["claim"] + in_paper(row), f"{row['here']:+.1f}{interval}",
                cells_in_words(row), f"**{row['verdict']}**")
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
