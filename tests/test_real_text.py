"""Real text goes through unmangled (../shared/data; skipped where it is absent)."""

import unicodedata

import pytest

from xinstruct_utils import artifacts, data
from xinstruct_utils.artifacts import REPO

REAL = REPO.parent / "shared" / "data" / "real_text"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason=f"real text is not at {REAL}")


@pytest.mark.parametrize("lang", ("fi", "sw"))
def test_every_row_of_a_real_corpus_is_accounted_for_and_unchanged(lang, tmp_path):
    texts, skipped = data.read_rows(REAL / lang / "corpus.jsonl", data.CORPUS_FIELDS, lang)
    kept, dropped = data.clean(texts, "text", 64, 2048)
    raw = [r["text"] for r in artifacts.read_jsonl(REAL / lang / "corpus.jsonl")]
    assert len(raw) == len(kept) + sum(dropped.values()) + sum(skipped.values())
    shards = artifacts.Shards(tmp_path, 100)
    for index, chunk in shards.pending(kept):
        shards.write(index, chunk)
    assert [r["text"] for r in shards.read()] == [r["text"] for r in kept] and {r["text"] for r in kept} <= set(raw)


def test_normalisation_newlines_and_emoji_survive_in_datasets(tmp_path):
    from datasets import load_dataset

    texts = ["e\u0301 is not é", "a\r\nb\tc\u00a0d", "🙂👩‍👩‍👧 \u200d", "ไทย ไม่มีช่องว่าง", "اردو ۔"]
    assert not unicodedata.is_normalized("NFC", texts[0])
    artifacts.write_jsonl(tmp_path / "x.jsonl", [{"id": str(k), "text": t} for k, t in enumerate(texts)])
    assert load_dataset("json", data_files=str(tmp_path / "x.jsonl"), split="train", cache_dir=str(tmp_path))["text"] == texts


def test_real_seed_pairs_split_into_thirds():
    pairs, _ = data.read_rows(REAL / "fi" / "seed.jsonl", data.SEED_FIELDS, "fi")
    d0x, d0r = data.split_seed(pairs, 2500, 0)
    assert len(d0x) + len(d0r) == len(pairs) and len(d0r) == len(pairs) // 3
