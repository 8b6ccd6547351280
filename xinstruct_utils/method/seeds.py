"""Seed pairs from the data sets of others (paper 4.1): one side of each pair is translated, so that all are cross-lingual.

    python -m xinstruct_utils seeds bactrian-m FILE_OR_HUB --lang sw --out out.jsonl
    python -m xinstruct_utils seeds bactrian-x FOLDER_OR_HUB --out out.jsonl
    python -m xinstruct_utils seeds alpaca-mt alpaca_data.json --lang sw --out out.jsonl --translator google

These write baselines of the paper (5.1), as rows that `seed_path` accepts too. Bactrian-X learns 51 languages at once.
"""

import gzip
import json
import random
import zlib
from collections import Counter
from pathlib import Path

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, write_jsonl
from xinstruct_utils.data import readers
from xinstruct_utils.method.translation import open_translator


def clean(rows, field, min_chars=1, max_chars=None):
    """Drop rows by the paper's rule, the length of the whole text (Appendix A), and exact repeats of a text.

    Returns (kept rows, {reason: n}). Characters are Unicode code points. Raises InputError where nothing is left.
    """
    kept, seen, dropped = [], set(), {"empty": 0, "too short": 0, "too long": 0, "duplicate": 0}
    for row in rows:
        text = row[field]
        reason = ("empty" if not text.strip() else "too short" if len(text) < min_chars
                  else "too long" if max_chars and len(text) > max_chars else "duplicate" if row["id"] in seen else None)
        if reason:
            dropped[reason] += 1
        else:
            seen.add(row["id"])
            kept.append(row)
    if not kept:
        raise InputError(f"no text is left of {len(rows)} rows after cleaning the field {field!r} ({dropped}); expected texts of "
                         f"{min_chars} to {max_chars or 'any number of'} characters: look at the source, or set other limits")
    return kept, dropped


def split_seed(rows, d0x_size, seed):
    """Split seed pairs at random into D0x (the follower's) and D0r (for pseudo-ratings), paper 3.3 and Appendix A.

    D0r has what `d0x_size` leaves, but at least 200 pairs where there are 400 or more, else at least a third: fewer are
    memorised. Returns (d0x, d0r). Raises InputError below 12 pairs.
    """
    if len(rows) < 12:
        raise InputError(f"the seed data have {len(rows)} usable pairs, but at least 12 are needed to split them; a few hundred "
                         "are needed for good results")
    order = sorted(rows, key=lambda r: r["id"])
    random.Random(f"split/{seed}").shuffle(order)
    held = max(len(rows) - d0x_size, 200 if len(rows) >= 400 else len(rows) // 3)
    return order[held:], order[:held]


def _records(path):
    """Yield (where, record) of JSON lines, one JSON array, or Parquet; the first two plain or gzipped."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected JSONL, a JSON array (both plain or .gz), or Parquet")
    if path.suffix == ".parquet":
        yield from ((f"{path}, row {n}", row) for n, row in readers.parquet_rows(path))
        return
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            array = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
            stream.seek(0)
            raw = stream.read() if array else b""
        records = json.loads(raw.decode("utf-8-sig")) if array else None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: expected a JSON array of objects, but: {error.msg} at column "
                         f"{error.colno}; the file may be cut off: copy it again") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert the file to UTF-8, for instance with iconv") from None
    except (EOFError, OSError, zlib.error, RecursionError) as error:
        raise InputError(f"{path}: damaged, cut off or not readable: {error}; copy it again") from None
    for n, record in readers.json_lines(path) if records is None else enumerate(records, 1):
        where = f"{path}, {'line' if records is None else 'record'} {n}"
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, but {type(record).__name__} came")
        yield where, record


def _text(record, field, where, needed=True):
    """A field's text; without `needed`, "" where it is absent or null."""
    if field not in record and needed:
        raise InputError(f"{where}: expected the field {field}, but the record has {', '.join(record) or 'no fields'}; is this "
                         "the seed_format of the file?")
    text = record.get(field)
    if text is None and not needed:
        return ""
    if not isinstance(text, str):
        raise InputError(f"{where}: {field} must be a string, but {type(text).__name__} came")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: half a character, {text[error.start]!r}, came in {field}; mend or remove the "
                         "record") from None
    return text


def _oasst(tree, where):
    """First turn of an Open Assistant message tree with its best-ranked reply, or why there is none."""
    prompt = tree.get("prompt")
    if not isinstance(prompt, dict) or not isinstance(prompt.get("replies"), list):
        raise InputError(f"{where}: expected a message tree, `prompt` with `replies`, but the row has {', '.join(tree)}; use the "
                         "export whose name ends in trees.jsonl.gz")
    if tree.get("tree_state", "ready_for_export") != "ready_for_export":
        return "tree not ready for export"
    gone = [m.get("deleted") or m.get("review_result") is False for m in (prompt, *prompt["replies"])]
    if gone[0]:
        return "prompt deleted or rejected"
    ranked = [m for m, lost in zip(prompt["replies"], gone[1:], strict=True)
              if not lost and m.get("role") == "assistant" and isinstance(m.get("rank"), int)]
    if not ranked:                     # a reply that nobody compared with another is not "the highest quality" one
        return "no ranked reply"
    best = min(ranked, key=lambda m: m["rank"])
    if best.get("lang") != prompt.get("lang"):
        return "reply in another language"
    return {"instruction": _text(prompt, "text", where), "output": _text(best, "text", where),
            "language": _text(prompt, "lang", where), "source_id": tree.get("message_tree_id") or prompt.get("message_id")}


# Aya names languages by ISO 639-3, as the FLORES codes begin; `swa` is the macrolanguage of Swahili.
ISO3 = {"eng": "en", "swa": "sw"} | {row.flores[:3]: code for code, row in languages.LANGUAGES.items()}


def _aya(row, where):
    """A human annotation of Aya (CohereLabs/aya_dataset)."""
    code = _text(row, "language_code", where)
    return {"instruction": _text(row, "inputs", where), "output": _text(row, "targets", where),
            "language": ISO3.get(code, code), "source_id": row.get("id")}


def _alpaca(row, where, context="input", output="output"):
    """A pair of Alpaca: instruction, input (may be empty), output; English unless `language` says otherwise."""
    parts = (_text(row, "instruction", where), _text(row, context, where, False))
    return {"instruction": "\n\n".join(p for p in parts if p.strip()), "output": _text(row, output, where),
            "language": _text(row, "language", where, False) or "en", "source_id": row.get("id")}


def _dolly(row, where):
    """A pair of Dolly: instruction, context (may be empty), response."""
    return _alpaca(row, where, "context", "response")


READERS = {"oasst": _oasst, "aya": _aya, "alpaca": _alpaca, "dolly": _dolly}


def read(path, seed_format, dropped):
    """Yield a file's pairs {instruction, output, language, source_id}; `dropped`, a Counter, gets the others by reason.

    Formats: the keys of READERS. An id that a record lacks is made of file name and place. InputError names file and line.
    """
    for number, (where, record) in enumerate(_records(path), 1):
        row = READERS[seed_format](record, where)
        if isinstance(row, dict) and not (row["instruction"].strip() and row["output"].strip()):
            row = "empty"
        if isinstance(row, str):
            dropped[row] += 1
        else:
            yield row | {"source_id": str(row["source_id"] or f"{Path(path).name}:{number}")}


def choose(path, seed_format, lang, size, seed):
    """All pairs in `lang`, and a seeded sample of `size` English ones (paper 4.1: 3k). Returns (rows, {reason: n})."""
    dropped = Counter()
    rows = list(read(path, seed_format, dropped))
    native, english = ([r for r in rows if r["language"] == code] for code in (lang, "en"))
    if not native and not english:
        raise InputError(f"{path}: no pair is in {lang!r} or English; {len(rows):,} are in other languages; dropped: "
                         f"{dict(dropped) or 'none'}")
    picked = sorted(random.Random(f"seeds/{seed}").sample(range(len(english)), min(size, len(english))))
    others = {"other language": len(rows) - len(native) - len(english), "English, not sampled": len(english) - len(picked)}
    return native + [english[i] for i in picked], dict(dropped) | others


def cross_lingual(rows, lang, translate):
    """Pairs of an English instruction and an output in `lang` (paper 4.1), out of native and of English pairs.

    `translate(texts, source, target)` gives (texts, faults), as `translate.open_translator` makes it. Returns (rows as
    those of `data.read_rows`, {reason: n}).
    """
    made, dropped = list(rows), Counter()
    for source, target, field in ((lang, "en", "instruction"), ("en", lang, "output")):
        places = [i for i, r in enumerate(rows) if r["language"] == source]
        texts, faults = translate([rows[i][field] for i in places], source, target)
        dropped.update(f"translation {fault}" for fault in faults if fault)
        for i, text, fault in zip(places, texts, faults, strict=True):
            made[i] = None if fault else rows[i] | {field: text}
    return [_seed_row(r, lang) for r in made if r], dict(dropped)


def _seed_row(row, lang):
    return {"id": content_id(lang, row["output"]), "source_id": row["source_id"], "language": lang,
            "instruction": row["instruction"], "output": row["output"]}


def bactrian(source, lang=None, revision="main"):
    """Pairs of the Bactrian-X data, both sides in one language (paper 5.1): of `lang`, or of all 51 but English.

    source: the file of a language, a folder of CODE.json.gz or CODE.json, or a hub id (MBZUAI/Bactrian-X). Returns (rows,
    {reason: n}). The hub's loading script is not run; its data files are read.
    """
    path, dropped, made = Path(source), Counter(), []
    if path.is_dir():
        files = {p.name.split(".")[0]: p for p in sorted(path.iterdir()) if p.name.endswith((".json", ".json.gz"))}
    elif not path.exists() and source.count("/") == 1 and not path.suffix:
        names = [f"data/{lang}.json.gz"] if lang else _hub(source, revision, "list_repo_files")
        files = {Path(n).name.split(".")[0]: n for n in sorted(names) if n.startswith("data/") and n.endswith(".json.gz")}
    elif lang:
        files = {lang: path}
    else:
        raise InputError(f"{source}: all languages need a folder with a file for each, such as sw.json.gz, or MBZUAI/Bactrian-X")
    if lang and lang not in files or not files:
        raise InputError(f"{source}: no {lang or 'CODE'}.json.gz is in it; the languages there are {', '.join(files) or 'none'}")
    for code in [lang] if lang else [c for c in files if c != "en"]:
        file = files[code] if isinstance(files[code], Path) else Path(_hub(source, revision, "hf_hub_download", files[code]))
        made += [_seed_row(r, code) for r in read(file, "alpaca", dropped)]
    return made, dict(dropped)


def _hub(repo, revision, what, *names):
    """A call of the hub's API on a data set: a downloaded file's path (where it is not at hand), or the list of its files."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return getattr(HfApi(), what)(repo, *names, repo_type="dataset", revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(f"{repo}: could not get {', '.join(names) or 'its files'} at {revision}: {str(error).splitlines()[0]}; "
                         "download them elsewhere, and give their path") from None


def alpaca_mt(path, lang, translate, limit=0):
    """Alpaca with both sides translated into `lang` (paper 5.1, Alpaca-MT). Returns (rows, {reason: n})."""
    dropped = Counter()
    rows = list(read(path, "alpaca", dropped))[:limit or None]
    both = [translate([r[field] for r in rows], "en", lang) for field in ("instruction", "output")]
    faults = [first or second for first, second in zip(both[0][1], both[1][1], strict=True)]
    dropped.update(f"translation {fault}" for fault in faults if fault)
    return [_seed_row(r | {"instruction": i, "output": o}, lang)
            for r, i, o, fault in zip(rows, both[0][0], both[1][0], faults, strict=True) if not fault], dict(dropped)


def arguments(parser):
    """Arguments of `seeds`."""
    parser.add_argument("baseline", choices=("bactrian-m", "bactrian-x", "alpaca-mt"))
    parser.add_argument("source", help="a file; for Bactrian also a folder, or a hub id, MBZUAI/Bactrian-X")
    parser.add_argument("--lang", help="language code; not for bactrian-x, which has all")
    parser.add_argument("--out", required=True, help="JSONL file to write")
    parser.add_argument("--revision", default="main", help="of the hub's data set; a commit keeps a run repeatable")
    parser.add_argument("--translator", help="for alpaca-mt: google, openai:MODEL, or nllb:NAME_OR_FOLDER")
    parser.add_argument("--base-url", help="of the server of openai:MODEL")
    parser.add_argument("--max-cost-usd", type=float, default=0.0, help="what a paid translator may cost")
    parser.add_argument("--limit", type=int, default=0, help="first pairs of Alpaca only; 0 is all")


def command(args):
    """Write the rows of a baseline, print counts."""
    a = args
    if (a.lang is None) != (a.baseline == "bactrian-x"):
        raise InputError(f"--lang: {a.baseline} is of {'one language' if a.lang is None else 'all languages'}, but "
                         f"{a.lang or 'none'} came; Bactrian-X in one language is bactrian-m")
    languages.get(a.lang or "sw")
    if a.baseline != "alpaca-mt":
        rows, dropped = bactrian(a.source, a.lang, a.revision)
    else:
        if not a.translator:
            raise InputError("alpaca-mt needs --translator: google, openai:MODEL, or nllb:facebook/nllb-200-distilled-600M")
        kept = Path(a.out).with_suffix(".translations.sqlite")
        rows, dropped = alpaca_mt(a.source, a.lang, open_translator(a.translator, kept, a.base_url, a.max_cost_usd), a.limit)
    if not rows:
        raise InputError(f"{a.source}: no pair is left, dropped: {dropped or 'none'}; nothing was written")
    write_jsonl(a.out, rows)
    print(f"{len(rows):,} pairs in {a.out}; dropped: {', '.join(f'{n:,} {why}' for why, n in dropped.items() if n) or 'none'}")

