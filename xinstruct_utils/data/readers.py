"""Readers of people's files: rows of JSON Lines, of a JSON array or of Parquet, and checks of them.

Every error names file and place, and says what to do. Text is never altered.
"""

import gzip
import io
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id

SEED_FIELDS = ("language", "instruction", "output")
CORPUS_FIELDS = ("language", "text")

PACKED = (".gz", ".zst")
TEXTS = tuple(f".txt{packing}" for packing in ("", *PACKED))
ROWS = (*(f"{kind}{packing}" for kind in (".jsonl", ".ndjson", ".json")
          for packing in ("", *PACKED)), ".parquet")
# Told by name, since their first line would only be called no JSON.
FOREIGN = (".csv", ".tsv", ".xls", ".xlsx", ".arrow", ".feather", ".zip", ".tar", ".tgz", ".xz",
           ".bz2", ".7z")

BOM = b"\xef\xbb\xbf"              # stands before a later line where files were joined by `cat`
BETWEEN = re.compile(r"[\s,]*")    # the values of an array
BATCH = 1000                       # rows of Parquet in memory


class Record(NamedTuple):
    """A raw row of a file, and where it stands: "line 3", or "record 3" of an array."""

    path: Path | str
    place: str
    row: dict[str, Any]

    @property
    def where(self) -> str:
        """File and place, for an error."""
        return f"{self.path}, {self.place}"


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether a file's name ends in one of the suffixes, in small letters or capitals."""
    return path.name.casefold().endswith(tuple(suffixes))


def files_in(folder: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder, and of those in it, whose names end in one of the suffixes, in order.

    What programs leave there is no data: hidden files and folders (`._x`, `.ipynb_checkpoints`),
    folders that begin with `_` (`__MACOSX`, Spark's `_temporary`, Delta's `_delta_log`).
    """
    folder = Path(folder)
    return sorted(path for path in folder.rglob("*")
                  if has_suffix(path, suffixes) and path.is_file()
                  and not _left_behind(path.relative_to(folder)))


def _left_behind(path):
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or any(part.startswith("_") for part in path.parts[:-1])


def names_of(row: dict[str, Any]) -> str:
    """The names of a row's fields, in one line of an error."""
    return shown(", ".join(row)) or "no fields"


def shown(text: str, most: int = 200) -> str:
    """A foreign text in one line of an error, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."


def row_id(given: Any, where: str) -> str | None:
    """An id as all readers take it, or None where there is none.

    `1`, `"1"` and `1.0` are one id, and 0 is an id; null, NaN and "" are none. Raises InputError
    for what is neither a string nor a number.
    """
    if given is None or given == "":
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise InputError(f"{where}: id must be a string or an integer, but "
                         f"{type(given).__name__} came")
    if isinstance(given, float):
        if math.isnan(given):
            return None
        given = int(given) if given.is_integer() else given
    return storable(str(given), where, "id")


def storable(text: str, where: str, field: str) -> str:
    """The text. Raises InputError where UTF-8 cannot hold it: JSON can escape half a character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: half a character, {text[error.start]!r}, came in {field}, "
                         "which no UTF-8 file can hold; mend or remove the line") from None
    return text


class UniqueIds:
    """The ids of a file, each of which may come once; `most` of them are remembered (None: all)."""

    def __init__(self, most: int | None = None):
        self.most = most
        self.places: dict[str, str] = {}

    def add(self, name: str | None, record: Record) -> None:
        """Note the id of a record. Raises InputError for one that was there before."""
        if name is None:
            return
        if name in self.places:
            given = shown(repr(record.row.get("id", name)))
            raise InputError(f"{record.where}: duplicate id {given}, first in {self.places[name]}; "
                             "make ids unique or leave them out")
        if self.most is None or len(self.places) < self.most:
            self.places[name] = record.place


# Bytes and text.


def _open(path) -> BinaryIO:
    """A file's bytes, unpacked where its name ends in .gz or .zst."""
    if has_suffix(path, (".gz",)):
        return gzip.open(path, "rb")
    if has_suffix(path, (".zst",)):
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


@contextmanager
def _reading(path, expected: str, place: Callable[[], str] = lambda: ""):
    """Whatever goes wrong while a file is opened and unpacked, as InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error, ValueError) as error:
        cause = getattr(error, "strerror", None)
        if cause or not has_suffix(path, PACKED):
            raise InputError(f"{path}: expected {expected}, but: {cause or error}") from None
        packing = "gzip" if has_suffix(path, (".gz",)) else "Zstandard"
        raise InputError(
            f"{path}: damaged or cut off{place()}, or not {packing} at all: {error}; expected "
            f"{expected}: copy or compress it again") from None


def _decoded(raw, where):
    try:
        return raw.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start}; convert the file to UTF-8, "
                         "for instance with iconv") from None


def text_of(path: str | Path) -> str:
    """A text file as one text; packed or not. Raises InputError."""
    path = Path(path)
    with _reading(path, "a readable text file"), _open(path) as stream:
        raw = stream.read()
    return _decoded(raw, path)


# Rows.


def records(path: str | Path, columns: Sequence[str] | None = None) -> Iterator[Record]:
    """Yield the rows of a file of JSON Lines (.gz, .zst), of one JSON array of them, or of Parquet.

    `columns` are the fields that the caller uses ("meta.url": of a field's field); of Parquet, only
    these are read, and others are None. Raises InputError with file and place.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected JSONL, a JSON array (both plain, .gz or "
                         ".zst), or Parquet")
    if has_suffix(path, FOREIGN):
        raise InputError(f"{path}: {path.suffix} files are not read; expected JSONL, a JSON array "
                         "(both plain, .gz or .zst), or Parquet: convert it, for instance with "
                         "pandas' to_json(orient=\"records\", lines=True)")
    if has_suffix(path, (".parquet",)) and path.is_file():
        return _parquet_records(path, columns)
    return _json_records(path)


def json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the line or record, row) of a file of JSON. Raises InputError."""
    for record in _json_records(Path(path)):
        yield int(record.place.split()[-1]), record.row


def _json_records(path):
    """Rows of JSON Lines, or of an array where the first line that is not blank begins one."""
    number, begun = 0, False
    with (_reading(path, "a readable file", lambda: f" after line {number}"),
          _open(path) as stream):
        for number, raw in enumerate(stream, 1):
            line = raw.removeprefix(BOM).strip()
            if not line:
                continue
            if not begun and line.startswith(b"["):
                yield from _array_records(path, raw + stream.read(), number)
                return
            begun = True
            yield _line_record(path, line, number)


def _line_record(path, line, number):
    """One line's JSON object; a comma after it, as in the middle of an array, is no matter."""
    where = f"{path}, line {number}"
    text = _decoded(line, where)
    try:
        row = json.loads(text.removesuffix(","))
    except (ValueError, RecursionError) as error:   # RecursionError: brackets without end
        raise InputError(f"{where}: expected one JSON object a line, but: {_problem(error)}; mend "
                         "or remove the line") from None
    return _record(path, f"line {number}", row)


def _array_records(path, raw, line):
    """The objects of a JSON array that begins in a line; it is held in memory as text."""
    text = _decoded(raw, path).strip()
    decoder, number = json.JSONDecoder(), 0
    at = _next(text, 1)
    while not text.startswith("]", at):
        number += 1
        try:
            row, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {error.lineno + line - 1}: expected a JSON array of objects, but: "
                f"{_problem(error)}; the file may be cut off: copy it again") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, record {number}: expected a JSON array of objects, but: "
                             f"{_problem(error)}; mend or remove the record") from None
        yield _record(path, f"record {number}", row)
        at = _next(text, at)
    if text[at + 1:].strip():
        raise InputError(f"{path}: expected one JSON array of objects, but after its {number} "
                         f"records comes {text[at + 1:].strip()[:40]!r}; put all objects into one "
                         "array, or one object a line")


def _next(text, at):
    """Where the next value of an array begins."""
    between = BETWEEN.match(text, at)
    return between.end() if between else at


def _problem(error):
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error)               # brackets without end; a number of thousands of digits


def _record(path, place, row):
    if not isinstance(row, dict):
        raise InputError(f"{path}, {place}: expected a JSON object, but {type(row).__name__} came")
    return Record(path, place, row)


def _parquet_records(path, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, group = 0, ""
    try:
        with pq.ParquetFile(path) as file:
            unread = dict.fromkeys(file.schema_arrow.names)
            wanted = _wanted_columns(path, file, columns)
            for k in range(file.num_row_groups):
                group = f", row group {k + 1} of {file.num_row_groups}"
                for row in _group_rows(file, k, wanted):
                    number += 1
                    yield Record(path, f"line {number}", unread | row)
            announced = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError,
            NotImplementedError) as error:
        # Arrow's own, and Python's of a cell that it cannot hold: bad UTF-8, a date before year 1.
        raise InputError(f"{path}{group}: not a readable Parquet file: "
                         f"{shown(str(error), 300)}") from None
    if number != announced:
        raise InputError(f"{path}: damaged: {announced} rows are announced at its end, but "
                         f"{number} are in its row groups; copy it again")


def _wanted_columns(path, file, columns):
    """The names by which Arrow reads the used columns that a file has. Raises InputError."""
    names = Counter(file.schema_arrow.names)
    wanted = list(names) if columns is None else columns
    used = {name.split(".")[0] for name in wanted}
    twice = [name for name in names if names[name] > 1 and name in used]
    if twice:
        raise InputError(f"{path}: the column {twice[0]!r} is there {names[twice[0]]} times; "
                         "expected each column once: remove or rename one")
    leaves = [file.schema.column(k).path for k in range(len(file.schema))]
    return [name for name in wanted
            if name in names or any(leaf.startswith(name + ".") or leaf == name for leaf in leaves)]


def _group_rows(file, group, columns):
    if not columns:            # Arrow gives no rows without columns
        yield from ({} for _ in range(file.metadata.row_group(group).num_rows))
        return
    for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
        yield from batch.to_pylist()


def checked_row(row: dict[str, Any], fields: Sequence[str], where: str) -> dict[str, Any]:
    """A raw row as {id, source_id, fields...}; `id` is the content id of the last field.

    The language is our code where it is one of ours (see `languages.code_of`), and `source_id` the
    given id. Raises InputError with `where`.
    """
    missing = [f for f in fields if f not in row]
    if missing:
        raise InputError(f"{where}: expected the fields {', '.join(fields)}, but "
                         f"{', '.join(missing)} is missing; the row has {names_of(row)}")
    wrong = [f for f in fields if not isinstance(row[f], str)]
    if wrong:
        raise InputError(f"{where}: {wrong[0]} must be a string, but "
                         f"{type(row[wrong[0]]).__name__} came")
    checked = {field: storable(row[field], where, field) for field in fields}
    checked["language"] = languages.code_of(row["language"])
    return {"id": content_id(checked["language"], row[fields[-1]]),
            "source_id": row_id(row.get("id"), where), **checked}


def read_rows(path: str | Path, fields: Sequence[str],
              language: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows of a user's file: `fields` are needed, all strings; `id` is optional and must be unique.

    Rows of other languages are skipped and counted. Returns (rows, {"other language": n}). A row's
    id is the content id of its last field; the given id is kept as `source_id`. Raises InputError
    with file and place.
    """
    rows = []
    others: Counter[str] = Counter()
    for row in rows_of_all_languages(path, fields):
        if row["language"] == language:
            rows.append(row)
        else:
            others[row["language"]] += 1
    if not rows:
        raise InputError(f"{path}: {nothing_in(language, others, fields)}")
    return rows, {"other language": others.total()}


def rows_of_all_languages(path: str | Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a user's file in whatever language, one by one; ids and errors as `read_rows`."""
    ids = UniqueIds()
    for record in records(path, ("id", *fields)):
        row = checked_row(record.row, fields, record.where)
        ids.add(row["source_id"], record)
        yield row


def nothing_in(language: str, others: Counter, fields: Sequence[str]) -> str:
    """What to say of a file without a row in the language; `others` {language: rows} are there."""
    if not others:
        return f"the file is empty; expected rows with the fields {', '.join(fields)}"
    found = shown(", ".join(repr(name) for name, _ in others.most_common(5)))
    return (f"no row is in {language!r}; expected rows with \"language\": \"{language}\", but "
            f"{others.total():,} in {found} came")
