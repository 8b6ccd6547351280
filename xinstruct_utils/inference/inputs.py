"""The input of an inference job: rows of a file or of a folder's shards, prompts as they are read.

So pages are not written out again for every job. In a job's settings:

    input    a JSONL file, or a folder of shards
    request  how a row becomes a prompt (`prompts.requests.rendered`); without it rows have one,
             "prompt"
    limit    only the first so many rows
    repeat   each row so many times, under the ids "<id>-0", "<id>-1", ...
    other_instruction
             each row with the instruction of another one of its shard: the next, the one after
             that, ... of those that differ
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

from xinstruct_utils.core.files import count_lines, read_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.prompts.requests import rendered


def rows_of(settings: dict) -> Iterator[dict]:
    """The rows that a job is asked, in order, each with the id of its result."""
    path = Path(settings["input"])
    rows = Shards(path).read() if path.is_dir() else read_jsonl(path)
    rows = itertools.islice(rows, settings.get("limit"))
    if "repeat" not in settings:
        yield from rows
        return
    for row in rows:
        for k in range(settings["repeat"]):
            yield row | {"id": f"{row['id']}-{k}"}


def count_of(settings: dict) -> int:
    """How many rows `rows_of` yields."""
    path = Path(settings["input"])
    files = path.glob("shard-*.jsonl") if path.is_dir() else [path]
    rows = sum(map(count_lines, files))
    return min(rows, settings.get("limit", rows)) * settings.get("repeat", 1)


def requests_of(chunk: list[dict], settings: dict) -> list[dict]:
    """{"id", "prompt"} of rows, and "completion" for the task "likelihood".

    Raises InputError with the row's id.
    """
    if "request" not in settings:
        return chunk
    if "other_instruction" in settings:
        chunk = _with_other_instructions(chunk, settings["other_instruction"])
    where = settings["input"]
    completed = settings["task"] == "likelihood"
    return [rendered(row, settings["request"], where, completed) for row in chunk]


def _with_other_instructions(chunk: list[dict], which: int) -> list[dict]:
    """Rows whose instructions are those of others; where all are alike, a row keeps its own."""
    distinct = list(dict.fromkeys(row.get("instruction") for row in chunk))
    if len(distinct) < 2:
        return chunk
    place = {instruction: k for k, instruction in enumerate(distinct)}
    step = 1 + (which - 1) % (len(distinct) - 1)
    return [row | {"instruction": distinct[(place[row.get("instruction")] + step) % len(distinct)]}
            for row in chunk]
