"""Readers for seed data and corpora, cleaning with a reason per dropped row, and safe display.

A user's files are JSONL, packed or not, or Parquet; every error names file and line. Text is never altered.
"""

import gzip
import html
import io
import json
import random
import unicodedata
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from . import artifacts, languages, rules
from .artifacts import InputError

SEED_FIELDS = ("language", "instruction", "output")
CORPUS_FIELDS = ("language", "text")


def _open(path):
    """A file's bytes, unpacked where its name ends in .gz or .zst."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def _lines(path):
    """Yield (line number, row) of a JSONL, JSONL.gz or JSONL.zst file."""
    number = 0
    try:
        with _open(path) as stream:
            for number, raw in enumerate(stream, 1):
                if raw.strip():
                    yield number, _object(raw, number == 1, f"{path}, line {number}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or cut off after line {number}, or not gzip at all: {error}; copy or compress it "
                         "again") from None
    except OSError as error:
        if path.suffix == ".zst" and not error.strerror:
            raise InputError(f"{path}: damaged or cut off after line {number}, or not Zstandard at all: {error}; copy or "
                             "compress it again") from None
        raise InputError(f"{path}: expected a readable file, but: {error.strerror or error}") from None


def _object(raw, first, where):
    """One line's JSON object (the first line of a file may begin with a byte order mark)."""
    try:
        row = json.loads(raw.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start}; convert the file to UTF-8, for instance with "
                         "iconv") from None
    except (ValueError, RecursionError) as error:   # RecursionError: brackets without end
        told = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise InputError(f"{where}: expected one JSON object a line, but: {told}; mend or remove the line") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected a JSON object, but {type(row).__name__} came")
    return row


def _parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from None


def checked_row(row, fields, where):
    """A raw row as {id, source_id, fields...}; `id` is the content id of the last field. Raises InputError with `where`."""
    missing = [f for f in fields if f not in row]
    if missing:
        raise InputError(f"{where}: expected the fields {', '.join(fields)}, but {', '.join(missing)} is missing; the row "
                         f"has {', '.join(row) or 'none'}")
    wrong = [f for f in fields if not isinstance(row[f], str)]
    if wrong:
        raise InputError(f"{where}: {wrong[0]} must be a string, but {type(row[wrong[0]]).__name__} came")
    given = row.get("id")
    if not isinstance(given, str | int | None):
        raise InputError(f"{where}: id must be a string or an integer, but {type(given).__name__} came")
    try:
        languages.get(row["language"])
        "".join([str(given), *(row[f] for f in fields)]).encode()
    except UnicodeEncodeError as error:      # JSON can escape what UTF-8 cannot hold
        raise InputError(f"{where}: half a character, {error.object[error.start]!r}, came, which no UTF-8 file can hold; "
                         "mend or remove the line") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return {"id": artifacts.content_id(row["language"], row[fields[-1]]), "source_id": given, **{f: row[f] for f in fields}}


def read_rows(path, fields, language):
    """Rows of a user's file: `fields` are needed, all strings; `id` is optional and must be unique.

    Rows of other languages are skipped and counted. Returns (rows, {"other language": n}). A row's id is the content id
    of its last field; the given id is kept as `source_id`. Raises InputError with file and line.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected JSONL, JSONL.gz or Parquet with the fields {', '.join(fields)}")
    rows, seen, other = [], {}, 0
    for number, raw in _parquet(path) if path.suffix == ".parquet" else _lines(path):
        row = checked_row(raw, fields, f"{path}, line {number}")
        given = row["source_id"]
        if given is not None and given in seen:
            raise InputError(f"{path}, line {number}: duplicate id {given!r}, first in line {seen[given]}; make ids unique or "
                             "leave them out")
        seen[given] = number
        if row["language"] == language:
            rows.append(row)
        else:
            other += 1
    if not seen:
        raise InputError(f"{path}: the file is empty; expected rows with the fields {', '.join(fields)}")
    if not rows:
        raise InputError(f"{path}: no row is in {language!r}; expected rows with \"language\": \"{language}\"")
    return rows, {"other language": other}


class Rows(Sequence):
    """The rows of a JSONL file of the pipeline, as a sequence that stays on disk: eight bytes of memory a row."""

    def __init__(self, path):
        self.path = Path(path)
        with open(path, "rb") as stream:
            self.starts = array("Q", accumulate(map(len, stream), initial=0))[:-1]

    def __len__(self):
        return len(self.starts)

    def __iter__(self):
        return artifacts.read_jsonl(self.path)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        with open(self.path, "rb") as stream:
            stream.seek(self.starts[index])
            return json.loads(stream.readline())


def source_paths(profile, run, lang):
    """Where a run's input files are: {"seed", "corpus", "prompts"}; the Atlas writes its own, once."""
    languages.get(lang)
    if profile.source == "atlas":
        from .atlas import pages

        return pages.build_world(run, lang, profile)
    return {"seed": Path(profile.seed_path.replace("{lang}", lang)), "prompts": None,
            "corpus": Path((profile.corpus_path or "").replace("{lang}", lang))}


def clean(rows, field, min_chars=1, max_chars=None):
    """Drop rows by the paper's rule, the length of the whole text (Appendix A), and exact repeats of a text.

    Returns (kept rows, {reason: n}). Characters are Unicode code points. Raises InputError where nothing is left.
    """
    kept, seen, dropped = [], set(), {"empty": 0, "too short": 0, "too long": 0, "duplicate": 0}
    for row in rows:
        text = row[field]
        reason = ("empty" if not text.strip() else "too short" if len(text) < min_chars
                  else "too long" if max_chars and len(text) > max_chars else "duplicate" if row["id"] in seen else None)
        if reason:
            dropped[reason] += 1
        else:
            seen.add(row["id"])
            kept.append(row)
    if not kept:
        raise InputError(f"no text is left of {len(rows)} rows after cleaning the field {field!r} ({dropped}); expected texts of "
                         f"{min_chars} to {max_chars or 'any number of'} characters: look at the source, or set other limits")
    return kept, dropped


def split_seed(rows, d0x_size, seed):
    """Split seed pairs at random into D0x (the follower's) and D0r (for pseudo-ratings), paper 3.3 and Appendix A.

    D0r has what `d0x_size` leaves, but at least 200 pairs where there are 400 or more, else at least a third: fewer are
    memorised. Returns (d0x, d0r). Raises InputError below 12 pairs.
    """
    if len(rows) < 12:
        raise InputError(f"the seed data have {len(rows)} usable pairs, but at least 12 are needed to split them; a few hundred "
                         "are needed for good results")
    order = sorted(rows, key=lambda r: r["id"])
    random.Random(f"split/{seed}").shuffle(order)
    held = max(len(rows) - d0x_size, 200 if len(rows) >= 400 else len(rows) // 3)
    return order[held:], order[:held]


def instruction_fault(text, finish_reason):
    """Why a generated instruction is of no use: "empty", "over the model's context", "unfinished", "not English" (see
    `rules.is_english`), or None."""
    if finish_reason == "context":
        return "over the model's context"        # the text was, and was not read
    if not text.strip():
        return "empty"
    if finish_reason != "stop":
        return "unfinished"
    return None if rules.is_english(text) else "not English"


def lengths(texts):
    """Mean and standard deviation of the lengths of texts (or of lengths already counted) in characters, and n."""
    import statistics

    sizes = [t if isinstance(t, int) else len(t) for t in texts]
    return {"mean": statistics.fmean(sizes), "sd": statistics.pstdev(sizes), "n": len(sizes)} if sizes else {"n": 0}


def show(rows, n, seed, columns, lang):
    """A seeded sample of rows as an HTML table, in reading order and wrapped. Web text is hostile: all is escaped.

    Cells mostly in the language's own script get its direction; English ones stay left to right.
    """
    from IPython.display import HTML

    picked = sorted(random.Random(seed).sample(range(len(rows)), min(n, len(rows))))
    rtl = lang in languages.LANGUAGES and languages.get(lang).direction == "rtl"

    def cell(value):
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        kinds = [unicodedata.bidirectional(c) for c in text] if rtl else []
        native = sum(k in ("R", "AL") for k in kinds) > kinds.count("L")    # a quoted word or a URL turns nothing round
        attributes = f' dir="rtl" lang="{lang}"' if native else ' dir="auto"'
        align = "right" if native else "left"
        body = html.escape(text).replace("\n", "<br>")
        return f'<td{attributes} style="text-align:{align};white-space:normal;overflow-wrap:anywhere">{body}</td>'

    head = "".join(f'<th style="text-align:left">{html.escape(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(cell(rows[i][c]) for c in columns) + "</tr>" for i in picked)
    return HTML(f'<table class="samples mathjax_ignore"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
