"""Whatever people bring: mutated files end in rows, each counted, or in an InputError that names
the file, never in another exception.

A short run is one of the tests. As many inputs of each reader as wanted, from some seed on:
    python -m tests.test_fuzz 100000
"""

import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.data import readers, sources
from xinstruct_utils.evaluation import benchmarks
from xinstruct_utils.method import seeds

SHORT = 200               # inputs of a reader in the tests
BOM = b"\xef\xbb\xbf"
# What stands in a field instead: nothing, numbers of all kinds, containers, odd texts.
VALUES = (None, True, False, 0, -1, 0.0, 1.0, 1.5, float("nan"), float("inf"), 10**30, 1e300, [],
          [None], ["a"], [[]], {}, {"url": 3}, {"text": None}, "", " ", "0", "1", "1.0", "nan",
          "<noinput>", "\ud83d", "\x00", "a\nb", "﷽" * 9, "sw", "SW", "swa", "swh_Latn", "hi-Latn",
          "xx", "de", "-", "en", "growing", "ready_for_export", "win", "tie", "x" * 5000)
FIELDS = ("id", "language", "text", "instruction", "output", "input", "url", "u", "meta", "content",
          "warc_headers", "lang", "turns", "prompt", "benchmark", "category", "difficulty",
          "Instruction", "Difficulty", "conversations", "tree_state", "replies", "rank", "a", "b")
# What is put between bytes.
PIECES = (
    b"\n",
    b"\r\n",
    b"\r",
    b",",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\\ud800",
    BOM,
    b"\x00",
    b"\xff",
    b"\xe4",
    b"null",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b" " * 300,
    b"\xe2\x80\xa8",
    b"\xff\xfe",
    b"PAR1",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
)

CORPUS = [{"id": k, "language": "sw", "text": f"Nyumba ni kubwa namba {k}."} for k in range(6)]
WEB = [{"url": f"https://example.org/{k}", "meta": {"url": "x"}, "text": f"Maji {k}"}
       for k in range(4)]
PAIRS = [{"id": str(k), "language": "sw", "instruction": f"Say {k}", "output": f"Sema {k}"}
         for k in range(6)]
ALPACA = [{"instruction": f"Add {k}", "input": "", "output": str(k)} for k in range(5)]
AYA = [{"inputs": f"Nini {k}", "targets": f"Hiki {k}", "language_code": "swh"} for k in range(4)]
DOLLY = [{"instruction": "When?", "context": "In 1963.", "response": "1963"}] * 3
TREES = [{"message_tree_id": f"t{k}", "tree_state": "ready_for_export", "prompt": {
    "message_id": f"t{k}", "text": f"Nini {k}?", "role": "prompter", "lang": "sw", "replies": [
        {"text": f"Hiki {k}", "role": "assistant", "lang": "sw", "rank": rank, "replies": []}
        for rank in (0, 1)]}} for k in range(3)]
PROMPTS = [{"id": k, "instruction": f"What is {k}?", "category": "c", "difficulty": 3}
           for k in range(4)]
VICUNA = [{"question_id": k, "category": "writing", "turns": [f"Write {k}."]} for k in range(3)]
QUESTIONS = [{"id": str(k), "instruction": f"What is {k}?"} for k in range(4)]
ANSWERS = [{"id": k, "instruction": f"What is {k}?", "output": f"It is {k}."} for k in range(4)]
LABELS = [{"id": k, "a": "refined", "b": "seed", "verdict": "win"} for k in range(4)]


# How each kind of file is read: the number of rows that came out or were counted.


def corpus(path):
    found = sources.on_disk(path, "sw")
    rows = list(found.rows())
    assert all(json.dumps(row, ensure_ascii=False).encode() for row in rows)
    return len(rows) + found.skipped["other language"]


def pairs(path):
    rows, skipped = readers.read_rows(path, readers.SEED_FIELDS, "sw")
    assert all(json.dumps(row, ensure_ascii=False).encode() for row in rows)
    return len(rows) + sum(skipped.values())


def seed_data(seed_format):
    def read(path):
        dropped = Counter()
        rows = list(seeds.read(path, seed_format, dropped))
        assert all(json.dumps(row, ensure_ascii=False).encode() for row in rows)
        return len(rows) + dropped.total()
    return read


def prompts(path):
    rows = benchmarks.read(path)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(json.dumps(row, ensure_ascii=False).encode() for row in rows)
    return len(rows)


def answers(path):
    texts = benchmarks.read_answers(path, QUESTIONS)
    assert set(texts) == {q["id"] for q in QUESTIONS}
    assert all(text.encode() for text in texts.values() if text)


def labels(path):
    return sum(map(len, benchmarks.read_labels(path, QUESTIONS).values()))


# name of the file: (rows, reader)
KINDS = {
    "corpus.jsonl": (CORPUS, corpus), "web.jsonl.gz": (WEB, corpus),
    "corpus.jsonl.zst": (CORPUS, corpus), "corpus.json": (CORPUS, corpus),
    "corpus.parquet": (CORPUS, corpus), "web.parquet": (WEB, corpus), "page.txt": (WEB, corpus),
    "page.txt.gz": (WEB, corpus), "pairs.jsonl": (PAIRS, pairs), "pairs.parquet": (PAIRS, pairs),
    "oasst.jsonl": (TREES, seed_data("oasst")), "oasst.parquet": (TREES, seed_data("oasst")),
    "aya.parquet": (AYA, seed_data("aya")), "aya.jsonl": (AYA, seed_data("aya")),
    "alpaca.json": (ALPACA, seed_data("alpaca")), "alpaca.json.gz": (ALPACA, seed_data("alpaca")),
    "dolly.jsonl": (DOLLY, seed_data("dolly")), "prompts.jsonl": (PROMPTS, prompts),
    "vicuna.jsonl": (VICUNA, prompts), "answers.jsonl": (ANSWERS, answers),
    "labels.jsonl": (LABELS, labels)}


def mutated_value(value, rng):
    """The value with one thing in it changed: a field set, removed or renamed, an item doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        act = rng.random()
        if act < 0.5:
            return value | {key: mutated_value(value[key], rng)}
        if act < 0.65:
            return {k: v for k, v in value.items() if k != key}
        return value | {rng.choice(FIELDS): rng.choice(VALUES)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        k = rng.randrange(len(value))
        if rng.random() < 0.7:
            return [*value[:k], mutated_value(value[k], rng), *value[k + 1:]]
        return [*value[:k], *value[k + rng.randrange(2):], *value[:rng.randrange(2)]]
    return rng.choice(VALUES)


def mutated_bytes(data, rng):
    """The bytes with one place changed: cut off, taken out, doubled, flipped, or put in."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 8, 64, 999)))
    act = rng.randrange(6)
    if act == 0:
        return data[:at]
    if act == 1:
        return data[:at] + data[end:]
    if act == 2:
        return data[:end] + data[at:end] + data[end:]
    if act == 3 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]
    if act == 4:
        return data[:at] + rng.randbytes(rng.randrange(1, 5)) + data[end:]
    return data[:at] + rng.choice(PIECES) + data[at:]


def written(name, rows, rng):
    """The plain bytes of a file of rows: JSON Lines, an array, a table or a text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(
            pa.Table.from_pylist(rows),
            sink,
            row_group_size=2,
            compression=rng.choice(("snappy", "none")),
        )
        return sink.getvalue().to_pybytes()
    if ".json" in name and ".jsonl" not in name:
        return json.dumps(rows, indent=rng.choice((None, 1))).encode()
    plain = [json.dumps(row, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
             for row in rows]
    return b"\n".join(plain) + b"\n"


def packed(name, data):
    import pyarrow as pa

    if name.endswith(".gz"):
        return gzip.compress(data, 1, mtime=0)
    return pa.compress(data, codec="zstd", asbytes=True) if name.endswith(".zst") else data


def rows_in(name, data):
    """How many rows a file has, counted in another way than the readers do; None: not known."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if ".txt" in name:
        return None
    try:
        if name.endswith(".parquet"):
            return pq.read_metadata(pa.BufferReader(data)).num_rows
        if data.removeprefix(BOM).strip().startswith(b"["):
            return len(json.loads(data.decode("utf-8-sig")))
    except (pa.ArrowException, OSError, ValueError, RecursionError):
        return None
    return sum(bool(line.removeprefix(BOM).strip()) for line in data.split(b"\n"))


def mutant(name, rng):
    """A mutated file: (its bytes, the number of rows in it, or None where that is not known)."""
    sound = KINDS[name][0]
    rows = sound
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        rows = mutated_value(rows, rng)
    rows = rows if isinstance(rows, list) else [rows]
    if name.endswith(".parquet"):
        rows = [row for row in rows if isinstance(row, dict)]
    try:
        data = written(name, rows, rng)
    except Exception:  # Arrow makes no table of such rows: then of the sound ones
        data = written(name, sound, rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        data = mutated_bytes(data, rng)
    n = rows_in(name, data)
    data = packed(name, data)
    if rng.random() < 0.2:
        data = mutated_bytes(data, rng)
        n = None if name.endswith((".gz", ".zst")) else rows_in(name, data)
    return data, n


def check(folder, name, number):
    """One mutated input through its reader. Returns "rows" or "told"; raises where neither is
    so."""
    rng = random.Random(f"{name}/{number}")
    data, n = mutant(name, rng)
    path = Path(folder) / name
    path.write_bytes(data)
    try:
        counted = KINDS[name][1](path)
    except InputError as error:
        assert str(path) in str(error), (
            f"{name}/{number}: the error does not name the file: {error}"
        )
        assert "\n" not in str(error), f"{name}/{number}: more than one line: {error}"
        return "told"
    if n is not None and counted is not None:
        assert counted == n, f"{name}/{number}: {n} rows went in, {counted} are accounted for"
    return "rows"


@pytest.mark.parametrize("name", KINDS)
def test_a_mutated_file_ends_in_rows_or_in_one_error_that_names_it(tmp_path, name):
    ends = Counter(check(tmp_path, name, number) for number in range(SHORT))
    assert ends["rows"] and ends["told"] and ends.total() == SHORT


def main(n, names):
    with tempfile.TemporaryDirectory() as folder:
        for name in names or KINDS:
            begun, ends = time.time(), Counter()
            for number in range(n):
                try:
                    ends[check(folder, name, number)] += 1
                except Exception as error:
                    ends["FAILED"] += 1
                    if ends["FAILED"] <= 5:
                        print(f"{name}/{number}: {type(error).__name__}: {str(error)[:300]}")
            print(name, dict(ends), f"{time.time() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
