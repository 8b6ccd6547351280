"""Readers, cleaning, the split, and bad input: one clear error each, with file and line."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from xinstruct_utils import data
from xinstruct_utils.artifacts import REPO, InputError, content_id

ROW = {"language": "fi", "text": "Hyvää päivää"}


def lines(path, rows):
    path.write_bytes(b"".join(r if isinstance(r, bytes) else (json.dumps(r, ensure_ascii=False) + "\n").encode() for r in rows))
    return path


def test_jsonl_gzip_and_parquet_give_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"language": "fi", "text": f"Teksti {k} 🙂\nrivi\u00a0e\u0301"} for k in range(5)]
    plain = lines(tmp_path / "a.jsonl", rows)
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as stream:
        stream.write(plain.read_bytes())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = [data.read_rows(tmp_path / name, data.CORPUS_FIELDS, "fi")[0] for name in ("a.jsonl", "a.jsonl.gz", "a.parquet")]
    assert read[0] == read[1] == read[2] and [r["text"] for r in read[0]] == [r["text"] for r in rows]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = lines(tmp_path / "a.jsonl", [b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n"])
    assert data.read_rows(path, data.CORPUS_FIELDS, "fi")[0][0]["text"] == ROW["text"]


def test_ids_are_of_the_content_and_given_ones_are_kept(tmp_path):
    path = lines(tmp_path / "a.jsonl", [ROW | {"id": "x1"}])
    row = data.read_rows(path, data.CORPUS_FIELDS, "fi")[0][0]
    assert row["id"] == content_id("fi", ROW["text"]) and row["source_id"] == "x1"


BAD = {
    "missing file": (None, "no such file"),
    "empty file": ([], "is empty"),
    "wrong field names": ([{"lang": "fi", "content": "x"}], "line 1.*language"),
    "bad JSON in the middle": ([ROW, b'{"language": "fi", \n', ROW], "line 2.*JSON"),
    "a byte that is not UTF-8": ([ROW, b'{"language": "fi", "text": "\xe4"}\n'], "line 2.*UTF-8"),
    "duplicate id": ([ROW | {"id": 7}, ROW | {"id": 7, "text": "toinen"}], "line 2.*duplicate id 7.*line 1"),
    "unknown language": ([ROW | {"language": "xx"}], "unknown language code 'xx'.*languages.py"),
    "a number where text belongs": ([ROW | {"text": 5}], "line 1.*string"),
    "a list where an object belongs": ([[1]], "line 1.*object"),
    "only other languages": ([ROW | {"language": "sw"}], "no row is in 'fi'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_that_names_the_place(tmp_path, case):
    rows, message = BAD[case]
    path = tmp_path / "a.jsonl"
    if rows is not None:
        lines(path, rows)
    with pytest.raises(InputError, match=message) as error:
        data.read_rows(path, data.CORPUS_FIELDS, "fi")
    assert "a.jsonl" in str(error.value) or "languages.py" in str(error.value)


def test_cleaning_counts_every_row_once_and_changes_no_text():
    texts = ["", "  ", "short", "x" * 64, "x" * 64, "y" * 2049, "z" * 2048]
    rows = [{"id": content_id("fi", t), "text": t} for t in texts]
    kept, dropped = data.clean(rows, "text", 64, 2048)
    assert [r["text"] for r in kept] == ["x" * 64, "z" * 2048]
    assert dropped == {"empty": 2, "too short": 1, "too long": 1, "duplicate": 1}
    assert len(rows) == len(kept) + sum(dropped.values())


@pytest.mark.parametrize(("n", "held"), [(3000, 500), (560, 200), (400, 200), (186, 62), (12, 4)])
def test_the_split_holds_back_enough_for_pseudo_ratings(n, held):
    rows = [{"id": f"{k:04d}"} for k in range(n)]
    d0x, d0r = data.split_seed(rows, 2500, 0)
    assert len(d0r) == held and len(d0x) + len(d0r) == n and not {r["id"] for r in d0x} & {r["id"] for r in d0r}
    assert data.split_seed(rows[::-1], 2500, 0) == (d0x, d0r)


def test_a_seed_too_small_to_split_is_refused():
    with pytest.raises(InputError, match="at least 12"):
        data.split_seed([{"id": str(k)} for k in range(11)], 2500, 0)


def test_instruction_faults():
    assert data.instruction_fault(" ", "stop") == "empty" and data.instruction_fault("What", "length") == "unfinished"
    assert data.instruction_fault("کرنسی کیا ہے", "stop") == "not English"
    assert data.instruction_fault("What is the currency of Côte d’Ivoire?", "stop") is None


def test_hostile_text_is_shown_as_text_and_urdu_right_to_left():
    rows = [{"output": "<script>alert(1)</script>"}, {"output": "<img src=x onerror=alert(1)>"}, {"output": "ملک کینیا"}]
    shown = data.show(rows, 3, 0, ["output"], "ur").data
    assert "<script>" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
    assert 'dir="rtl" lang="ur"' in shown


def verb(tmp_path, *words):
    return subprocess.run([sys.executable, "-m", "xinstruct_utils.run", *words], cwd=REPO, capture_output=True, text=True,
                          env=os.environ | {"XINSTRUCT_RUNS": str(tmp_path / "runs")})


def test_a_corpus_with_nothing_left_fails_with_one_message(tmp_path):
    pairs = [{"language": "fi", "instruction": "Say hello", "output": f"Hei {k}"} for k in range(20)]
    seed = lines(tmp_path / "seed.jsonl", pairs)
    corpus = lines(tmp_path / "corpus.jsonl", [ROW])
    made = verb(tmp_path, "02_corpus", "--run", "r", "--lang", "fi", "--profile", "local", "-p", f"seed_path={seed}", "-p",
                f"corpus_path={corpus}")
    assert made.returncode != 0 and "no text is left" in made.stderr and "Traceback" not in made.stderr
    assert not list((tmp_path / "runs").rglob("manifest.json"))
