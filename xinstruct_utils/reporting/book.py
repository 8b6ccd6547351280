"""The book of a run: `python -m xinstruct_utils book RUN` checks, makes and builds its pages."""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_json
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.reporting import (
    found,
    gate,
    pages,
    plots,
    publish_run,
    real_text,
    settings,
    status,
)


def collect(run: str) -> Path:
    """Write book/pages/ of a run that passes the gate: chapters, status, contents.

    Returns the folder.
    """
    profile, expected = gate.expected(run)
    checked = gate.check(expected)
    out = REPO / "book/pages"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    first, *others = sorted(profile.languages, key=lambda lang: lang != profile.featured)
    for lang in others:
        own = {page: pair for page, pair in checked.items() if page.lang == lang}
        pages.save(pages.summary(lang, own), out / f"{lang}.ipynb")
    chapters = pages.chapters(checked, out, first)
    pages.diagram(checked, first, out, profile.ranking)
    (out / "settings.md").write_text(pages.impersonal(pages.fill("settings", keys=settings.keys())),
                                     encoding="utf-8")
    results = pages.chapters(checked, out, "all")
    (out / "steps.png").write_bytes(plots.steps(status.step_costs(run)).data)
    manifests = [manifest for _, manifest in checked.values()]
    words = status.page(run, profile, manifests, REPO / "benchmarks/results")
    (out / "status.md").write_text(pages.fill("status", **words), encoding="utf-8")
    (out / "found.md").write_text(pages.fill("found", **found.words(run, profile)),
                                  encoding="utf-8")
    if runs := real_text.published():
        text = pages.fill("real_text", runs=real_text.page(runs))
        (out / "real_text.md").write_text(pages.impersonal(text), encoding="utf-8")
        results.append({"file": "pages/real_text"})
    (out / "answer.md").write_text(found.answer(run), encoding="utf-8")
    (out / "claim.md").write_text(pages.claim(run, profile, out), encoding="utf-8")
    write_json(out / "_toc.yml", pages.contents(first, chapters, results, others))
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
    html = REPO / "book/_build/html"
    if faults := [fault for page in sorted((html / "pages").glob("*.html"))
                  for fault in page_faults(page)]:
        raise InputError("\n  ".join(["these pages are not fit to be read:", *faults]))
    return html / "index.html"


def page_faults(page: Path) -> list[str]:
    """What a generated page lacks: a caption over a table, a verdict at both ends of a chapter."""
    text = page.read_text(encoding="utf-8")
    tables = re.findall(r"<table\b.*?</table>", text, re.S)
    bare = sum("<caption" not in table for table in tables)
    faults = [f"{page.name}: {bare} of {len(tables)} tables have no caption"] if bare else []
    if text.count('class="verdicts') == 1:
        faults.append(f"{page.name}: the verdict stands once, not at the beginning and the end")
    return faults


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `book`."""
    parser.add_argument("run", help="name of the run under papermill_runs/")


def command(args: argparse.Namespace) -> None:
    """Build the book of a run; prints where it is, and what of its published copy is older."""
    print(build(args.run))
    if old := publish_run.is_older(args.run):
        print(f"the published copy is older than the code of {', '.join(old)}; make publish "
              f"RUN={args.run} renews it")
