"""Readers for seed data and corpora, cleaning with a reason per dropped row, and safe display.

A user's files are JSONL, packed or not, or Parquet; every error names file and line. Text is never altered.
"""

import gzip
import io
import json
import zlib
from pathlib import Path

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id

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


def json_lines(path):
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


def parquet_rows(path):
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
    return {"id": content_id(row["language"], row[fields[-1]]), "source_id": given, **{f: row[f] for f in fields}}


def read_rows(path, fields, language):
    """Rows of a user's file: `fields` are needed, all strings; `id` is optional and must be unique.

    Rows of other languages are skipped and counted. Returns (rows, {"other language": n}). A row's id is the content id
    of its last field; the given id is kept as `source_id`. Raises InputError with file and line.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected JSONL, JSONL.gz or Parquet with the fields {', '.join(fields)}")
    rows, seen, other = [], {}, 0
    for number, raw in parquet_rows(path) if path.suffix == ".parquet" else json_lines(path):
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
