"""The book of a run.

`python -m xinstruct_utils book RUN` checks the executed notebooks, makes pages of them and builds
them; `python -m xinstruct_utils publish RUN` copies them to papermill_runs/published/RUN.

A failed notebook would still make a page, so `gate` decides. Web text is hostile: what this module
writes is escaped, and a notebook's output that could act (scripts, frames, handlers) stops the
build.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json, write_json
from xinstruct_utils.core.paths import REPO, root, step_dir
from xinstruct_utils.core.secrets import hide_known
from xinstruct_utils.reporting import plots, status
from xinstruct_utils.workflow import notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

ACTIVE = {"script", "iframe", "object", "embed", "form", "link", "meta", "base"}
# What is published beside notebooks and manifests.
TABLES = ("measures.json", "figures.json", "*.csv")
LIMIT = 10 * 2**20  # bytes that a published run may weigh
NOISE = re.compile(r".*\r(?!\n)|.*\d+%\|.*\n?|\x1b\[[\d;]*[A-Za-z]")  # redrawn, bars
# A variable with a key, keys as OpenAI, Hugging Face and Google write them, an address with a
# password.
SECRET = re.compile(r"\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)=(?!\.\.\.)[^\s\"'\\<]+"
                    r"|\b(?:sk-|hf_|AIza)[\w-]{16,}|://[^\s/:@\"]+:[^\s/@\"]+@")
WIDGET = "application/vnd.jupyter.widget-view+json"
MARKUP = ("text/html", "text/markdown", "image/svg+xml")


class Page(NamedTuple):
    """A step and its page.

    lang: "all" across languages; iteration: None without rounds; folder: of notebook and manifest;
    name: of the page's file.
    """

    run: str
    notebook: str
    lang: str
    iteration: int | None
    folder: Path
    name: str


# {page: (notebook, manifest)} of a run that passed the gate.
Checked = dict[Page, tuple["NotebookNode", dict]]


def expected(run: str) -> tuple[Profile, list[Page]]:
    """The profile of a run, and the Pages it asks for in the notebooks' order.

    Raises InputError if there is no such run.
    """
    profile = load_run(run)
    pages = []
    for name in sorted(p.stem for p in notebooks.notebooks_dir().glob("[0-9][0-9]_*.ipynb")):
        finished = any((root() / run).glob(f"*/{name}/**/manifest.json"))
        if profile.source != "atlas" and not finished:
            continue  # a run on files need not go on to chapters that it has no use for
        declared = notebooks.declared(notebooks.read_notebook(name))
        rounds = range(1, profile.iterations + 1) if "iteration" in declared else [None]
        across = declared.get("lang", "all") == "all"
        for lang in ["all"] if across else profile.languages:
            for k in rounds:  # links to the notebook lead to its first round
                page = f"{name}_round{k}" if k and k > 1 else name
                pages.append(Page(run, name, lang, k, step_dir(run, lang, name, k), page))
    return profile, pages


def acts(output: Mapping) -> bool:
    """Could this notebook output do something in a reader's browser?"""
    data = output.get("data", {})
    if "application/javascript" in data:
        return True
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, attributes))
    parser.feed("\n".join(str(data.get(kind, "")) for kind in MARKUP))
    return any(_tag_acts(tag, attributes) for tag, attributes in tags)


def _tag_acts(tag: str, attributes: Sequence[tuple[str, str | None]]) -> bool:
    """Is this a tag that acts, or one with a handler or a link that acts?"""
    if tag in ACTIVE:
        return True
    for name, value in attributes:
        link = "".join((value or "").split()).lower()
        if name.startswith("on") or link.startswith("javascript:"):
            return True
    return False


def gate(pages: Sequence[Page]) -> Checked:
    """Notebook and manifest of each page, or one InputError that names all that is wrong."""
    import nbformat

    checked: Checked = {}
    wrong = [] if pages else ["it has no notebooks"]
    for page in pages:
        paths = page.folder / "notebook.ipynb", page.folder / "manifest.json"
        if absent := " and ".join(p.name for p in paths if not p.exists()):
            wrong.append(f"{page.folder}: not finished, {absent} missing")
            continue
        notebook = nbformat.read(paths[0], as_version=4)
        manifest = read_json(paths[1])
        checked[page] = notebook, manifest
        faults = _notebook_faults(notebook) + _manifest_faults(page, manifest)
        wrong += [f"{page.folder}: {fault}" for fault in faults]
    if len({digest(manifest["versions"]) for _, manifest in checked.values()}) > 1:
        wrong.append("its steps were made with several versions of packages; "
                     "run the older ones again")
    if wrong:
        raise InputError("\n  ".join(["this run cannot be a book yet:", *wrong]))
    return checked


def _notebook_faults(notebook: "NotebookNode") -> list[str]:
    """Why an executed notebook can be no page."""
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    outputs = [output for cell in code for output in cell.outputs]
    runner = notebook.metadata.get("papermill", {})
    faults = []
    if runner.get("exception") or any(o.output_type == "error" for o in outputs):
        faults.append("the notebook failed")
    elif any(cell.execution_count is None for cell in code):
        faults.append("the notebook is unfinished")
    if any(map(acts, outputs)):
        faults.append("an output holds a script, a frame or a handler; escape it")
    return faults


def _manifest_faults(page: Page, manifest: dict) -> list[str]:
    """Why a manifest is not that of the page's step as today's code makes it."""
    faults = []
    step = [manifest.get(key) for key in Page._fields[:4]]
    if step != list(page[:4]):
        faults.append(f"the manifest is of another step, {step}")
    # Steps of several commits are one book as long as today's code is the code of each.
    today = notebooks.code_key(page.notebook)
    if any(manifest.get(key) != value for key, value in today.items()):
        faults.append("made by other code than today's; run the step again")
    return faults


def tidy(notebook: "NotebookNode", suffix: str = "", title: str = "") -> "NotebookNode":
    """The notebook as a page: no widgets, progress bars or runner's metadata.

    The heading gets `title`. Labels of figures (fig-...) hold in the whole book: they get `suffix`
    where a notebook has several pages.
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
    return notebook


def _tidy_code(cell: "NotebookNode", suffix: str) -> None:
    """Label the figure of a code cell, fold what was injected, drop what is no result."""
    if figure := cell.metadata.get("mystnb", {}).get("figure"):
        figure["name"] += suffix
    if "injected-parameters" in cell.metadata.get("tags", []):
        folded = {"code_prompt_show": "Parameters given"}
        cell.metadata |= {"tags": ["hide-input"], "mystnb": folded}
    outputs = []
    for output in cell.outputs:
        if output.output_type == "stream":
            output.text = NOISE.sub("", output.text)
        if output.get("text", "-").strip() and WIDGET not in output.get("data", {}):
            outputs.append(output)
    cell.outputs = outputs


def impersonal(text: str) -> str:
    """Text without where things lie on this machine."""
    for place, shown in ((REPO, ""), (root().parent, ""), (Path.home(), "~/")):
        text = text.replace(f"{place}/", shown)
    return text


def _save(notebook: "NotebookNode", path: Path) -> None:
    import nbformat

    path.write_text(impersonal(nbformat.writes(notebook)), encoding="utf-8")


def _fill(template: str, **words: str) -> str:
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
    cells = [v4.new_markdown_cell(_fill("language", rows=status.table(_counted(checked)), **words))]
    for notebook in last.values():
        prose = "\n".join(c.source for c in notebook.cells)
        title = re.search(r"^# (.+)$", prose, re.M)[1]
        if shown := _shown_cells(notebook, f"-{lang}"):
            cells += [v4.new_markdown_cell(f"## {title}"), *shown]
    return v4.new_notebook(cells=cells, metadata=next(iter(last.values())).metadata)


def claim(run: str, profile: Profile, out: Path) -> str:
    """Markdown of the intro's figure, and out/claim.png.

    The figure has the refined model's wins and losses in every language.
    """
    rows = {}
    for lang in profile.languages:
        path = step_dir(run, lang, "09_judge_evaluation") / "measures.json"
        for name, shares in (read_json(path) if path.exists() else {}).items():
            if name in ("refined_vs_seed", "refined_vs_unrefined"):
                rows[f"{languages.get(lang).name}, {name.replace('_', ' ')}"] = shares
    (out / "claim.png").write_bytes(plots.wins(rows).data)
    return _fill("claim")


def _chapters(checked: Checked, out: Path, lang: str) -> list[dict]:
    """Write the pages of a language ("all": across languages). Returns their entries."""
    entries = []
    for page, (notebook, _) in checked.items():
        if page.lang != lang:
            continue
        suffix, which = "", ""
        if page.iteration:
            suffix, which = f"-{page.iteration}", f", round {page.iteration}"
        _save(tidy(notebook, suffix, which), out / f"{page.name}.ipynb")
        number, name = page.notebook[:2], page.notebook[3:].replace("_", " ").capitalize()
        entries.append({"file": f"pages/{page.name}", "title": f"{number} {name}{which}"})
    return entries


def _contents(first: str, chapters: list[dict], results: list[dict], others: list[str]) -> dict:
    """The table of contents as jupyter-book reads it; first, others: language codes."""
    parts = {
        "Idea": [{"file": "method"}],
        f"The run in {languages.get(first).name}": chapters,
        "Results": results,
        "Other languages": [{"file": f"pages/{lang}"} for lang in others],
        "About": [{"file": f} for f in ("reproduce", "pages/status", "references")],
    }
    listed = [{"caption": name, "chapters": part} for name, part in parts.items() if part]
    return {"format": "jb-book", "root": "intro", "parts": listed}


def collect(run: str) -> Path:
    """Write book/pages/ of a run that passes the gate: chapters, status, contents.

    Returns the folder.
    """
    profile, pages = expected(run)
    checked = gate(pages)
    out = REPO / "book/pages"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    first, *others = sorted(profile.languages, key=lambda lang: lang != profile.featured)
    for lang in others:
        own = {page: pair for page, pair in checked.items() if page.lang == lang}
        _save(summary(lang, own), out / f"{lang}.ipynb")
    chapters = _chapters(checked, out, first)
    results = _chapters(checked, out, "all")
    (out / "steps.png").write_bytes(plots.steps(status.step_costs(run)).data)
    manifests = [manifest for _, manifest in checked.values()]
    words = status.page(run, profile, manifests, published_is_older(run),
                        REPO / "benchmarks/results")
    (out / "status.md").write_text(_fill("status", **words), encoding="utf-8")
    (out / "claim.md").write_text(claim(run, profile, out), encoding="utf-8")
    write_json(out / "_toc.yml", _contents(first, chapters, results, others))
    return out


def build(run: str) -> Path:
    """Collect, and build with warnings as errors. Returns the path of index.html."""
    start = "from jupyter_book.cli.main import main; main()"
    line = [sys.executable, "-c", start, "build", REPO / "book", "--toc",
            collect(run) / "_toc.yml", "--all", "-W", "--keep-going"]
    builder = subprocess.run(line, capture_output=True, text=True)
    if builder.returncode:
        output = builder.stdout + builder.stderr
        lines = re.findall(r".*(?:WARNING|ERROR|Error:).*", output) or [builder.stderr]
        raise InputError("\n  ".join(["jupyter-book could not build the pages:", *lines]))
    return REPO / "book/_build/html/index.html"


def publish(run: str) -> Path:
    """Copy a run's notebooks, manifests and tables, but no data, to published/RUN.

    Returns that folder. Raises InputError where one of them shows what looks like a key.
    """
    profile, pages = expected(run)
    checked = gate(pages)
    out = root() / "published" / run
    draft = out.with_name(f".{run}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for page, (notebook, _) in checked.items():
        _publish_step(page, notebook, draft / page.folder.relative_to(root() / run))
    claim(run, profile, draft)
    size = sum(path.stat().st_size for path in draft.rglob("*.*"))
    if size > LIMIT:
        raise InputError(f"{draft} has {size:,} bytes, a published run may have {LIMIT:,}")
    shutil.rmtree(out, ignore_errors=True)
    return draft.rename(out)


def _publish_step(page: Page, notebook: "NotebookNode", to: Path) -> None:
    """Copy one step. Raises InputError where a file shows what looks like a key."""
    to.mkdir(parents=True)
    _save(tidy(notebook), to / "notebook.ipynb")
    files = [page.folder / "manifest.json"]
    for pattern in TABLES:
        files += page.folder.glob(pattern)
    for path in files:
        text = impersonal(path.read_text(encoding="utf-8"))
        (to / path.name).write_text(text, encoding="utf-8")
    for path in to.iterdir():
        text = path.read_text(encoding="utf-8")
        if SECRET.search(text) or hide_known(text) != text:
            raise InputError(
                f"{page.folder / path.name} shows what looks like a key; nothing was published. "
                "Keys belong into the environment: take it out of the settings, run the step again")


def published_is_older(run: str) -> list[str]:
    """Names of published notebooks whose code is not today's.

    Empty if all are current, or none is there.
    """
    manifests = map(read_json, (root() / "published" / run).rglob("manifest.json"))
    digests = {m["notebook"]: m.get("code_digest") for m in manifests}
    return sorted(name for name, code in digests.items() if code != _todays_code(name))


def _todays_code(name: str) -> str:
    """Digest of a notebook's code today; empty where there is no such notebook any more."""
    if not (notebooks.notebooks_dir() / f"{name}.ipynb").exists():
        return ""
    return notebooks.code_key(name)["code_digest"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `book` and of `publish`."""
    parser.add_argument("run", help="name of the run under papermill_runs/")


def command(args: argparse.Namespace) -> None:
    """Build the book of a run; prints where it is."""
    print(build(args.run))


def publish_command(args: argparse.Namespace) -> None:
    """Publish a run; prints where to."""
    print(publish(args.run))
