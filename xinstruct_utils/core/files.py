"""Atomic files, hashes and content ids."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xinstruct_utils.core.errors import disk_full


def digest(obj: Any) -> str:
    """SHA-256 (hex) of an object's canonical JSON."""
    canonical = json.dumps(obj, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def content_id(language: str, text: str) -> str:
    """The id of a text: 16 hex digits of a hash of language and text, the same wherever it is."""
    return hashlib.sha256(f"{language}\n{text}".encode()).hexdigest()[:16]


def files_of(path: Path) -> list[Path]:
    """The file itself, or all files under a folder, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def file_hash(path: Path | str) -> str:
    """SHA-256 (hex) of a file, or of a folder's sorted file names and contents."""
    path = Path(path)
    sha = hashlib.sha256()
    for file in files_of(path):
        if path.is_dir():
            sha.update(str(file.relative_to(path)).encode())
        with open(file, "rb") as stream:
            hashlib.file_digest(stream, lambda: sha)
    return sha.hexdigest()


def write_bytes(path: Path | str, chunks: Iterable[bytes]) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename.

    A full disk raises InputError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with open(draft, "wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        raise disk_full(error, path) or error  # noqa: B904 (the cause is told as context)


def write_json(path: Path | str, obj: Any) -> None:
    """Write an object as JSON, atomically."""
    write_bytes(path, [(json.dumps(obj, ensure_ascii=False, indent=1) + "\n").encode()])


def read_json(path: Path | str) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    """Write rows as JSON lines, atomically; text is kept as it is (UTF-8, no normalisation)."""
    write_bytes(path, ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows))


def read_jsonl(path: Path | str) -> Iterator[Any]:
    """Yield the rows of a JSONL file that the pipeline wrote itself.

    `data.readers.read_rows` checks a user's files.
    """
    with open(path, encoding="utf-8", newline="\n") as stream:
        for line in stream:
            yield json.loads(line)


def count_lines(path: Path | str) -> int:
    """Number of rows of a JSONL file."""
    with open(path, "rb") as lines:
        return sum(1 for _ in lines)


SMALL = 2**20                                    # bytes; what is smaller is read anew each time


def known_hash(path: Path | str, notes: Path) -> str:
    """As `file_hash`; large files are not read again while their sizes and times are the same.

    notes: a folder; for each path it gets a small file with sizes, times and the hash.
    """
    path = Path(path)
    stats = [(file, file.stat()) for file in files_of(path)]
    if sum(stat.st_size for _, stat in stats) < SMALL:
        return file_hash(path)
    seen = [[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    note = notes / f"{digest(str(path.absolute()))[:16]}.json"
    if note.exists() and (known := read_json(note))["files"] == seen:
        return known["hash"]
    value = file_hash(path)
    write_json(note, {"files": seen, "hash": value})
    return value
