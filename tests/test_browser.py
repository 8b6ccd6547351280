"""The book in a real browser, opened from disk: nothing overflows, nothing failed, Urdu runs from
right to left.

The pages are those of the toy run of test_book.py and, where `make book` has been run, those of the
book itself.
Screenshots go to $XINSTRUCT_SHOTS, if that is set, to be looked at.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_book import REPO, built, toy  # noqa: F401  (fixtures)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no chromium on this machine: pages are not looked at in a browser"
)

# Runs in the page and leaves its findings in the title, which --dump-dom shows.
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const page = document.scrollingElement, wide = innerWidth;
  const out = [...document.querySelectorAll("article *")].filter(e => {
    for (let p = e.parentElement; p && p.tagName != "ARTICLE"; p = p.parentElement)
      if (/auto|scroll|hidden/.test(getComputedStyle(p).overflowX)) return false;
    return e.getBoundingClientRect().right > wide + 1 && e.getClientRects().length });
  const rtl = [...document.querySelectorAll('[lang="ur"]')];
  const told = JSON.stringify({
    overflow: page.scrollWidth - wide, out: out.slice(0, 3).map(e => e.outerHTML.slice(0, 90)),
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
    urdu: rtl.length, ltr: rtl.filter(e => getComputedStyle(e).direction != "rtl").length });
  document.title = told;
  parent.postMessage(told, "*");
}, 50))</script>"""
NARROWEST = 500          # no window of Chromium's is narrower: a page for a telephone is in a frame
FRAME = """<title></title><script>
addEventListener("message", told => document.title = told.data)
</script><iframe src="{name}" style="width:{width}px; height:2300px; border:0"></iframe>"""


def look(page, tmp_path, width):
    """Open a copy of a built page at a width and take its picture; returns the probe's findings and
    the article.
    """
    import html
    import json

    copy = page.with_name(f"probe-{page.name}")
    written = page.read_text(encoding="utf-8").replace("</head>", PROBE + "</head>", 1)
    copy.write_text(written, encoding="utf-8")
    opened = copy
    if width < NARROWEST:
        opened = page.with_name(f"frame-{page.name}")
        opened.write_text(FRAME.format(name=copy.name, width=width), encoding="utf-8")
    shots = Path(os.environ.get("XINSTRUCT_SHOTS", tmp_path))
    shots.mkdir(parents=True, exist_ok=True)
    shot, tall = (
        shots / f"{page.stem}-{width}.png",
        9000 if "XINSTRUCT_SHOTS" in os.environ else 2400,
    )
    try:
        made = subprocess.run(
            [
                CHROMIUM,
                *FLAGS,
                f"--user-data-dir={tmp_path / f'{page.stem}-{width}'}",
                f"--window-size={max(width, NARROWEST)},{tall}",
                "--virtual-time-budget=2000",
                "--dump-dom",
                f"--screenshot={shot}",
                opened.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        copy.unlink()
        opened.unlink(missing_ok=True)
    assert shot.stat().st_size > 5000, f"{shot} is empty: {made.stderr[-500:]}"
    title = re.search(r"<title>(.*?)</title>", made.stdout, re.S)[1]
    article = re.search(r"<article.*?</article>", made.stdout if opened == copy else written, re.S)
    return json.loads(html.unescape(title)), article[0] if article else ""


def check(page, tmp_path, width):
    """Look at a page; assert what must hold for every page. Returns the findings."""
    found, article = look(page, tmp_path, width)
    assert found["overflow"] <= 1 and not found["out"], (page.name, width, found)
    assert not found["broken"], (page.name, found["broken"])
    assert found["ltr"] == 0, (page.name, "Urdu from left to right")
    assert "Traceback" not in article and not re.search(r"\d+%\|", article), page.name
    return found


@pytest.mark.parametrize("width", [1280, 420])
def test_pages_fit_the_window_and_urdu_is_right_to_left(built, tmp_path, width):  # noqa: F811
    assert check(built / "pages" / "ur.html", tmp_path, width)["urdu"] > 0
    for name in ("intro.html", "reproduce.html", "reproduce/own_texts.html",
                 "pages/04_refinement.html", "pages/status.html"):
        check(built / name, tmp_path, width)


def test_the_probe_sees_what_is_wrong(built, tmp_path):  # noqa: F811
    page = built / "pages" / "01_seed_data.html"
    bad = (
        '<article><div style="width:3000px">x</div><p lang="ur" style="direction:ltr">اردو</p>'
        '<img src="no.png">'
    )
    page.write_text(
        re.sub(r"<article[^>]*>", bad, page.read_text(encoding="utf-8"), count=1), encoding="utf-8"
    )
    for width in (1280, 420):
        found, _ = look(page, tmp_path, width)
        assert found["out"] and found["broken"] and found["ltr"] == 1


def test_the_book_of_the_last_run_can_be_read(tmp_path):
    index = REPO / "book" / "_build" / "html" / "index.html"
    if not index.exists():
        pytest.skip("no book here: run `make book` first")
    folders = (index.parent, index.parent / "pages", index.parent / "reproduce")
    for page in sorted(page for folder in folders for page in folder.glob("*.html")):
        if page.stem not in ("genindex", "search", "index"):
            check(page, tmp_path, 1280)
            check(page, tmp_path, 420)
