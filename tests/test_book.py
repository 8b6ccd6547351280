"""The book: what the gate stops, what a page keeps, that the pages build and need no network."""

import argparse
import base64
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import only
from nbformat import v4

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.reporting import book, gate, pages, plots, publish_run, study
from xinstruct_utils.workflow.notebooks import code_key

REPO = Path(__file__).parents[1]
HOSTILE = (
    '<script>alert(1)</script><img src=x onerror="alert(2)"> | $5 and $6 ```{include} /etc/passwd'
)
URDU = "کراچی پاکستان کا سب سے بڑا شہر ہے۔ یہ جملہ کافی لمبا ہے تاکہ سطر ٹوٹے۔ " * 3
CHAPTERS = ("01_seed_data", "04_refinement", "13_results")
ITERATIONS = {"04_refinement": 2}


def source(name):
    """A notebook as it lies in notebooks/: a title, a parameters cell, a figure with a label, a
    table.
    """
    lang = "all" if name == "13_results" else "sw"
    declared = f'run: str = "atlas"  # name of the run\nlang: str = "{lang}"  # ISO 639-1 code\n'
    declared += "iteration: int = 1  # round" if name in ITERATIONS else ""
    figure = {"caption": f"Rows of {name}.", "name": f"fig-{name[3:]}"}
    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell(
                f"# {name[3:].replace('_', ' ').capitalize()}: a question?\n\nWhat goes in?"
            ),
            v4.new_code_cell(declared, metadata={"tags": ["parameters"]}),
            v4.new_markdown_cell(f"## Rows\n\nSee {{numref}}`fig-{name[3:]}`; it costs $5 or $6."),
            v4.new_code_cell(
                "plots.census(dropped)",
                metadata={"tags": ["hide-input"], "mystnb": {"figure": figure}},
            ),
            v4.new_markdown_cell("The next chapter is {doc}`04_refinement`."),
            v4.new_code_cell("show_rows(rows)"),
            v4.new_code_cell("launch.run(settings)"),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
    )


def executed(name, lang, k):
    """The same notebook as papermill leaves it: injected parameters, outputs of every kind,
    runner's metadata.
    """
    notebook = source(name)
    given = v4.new_code_cell(
        f'lang = "{lang}"\niteration = {k}', metadata={"tags": ["injected-parameters"]}
    )
    notebook.cells.insert(2, given)
    png = base64.b64encode(plots.census({"too_short": 3, "duplicate": 5}, 90).data).decode()
    rows = "".join(
        f'<tr><td>{html.escape(HOSTILE)}</td><td dir="rtl" lang="ur">{URDU}</td></tr>' for _ in "ab"
    )
    page = f"<table><tr><th>instruction</th><th>output</th></tr>{rows}</table>"
    outputs = {
        4: [v4.new_output("display_data", {"image/png": png, "text/plain": "<Image>"})],
        6: [
            v4.new_output(
                "execute_result", {"text/html": page, "text/plain": "table"}, execution_count=5
            )
        ],
        7: [
            v4.new_output(
                "stream", name="stderr", text="\r  0%|   | 0/9\r100%|###| 9/9 [00:01<00:00]\n"
            ),
            v4.new_output(
                "stream",
                name="stdout",
                text="step 1\rstep 2\rdone in \x1b[32m9\x1b[0m s\n" + "x" * 400,
            ),
            v4.new_output(
                "display_data",
                {
                    "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
                    "text/plain": "Map:   0%|  | 0/9",
                },
            ),
            v4.new_output(
                "stream", name="stdout", text=f"kept in {book.REPO}/papermill_runs/toy\n"
            ),
            v4.new_output(
                "execute_result",
                {"text/plain": f"['{Path.home()}/texts/corpus.jsonl']"},
                execution_count=6,
            ),
        ],
    }
    for count, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = count, outputs.get(count, [])
    notebook.metadata["papermill"] = {
        "exception": None,
        "output_path": "/secret/home/notebook.ipynb",
    }
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    return notebook


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A repository with three small notebooks, and a finished run `toy` of them in Swahili, Finnish
    and Urdu.
    """
    home, runs = tmp_path / "home", tmp_path / "runs"
    monkeypatch.setenv("XINSTRUCT_RUNS", str(runs))
    monkeypatch.setenv("XINSTRUCT_NOTEBOOKS", str(home / "notebooks"))
    monkeypatch.setattr(book, "REPO", home)
    monkeypatch.setattr(pages, "REPO", home)
    shutil.copytree(REPO / "book", home / "book", ignore=shutil.ignore_patterns("pages", "_build"))
    (home / "notebooks").mkdir()
    only(monkeypatch, *CHAPTERS)
    profile = {
        "source": "atlas",
        "languages": ["fi", "sw", "ur"],
        "featured": "sw",
        "iterations": 2,
        "base_model": "atlas",
    }
    (runs / "toy").mkdir(parents=True)
    (runs / "toy" / "run.json").write_text(json.dumps(profile))
    for name in CHAPTERS:
        nbformat.write(source(name), home / "notebooks" / f"{name}.ipynb")
    for page in gate.expected("toy")[1]:
        page.folder.mkdir(parents=True)
        nbformat.write(
            executed(page.notebook, page.lang, page.iteration), page.folder / "notebook.ipynb"
        )
        (page.folder / "manifest.json").write_text(
            json.dumps(
                code_key(page.notebook)
                | {
                    "notebook": page.notebook,
                    "run": "toy",
                    "lang": page.lang,
                    "iteration": page.iteration,
                    "git_commit": "c0ffee",
                    "versions": {"torch": "2.13.0"},
                    "machine": {"cores": 2},
                    "counts": [
                        {
                            "stage": "<b>clean</b>",
                            "in": 100,
                            "out": 92,
                            "dropped": {"too_short": 8, "empty": 0},
                        }
                    ],
                    "wall_s": 12.5,
                    "startup_s": 4.0,
                    "peak_rss_mib": 900,
                    "finished_at": "2026-11-23T10:00:00Z",
                }
            )
        )
        (page.folder / "kept.jsonl").write_text("{}\n")
    (runs / "toy" / "all" / "13_results" / "figures.json").write_text(
        '{"kept_precision": {"sw": [0.5, 0.6]}}'
    )
    return home


@pytest.fixture
def built(toy):
    """The toy's book: the folder of its pages."""
    return book.build("toy").parent


def spoil(toy, change):
    """Change one executed notebook of the toy; returns its folder."""
    page = gate.expected("toy")[1][1]
    notebook = nbformat.read(page.folder / "notebook.ipynb", as_version=4)
    change(notebook)
    nbformat.write(notebook, page.folder / "notebook.ipynb")
    return page.folder


def refused(toy):
    """The message with which the gate refuses the toy."""
    with pytest.raises(InputError) as error:
        book.collect("toy")
    return str(error.value)


def test_a_run_that_does_not_exist_is_named(toy):
    with pytest.raises(InputError, match="nosuch"):
        book.build("nosuch")


def test_every_step_of_the_profile_must_have_a_manifest(toy):
    page = gate.expected("toy")[1][-1]
    (page.folder / "manifest.json").unlink()
    assert f"{page.folder}: not finished, manifest.json missing" in refused(toy)


def test_a_failed_notebook_is_refused_whatever_papermill_says(toy):
    error = v4.new_output("error", ename="ValueError", evalue="no", traceback=["Traceback"])
    folder = spoil(toy, lambda nb: nb.cells[4].outputs.append(error))
    assert f"{folder}: the notebook failed" in refused(toy)


def test_an_unfinished_notebook_is_refused(toy):
    folder = spoil(toy, lambda nb: nb.cells[6].update(execution_count=None))
    assert f"{folder}: the notebook is unfinished" in refused(toy)


@pytest.mark.parametrize(
    "text",
    [
        "<script>1</script>",
        "<img src=x onerror=alert(1)>",
        "<a href=' javascript:1'>x</a>",
        "<iframe src='data:,'></iframe>",
    ],
)
def test_an_output_that_could_act_is_refused(toy, text):
    folder = spoil(
        toy,
        lambda nb: nb.cells[4].outputs.append(v4.new_output("display_data", {"text/html": text})),
    )
    assert f"{folder}: an output holds a script" in refused(toy)


def test_escaped_hostile_text_is_let_through():
    assert not gate.acts(
        v4.new_output("display_data", {"text/html": f"<td>{html.escape(HOSTILE)}</td>"})
    )


def manifest_with(key, value):
    """Change one manifest of the toy."""
    path = gate.expected("toy")[1][0].folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("run", "other", "the manifest is of another step"),
        ("modules_digest", "old", "made by other code than today's"),
        ("code_digest", "old", "made by other code than today's"),
        ("versions", {"torch": "2.0"}, "several versions"),
    ],
)
def test_one_run_one_code_one_set_of_versions(toy, key, value, words):
    manifest_with(key, value)
    assert words in refused(toy)


def test_steps_of_several_commits_with_todays_code_are_a_book_that_names_the_commits(toy):
    manifest_with(
        "git_commit", "beef"
    )  # a commit that only changed prose must not make anyone run all again
    assert "beef, c0ffee" in (book.collect("toy") / "status.md").read_text()


def test_the_last_round_is_the_page_and_the_others_are_downloads_beside_it(toy):
    first, second = (page for page in gate.expected("toy")[1]
                     if page.notebook == "04_refinement" and page.lang == "sw")
    (first.folder / "measures.json").write_text('{"kept_precision": 0.5, "verdicts": []}')
    (second.folder / "measures.json").write_text('{"kept_precision": 0.25}')
    pages = book.collect("toy")
    text = (pages / "04_refinement.ipynb").read_text()
    assert "# Refinement, round 2: a question?" in text and "{numref}`fig-refinement-2`" in text
    assert '"name": "fig-refinement-2"' in text
    assert "round 1 <04_refinement_round1.ipynb>" in text
    assert "<th>round 1</th>" in text and "<td>0.5</td>" in text and "<td>0.25</td>" in text
    assert "# Refinement, round 1" in (pages / "04_refinement_round1.ipynb").read_text()
    assert "round1" not in (pages / "_toc.yml").read_text()


def written_pages(folder):
    """The pages of a book that people wrote, without what others include: {name: its text}."""
    found = [*folder.glob("*.md"), *folder.glob("reproduce/*.md")]
    return {str(path.relative_to(folder).with_suffix("")): path.read_text(encoding="utf-8")
            for path in found if path.name != "fertility.md"}


def test_every_written_page_is_in_the_contents_and_links_to_what_is_there():
    """A page that the contents leave out is not built, and nobody would miss it."""
    parts = pages.contents("sw", [], [], [])["parts"]
    listed = {entry["file"] for part in parts for entry in part["chapters"]} | {"intro"}
    written = written_pages(REPO / "book")
    assert set(written) == {name for name in listed if not name.startswith("pages/")}
    for name, text in written.items():
        for link in re.findall(r"\]\(([^)#:]+\.md)\)", text):
            target = os.path.relpath((REPO / "book" / name).parent / link, REPO / "book")
            assert target.removesuffix(".md") in listed, f"{name}: {link}"


def test_the_entry_page_is_short_and_leads_to_every_page_of_how_to_reproduce():
    text = written_pages(REPO / "book")["reproduce"]
    assert len(text.split()) < 300
    assert [name for name in pages.HOW if f"]({name}.md)" not in text] == []


def test_tables_are_numbered_and_named_by_what_stands_above_them(toy):
    text = (book.collect("toy") / "01_seed_data.ipynb").read_text()
    assert "<caption>Table 1.1. The next chapter is 04_refinement</caption>" in text


@pytest.mark.parametrize(("markdown", "words"), [
    ("## 2. One page in every language\nText here.", "One page in every language"),
    ("## 4. Judged\nA\n### 4.1. By whom\nx", "By whom"),
    ("The *same* with {doc}`09_judge`: three `measures`.", "The same with 09_judge"),
    ("How often, and\nhow much faster? Most are.", "How often, and how much faster?"),
    (f"{'word ' * 40}.", f"{'word ' * 17}..."), ("", "")])
def test_a_caption_is_the_heading_or_the_first_sentence_above(markdown, words):
    assert pages.first_words(markdown) == words


def test_a_page_without_captions_or_with_one_verdict_is_refused(tmp_path):
    page = tmp_path / "x.html"
    page.write_text('<table class="a"><caption>T</caption></table><table><tr></table>')
    assert book.page_faults(page) == ["x.html: 1 of 2 tables have no caption"]
    page.write_text('<div class="verdicts a"></div>')
    assert "the verdict stands once" in book.page_faults(page)[0]
    page.write_text(2 * '<div class="verdicts a"></div>')
    assert book.page_faults(page) == []


def test_a_verdict_stands_at_the_end_and_at_the_beginning(toy):
    said = v4.new_output("display_data", {"text/html": '<p class="verdict yes">Yes.</p>'})
    cell = v4.new_code_cell("conclude(step)", metadata={"tags": ["verdict"]}, outputs=[said],
                            execution_count=9)
    page = gate.expected("toy")[1][1]
    spoil(toy, lambda nb: nb.cells.append(cell))
    made = nbformat.read(book.collect("toy") / f"{page.name}.ipynb", as_version=4)
    holders = [k for k, c in enumerate(made.cells)
               if "verdict yes" in str(c.get("outputs", ""))]
    assert holders == [1, len(made.cells) - 1] and made.cells[1].metadata.tags == ["remove-input"]


def test_a_page_keeps_no_progress_bars_widgets_or_paths_of_the_machine(toy):
    text = (book.collect("toy") / "01_seed_data.ipynb").read_text()
    assert "done in 9 s" in text
    assert "kept in papermill_runs/toy" in text and "['~/texts/corpus.jsonl']" in text
    for debris in ("0/9", "step 1", "widget", "/secret/home", "\\u001b"):
        assert debris not in text, debris


def test_the_book_needs_no_network_and_shows_hostile_text_as_text(built):
    pages = list(built.rglob("*.html"))
    assert {"intro.html", "method.html", "reproduce.html", "own_texts.html", "status.html",
            "sw.html"} - {p.name for p in pages} == {"sw.html"}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loads = re.findall(
            r'<(?:script|link|img|iframe|source|video)\b[^>]*?\b(?:src|href)="([^"]*)', text
        )
        assert not [url for url in loads if re.match(r"(https?:)?//", url)], page
        assert "alert(1)</script>" not in text and "MathJax" not in text and "root:" not in text, (
            page
        )
        assert "Traceback" not in text, page
    assert "it costs $5 or $6" in (built / "pages" / "04_refinement.html").read_text(
        encoding="utf-8"
    )


def test_other_languages_get_a_page_with_escaped_counts_and_their_own_figures(built):
    text = (built / "pages" / "ur.html").read_text(encoding="utf-8")
    assert "Urdu (اردو)" in text and "direction rtl" in text and 'dir="rtl"' in text
    assert "&lt;b&gt;clean&lt;/b&gt;" in text and "8 too_short" in text
    # One of each for every notebook of the language; of the two rounds, the last.
    assert text.count("<figure") == 2 and text.count('<td dir="rtl"') == 4
    assert text.count('alt="Rows of ') == 2              # what a figure's caption says


def test_a_warning_of_the_builder_stops_the_book(toy):
    (toy / "book" / "method.md").write_text("# Method\n\n[nowhere](nowhere.md)\n")
    with pytest.raises(InputError, match="nowhere"):
        book.build("toy")


def test_publishing_takes_notebooks_and_figures_but_no_data(toy):
    out = publish_run.publish("toy")
    names = {p.name for p in out.rglob("*") if p.is_file()}
    assert names == {"notebook.ipynb", "manifest.json", "figures.json", "claim.png"}
    assert (out / "sw" / "04_refinement" / "iter2" / "notebook.ipynb").exists()
    assert publish_run.publish("toy") == out  # again, over itself


@pytest.mark.parametrize(
    "text",
    [
        "env VLLM_API_KEY=abc vllm serve",
        "sk-proj-0123456789abcdef",
        "https://me:pass@judge.example",
    ],
)
def test_what_looks_like_a_key_is_not_published(toy, text):
    folder = spoil(
        toy,
        lambda nb: nb.cells[6].outputs.append(
            v4.new_output("stream", name="stdout", text=f"{text}\n")
        ),
    )
    with pytest.raises(InputError, match="shows what looks like a key") as error:
        publish_run.publish("toy")
    assert (
        str(folder / "notebook.ipynb") in str(error.value)
        and not (folder.parents[2] / "published" / "toy").exists()
    )


def test_no_manifest_is_published_with_a_folder_of_this_machine(toy):
    manifest_with(
        "parameters",
        {"benchmarks": [f"{Path.home()}/b.jsonl"], "out": str(toy / "x"), "note": "HF_TOKEN=..."},
    )
    text = (publish_run.publish("toy") / "fi" / "01_seed_data" / "manifest.json").read_text()
    assert str(Path.home()) + "/" not in text and str(toy) not in text and "~/b.jsonl" in text


def test_a_study_publishes_results_and_figures_of_its_runs(toy, monkeypatch):
    monkeypatch.setattr(study, "REPO", toy)
    (toy / "README.md").write_text("<!-- found study -->\n<!-- end of found -->\n")
    results = next(p for p in gate.expected("toy")[1] if p.notebook == "13_results").folder
    (results / "figures.json").write_text(
        '{"kept_precision": {"sw": [0.5, 0.6]}, "random_precision": {"sw": 0.3}}'
    )
    out = study.publish("toy")
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    made = json.loads((out / "figures.json").read_text())
    part, = made["runs"]
    assert names == ["claim.png", "figures.json", f"parts/{part}.json",
                     *(f"seed0/{part}/13_results/{name}" for name in (
                         "figures.json", "manifest.json", "notebook.ipynb"))]
    assert made["kept_precision"] == {"sw": {"0": [0.5, 0.6]}} and len(made["claims"]) > 10
    assert made["runs"][part]["commits"] == ["c0ffee"]
    assert "measured claims hold in the run `study`" in (toy / "README.md").read_text()
    text = (book.collect("toy") / "found.md").read_text()
    assert "Claims of the paper, the study" in text
    (out / "figures.json").write_text("{}")
    assert study.again() == out and json.loads((out / "figures.json").read_text()) == made
    old = out / "seed0" / "seed0-of-cells-made-anew" / "13_results"
    old.mkdir(parents=True)
    assert study.publish("toy") == out and not old.parent.exists()
    (results / "figures.json").write_text('{"kept_precision": {"sw": "sk-%s"}}' % ("aB3" * 16))
    with pytest.raises(InputError, match="looks like a key"):
        study.publish("toy")
    assert json.loads((out / "figures.json").read_text()) == made


def test_a_page_names_a_chapter_that_the_run_does_not_have_without_a_link():
    from nbformat import v4

    text = "See {doc}`13_results` and {doc}`12_ablations`; `{doc}` is a role."
    page = v4.new_notebook(cells=[v4.new_markdown_cell(text), v4.new_code_cell(text)])
    pages._unlink_absent(page, {"13_results"})
    assert page.cells[0].source == "See {doc}`13_results` and `12_ablations`; `{doc}` is a role."
    assert page.cells[1].source == text


def test_publishing_too_much_leaves_what_was_published(toy, monkeypatch):
    out = publish_run.publish("toy")
    monkeypatch.setattr(publish_run, "LIMIT", 1000)
    with pytest.raises(InputError, match="1,000"):
        publish_run.publish("toy")
    assert (out / "claim.png").exists()


def test_published_notebooks_are_older_when_code_changed_but_not_when_prose_did(toy):
    publish_run.publish("toy")
    path = toy / "notebooks" / "01_seed_data.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source += "\n\nMore prose."
    nbformat.write(notebook, path)
    assert publish_run.is_older("toy") == []
    notebook.cells[1].source += "\nnew = 1"
    nbformat.write(notebook, path)
    assert publish_run.is_older("toy") == ["01_seed_data"]


def test_whoever_builds_the_book_is_told_that_its_published_copy_is_older(toy, capsys):
    path = publish_run.publish("toy") / "all" / "13_results" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"code_digest": "old"}))
    book.command(argparse.Namespace(run="toy"))
    assert "older than the code of 13_results" in capsys.readouterr().out
    assert "older than" not in (toy / "book" / "pages" / "status.md").read_text()


def test_the_published_atlas_run_says_when_it_is_older_than_the_notebooks(recwarn):
    if old := publish_run.is_older("atlas"):
        pytest.skip(
            f"published notebooks are older than the code of {', '.join(old)}; "
            "`make publish RUN=atlas`"
        )


def test_the_status_page_has_benchmarks_with_machine_and_date_or_says_that_there_are_none(
    toy,
):
    assert "Not measured here: a GPU." in (book.collect("toy") / "status.md").read_text()
    results = toy / "benchmarks" / "results"
    results.mkdir(parents=True)
    made = {
        "machine": {"device": "NVIDIA H100 <b>"},
        "date": "2026-11-26",
        "command": "python benchmarks/gpu.py",
        "parts": {"rating": {"rows_per_s": 123.4, "mfu": 0.5}, "sft_full": {"failed": HOSTILE}},
    }
    (results / "gpu-nvidia-h100.json").write_text(json.dumps(made))
    (results / "gpu-tiny-model-x86_64.json").write_text(json.dumps(made | {"date": "1999-01-01"}))
    text = (book.collect("toy") / "status.md").read_text()
    assert (
        "Not measured here" not in text
        and "### gpu-nvidia-h100" in text
        and "rows_per_s 123.4, mfu 0.5" in text
    )
    assert (
        "2026-11-26" in text
        and "NVIDIA H100 &lt;b&gt;" in text
        and "<script" not in text
        and "1999" not in text
    )
    assert "/etc/passwd" in text        # the end of a long cell
    book.build("toy")


def test_bad_input_is_one_line_and_exit_status_2(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "xinstruct_utils", "book", "nosuch"],
        capture_output=True,
        text=True,
        env=os.environ | {"XINSTRUCT_RUNS": str(tmp_path)},
        cwd=REPO,
    )
    assert (
        made.returncode == 2
        and made.stderr.startswith("error: ")
        and "Traceback" not in made.stderr
    )
