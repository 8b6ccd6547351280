"""The book: `python -m xinstruct_utils book RUN` checks a run's executed notebooks, makes pages of them and builds them;
`python -m xinstruct_utils publish RUN` copies them to papermill_runs/published/RUN.

A failed notebook would still make a page, so `gate` decides. Web text is hostile: what this module writes is
escaped, and a notebook's output that could act (scripts, frames, handlers) stops the build.
"""

import re
import shutil
import subprocess
import sys
from collections import namedtuple
from html.parser import HTMLParser
from pathlib import Path
from string import Template

from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json, write_json
from xinstruct_utils.core.paths import REPO, root, step_dir
from xinstruct_utils.core.secrets import hide_known
from xinstruct_utils.reporting import plots, status
from xinstruct_utils.reporting.status import step_costs, table
from xinstruct_utils.workflow import notebooks

ACTIVE = {"script", "iframe", "object", "embed", "form", "link", "meta", "base"}
TABLES = ("measures.json", "figures.json", "*.csv")  # what is published beside notebooks and manifests
LIMIT = 10 * 2**20  # bytes that a published run may weigh
NOISE = re.compile(r".*\r(?!\n)|.*\d+%\|.*\n?|\x1b\[[\d;]*[A-Za-z]")  # redrawn, bars
# A variable with a key, keys as OpenAI, Hugging Face and Google write them, an address with a password.
SECRET = re.compile(r"\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)=(?!\.\.\.)[^\s\"'\\<]+|\b(?:sk-|hf_|AIza)[\w-]{16,}"
                    r"|://[^\s/:@\"]+:[^\s/@\"]+@")
WIDGET = "application/vnd.jupyter.widget-view+json"
# A step and its page. lang: "all" across languages; iteration: None without rounds; folder: of notebook and manifest.
Page = namedtuple("Page", "run notebook lang iteration folder name")


def expected(run):
    """(profile of the run, Pages it asks for in the notebooks' order). InputError if there is no such run."""
    base, profile, pages = root() / run, load_run(run), []
    for name in sorted(path.stem for path in notebooks.notebooks_dir().glob("[0-9][0-9]_*.ipynb")):
        if profile.source != "atlas" and not any(base.glob(f"*/{name}/**/manifest.json")):
            continue  # a run on files need not go on to chapters that it has no use for
        declared = notebooks.declared(notebooks.read_notebook(name))
        rounds = range(1, profile.iterations + 1) if "iteration" in declared else [None]
        for lang in profile.languages if declared.get("lang", "all") != "all" else ["all"]:
            for k in rounds:  # links to the notebook lead to its first round
                page = f"{name}_round{k}" if k and k > 1 else name
                pages.append(Page(run, name, lang, k, step_dir(run, lang, name, k), page))
    return profile, pages


def acts(output):
    """Could this notebook output do something in a reader's browser?"""
    data, found, parser = output.get("data", {}), [], HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, attrs))
    parser.feed("\n".join(str(data.get(k, "")) for k in ("text/html", "text/markdown", "image/svg+xml")))
    links = ["".join((v or "").split()).lower() for _, attrs in found for _, v in attrs]
    return ("application/javascript" in data or any(v.startswith("javascript:") for v in links)
            or any(tag in ACTIVE or any(k.startswith("on") for k, _ in attrs) for tag, attrs in found))


def gate(pages):
    """{page: (notebook, manifest)}, or one InputError that names everything that is wrong with the run."""
    import nbformat

    found, wrong = {}, [] if pages else ["it has no notebooks"]
    for page in pages:
        paths = page.folder / "notebook.ipynb", page.folder / "manifest.json"
        if absent := " and ".join(p.name for p in paths if not p.exists()):
            wrong.append(f"{page.folder}: not finished, {absent} missing")
            continue
        notebook, manifest = found[page] = nbformat.read(paths[0], as_version=4), read_json(paths[1])
        code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
        outputs, runner = [o for c in code for o in c.outputs], notebook.metadata.get("papermill", {})
        if runner.get("exception") or any(o.output_type == "error" for o in outputs):
            wrong.append(f"{page.folder}: the notebook failed")
        elif any(c.execution_count is None for c in code):
            wrong.append(f"{page.folder}: the notebook is unfinished")
        if any(map(acts, outputs)):
            wrong.append(f"{page.folder}: an output holds a script, a frame or a handler; escape it")
        if (told := [manifest.get(k) for k in Page._fields[:4]]) != list(page[:4]):
            wrong.append(f"{page.folder}: the manifest is of another step, {told}")
        # Steps of several commits are one book as long as today's code is the code of each.
        if any(manifest.get(k) != v for k, v in notebooks.code_key(page.notebook).items()):
            wrong.append(f"{page.folder}: made by other code than today's; run the step again")
    if len({digest(manifest["versions"]) for _, manifest in found.values()}) > 1:
        wrong.append("its steps were made with several versions of packages; run the older ones again")
    if wrong:
        raise InputError("\n  ".join(["this run cannot be a book yet:", *wrong]))
    return found


def tidy(notebook, suffix="", title=""):
    """The notebook as a page: no widgets, progress bars or runner's metadata; the heading gets `title`.

    Labels of figures (fig-...) hold in the whole book: they get `suffix` where a notebook has several pages.
    """
    notebook.metadata = {k: v for k, v in notebook.metadata.items() if k in ("kernelspec", "language_info")}
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "markdown":
            source = re.sub(r"\b(fig-[\w-]+)", rf"\1{suffix}", cell.source)
            cell.source = re.sub(r"\A(# [^:\n]+)", rf"\1{title}", source)
            continue
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            figure["name"] += suffix
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata |= {"tags": ["hide-input"], "mystnb": {"code_prompt_show": "Parameters given"}}
        for output in (o for o in cell.outputs if o.output_type == "stream"):
            output.text = NOISE.sub("", output.text)
        cell.outputs = [o for o in cell.outputs if o.get("text", "-").strip() and WIDGET not in o.get("data", {})]
    return notebook


def impersonal(text):
    """Text without where things lie on this machine."""
    for place, shown in ((REPO, ""), (root().parent, ""), (Path.home(), "~/")):
        text = text.replace(f"{place}/", shown)
    return text


def _save(notebook, path):
    import nbformat

    path.write_text(impersonal(nbformat.writes(notebook)), encoding="utf-8")


def _fill(template, **words):
    """book/templates/<template>.md with its $words filled in."""
    return Template((REPO / f"book/templates/{template}.md").read_text(encoding="utf-8")).substitute(words)


def summary(lang, found):
    """Page of a language that is not featured: counts, figures and records of its own executed notebooks."""
    from nbformat import v4

    facts, last = languages.get(lang), {page.notebook: notebook for page, (notebook, _) in found.items()}
    rows = [{"step": page.name} | c | {"dropped": ", ".join(f"{n:,} {why}" for why, n in c["dropped"].items() if n)}
            for page, (_, manifest) in found.items() for c in manifest["counts"]]
    cells = [v4.new_markdown_cell(_fill("language", rows=table(rows), **vars(facts)))]
    for notebook in last.values():
        title = re.search(r"^# (.+)$", "\n".join(c.source for c in notebook.cells), re.M)[1]
        code = [c for c in tidy(notebook, f"-{lang}").cells if c.get("outputs")]
        records = [c for c in code if "data.show(" in c.source][-1:]
        shown = [c for c in code if c in records or "figure" in c.metadata.get("mystnb", {})]
        for cell in shown:
            cell.metadata["tags"] = ["remove-input"]
        cells += [v4.new_markdown_cell(f"## {title}"), *shown] if shown else []
    return v4.new_notebook(cells=cells, metadata=next(iter(last.values())).metadata)


def claim(run, profile, out):
    """Markdown of the intro's figure, and out/claim.png: wins and losses of the refined model in every language."""
    rows = {}
    for lang in profile.languages:
        path = step_dir(run, lang, "09_judge_evaluation") / "measures.json"
        for name, shares in (read_json(path) if path.exists() else {}).items():
            if name in ("refined_vs_seed", "refined_vs_unrefined"):
                rows[f"{languages.get(lang).name}, {name.replace('_', ' ')}"] = shares
    (out / "claim.png").write_bytes(plots.wins(rows).data)
    return _fill("claim")


def collect(run):
    """Write book/pages/ of a run that passes the gate: chapters, status, contents. Returns the folder."""
    profile, pages = expected(run)
    found, out = gate(pages), REPO / "book/pages"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    first, *others = sorted(profile.languages, key=lambda lang: lang != profile.featured)
    files = {first: [], "all": []}
    for lang in others:
        _save(summary(lang, {p: pair for p, pair in found.items() if p.lang == lang}), out / f"{lang}.ipynb")
    for page, (notebook, _) in found.items():
        if page.lang in files:
            suffix, which = (f"-{page.iteration}", f", round {page.iteration}") if page.iteration else ("", "")
            _save(tidy(notebook, suffix, which), out / f"{page.name}.ipynb")
            title = f"{page.notebook[:2]} {page.notebook[3:].replace('_', ' ').capitalize()}{which}"
            files[page.lang].append({"file": f"pages/{page.name}", "title": title})
    (out / "steps.png").write_bytes(plots.steps(step_costs(run)).data)
    words = status.page(run, profile, [m for _, m in found.values()], published_is_older(run), REPO / "benchmarks/results")
    (out / "status.md").write_text(_fill("status", **words), encoding="utf-8")
    (out / "claim.md").write_text(claim(run, profile, out), encoding="utf-8")
    parts = {"Idea": ["method"], f"The run in {languages.get(first).name}": files[first], "Results": files["all"],
             "Other languages": [f"pages/{lang}" for lang in others], "About": ["reproduce", "pages/status", "references"]}
    toc = [{"caption": name, "chapters": [f if isinstance(f, dict) else {"file": f} for f in part]}
           for name, part in parts.items() if part]
    write_json(out / "_toc.yml", {"format": "jb-book", "root": "intro", "parts": toc})
    return out


def build(run):
    """Collect, and build with warnings as errors. Returns the path of index.html."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", REPO / "book",
               "--toc", collect(run) / "_toc.yml", "--all", "-W", "--keep-going"]
    if (made := subprocess.run(command, capture_output=True, text=True)).returncode:
        lines = re.findall(r".*(?:WARNING|ERROR|Error:).*", made.stdout + made.stderr)
        raise InputError("\n  ".join(["jupyter-book could not build the pages:", *(lines or [made.stderr])]))
    return REPO / "book/_build/html/index.html"


def publish(run):
    """Copy a run's notebooks, manifests and tables, but no data, to published/RUN. Returns that folder.

    Raises InputError where one of them shows what looks like a key.
    """
    profile, pages = expected(run)
    found, out = gate(pages), root() / "published" / run
    draft = out.with_name(f".{run}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for page, (notebook, _) in found.items():
        to = draft / page.folder.relative_to(root() / run)
        to.mkdir(parents=True)
        _save(tidy(notebook), to / "notebook.ipynb")
        for path in [page.folder / "manifest.json", *(p for t in TABLES for p in page.folder.glob(t))]:
            (to / path.name).write_text(impersonal(path.read_text(encoding="utf-8")), encoding="utf-8")
        for path in to.iterdir():
            text = path.read_text(encoding="utf-8")
            if SECRET.search(text) or hide_known(text) != text:
                raise InputError(f"{page.folder / path.name} shows what looks like a key; nothing was "
                                 "published. Keys belong into the environment: take it out of the settings, run the step again")
    claim(run, profile, draft)
    if (size := sum(p.stat().st_size for p in draft.rglob("*.*"))) > LIMIT:
        raise InputError(f"{draft} has {size:,} bytes, a published run may have {LIMIT:,}")
    shutil.rmtree(out, ignore_errors=True)
    return draft.rename(out)


def published_is_older(run):
    """Names of published notebooks whose code is not today's: empty if all are current, or none is there."""
    told, today = (root() / "published" / run).rglob("manifest.json"), notebooks.notebooks_dir()
    made = {m["notebook"]: m.get("code_digest") for m in map(read_json, told)}
    return sorted(name for name, code in made.items()
                  if not (today / f"{name}.ipynb").exists() or code != notebooks.code_key(name)["code_digest"])



def arguments(parser):
    """Arguments of `book` and of `publish`."""
    parser.add_argument("run", help="name of the run under papermill_runs/")


def command(args):
    """Build the book of a run; prints where it is."""
    print(build(args.run))


def publish_command(args):
    """Publish a run; prints where to."""
    print(publish(args.run))
