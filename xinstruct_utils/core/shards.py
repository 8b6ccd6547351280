"""Rows on disk: JSONL files read as sequences, and lists of rows written chunk by chunk, resumably."""

import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import count_lines, read_jsonl, write_jsonl


def rows_in(path):
    """Number of rows of a JSONL file, or of the shards of a folder."""
    return sum(map(count_lines, path.glob("shard-*.jsonl") if path.is_dir() else [path]))


def check_counts(wanted):
    """Compare {path: rows that were counted} with what is on disk. Raises InputError for the first that differs."""
    for path, rows in wanted.items():
        if (found := rows_in(Path(path))) != rows:
            raise InputError(f"{path}: {rows} rows were counted, but {found} are there; a row was lost or written twice, or "
                             "the files are of another attempt: run this step again")


class Shards:
    """A list of rows in files of `size` rows each (`shard-00000.jsonl`, ...), written chunk by chunk.

    `size` is needed to write. A chunk's file depends on the chunk only, so a run that was killed goes on where it stopped, to the same bytes.
    """

    def __init__(self, folder, size=None):
        self.folder, self.size = Path(folder), size

    def file(self, index):
        """Path of a shard."""
        return self.folder / f"shard-{index:05d}.jsonl"

    def pending(self, rows):
        """Yield (index, chunk) of the chunks that have no file yet. Rows may be an iterator: one chunk is in memory."""
        rows = iter(rows)
        for index in itertools.count():
            if not (chunk := list(itertools.islice(rows, self.size))):
                return
            if not self.file(index).exists():
                yield index, chunk

    def write(self, index, rows):
        """Write one shard, atomically."""
        write_jsonl(self.file(index), rows)

    def stream(self, rows):
        """Write an iterator of rows, shard by shard; shards that are there stay."""
        for index, chunk in self.pending(rows):
            self.write(index, chunk)

    def read(self):
        """Yield the rows of all shards, in order."""
        for file in sorted(self.folder.glob("shard-*.jsonl")):
            yield from read_jsonl(file)


class Rows(Sequence):
    """The rows of a JSONL file of the pipeline, as a sequence that stays on disk: eight bytes of memory a row."""

    def __init__(self, path):
        self.path = Path(path)
        with open(path, "rb") as stream:
            self.starts = array("Q", accumulate(map(len, stream), initial=0))[:-1]

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

    All stand in one order, so nothing is held in memory. Raises InputError where ids differ or one side ends early.
    """
    end = {"id": None}
    for place, (row, *found) in enumerate(itertools.zip_longest(rows, *results, fillvalue=end), 1):
        ids = [side["id"] for side in (row, *found)]
        if len(set(ids)) > 1:
            shown = ", ".join("no row" if i is None else repr(i) for i in ids)
            raise InputError(f"row {place}: the ids of rows and of their results differ ({shown}); the files are of another "
                             "attempt: run this step again")
        yield row, found
