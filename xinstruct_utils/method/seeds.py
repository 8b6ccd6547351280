"""Seed pairs from the data sets of others (paper 4.1): one side of each pair is translated, so that
all are cross-lingual.

    python -m xinstruct_utils seeds bactrian-m FILE_OR_HUB --lang sw --out out.jsonl
    python -m xinstruct_utils seeds bactrian-x FOLDER_OR_HUB --out out.jsonl
    python -m xinstruct_utils seeds alpaca-mt alpaca_data.json --lang sw --out out.jsonl \
        --translator google

These write baselines of the paper (5.1), as rows that `seed_path` accepts too. Bactrian-X learns 51
languages at once.
"""

import random
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, write_jsonl
from xinstruct_utils.core.rows import SeedPair
from xinstruct_utils.data import readers
from xinstruct_utils.method.translation import Translator, open_translator


class Pair(TypedDict):
    """A pair as others have it, both sides in one language; `source_id` is the given id or None."""

    instruction: str
    output: str
    language: str
    source_id: str | None


def set_aside(rows: list[SeedPair], n: int,
              seed: int) -> tuple[list[SeedPair], list[SeedPair]]:
    """Set `n` seed pairs aside at random, for measuring only: (those to learn from, those aside).

    Raises InputError where fewer than 12 would be left.
    """
    if n and len(rows) - n < 12:
        raise InputError(f"test_pairs is {n}, but of {len(rows)} usable seed pairs at least 12 "
                         "must be left to learn from")
    order = sorted(rows, key=lambda r: r["id"])
    random.Random(f"aside/{seed}").shuffle(order)
    aside = {row["id"] for row in order[:n]}
    return ([row for row in rows if row["id"] not in aside],
            [row for row in rows if row["id"] in aside])


def split_seed(rows: list[SeedPair], d0x_size: int,
               seed: int) -> tuple[list[SeedPair], list[SeedPair]]:
    """Split seed pairs at random into D0x (the follower's) and D0r (for pseudo-ratings), paper 3.3
    and Appendix A.

    D0r has what `d0x_size` leaves, but at least 200 pairs where there are 400 or more, else at
    least a third: fewer are memorised. Returns (d0x, d0r). Raises InputError below 12 pairs.
    """
    if len(rows) < 12:
        raise InputError(f"the seed data have {len(rows)} usable pairs, but at least 12 are needed "
                         "to split them; a few hundred are needed for good results")
    order = sorted(rows, key=lambda r: r["id"])
    random.Random(f"split/{seed}").shuffle(order)
    held = held_back(len(rows), d0x_size)
    return order[held:], order[:held]


def held_back(n: int, d0x_size: int) -> int:
    """How many of `n` seed pairs are D0r's, see `split_seed`."""
    return max(n - d0x_size, 200 if n >= 400 else n // 3)


# Readers: a record as a pair, or the reason why there is none.

READY = "ready_for_export"
# What people write where Alpaca's input is to stay empty.
NO_INPUT = {"", "<noinput>", "noinput", "no input", "<no input>", "n/a", "na", "nan", "none",
            "null"}


def _text(record, field, where, needed=True) -> str:
    """A field's text; without `needed`, "" where it is absent, null or not a number."""
    if field not in record and needed:
        raise InputError(f"{where}: expected the field {field}, but the record has "
                         f"{readers.names_of(record)}; is this the seed_format of the file?")
    text = record.get(field)
    if not needed and (text is None or text != text):       # only NaN differs from itself
        return ""
    if not isinstance(text, str):
        raise InputError(f"{where}: {field} must be a string, but {type(text).__name__} came")
    return readers.storable(text, where, field)


def _language(record, field, where, needed=True) -> str:
    """A field's language as our code, where it is one of ours or English."""
    return languages.code_of(_text(record, field, where, needed))


def _whole(value) -> bool:
    """Whether a rank is a whole number: 0, or 0.0 after a way through pandas."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _lost(message) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _oasst(tree, where) -> Pair | str:
    """First turn of an Open Assistant message tree with its best-ranked reply.

    Trees of all states are known; what a tree that is not ready lacks is not looked for.
    """
    state = tree.get("tree_state")
    if state not in (None, READY):
        return "tree not ready for export"
    prompt = tree.get("prompt")
    if not isinstance(prompt, dict) or not (state or isinstance(prompt.get("replies"), list)):
        raise InputError(f"{where}: expected a message tree, `prompt` with `replies`, but the row "
                         f"has {readers.names_of(tree)}; use the export whose name ends in "
                         "trees.jsonl.gz")
    if _lost(prompt):
        return "prompt deleted or rejected"
    ranked = [m for m in _replies(prompt, where)
              if not _lost(m) and m.get("role") == "assistant" and _whole(m.get("rank"))]
    if not ranked:      # a reply that nobody compared with another is not "the highest quality" one
        return "no ranked reply"
    best = min(ranked, key=lambda m: m["rank"])
    language = _language(prompt, "lang", where)
    if not isinstance(best.get("lang"), str) or languages.code_of(best["lang"]) != language:
        return "reply in another language"
    tree_id = readers.row_id(tree.get("message_tree_id"), where)
    if tree_id is None:
        tree_id = readers.row_id(prompt.get("message_id"), where)
    return {"instruction": _text(prompt, "text", where), "output": _text(best, "text", where),
            "language": language, "source_id": tree_id}


def _replies(prompt, where) -> list[dict[str, Any]]:
    """The replies to a prompt; null, among them or in their place, is none."""
    replies = prompt.get("replies") or []
    if not isinstance(replies, list):
        raise InputError(f"{where}: replies must be a list, but {type(replies).__name__} came")
    present = [reply for reply in replies if reply is not None]
    odd = [reply for reply in present if not isinstance(reply, dict)]
    if odd:
        raise InputError(f"{where}: a reply must be an object, but {type(odd[0]).__name__} came")
    return present


def _aya(row, where) -> Pair:
    """A human annotation of Aya (CohereLabs/aya_dataset), with languages by ISO 639-3."""
    return {"instruction": _text(row, "inputs", where), "output": _text(row, "targets", where),
            "language": _language(row, "language_code", where),
            "source_id": readers.row_id(row.get("id"), where)}


def _alpaca(row, where, context="input", output="output") -> Pair:
    """A pair of Alpaca: instruction, input (may be empty), output; English unless `language` says
    otherwise."""
    instruction = _text(row, "instruction", where)
    given = _text(row, context, where, needed=False)
    if given.strip().rstrip(".").casefold() in NO_INPUT:
        given = ""
    parts = [part for part in (instruction, given) if part.strip()]
    return {"instruction": "\n\n".join(parts), "output": _text(row, output, where),
            "language": _language(row, "language", where, needed=False) or "en",
            "source_id": readers.row_id(row.get("id"), where)}


def _dolly(row, where) -> Pair:
    """A pair of Dolly: instruction, context (may be empty), response."""
    return _alpaca(row, where, "context", "response")


# seed_format: (reader, the columns that it uses)
READERS = {
    "oasst": (_oasst, ("message_tree_id", "tree_state", "prompt")),
    "aya": (_aya, ("id", "inputs", "targets", "language_code")),
    "alpaca": (_alpaca, ("id", "instruction", "input", "output", "language")),
    "dolly": (_dolly, ("id", "instruction", "context", "response", "language")),
}


def read(path: str | Path, seed_format: str, dropped: Counter) -> Iterator[Pair]:
    """Yield a file's pairs; `dropped` gets the others by reason.

    Formats: the keys of READERS. An id that a record lacks is made of file name and place. Raises
    InputError with file and place.
    """
    reader, columns = READERS[seed_format]
    for number, record in enumerate(readers.records(path, columns), 1):
        pair = reader(record.row, record.where)
        if isinstance(pair, str):
            dropped[pair] += 1
        elif not (pair["instruction"].strip() and pair["output"].strip()):
            dropped["empty"] += 1
        elif pair["source_id"] is None:
            yield pair | {"source_id": f"{Path(path).name}:{number}"}
        else:
            yield pair


def choose(path: str | Path, seed_format: str, lang: str, size: int,
           seed: int) -> tuple[list[Pair], dict[str, int]]:
    """All pairs in `lang`, and a seeded sample of `size` English ones (paper 4.1: 3k).

    Returns (pairs, {reason: n}). Raises InputError where there are neither.
    """
    dropped: Counter[str] = Counter()
    rows = list(read(path, seed_format, dropped))
    native = [r for r in rows if r["language"] == lang]
    english = [r for r in rows if r["language"] == "en"]
    others = len(rows) - len(native) - len(english)
    if not native and not english:
        raise InputError(f"{path}: no pair is in {lang!r} or English; {len(rows):,} are in other "
                         f"languages; dropped: {dict(dropped) or 'none'}")
    sampler = random.Random(f"seeds/{seed}")
    places = sorted(sampler.sample(range(len(english)), min(size, len(english))))
    more = {"other language": others, "English, not sampled": len(english) - len(places)}
    return native + [english[i] for i in places], dict(dropped) | more


def cross_lingual(rows: list[Pair], lang: str,
                  translate: Translator) -> tuple[list[SeedPair], dict[str, int]]:
    """Pairs of an English instruction and an output in `lang` (paper 4.1), out of native and of
    English pairs.

    `translate` is as `translation.open_translator` makes it. Returns (rows, {reason: n}).
    """
    made: list[Any] = list(rows)
    dropped: Counter[str] = Counter()
    for source, target, field in ((lang, "en", "instruction"), ("en", lang, "output")):
        places = [i for i, r in enumerate(rows) if r["language"] == source]
        texts, faults = translate([made[i][field] for i in places], source, target)
        dropped.update(f"translation {fault}" for fault in faults if fault)
        for i, text, fault in zip(places, texts, faults, strict=True):
            made[i] = None if fault else made[i] | {field: text}
    return [_seed_row(r, lang) for r in made if r], dict(dropped)


def _seed_row(row, lang) -> SeedPair:
    return {"id": content_id(lang, row["output"]), "source_id": row["source_id"], "language": lang,
            "instruction": row["instruction"], "output": row["output"]}


def bactrian(source: str, lang: str | None = None,
             revision: str = "main") -> tuple[list[SeedPair], dict[str, int]]:
    """Pairs of the Bactrian-X data, both sides in one language (paper 5.1): of `lang`, or of all 51
    but English.

    source: the file of a language, a folder of CODE.json.gz or CODE.json, or a hub id
    (MBZUAI/Bactrian-X). Returns (rows, {reason: n}). The hub's loading script is not run; its data
    files are read. Raises InputError.
    """
    files = _bactrian_files(source, lang, revision)
    codes = [lang] if lang else [code for code in files if code != "en"]
    rows: list[SeedPair] = []
    dropped: Counter[str] = Counter()
    for code in codes:
        file = files[code]
        if isinstance(file, str):
            file = _hub(source, revision, "hf_hub_download", file)
        rows += [_seed_row(pair, code) for pair in read(file, "alpaca", dropped)]
    return rows, dict(dropped)


def _bactrian_files(source, lang, revision) -> Mapping[str, Path | str]:
    """{language code: its file on disk, or its name on the hub}. Raises InputError."""
    path = Path(source)
    if path.is_dir():
        found = [p for p in readers.files_in(path, (".json", ".json.gz")) if p.parent == path]
        files = {p.name.split(".")[0]: p for p in found}
    elif not path.exists() and source.count("/") == 1 and not path.suffix:
        names = [f"data/{lang}.json.gz"] if lang else _hub(source, revision, "list_repo_files")
        files = {Path(name).name.split(".")[0]: name for name in sorted(names)
                 if name.startswith("data/") and name.endswith(".json.gz")}
    elif lang:
        files = {lang: path}
    else:
        raise InputError(f"{source}: all languages need a folder with a file for each, such as "
                         "sw.json.gz, or MBZUAI/Bactrian-X")
    if (lang and lang not in files) or not files:
        raise InputError(f"{source}: no {lang or 'CODE'}.json.gz is in it; the languages there "
                         f"are {', '.join(files) or 'none'}")
    return files


def _hub(repo, revision, what, *names):
    """A call of the hub's API on a data set: a downloaded file's path (where it is not at hand), or
    the list of its files."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return getattr(HfApi(), what)(repo, *names, repo_type="dataset", revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"{repo}: could not get {', '.join(names) or 'its files'} at {revision}: "
            f"{str(error).splitlines()[0]}; download them elsewhere, and give their path") from None


def alpaca_mt(path: str | Path, lang: str, translate: Translator,
              limit: int = 0) -> tuple[list[SeedPair], dict[str, int]]:
    """Alpaca with both sides translated into `lang` (paper 5.1, Alpaca-MT).

    Returns (rows, {reason: n}).
    """
    dropped: Counter[str] = Counter()
    pairs = list(read(path, "alpaca", dropped))[:limit or None]
    asked, ask_faults = translate([p["instruction"] for p in pairs], "en", lang)
    replies, reply_faults = translate([p["output"] for p in pairs], "en", lang)
    rows = []
    for pair, instruction, output, *faults in zip(pairs, asked, replies, ask_faults, reply_faults,
                                                  strict=True):
        fault = faults[0] or faults[1]
        if fault:
            dropped[f"translation {fault}"] += 1
        else:
            rows.append(_seed_row(pair | {"instruction": instruction, "output": output}, lang))
    return rows, dict(dropped)


def arguments(parser: ArgumentParser) -> None:
    """Arguments of `seeds`."""
    add = parser.add_argument
    add("baseline", choices=("bactrian-m", "bactrian-x", "alpaca-mt"))
    add("source", help="a file; for Bactrian also a folder, or a hub id, MBZUAI/Bactrian-X")
    add("--lang", help="language code; not for bactrian-x, which has all")
    add("--out", required=True, help="JSONL file to write")
    add("--revision", default="main", help="of the hub's data set; a commit keeps a run repeatable")
    add("--translator", help="for alpaca-mt: google, openai:MODEL, or nllb:NAME_OR_FOLDER")
    add("--base-url", help="of the server of openai:MODEL")
    add("--max-cost-usd", type=float, default=0.0, help="what a paid translator may cost")
    add("--limit", type=int, default=0, help="first pairs of Alpaca only; 0 is all")


def command(args: Namespace) -> None:
    """Write the rows of a baseline, print counts. Raises InputError."""
    if (args.lang is None) != (args.baseline == "bactrian-x"):
        wanted = "one language" if args.lang is None else "all languages"
        raise InputError(f"--lang: {args.baseline} is of {wanted}, but {args.lang or 'none'} came; "
                         "Bactrian-X in one language is bactrian-m")
    languages.get(args.lang or "sw")
    if args.baseline == "alpaca-mt":
        rows, dropped = _alpaca_mt_of(args)
    else:
        rows, dropped = bactrian(args.source, args.lang, args.revision)
    if not rows:
        raise InputError(f"{args.source}: no pair is left, dropped: {dropped or 'none'}; nothing "
                         "was written")
    write_jsonl(args.out, rows)
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in dropped.items() if n)
    print(f"{len(rows):,} pairs in {args.out}; dropped: {reasons or 'none'}")


def _alpaca_mt_of(args):
    if not args.translator:
        raise InputError("alpaca-mt needs --translator: google, openai:MODEL, or "
                         "nllb:facebook/nllb-200-distilled-600M")
    kept = Path(args.out).with_suffix(".translations.sqlite")
    translator = open_translator(args.translator, kept, args.base_url, args.max_cost_usd)
    return alpaca_mt(args.source, args.lang, translator, args.limit)
