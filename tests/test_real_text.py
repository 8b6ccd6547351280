"""Real text goes through unmangled (../shared/data; skipped where it is absent)."""

import json
import unicodedata

import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.atlas import web
from xinstruct_utils.core import languages
from xinstruct_utils.core.files import read_json, read_jsonl, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.data import cleaning, readers
from xinstruct_utils.method import seeds
from xinstruct_utils.reporting.display import show_rows
from xinstruct_utils.workflow import account
from xinstruct_utils.workflow.step import Step

REAL = REPO.parent / "shared" / "data" / "real_text"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason=f"real text is not at {REAL}")


@pytest.mark.parametrize("lang", ("fi", "sw"))
def test_every_row_of_a_real_corpus_is_accounted_for_and_unchanged(lang, tmp_path):
    texts, skipped = readers.read_rows(REAL / lang / "corpus.jsonl", readers.CORPUS_FIELDS, lang)
    census = cleaning.Census(["length", "duplicates"])
    kept = list(cleaning.stream(texts, census, lang, 64, 2048))
    raw = [r["text"] for r in read_jsonl(REAL / lang / "corpus.jsonl")]
    assert len(raw) == len(kept) + sum(census.dropped.values()) + sum(skipped.values())
    shards = Shards(tmp_path, 100)
    for index, chunk in shards.pending(kept):
        shards.write(index, chunk)
    assert [r["text"] for r in shards.read()] == [r["text"] for r in kept]
    assert {r["text"] for r in kept} <= set(raw)


def test_normalisation_newlines_and_emoji_survive_in_datasets(tmp_path):
    from datasets import load_dataset

    texts = ["e\u0301 is not é", "a\r\nb\tc\u00a0d", "🙂👩‍👩‍👧 \u200d", "ไทย ไม่มีช่องว่าง", "اردو ۔"]
    assert not unicodedata.is_normalized("NFC", texts[0])
    write_jsonl(tmp_path / "x.jsonl", [{"id": str(k), "text": t} for k, t in enumerate(texts)])
    assert load_dataset("json", data_files=str(tmp_path / "x.jsonl"), split="train",
                        cache_dir=str(tmp_path))["text"] == texts


def test_real_seed_pairs_split_into_thirds():
    pairs, _ = readers.read_rows(REAL / "fi" / "seed.jsonl", readers.SEED_FIELDS, "fi")
    d0x, d0r = seeds.split_seed(pairs, 2500, 0)
    assert len(d0x) + len(d0r) == len(pairs) and len(d0r) == len(pairs) // 3


@pytest.mark.parametrize("lang", languages.LANGUAGES)
def test_documents_of_all_ten_languages_come_back_character_by_character(lang, tmp_path):
    raw = [json.loads(line)
           for line in (REAL / lang / "ntrex_documents.jsonl").read_bytes().split(b"\n") if line]
    rows, skipped = readers.read_rows(REAL / lang / "ntrex_documents.jsonl", readers.CORPUS_FIELDS,
                                      lang)
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert [r["text"] for r in read_jsonl(tmp_path / "a.jsonl")] == [r["text"] for r in raw]
    assert [r["source_id"] for r in rows] == [r["id"] for r in raw] and sum(skipped.values()) == 0
    shown = show_rows(rows, 3, 0, ["text"], lang).data
    assert shown.count(' dir="rtl"') == (3 if lang == "ur" else 0)


@pytest.mark.parametrize("lang", ("fi", "sw"))
def test_the_first_chapters_account_for_every_real_row(lang, runs, tmp_path):
    from datasets import load_dataset

    # there is no real Swahili seed
    seed, corpus = REAL / "fi" / "seed.jsonl", REAL / lang / "corpus.jsonl"
    call = ["--run", "real", "--lang", lang, "--profile", "local", "-p", f"seed_path={seed}", "-p",
            f"corpus_path={corpus}"]
    chapters = ["01_seed_data", "02_corpus"] if lang == "fi" else ["02_corpus"]
    for chapter in chapters:
        assert main(["run", chapter, *call]) == 0
        counts = read_json(runs / "real" / lang / chapter / "manifest.json")["counts"]
        assert all(c["in"] == c["out"] + sum(c["dropped"].values()) for c in counts)
        assert all(one["out"] == two["in"] for one, two in zip(counts, counts[1:], strict=False))
        source = seed if chapter == "01_seed_data" else corpus
        assert counts[0]["in"] == len(list(read_jsonl(source)))
    raw = {r["text"] for r in read_jsonl(corpus)}
    made = load_dataset("json", data_files=str(
        runs / "real" / lang / "02_corpus" / "corpus" / "*.jsonl"), split="train",
                        cache_dir=str(tmp_path / "cache"))
    assert len(made) == counts[-1]["out"] and set(made["text"]) <= raw
    assert set(made.column_names) == {"id", "source_id", "language", "text"}


SMALL = ("iterations=1 generator_epochs=1 follower_epochs=1 evaluator_epochs=1 "
         "max_new_tokens_instruction=24 max_new_tokens_output=24 keep=120 final_size=60 "
         "clusters=10 held_out_pairs=10")


@pytest.mark.slow
@pytest.mark.parametrize("lang", ("fi", "sw"))
def test_real_texts_go_through_all_chapters_up_to_the_statistics_unchanged(lang, runs, tmp_path):
    """Finnish: 186 real pairs, 634 real texts. Swahili: a quarter of 1,924 texts.

    Its pairs are the Atlas's, since real ones lack.
    """
    from datasets import load_dataset

    seed, corpus = REAL / "fi" / "seed.jsonl", REAL / "fi" / "corpus.jsonl"
    if lang == "sw":
        seed, corpus = tmp_path / "seed.jsonl", tmp_path / "corpus.jsonl"
        write_jsonl(seed, web.seed_pairs("sw", 150, 0)[0])
        write_jsonl(corpus, list(read_jsonl(REAL / "sw" / "corpus.jsonl"))[::4])
    call = ["--run", "real", "--lang", lang, "--profile", "local"]
    call += [w for given in (f"seed_path={seed}", f"corpus_path={corpus}", *SMALL.split())
             for w in ("-p", given)]
    for chapter in ("01_seed_data", "02_corpus", "03_backtranslation", "04_refinement",
                    "05_diversification", "06_statistics"):
        assert main(["run", chapter, *call,
                     *(["--iteration", "1"] if chapter == "04_refinement" else [])]) == 0
    told = account.whole(Step("06_statistics", "real", lang), 1)
    raw = [r["text"] for r in read_jsonl(corpus)]
    assert next(c["in"] for c in told if c["stage"] == "texts read") == len(raw)
    assert next(c["in"] for c in told if c["stage"] == "rows read") == len(list(read_jsonl(seed)))
    for name in ("01_seed_data/seed", "03_backtranslation/candidates",
                 "04_refinement/iter1/ratings", "04_refinement/iter1/kept",
                 "05_diversification/x_instruction", "06_statistics/lengths"):
        path = runs / "real" / lang / f"{name}.jsonl"
        made = load_dataset("json", data_files=str(path), split="train",
                            cache_dir=str(tmp_path / "cache"))
        assert len(made) == len(list(read_jsonl(path))) > 0
        if name.startswith(("03", "04", "05")):
            assert set(made["output"]) <= set(
                raw), f"{name}: an output is not letter for letter a text of the source"
