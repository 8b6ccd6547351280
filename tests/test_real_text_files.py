"""tools/real_text.py: files for a run on real text, out of a folder of public data."""

import sys

import pytest

from xinstruct_utils.core.files import read_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.data import readers
from xinstruct_utils.evaluation import planted

sys.path.insert(0, str(REPO / "tools"))
import real_text

DATA = REPO.parent / "shared" / "data"
PAGE = """<html><body><nav><ul><li><a>Home</a></li><li><a>About  us</a></li></ul></nav>
<script>var nav = 1;</script><p>An article.</p><footer>Contact<script>no()</script></footer>
<header><b>Search</body></html>"""


def test_menus_are_taken_and_articles_and_scripts_are_not():
    menus = real_text.Menus()
    menus.feed(PAGE)
    assert menus.lines == ["Home", "About us", "Contact", "Search"]


def test_a_beginning_is_whole_lines_and_one_at_least():
    assert real_text.beginning("one\ntwo\nthree", 8) == "one two"
    assert real_text.beginning("a long line\nb", 3) == "a long line"


@pytest.mark.skipif(not DATA.exists(), reason="needs the public data in ../shared/data")
@pytest.mark.parametrize(("lang", "pairs"), [("fi", 186), ("sw", 123)])
def test_the_files_are_read_whole_by_the_package(tmp_path, monkeypatch, lang, pairs):
    monkeypatch.setattr(sys, "argv", ["real_text.py", str(DATA), lang, str(tmp_path)])
    real_text.main()
    seed, skipped = readers.read_rows(tmp_path / "seed.jsonl", readers.SEED_FIELDS, lang)
    assert len(seed) == pairs and not sum(skipped.values())
    corpus, _ = readers.read_rows(tmp_path / "corpus.jsonl", readers.CORPUS_FIELDS, lang)
    assert len(corpus) > 600
    foreign = planted.foreign_texts(tmp_path / "planted.jsonl")
    assert {row["kind"] for row in foreign} == {"navigation", "error page", "another language"}


@pytest.mark.skipif(not DATA.exists(), reason="needs the public data in ../shared/data")
def test_longer_answers_of_people_are_left_out_and_news_is_cut_shorter():
    for lang, longest in (("fi", 800), ("sw", 400)):
        everything = {row["id"]: row for row in real_text.seed_pairs(DATA, lang, None)}
        short = {row["id"]: row for row in real_text.seed_pairs(DATA, lang, longest)}
        assert 80 < len(short) <= len(everything)
        assert max(len(row["output"]) for row in short.values()) <= longest
        assert max(len(row["output"]) for row in everything.values()) > longest
        assert all(everything[name]["output"].startswith(row["output"])
                   for name, row in short.items())


def test_each_swahili_instruction_is_one_english_sentence_or_two_for_a_document():
    rows = list(read_jsonl(REPO / "tools" / "sw_instructions.jsonl"))
    assert len({row["id"] for row in rows}) == len({row["instruction"] for row in rows}) == 123
    assert all(6 <= len(row["instruction"].split()) <= 30 for row in rows)
    assert all(row["instruction"].isascii() for row in rows)
