"""Rows on disk: JSONL files read as sequences, and lists written chunk by chunk, resumably."""

import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import count_lines, read_jsonl, write_jsonl


def rows_in(path: Path) -> int:
    """Number of rows of a JSONL file, or of the shards of a folder."""
    files = path.glob("shard-*.jsonl") if path.is_dir() else [path]
    return sum(map(count_lines, files))


def check_counts(counted: Mapping[Path, int]) -> None:
    """Compare {path: rows that were counted} with what is on disk.

    Raises InputError for the first that differs.
    """
    for path, rows in counted.items():
        present = rows_in(Path(path))
        if present != rows:
            raise InputError(f"{path}: {rows} rows were counted, but {present} are there; a row "
                             "was lost or written twice, or the files are of another attempt: "
                             "run this step again")


class Shards:
    """A list of rows in files of `size` rows each (`shard-00000.jsonl`, ...), chunk by chunk.

    `size` is needed to write. A chunk's file depends on the chunk only, so a run that was killed
    goes on where it stopped, to the same bytes.
    """

    def __init__(self, folder: Path | str, size: int | None = None):
        self.folder = Path(folder)
        self.size = size

    def file(self, index: int) -> Path:
        """Path of a shard."""
        return self.folder / f"shard-{index:05d}.jsonl"

    def pending(self, rows: Iterable[Any]) -> Iterator[tuple[int, list]]:
        """Yield (index, chunk) of the chunks that have no file yet.

        Rows may be an iterator: one chunk is in memory.
        """
        rows = iter(rows)
        for index in itertools.count():
            chunk = list(itertools.islice(rows, self.size))
            if not chunk:
                return
            if not self.file(index).exists():
                yield index, chunk

    def write(self, index: int, rows: Iterable[dict]) -> None:
        """Write one shard, atomically."""
        write_jsonl(self.file(index), rows)

    def stream(self, rows: Iterable[dict]) -> None:
        """Write an iterator of rows, shard by shard; shards that are there stay."""
        for index, chunk in self.pending(rows):
            self.write(index, chunk)

    def read(self) -> Iterator[dict]:
        """Yield the rows of all shards, in order."""
        for file in sorted(self.folder.glob("shard-*.jsonl")):
            yield from read_jsonl(file)


class Rows(Sequence):
    """The rows of a JSONL file of the pipeline, as a sequence that stays on disk.

    Eight bytes of memory a row.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        with open(path, "rb") as stream:
            ends = itertools.accumulate(map(len, stream), initial=0)
            self.starts = array("Q", ends)[:-1]

    def __len__(self):
        return len(self.starts)

    def __iter__(self):
        return read_jsonl(self.path)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        with open(self.path, "rb") as stream:
            stream.seek(self.starts[index])
            return json.loads(stream.readline())


def joined(rows: Iterable[dict], *results: Iterable[dict]) -> Iterator[tuple[dict, list[dict]]]:
    """Each row with its results, matched by id: (row, [result of each kind]).

    All stand in one order, so nothing is held in memory. Raises InputError where ids differ or one
    side ends early.
    """
    end = {"id": None}
    together = itertools.zip_longest(rows, *results, fillvalue=end)
    for place, (row, *found) in enumerate(together, 1):
        ids = [side["id"] for side in (row, *found)]
        if len(set(ids)) > 1:
            shown = ", ".join("no row" if i is None else repr(i) for i in ids)
            raise InputError(f"row {place}: the ids of rows and of their results differ ({shown}); "
                             "the files are of another attempt: run this step again")
        yield row, found
