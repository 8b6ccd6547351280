"""Executed notebooks as pages of the book. What is written here is escaped."""

import html
import re
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.markup import escaped
from xinstruct_utils.core.paths import REPO, root, step_dir
from xinstruct_utils.reporting import contest_plots, gate, status
from xinstruct_utils.reporting import diagram as diagrams
from xinstruct_utils.reporting.gate import Checked

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOISE = re.compile(r".*\r(?!\n)|.*\d+%\|.*\n?|\x1b\[[\d;]*[A-Za-z]")  # redrawn, bars
WIDGET = "application/vnd.jupyter.widget-view+json"
# How to use it, a page for each need; reproduce.md says which is which.
HOW = tuple(f"reproduce/{name}" for name in (
    "quick_start", "own_texts", "one_gpu", "cluster", "paper_scale", "judge", "annotators",
    "publishing"))


def tidy(notebook: "NotebookNode", suffix: str = "", title: str = "",
         number: str = "") -> "NotebookNode":
    """The notebook as a page: no widgets, progress bars or runner's metadata.

    The heading gets `title`. Labels of figures (fig-...) hold in the whole book: they get `suffix`
    where a notebook has several pages. number: the chapter's; tables are counted in it.
    """
    kept = ("kernelspec", "language_info")
    notebook.metadata = {k: v for k, v in notebook.metadata.items() if k in kept}
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "markdown":
            source = re.sub(r"\b(fig-[\w-]+)", rf"\1{suffix}", cell.source)
            cell.source = re.sub(r"\A(# [^:\n]+)", rf"\1{title}", source)
        else:
            _tidy_code(cell, suffix)
    _caption_tables(notebook, number)
    return notebook


def _caption_tables(notebook: "NotebookNode", number: str) -> None:
    """Give each table a number and a caption: what the text just above it says first."""
    said, count, of_cell = "", 0, 0

    def captioned(opening: re.Match) -> str:
        nonlocal count, of_cell
        count, of_cell = count + 1, of_cell + 1
        of_chapter = f"{number}.{count}" if number else str(count)
        words = f"Table {of_chapter}. {escaped(said)}".rstrip(". ")
        part = f" ({of_cell})" if of_cell > 1 else ""
        return f"{opening[0]}<caption>{words}{part}</caption>"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            said, of_cell = first_words(cell.source) or said, 0
            continue
        for output in cell.outputs:
            if "<table" in (shown := output.get("data", {}).get("text/html", "")):
                output.data["text/html"] = re.sub(r"<table\b[^>]*>(?!<caption)", captioned, shown)


def first_words(markdown: str, most: int = 90) -> str:
    """A text's last heading without its number, or else its first sentence; no markup."""
    headings = re.findall(r"^#+ (?:[\d.]+ )?(.+)$", markdown, re.M)
    first = headings[-1] if headings else re.split(r"(?<=[.:?!;])\s", markdown.strip())[0]
    plain = re.sub(r"\{\w+\}`([^`]*)`|[*`]", lambda role: role[1] or "", " ".join(first.split()))
    return textwrap.shorten(plain.rstrip(".:;"), most, placeholder=" ...")


EXCERPT = 160                                    # characters of other people's texts
CELL = re.compile(r"(<td\b[^>]*>)(.*?)(</td>)", re.S)


def excerpts(notebook: "NotebookNode", most: int = EXCERPT) -> "NotebookNode":
    """The notebook with shown rows cut to so many characters: the texts are other people's."""
    def cut(cell: re.Match) -> str:
        text = html.unescape(re.sub(r"<[^>]*>", " ", cell[2]))
        short = f"{text[:most]} ..." if len(text) > most else ""
        return f"{cell[1]}{escaped(short)}{cell[3]}" if short else cell[0]

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get("text/html", "")
            if '<table class="samples' in shown:
                output.data["text/html"] = CELL.sub(cut, shown)
    return notebook


def lead_with_verdict(notebook: "NotebookNode") -> "NotebookNode":
    """The page with its verdict, which closes it, at its beginning too."""
    from nbformat import v4

    said = [cell for cell in notebook.cells if "verdict" in cell.metadata.get("tags", [])]
    if said:
        first = v4.new_code_cell("# the verdict, from the end", outputs=said[-1].outputs,
                                 execution_count=0, metadata={"tags": ["remove-input"]})
        notebook.cells.insert(1, first)
    return notebook


def _tidy_code(cell: "NotebookNode", suffix: str) -> None:
    """Label the figure of a code cell, fold what was injected, drop what is no result.

    What its caption says first is read to those who do not see the figure.
    """
    if figure := cell.metadata.get("mystnb", {}).get("figure"):
        figure["name"] += suffix
        cell.metadata["mystnb"]["image"] = {"alt": first_words(figure["caption"], 200)}
    if words := _plumbing(cell):
        shown = cell.metadata.get("mystnb", {}) | {"code_prompt_show": words}
        tags = [*cell.metadata.get("tags", []), "hide-input"]
        cell.metadata |= {"tags": list(dict.fromkeys(tags)), "mystnb": shown}
    outputs = []
    for output in cell.outputs:
        if output.output_type == "stream":
            output.text = NOISE.sub("", output.text)
        if output.get("text", "-").strip() and WIDGET not in output.get("data", {}):
            outputs.append(output)
    cell.outputs = outputs


def _plumbing(cell: "NotebookNode") -> str:
    """What is folded of a cell that is no part of the argument, in words; "" of all others."""
    tags = cell.metadata.get("tags", [])
    if "injected-parameters" in tags:
        return "Parameters given"
    if "parameters" in tags:
        return "Parameters"
    if re.match(r"(import|from) ", cell.source):
        return "Set-up"
    if "launch.run" in cell.source:
        return "How it is run"
    return "What is noted" if cell.source.startswith("step.finish(") else ""


def impersonal(text: str) -> str:
    """Text without where things lie on this machine."""
    for place, shown in ((REPO, ""), (root().parent, ""), (Path.home(), "~/")):
        text = text.replace(f"{place}/", shown)
    return text


def save(notebook: "NotebookNode", path: Path) -> None:
    """Write a page, without where things lie on this machine."""
    import nbformat

    path.write_text(impersonal(nbformat.writes(notebook)), encoding="utf-8")


def fill(template: str, **words: str) -> str:
    """book/templates/<template>.md with its $words filled in."""
    path = REPO / f"book/templates/{template}.md"
    return Template(path.read_text(encoding="utf-8")).substitute(words)


def _counted(checked: Checked) -> list[dict]:
    """A row for each stage of each step: rows in, out and dropped."""
    rows = []
    for page, (_, manifest) in checked.items():
        for count in manifest["counts"]:
            dropped = ", ".join(f"{n:,} {why}" for why, n in count["dropped"].items() if n)
            rows.append({"step": page.name} | count | {"dropped": dropped})
    return rows


def _shown_cells(notebook: "NotebookNode", suffix: str) -> list["NotebookNode"]:
    """The cells of a notebook that draw a figure, and the last one that shows records."""
    code = [c for c in tidy(notebook, suffix).cells if c.get("outputs")]
    records = [c for c in code if "show_rows(" in c.source][-1:]
    cells = [c for c in code if c in records or "figure" in c.metadata.get("mystnb", {})]
    for cell in cells:
        cell.metadata["tags"] = ["remove-input"]
    return cells


def summary(lang: str, checked: Checked) -> "NotebookNode":
    """Page of a language that is not featured: its counts, figures and records.

    checked: the pages of this language only; of a notebook with rounds the last one is shown.
    """
    from nbformat import v4

    last = {page.notebook: notebook for page, (notebook, _) in checked.items()}
    words = vars(languages.get(lang))
    run = next(iter(checked)).run
    top = fill("language", rows=status.table(_counted(checked), "Rows of each stage"),
               found=strip(run, lang), **words)
    cells = [v4.new_markdown_cell(top)]
    for notebook in last.values():
        prose = "\n".join(c.source for c in notebook.cells)
        title = re.search(r"^# (.+)$", prose, re.M)[1]
        if shown := _shown_cells(notebook, f"-{lang}"):
            cells += [v4.new_markdown_cell(f"## {title}"), *shown]
    for place, cell in enumerate(cells):          # they come from several notebooks
        cell["id"] = f"{lang}-{place}"
    return v4.new_notebook(cells=cells, metadata=next(iter(last.values())).metadata)


def claim(run: str, profile: Profile, out: Path) -> str:
    """Markdown of the intro's figure, and out/claim.png.

    The figure has the refined model's wins minus losses in every language.
    """
    rows: dict[str, dict] = {}
    for name in ("refined_vs_unrefined", "refined_vs_seed"):
        for lang in profile.languages:
            path = step_dir(run, lang, "09_judge_evaluation") / "measures.json"
            shares = (read_json(path) if path.exists() else {}).get(name)
            if shares:
                row = {"value": shares["win"] - shares["lose"], "low": shares.get("low"),
                       "high": shares.get("high"), "n": shares["n"]}
                rows[f"{name.replace('_', ' ')}, {languages.get(lang).name}"] = row
    (out / "claim.png").write_bytes(contest_plots.balances(rows).data)
    return fill("claim")


def diagram(checked: Checked, lang: str, out: Path, ranking: str) -> None:
    """Write out/method.png: the method (paper, Figure 2) with a language's counts in its boxes.

    ranking: the rater by which the run keeps candidates.
    """
    counts = {(page.notebook, page.iteration, count["stage"]): count
              for page, (_, manifest) in checked.items() if page.lang == lang
              for count in manifest["counts"]}

    def rows(notebook: str, stage: str) -> str:
        """Rows that came out of a chapter's stage, of its last round."""
        found = [count["out"] for (name, _, which), count in counts.items()
                 if (name, which) == (notebook, stage)]
        return f"{found[-1]:,}" if found else "?"

    tuned = rows("08_instruction_tuning", "refined training rows")
    pseudo = rows("04_refinement", "pseudo-ratings")
    words = {"seed": f"{rows('01_seed_data', 'split')} seed pairs\nEnglish → native",
             "corpus": f"{rows('02_corpus', 'cleaning')} native texts",
             "generator": "generator\nwrites instructions",
             "candidates": f"{rows('03_backtranslation', 'candidates')} candidates",
             "follower": "follower\nanswers",
             "ratings": f"{pseudo} pseudo-ratings\nteach the evaluator",
             "kept": f"{rows('04_refinement', 'kept candidates')} kept\nby {ranking}",
             "clusters": f"{rows('05_diversification', 'sampled')} spread\nover clusters",
             "tuned": f"tuned model\n{tuned} rows"}
    (out / "method.png").write_bytes(diagrams.method(words, ranking).data)


def strip(run: str, lang: str) -> str:
    """HTML of a language's verdicts, chapter by chapter; "" where no chapter has one."""
    rows = []
    for path in sorted((root() / run / lang).glob("[0-9]*/**/measures.json")):
        step = path.parent.relative_to(root() / run / lang)
        name = step.parts[0] + (f", round {step.name[4:]}" if len(step.parts) > 1 else "")
        for said in read_json(path).get("verdicts", []):
            rows.append({"chapter": name.replace("_", " "), "question": said["question"],
                         "answer": said["answer"], "figure": said["sentence"]})
    return status.table(rows, "What each chapter found") if rows else ""


def chapters(checked: Checked, out: Path, lang: str) -> list[dict]:
    """Write the pages of a language ("all": across languages). Returns their entries.

    A notebook with rounds has one page, of its last round, with all rounds in columns; the others
    are written to be downloaded.
    """
    entries = []
    rounds: dict[str, list[gate.Page]] = defaultdict(list)
    for page, (notebook, _) in checked.items():
        if page.lang != lang:
            continue
        rounds[page.notebook].append(page)
        suffix, which = "", ""
        if page.iteration:
            suffix, which = f"-{page.iteration}", f", round {page.iteration}"
        number, name = page.notebook[:2], page.notebook[3:].replace("_", " ").capitalize()
        made = tidy(notebook, suffix, which, str(int(number)))
        _unlink_absent(made, {other.notebook for other in checked})
        if page.name == page.notebook:
            if page.iteration:
                _insert_rounds(made, rounds[page.notebook], out)
            save(lead_with_verdict(made), out / f"{page.name}.ipynb")
            entries.append({"file": f"pages/{page.name}", "title": f"{number} {name}"})
        else:
            save(made, out / f"{page.name}.ipynb")
    return entries


def _unlink_absent(notebook: "NotebookNode", there: set[str]) -> None:
    """Name the chapters that a run does not have, where a page would link to them."""

    def named(link: re.Match) -> str:
        return link[0] if link[1] in there else f"`{link[1]}`"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\{doc\}`(\d\d_\w+)`", named, cell.source)


def _insert_rounds(notebook: "NotebookNode", rounds: Sequence[gate.Page], out: Path) -> None:
    """Behind a page's beginning: what each round measured, in columns, and its notebook."""
    from nbformat import v4

    measured = {page.iteration: read_json(path) for page in rounds
                if (path := page.folder / "measures.json").exists()}
    names = dict.fromkeys(name for row in measured.values() for name, value in row.items()
                          if isinstance(value, int | float))
    rows = [{"figure": name.replace("_", " "),
             **{f"round {k}": row.get(name) for k, row in measured.items()}} for name in names]
    links = [f"{{download}}`round {page.iteration} <{page.name}.ipynb>`" for page in rounds
             if (out / f"{page.name}.ipynb").exists()]
    text = "## The rounds side by side\n\n"
    text += status.table(rows, "What each round measured") if rows else ""
    if links:
        text += ("\n\nThis page shows the last round. The notebooks of the others, as they were "
                 f"executed: {', '.join(links)}.")
    notebook.cells.insert(1, v4.new_markdown_cell(text))


def contents(first: str, chapters: list[dict], results: list[dict], others: list[str]) -> dict:
    """The table of contents as jupyter-book reads it; first, others: language codes.

    results: pages across languages; the Atlas's stands at the beginning.
    """
    world = [entry for entry in results if entry["file"] == "pages/00_atlas"]
    results = [entry for entry in results if entry not in world]
    parts = {
        "Idea": [{"file": "pages/found"}, {"file": "method"}, *world],
        f"The run in {languages.get(first).name}": chapters,
        "Results": results,
        "Other languages": [{"file": f"pages/{lang}"} for lang in others],
        "Reproduce it": [{"file": f} for f in ("reproduce", *HOW, "pages/settings")],
        "About": [{"file": f} for f in ("exercises", "glossary", "pages/status", "references")],
    }
    listed = [{"caption": name, "chapters": part} for name, part in parts.items() if part]
    return {"format": "jb-book", "root": "intro", "parts": listed}
