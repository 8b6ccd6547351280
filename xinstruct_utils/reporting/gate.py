"""What stands between a run and its book: every step finished, none failed, all of today's code.

A failed notebook would still make a page. Web text is hostile: a notebook's output that could act
(scripts, frames, handlers) stops the book.
"""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json
from xinstruct_utils.core.paths import root
from xinstruct_utils.workflow import chapters, notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

ACTIVE = {"script", "iframe", "object", "embed", "form", "link", "meta", "base"}
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
    for step in chapters.steps_of(profile):
        # A run on files need not go on to chapters that it has no use for.
        begun = any((root() / run).glob(f"*/{step.notebook}/**/manifest.json"))
        if profile.source == "atlas" or begun:
            pages.append(_page(run, step, profile))
    return profile, pages


def _page(run: str, step: chapters.StepId, profile: Profile) -> Page:
    # Links to the notebook lead to its last round.
    earlier = step.iteration and step.iteration < profile.iterations
    name = f"{step.notebook}_round{step.iteration}" if earlier else step.notebook
    return Page(run, step.notebook, step.lang, step.iteration, step.home(run), name)


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


def check(pages: Sequence[Page]) -> Checked:
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
