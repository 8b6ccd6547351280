"""Readers, cleaning, the split, and safe display (faulty files are in test_bad_input)."""

import gzip
import json

import pytest

from xinstruct_utils.atlas import pages, world
from xinstruct_utils.config.load import Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, write_jsonl
from xinstruct_utils.core.shards import Rows
from xinstruct_utils.data import cleaning, readers, sources
from xinstruct_utils.method import seeds
from xinstruct_utils.method.backtranslation import instruction_fault
from xinstruct_utils.reporting.display import length_summary, show_rows

ROW = {"language": "fi", "text": "Hyvää päivää"}


def lines(path, rows):
    path.write_bytes(
        b"".join(
            r if isinstance(r, bytes) else (json.dumps(r, ensure_ascii=False) + "\n").encode()
            for r in rows
        )
    )
    return path


def cleaned(rows, min_chars, max_chars):
    """(rows, {reason: n}) of the paper's rule and of exact repeats, as chapters 1 and 2 use
    them."""
    census = cleaning.Census(["length", "duplicates"])
    return list(cleaning.stream(rows, census, "fi", min_chars, max_chars)), census.dropped


def test_jsonl_gzip_and_parquet_give_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"language": "fi", "text": f"Teksti {k} 🙂\nrivi\u00a0e\u0301"} for k in range(5)]
    plain = lines(tmp_path / "a.jsonl", rows)
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as stream:
        stream.write(plain.read_bytes())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = [
        readers.read_rows(tmp_path / name, readers.CORPUS_FIELDS, "fi")[0]
        for name in ("a.jsonl", "a.jsonl.gz", "a.parquet")
    ]
    assert read[0] == read[1] == read[2] and [r["text"] for r in read[0]] == [
        r["text"] for r in rows
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = lines(tmp_path / "a.jsonl", [b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n"])
    assert readers.read_rows(path, readers.CORPUS_FIELDS, "fi")[0][0]["text"] == ROW["text"]


def test_ids_are_of_the_content_and_given_ones_are_kept(tmp_path):
    path = lines(tmp_path / "a.jsonl", [ROW | {"id": "x1"}])
    row = readers.read_rows(path, readers.CORPUS_FIELDS, "fi")[0][0]
    assert row["id"] == content_id("fi", ROW["text"]) and row["source_id"] == "x1"


def test_rows_of_other_languages_are_skipped_and_counted(tmp_path):
    path = lines(
        tmp_path / "a.jsonl", [ROW, {"language": "sw", "text": "Habari"}, ROW | {"text": "Moi"}]
    )
    rows, skipped = readers.read_rows(path, readers.CORPUS_FIELDS, "fi")
    assert len(rows) == 2 and skipped == {"other language": 1}


def test_a_line_separator_of_unicode_ends_no_row(tmp_path):
    path = lines(tmp_path / "a.jsonl", [ROW | {"text": "a\u2028b\u0085c\x0bd"}, b"\n", ROW])
    assert [r["text"] for r in readers.read_rows(path, readers.CORPUS_FIELDS, "fi")[0]] == [
        "a\u2028b\u0085c\x0bd",
        ROW["text"],
    ]


def test_seed_pairs_are_keyed_by_their_output(tmp_path):
    path = lines(
        tmp_path / "a.jsonl",
        [{"language": "fi", "instruction": "Say hello", "output": "Hei", "note": "ignored"}],
    )
    assert readers.read_rows(path, readers.SEED_FIELDS, "fi")[0] == [
        {
            "id": content_id("fi", "Hei"),
            "source_id": None,
            "language": "fi",
            "instruction": "Say hello",
            "output": "Hei",
        }
    ]


def test_only_the_language_is_filled_into_a_path():
    profile = Profile(source="files", seed_path="/a{b}/{lang}.jsonl", corpus_path="/{/c.jsonl")
    paths = sources.source_paths(profile, "r", "ur")
    assert (str(paths["seed"]), str(paths["corpus"]), paths["prompts"]) == (
        "/a{b}/ur.jsonl",
        "/{/c.jsonl",
        None,
    )


def test_cleaning_counts_every_row_once_and_changes_no_text():
    texts = ["", "  ", "short", "x" * 64, "x" * 64, "y" * 2049, "z" * 2048]
    rows = [{"id": content_id("fi", t), "text": t} for t in texts]
    kept, dropped = cleaned(rows, 64, 2048)
    assert [r["text"] for r in kept] == ["x" * 64, "z" * 2048]
    assert dropped == {"empty": 2, "too short": 1, "too long": 1, "duplicate": 1}
    assert len(rows) == len(kept) + sum(dropped.values())


@pytest.mark.parametrize(("n", "held"), [(3000, 500), (560, 200), (400, 200), (186, 62), (12, 4)])
def test_the_split_holds_back_enough_for_pseudo_ratings(n, held):
    rows = [{"id": f"{k:04d}"} for k in range(n)]
    d0x, d0r = seeds.split_seed(rows, 2500, 0)
    assert (
        len(d0r) == held
        and len(d0x) + len(d0r) == n
        and not {r["id"] for r in d0x} & {r["id"] for r in d0r}
    )
    assert seeds.split_seed(rows[::-1], 2500, 0) == (d0x, d0r)


def test_a_seed_too_small_to_split_is_refused():
    with pytest.raises(InputError, match="at least 12"):
        seeds.split_seed([{"id": str(k)} for k in range(11)], 2500, 0)


def test_instruction_faults():
    assert (
        instruction_fault(" ", "stop") == "empty"
        and instruction_fault("What", "length") == "unfinished"
    )
    assert instruction_fault("کرنسی کیا ہے", "stop") == "not English"
    assert instruction_fault("What is the currency of Côte d’Ivoire?", "stop") is None
    assert instruction_fault("12345", "stop") == "not English"


@pytest.mark.parametrize(
    "text",
    [
        "Taja sarafu ya nchi ya Kenya",
        "Sebutkan mata uang Jepang.",
        "Mika on maan valuutta?",
        "Japonya'nın para birimi nedir?",
    ],
)
def test_an_instruction_in_another_language_of_latin_letters_is_not_english(text):
    assert instruction_fault(text, "stop") == "not English"


def test_no_right_instruction_of_the_atlas_is_taken_for_another_language():
    right = {
        text for fact in world.facts() for text in pages.instructions(fact)
    }  # names from all over the world
    assert [text for text in right if instruction_fault(text, "stop")] == [] and len(right) > 1000


def test_hostile_text_is_shown_as_text_and_urdu_right_to_left():
    rows = [
        {"output": "<script>alert(1)</script>"},
        {"output": "<img src=x onerror=alert(1)>"},
        {"output": "ملک کینیا"},
    ]
    shown = show_rows(rows, 3, 0, ["output"], "ur").data
    assert "<script>" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
    assert 'dir="rtl" lang="ur"' in shown


def test_length_is_counted_in_characters_and_not_in_bytes_or_words():
    thai = "ภาษาไทยไม่มีช่องว่าง" * 4                     # 80 code points, 240 bytes, one "word"
    assert len(thai) == 80 and not cleaned([{"id": "a", "text": thai}], 80, 80)[1]["too long"]
    message = "no text is left of 1 rows.*'too short': 1.*81 to 2048 characters"
    with pytest.raises(InputError, match=message):
        cleaned([{"id": "a", "text": thai}], 81, 2048)


def test_an_english_cell_with_an_urdu_word_stays_left_to_right_and_urdu_with_a_url_does_not():
    cells = [
        "Say 'سلام' in English please",
        "https://a.b/c پر اردو زبان کا ایک متن موجود ہے",
        "12.5 ؟",
    ]
    shown = [show_rows([{"a": c}], 1, 0, ["a"], "ur").data for c in cells]
    assert 'dir="rtl"' not in shown[0] and 'dir="rtl"' in shown[1] and 'dir="rtl"' in shown[2]
    assert 'dir="rtl"' not in show_rows([{"a": cells[1]}], 1, 0, ["a"], "fi").data


def test_dollar_signs_are_no_mathematics_in_jupyterlab():
    assert (
        'class="samples mathjax_ignore"'
        in show_rows([{"a": "from $5 to $6"}], 1, 0, ["a"], "fi").data
    )


def test_a_sample_is_seeded_and_in_reading_order():
    rows = [{"k": k} for k in range(50)]
    one, two, other = (show_rows(rows, 5, seed, ["k"], "fi").data for seed in (3, 3, 4))
    assert one == two != other and show_rows(rows[:2], 9, 0, ["k"], "fi").data.count("<tr>") == 3


def test_lengths_may_be_counted_already():
    assert length_summary(["ab", "abcd"]) == length_summary([2, 4]) == {
        "mean": 3,
        "sd": 1,
        "n": 2,
    } and length_summary([]) == {"n": 0}


def test_rows_on_disk_are_a_sequence(tmp_path):
    rows = [{"id": i, "text": f"riivi {i} – é 🌍\u2028" * (i % 3)} for i in range(50)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    read = Rows(tmp_path / "rows.jsonl")
    assert len(read) == 50 and list(read) == rows and read[7] == rows[7] and read[-1] == rows[-1]
    assert read[3:9:2] == rows[3:9:2] and read[48:] == rows[48:]
    with pytest.raises(IndexError):
        read[50]
    write_jsonl(tmp_path / "none.jsonl", [])
    assert list(Rows(tmp_path / "none.jsonl")) == []
