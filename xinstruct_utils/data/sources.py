"""Corpora as streams of rows: CulturaX and FineWeb-2 on the hub, OSCAR, mC4 and one's own files; seeded samples of them.

A sample is the n texts with the smallest hash of seed and content id among those looked at. It does not depend on the order
of the stream, holds n hashes in memory and its texts on disk, and goes on, file by file, after a kill. A shuffle buffer would
see the first few thousand rows of a file again and again; and a full pass reads no byte more than one over `scan` texts.
"""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from xinstruct_utils.atlas import pages
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.secrets import redact
from xinstruct_utils.data import readers


def source_paths(profile, run, lang):
    """Where a run's input files are: {"seed", "corpus", "prompts"}; the Atlas writes its own, once."""
    languages.get(lang)
    if profile.source == "atlas":
        return pages.build_world(run, lang, profile)
    return {"seed": Path(profile.seed_path.replace("{lang}", lang)), "prompts": None,
            "corpus": Path((profile.corpus_path or "").replace("{lang}", lang))}


# name: (hub id, column of the table of languages with its config names)
HUB = {"culturax": ("uonlp/CulturaX", "culturax"), "fineweb2": ("HuggingFaceFW/fineweb-2", "fineweb2")}
KINDS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst", ".parquet", ".txt", ".txt.gz", ".txt.zst")
REMEMBERED = 100_000      # given ids of a file that may not come again: a wrong field shows early, and memory stays bounded
CODES = {row.fineweb2.split("_")[0]: row.code for row in languages.LANGUAGES.values()}     # "swh" of FineWeb-2 is our "sw"


@dataclass
class Corpus:
    """A corpus: `files` {name: function that gives an iterator of (where, raw row)}, `path` where it lies on disk.

    `rows()` yields {id, source_id, url, language, text}; `skipped` counts the rows of other languages that it met.
    """

    lang: str
    files: dict
    path: Path | None = None
    read: int = 0
    skipped: Counter = field(default_factory=lambda: Counter({"other language": 0}))

    def rows_of(self, name):
        """The rows of one of the files. Raises InputError with file and line."""
        seen = {}
        for number, (where, row) in enumerate(self.files[name](), 1):
            self.read += 1
            row = adapted(row, self.lang, where)
            if row is None:
                self.skipped["other language"] += 1
                continue
            given = row["own_id"]
            if given is not None and given in seen:
                raise InputError(f"{where}: duplicate id {given!r}, first in line {seen[given]}; make ids unique or leave them "
                                 "out")
            if given is not None and len(seen) < REMEMBERED:
                seen[given] = number
            yield {key: row[key] for key in ("id", "source_id", "url", "language", "text")}

    def rows(self):
        """All rows, file after file. Raises InputError where there is none in the language."""
        found, self.read, self.skipped["other language"] = False, 0, 0
        for name in self.files:
            for row in self.rows_of(name):
                found = True
                yield row
        if not found:
            told = (f"no row is in {self.lang!r}; expected rows with \"language\": \"{self.lang}\"" if self.read
                    else "the file is empty; expected rows with the fields language, text")
            raise InputError(f"{self.path or ', '.join(self.files)}: {told}")


def adapted(row, lang, where):
    """A raw row of any known format as {id, source_id, url, language, text, own_id}; None where it is of another language.

    The text is `text`, or `content` beside `warc_headers` (OSCAR). Without `language` a row is taken as of `lang`; ISO 639-3
    (FineWeb-2) is understood. `source_id` is the given id as a string, `url` the address, each None where there is none;
    `own_id` is an id that must be unique. Raises InputError.
    """
    web = any(key in row for key in ("url", "meta", "warc_headers", "timestamp"))
    if "warc_headers" in row and "text" not in row and "content" in row:
        row = row | {"text": row["content"], "language": lang, "url": (row["warc_headers"] or {}).get("warc-target-uri")}
    if isinstance(row.get("language"), str):
        row = row | {"language": CODES.get(row["language"], row["language"])}
    elif "text" in row:
        row = row | {"language": lang}
    checked = readers.checked_row(row, readers.CORPUS_FIELDS, where)
    if checked["language"] != lang:
        return None
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    url = next((u for u in (row.get("url"), meta.get("url")) if isinstance(u, str)), None)
    given = checked["source_id"]
    return checked | {"source_id": None if given is None else str(given), "url": url, "own_id": None if web else given}


def _file_rows(path):
    """(where, raw row) of a file of any known kind; a .txt file is one text."""
    if path.name.endswith((".txt", ".txt.gz", ".txt.zst")):
        try:
            with readers._open(path) as stream:
                yield str(path), {"text": stream.read().decode("utf-8-sig"), "id": path.name}
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert the file to UTF-8") from None
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: expected a readable text file, but: {error}") from None
        return
    for number, row in readers.parquet_rows(path) if path.suffix == ".parquet" else readers.json_lines(path):
        yield f"{path}, line {number}", row


def on_disk(path, lang):
    """A corpus of files: one file, or all files of known kinds in a folder, in the order of their names."""
    path = Path(path)
    found = sorted(p for p in path.rglob("*") if p.name.endswith(KINDS)) if path.is_dir() else [path]
    if not path.exists() or not found:
        raise InputError(f"{path}: {'no such file or folder' if not path.exists() else 'nothing to read in it'}; expected a "
                         f"corpus: {', '.join(KINDS)}, or a folder of them")
    return Corpus(lang, {str(p): lambda p=p: _file_rows(p) for p in found}, path)


def on_hub(name, revision, lang):
    """A corpus of the hub, streamed by `datasets`, one entry of `files` for each data file. Raises InputError with what to
    do where there is no network, no such revision, or no access to a gated data set."""
    from datasets import load_dataset

    repo, column = HUB[name]
    config = getattr(languages.get(lang), column)
    label = f"{repo} ({config}, {'revision ' + revision[:12] if revision else 'no revision'})"
    if not revision:
        raise InputError(f"corpus_source: {name} needs corpus_revision:, a commit of {repo}, so that a rerun reads the same data")
    stream = _told(label, lambda: load_dataset(repo, config, split="train", streaming=True, revision=revision))

    def rows_of(k):
        rows = iter(stream.shard(stream.num_shards, k))
        number, end = 0, object()
        while (row := _told(label, lambda: next(rows, end))) is not end:
            number += 1
            yield f"{label}, file {k}, row {number}", row | {"language": lang, "url": row.get("url")}

    return Corpus(lang, {f"{label}, file {k}": lambda k=k: rows_of(k) for k in range(stream.num_shards)})


def _told(label, act):
    """What `act` returns; errors of access and network as one InputError."""
    try:
        return act()
    except Exception as error:      # hub, file system and HTTP libraries each have their own classes
        if isinstance(error, InputError):
            raise
        said = redact(" ".join(str(error).split()))[:300]
        gated = "gated" in said.lower() or type(error).__name__ == "GatedRepoError" or "401" in said or "403" in said
        advice = ("ask for access on the data set's page of the hub, then make a read token there and set HF_TOKEN (or run: hf "
                  "auth login)" if gated else "check the network, HF_HUB_OFFLINE, HF_TOKEN and corpus_revision; what is done "
                  "stays, and the same command goes on; files on disk work with corpus_source=files corpus_path=...")
        raise InputError(f"{label} cannot be read: {type(error).__name__}: {said}; {advice}") from None


def open_corpus(profile, run, lang):
    """The corpus that a run's profile names: the Atlas's, files, or a data set of the hub."""
    if profile.source == "atlas" or profile.corpus_source == "files":
        return on_disk(source_paths(profile, run, lang)["corpus"], lang)
    return on_hub(profile.corpus_source, profile.corpus_revision, lang)


def sample(corpus, n, seed, folder, min_chars=1, max_chars=None, scan=0):
    """A seeded sample of n texts of min_chars to max_chars, kept in `folder`; looks at `scan` texts at the most (0: all).

    Files are read in a seeded order, so that `scan` is a sample of files. Returns (function that gives the rows, {reason: n},
    number of rows read).
    For each file a part holds the texts that were among the n smallest hashes when it was read; about n (1 + ln(N/n)) of
    N texts touch the disk. A part that is there is not read again.
    """
    folder, smallest, members = Path(folder), [], set()
    order = sorted(corpus.files)
    random.Random(f"files/{seed}").shuffle(order)
    totals, parts = Counter({"other language": 0, "too short": 0, "too long": 0, "not sampled": 0}), []

    def rank(row):
        return int.from_bytes(sha256(f"{seed}/{row['id']}".encode()).digest()[:8])

    def enters(value):
        if value in members or (len(smallest) == n and value >= -smallest[0]):
            return False
        members.add(value)
        if len(smallest) < n:
            heapq.heappush(smallest, -value)
        else:
            members.discard(-heapq.heapreplace(smallest, -value))
        return True

    def chosen(name, counts, limit):
        for row in corpus.rows_of(name):
            size = len(row["text"])
            if not min_chars <= size <= (max_chars or size):
                counts["too short" if size < min_chars else "too long"] += 1
            elif enters(rank(row)):
                yield row
            if limit and corpus.read - begun >= limit:
                return

    for name in order:
        if scan and totals["read"] >= scan:
            break
        part = folder / f"{digest([name, n, seed, min_chars, max_chars, scan])[:16]}.jsonl"
        if part.with_suffix(".json").exists():
            for row in read_jsonl(part):
                enters(rank(row))
        else:
            begun, other, counts = corpus.read, corpus.skipped["other language"], Counter()
            write_jsonl(part, chosen(name, counts, scan and scan - totals["read"]))
            counts |= {"read": corpus.read - begun, "other language": corpus.skipped["other language"] - other}
            write_json(part.with_suffix(".json"), counts)
        totals.update(read_json(part.with_suffix(".json")))
        parts.append(part)
    read = totals.pop("read", 0)
    if not members:
        raise InputError(f"{corpus.path or order[0]}: no text to sample among {read} read in {corpus.lang!r} ({dict(totals)})")
    totals["not sampled"] = read - len(members) - totals.total()

    def rows():
        left = set(members)
        for part in parts:
            for row in read_jsonl(part):
                if (value := rank(row)) in left:
                    left.discard(value)
                    yield row

    return rows, dict(totals), read
