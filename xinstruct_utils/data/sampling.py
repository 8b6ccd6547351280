"""Seeded samples of corpora.

A sample is the n texts with the smallest hash of seed and content id among those looked at. It does
not depend on the order of the stream, holds n hashes in memory and its texts on disk, and goes on,
file by file, after a kill. A shuffle buffer would see the first few thousand rows of a file again
and again; and a full pass reads no byte more than one over `scan` texts.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.data.sources import Corpus, CorpusRow

REASONS = ("other language", "too short", "too long", "not sampled")


class _Smallest:
    """The n smallest of the values that were offered."""

    def __init__(self, n):
        self.n = n
        self.heap = []             # negative: the largest is on top
        self.members = set()

    def enters(self, value):
        """Offer a value; whether it is among the smallest so far, and was not before."""
        if value in self.members:
            return False
        if len(self.heap) < self.n:
            heapq.heappush(self.heap, -value)
        elif value < -self.heap[0]:
            self.members.discard(-heapq.heapreplace(self.heap, -value))
        else:
            return False
        self.members.add(value)
        return True


def _rank(row, seed):
    return int.from_bytes(sha256(f"{seed}/{row['id']}".encode()).digest()[:8])


def sample(corpus: Corpus, n: int, seed: int, folder: str | Path, min_chars: int = 1,
           max_chars: int | None = None, scan: int = 0,
           ) -> tuple[Callable[[], Iterator[CorpusRow]], dict[str, int], int]:
    """A seeded sample of n texts of min_chars to max_chars, kept in `folder`.

    Looks at `scan` texts at the most (0: all); files are read in a seeded order, so that `scan` is
    a sample of files. Returns (function that gives the rows, {reason: n}, number of rows read). For
    each file a part holds the texts that were among the n smallest hashes when it was read; about
    n (1 + ln(N/n)) of N texts touch the disk. A part that is there is not read again. Raises
    InputError where there is nothing to sample.
    """
    order = sorted(corpus.files)
    random.Random(f"files/{seed}").shuffle(order)
    smallest, parts = _Smallest(n), []
    totals: Counter[str] = Counter()
    for name in order:
        if scan and totals["read"] >= scan:
            break
        key = digest([name, n, seed, min_chars, max_chars, scan])
        part = Path(folder) / f"{key[:16]}.jsonl"
        if part.with_suffix(".json").exists():
            for row in read_jsonl(part):
                smallest.enters(_rank(row, seed))
        else:
            left = scan - totals["read"] if scan else 0
            _write_part(part, corpus, name, smallest, seed, (min_chars, max_chars), left)
        totals.update(read_json(part.with_suffix(".json")))
        parts.append(part)
    read = totals.pop("read", 0)
    dropped = {reason: totals[reason] for reason in REASONS}
    if not smallest.members:
        raise InputError(f"{corpus.path or order[0]}: no text to sample among {read} read in "
                         f"{corpus.lang!r} ({dropped})")
    dropped["not sampled"] = read - len(smallest.members) - sum(dropped.values())
    return lambda: _members(parts, smallest.members, seed), dropped, read


def _members(parts, members, seed):
    """The rows of the parts that are members of the sample, each once."""
    left = set(members)
    for row in (row for part in parts for row in read_jsonl(part)):
        if (value := _rank(row, seed)) in left:
            left.discard(value)
            yield row


def _write_part(part, corpus, name, smallest, seed, limits, most):
    """Write what one file gives to the sample, and beside it what became of its rows.

    `most` rows are read at the most (0: all).
    """
    begun, other = corpus.read, corpus.skipped["other language"]
    counts: Counter[str] = Counter()
    shortest, longest = limits

    def chosen():
        for row in corpus.rows_of(name):
            size = len(row["text"])
            if size < shortest:
                counts["too short"] += 1
            elif longest and size > longest:
                counts["too long"] += 1
            elif smallest.enters(_rank(row, seed)):
                yield row
            if most and corpus.read - begun >= most:
                return

    write_jsonl(part, chosen())
    counts["read"] = corpus.read - begun
    counts["other language"] = corpus.skipped["other language"] - other
    write_json(part.with_suffix(".json"), counts)
