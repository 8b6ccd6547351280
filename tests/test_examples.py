"""The sample files in examples/own_texts/: what the page on own texts says of them is so."""

import pytest

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.data import cleaning, readers, sources
from xinstruct_utils.method import seeds

SAMPLES = REPO / "examples" / "own_texts"
SEED = SAMPLES / "seed.jsonl"
CORPUS = SAMPLES / "corpus.jsonl"


def test_all_ten_pairs_of_the_sample_seed_are_read_and_none_is_dropped():
    pairs, skipped = readers.read_rows(SEED, readers.SEED_FIELDS, "sw")
    census = cleaning.Census(["length", "duplicates"])      # chapter 1's own rules
    usable = list(cleaning.stream(pairs, census, "sw", field="output"))
    assert len(pairs) == len(usable) == 10 and skipped == {"other language": 0}
    assert all(pair["instruction"].strip() for pair in usable)


@pytest.mark.parametrize("name", ["local", "small", "modern", "paper"])
def test_all_ten_texts_of_the_sample_corpus_are_read_and_no_profile_drops_one(name):
    profile = load_profile(name, corpus_source="files", corpus_path=str(CORPUS))
    corpus = sources.open_corpus(profile, "sample", "sw")
    texts = list(corpus.rows())
    census = cleaning.Census(profile.cleaning)
    kept = list(cleaning.stream(texts, census, "sw", profile.min_chars, profile.max_chars))
    assert corpus.read == 10 and not any(corpus.skipped.values())
    assert kept == texts, census.examples


def test_ten_pairs_show_the_format_and_are_refused_as_a_seed():
    pairs, _ = readers.read_rows(SEED, readers.SEED_FIELDS, "sw")
    with pytest.raises(InputError, match="have 10 usable pairs, but at least 12 are needed"):
        seeds.split_seed(pairs, 360, 0)


@pytest.mark.parametrize("path", [SEED, CORPUS], ids=lambda path: path.name)
def test_the_page_shows_the_first_line_of_each_sample(path):
    page = (REPO / "book" / "reproduce" / "own_texts.md").read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").splitlines()[0] in page.splitlines()
