"""Corpora as streams of rows: the Atlas's, CulturaX and FineWeb-2 on the hub, files of one's own.

Files may be as OSCAR, mC4, CulturaX, FineWeb-2 and HPLT have them. `sampling` takes a sample.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from xinstruct_utils.atlas.build import build_world
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.secrets import redact
from xinstruct_utils.data import readers
from xinstruct_utils.data.readers import Record

# name: (hub id, column of the table of languages with its config names)
HUB = {
    "culturax": ("uonlp/CulturaX", "culturax"),
    "fineweb2": ("HuggingFaceFW/fineweb-2", "fineweb2"),
}
KINDS = (*readers.ROWS, *readers.TEXTS)
# Given ids of a file that may not come again: a wrong field shows early, and memory stays bounded.
REMEMBERED = 100_000
# Fields that a row of the web has, whose id is of its page and may come again.
WEB = ("url", "u", "meta", "warc_headers", "timestamp")
COLUMNS = ("id", "language", "text", "url", "u", "lang", "meta.url", "content",
           "warc_headers.warc-target-uri")


class SourcePaths(TypedDict):
    """Where a run's input files are.

    `prompts` are the Atlas's, one file for each set; `translated` and `taught` are what its
    baselines are made of.
    """

    seed: Path
    corpus: Path
    prompts: dict[str, Path]
    translated: NotRequired[Path]
    taught: NotRequired[Path]


class CorpusRow(TypedDict):
    """A text: `id` is of the content, `source_id` and `url` are where it comes from, if known."""

    id: str
    source_id: str | None
    url: str | None
    language: str
    text: str


def source_paths(profile: Profile, run: str, lang: str) -> SourcePaths:
    """Where a run's input files are; the Atlas writes its own, once."""
    languages.get(lang)
    if profile.source == "atlas":
        return build_world(run, lang, profile)
    return {"seed": Path((profile.seed_path or "").replace("{lang}", lang)), "prompts": {},
            "corpus": Path((profile.corpus_path or "").replace("{lang}", lang))}


@dataclass
class Corpus:
    """A corpus: `files` {name: function that gives its raw rows}, `path` where it lies on disk.

    `skipped` counts the rows of other languages that were met, `others` which these are, `read` all
    rows.
    """

    lang: str
    files: dict[str, Callable[[], Iterator[Record]]]
    path: Path | None = None
    read: int = 0
    skipped: Counter = field(default_factory=lambda: Counter({"other language": 0}))
    others: Counter = field(default_factory=Counter)

    def rows_of(self, name: str) -> Iterator[CorpusRow]:
        """The rows of one of the files. Raises InputError with file and place."""
        ids = readers.UniqueIds(REMEMBERED)
        for record in self.files[name]():
            self.read += 1
            row = adapted(record.row, self.lang, record.where)
            if row["language"] != self.lang:
                self.skipped["other language"] += 1
                self.others[row["language"]] += 1
                continue
            if not is_web(record.row):
                ids.add(row["source_id"], record)
            yield row

    def rows(self) -> Iterator[CorpusRow]:
        """All rows, file after file. Raises InputError where there is none in the language."""
        self.read, self.skipped["other language"] = 0, 0
        self.others.clear()
        for name in self.files:
            yield from self.rows_of(name)
        if self.read == self.skipped["other language"]:
            problem = readers.nothing_in(self.lang, self.others, readers.CORPUS_FIELDS)
            raise InputError(f"{self.path or ', '.join(self.files)}: {problem}")


def is_web(row: dict[str, Any]) -> bool:
    """Whether a raw row is of a web corpus: its id may come again."""
    return any(name in row for name in WEB)


def adapted(row: dict[str, Any], lang: str, where: str) -> CorpusRow:
    """A raw row of any known format; its language is our code, where it is one of ours.

    The text is `text`, or `content` beside `warc_headers` (OSCAR). Without `language` a row is
    taken as of `lang`, or of the first language of HPLT's list `lang`. `source_id` is the given id,
    `url` the address (`u` of HPLT), each None where there is none. Raises InputError.
    """
    meta, headers = row.get("meta"), row.get("warc_headers")
    addresses = [row.get("url"), row.get("u")]
    addresses += [meta.get("url")] if isinstance(meta, dict) else []
    addresses += [headers.get("warc-target-uri")] if isinstance(headers, dict) else []
    if "warc_headers" in row and row.get("text") is None and "content" in row:
        row = row | {"text": row["content"], "language": lang}
    if not isinstance(row.get("language"), str) and "text" in row:
        row = row | {"language": _listed(row.get("lang")) or lang}
    checked = readers.checked_row(row, readers.CORPUS_FIELDS, where)
    url = next((address for address in addresses if isinstance(address, str)), None)
    return {"id": checked["id"], "source_id": checked["source_id"],
            "url": url and readers.storable(url, where, "url"),
            "language": checked["language"], "text": checked["text"]}


def _listed(names):
    """The first language of a list, as HPLT has it; None of anything else."""
    first = names[0] if isinstance(names, list) and names else None
    return first if isinstance(first, str) else None


def _file_records(path):
    """The raw rows of a file of any known kind; a .txt file is one text."""
    if readers.has_suffix(path, readers.TEXTS):
        text = readers.text_of(path)
        return iter([Record(path, "the whole file", {"text": text, "id": path.name})])
    return readers.records(path, COLUMNS)


def on_disk(path: str | Path, lang: str) -> Corpus:
    """A corpus of files: one file, or all files of known kinds in a folder, in their names' order.

    Raises InputError where there is none.
    """
    path = Path(path)
    expected = f"expected a corpus: {', '.join(KINDS)}, or a folder of them"
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {expected}")
    files = readers.files_in(path, KINDS) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: nothing to read in it; {expected}")
    return Corpus(lang, {str(file): partial(_file_records, file) for file in files}, path)


def on_hub(name: str, revision: str, lang: str) -> Corpus:
    """A corpus of the hub, streamed by `datasets`, one entry of `files` for each data file.

    Raises InputError with what to do where there is no network, no such revision, or no access to
    a gated data set.
    """
    from datasets import load_dataset

    repo, column = HUB[name]
    config = getattr(languages.get(lang), column)
    state = f"revision {revision[:12]}" if revision else "no revision"
    label = f"{repo} ({config}, {state})"
    if not revision:
        raise InputError(f"corpus_source: {name} needs corpus_revision:, a commit of {repo}, so "
                         "that a rerun reads the same data")
    stream = _reached(label, lambda: load_dataset(repo, config, split="train", streaming=True,
                                                  revision=revision))

    def records_of(k):
        rows, end = iter(stream.shard(stream.num_shards, k)), object()
        number = 0
        while (row := _reached(label, lambda: next(rows, end))) is not end:
            number += 1
            yield Record(f"{label}, file {k}", f"row {number}",
                         row | {"language": lang, "url": row.get("url")})

    shards = range(stream.num_shards)
    return Corpus(lang, {f"{label}, file {k}": partial(records_of, k) for k in shards})


def _reached(label, act):
    """What `act` returns; errors of access and network as one InputError."""
    try:
        return act()
    except InputError:
        raise
    except Exception as error:      # hub, file system and HTTP libraries each have their own
        problem = readers.shown(redact(str(error)), 300)
        raise InputError(f"{label} cannot be read: {type(error).__name__}: {problem}; "
                         f"{_advice(error, problem)}") from None


def _advice(error, problem):
    gated = type(error).__name__ == "GatedRepoError" or "gated" in problem.lower()
    if gated or "401" in problem or "403" in problem:
        return ("ask for access on the data set's page of the hub, then make a read token there "
                "and set HF_TOKEN (or run: hf auth login)")
    return ("check the network, HF_HUB_OFFLINE, HF_TOKEN and corpus_revision; what is done stays, "
            "and the same command goes on; files on disk work with corpus_source=files "
            "corpus_path=...")


def open_corpus(profile: Profile, run: str, lang: str) -> Corpus:
    """The corpus that a run's profile names: the Atlas's, files, or a data set of the hub."""
    if profile.source == "atlas" or profile.corpus_source == "files":
        return on_disk(source_paths(profile, run, lang)["corpus"], lang)
    return on_hub(profile.corpus_source, profile.corpus_revision, lang)
