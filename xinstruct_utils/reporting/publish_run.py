"""A run to show: `python -m xinstruct_utils publish RUN` copies it to papermill_runs/published/RUN.

Executed notebooks, manifests and tables are copied, and no data.
"""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO, root
from xinstruct_utils.core.secrets import holds_secret
from xinstruct_utils.reporting import found, gate, pages
from xinstruct_utils.workflow import notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

# What is published beside notebooks and manifests.
TABLES = ("measures.json", "figures.json", "*.csv")
LIMIT = 10 * 2**20  # bytes that a published run may weigh


def publish(run: str) -> Path:
    """Copy a run's notebooks, manifests and tables, but no data, to published/RUN.

    Of a run on files the shown rows are cut: they are other people's texts.

    Its claims go into README.md too, where that has a place for the run. Returns the folder.
    Raises InputError where one of them shows what looks like a key.
    """
    profile, expected = gate.expected(run)
    checked = gate.check(expected)
    out = root() / "published" / run
    draft = out.with_name(f".{run}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for page, (notebook, _) in checked.items():
        if profile.source == "files":
            notebook = pages.excerpts(notebook)
        publish_step(page, notebook, draft / page.folder.relative_to(root() / run))
    pages.claim(run, profile, draft)
    size = sum(path.stat().st_size for path in draft.rglob("*.*"))
    if size > LIMIT:
        raise InputError(f"{draft} has {size:,} bytes, a published run may have {LIMIT:,}")
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)
    found.renew(REPO / "README.md", run, found.claims_of(out / "all/13_results/figures.json"))
    return out


def publish_step(page: gate.Page, notebook: "NotebookNode", to: Path) -> None:
    """Copy one step. Raises InputError where a file shows what looks like a key."""
    to.mkdir(parents=True)
    pages.save(pages.tidy(notebook), to / "notebook.ipynb")
    files = [page.folder / "manifest.json"]
    for pattern in TABLES:
        files += page.folder.glob(pattern)
    for path in files:
        text = pages.impersonal(path.read_text(encoding="utf-8"))
        (to / path.name).write_text(text, encoding="utf-8")
    refuse_keys(to, page.folder)


def refuse_keys(folder: Path, source: Path) -> None:
    """Raise InputError where a file of a folder shows what looks like a key.

    source: where the files come from, for the message.
    """
    for path in folder.iterdir():
        if holds_secret(path.read_text(encoding="utf-8")):
            raise InputError(
                f"{source / path.name} shows what looks like a key; nothing was published. "
                "Keys belong into the environment: take it out of the settings, run the step again")


def is_older(run: str) -> list[str]:
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
    """Arguments of `publish`."""
    parser.add_argument("run", help="name of the run under papermill_runs/")


def command(args: argparse.Namespace) -> None:
    """Publish a run; prints where to."""
    print(publish(args.run))
