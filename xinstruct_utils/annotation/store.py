"""People's labels: what is asked about, an append-only store, and what comes out (4.4, 5.3).

A form is "quality" (paper Figure 11) or "preference" (Figure 12); its words are in forms.json. Labels lie beside the run's
steps, in <run>/labels/<lang>/, so no rerun of a step deletes them.
"""

import contextlib
import fcntl
import json
import re
import sqlite3
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json, read_jsonl, write_jsonl
from xinstruct_utils.core.paths import run_dir
from xinstruct_utils.data import readers

ORACLE, JUDGE = "oracle", "judge"  # who knows the truth of the Atlas, and the model that judges; no person has these names
# Controls that turn text round or hide it; joiners and the marks U+200E and U+200F belong to honest Urdu, Bengali, Tamil.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def form(name):
    """Words of a form: {"attention", "questions": {question: {"words", "choices": {choice: words}}}, "label_studio", ...}."""
    every = read_json(Path(__file__).with_name("forms.json"))
    return every[name] | {"feedback": every["feedback"], "css": "".join(every["css"])}


def translations(path, lang):
    """{text: translation} from a user's file with the fields language, text, translation; {} without a file."""
    rows = readers.read_rows(path.replace("{lang}", lang), ("language", "text", "translation"), lang)[0] if path else []
    return {r["text"]: r["translation"] for r in rows}


def quality_items(rows, lang, n, seed, translated):
    """Items of the quality review: n pairs drawn by seed. A larger n keeps the items of a smaller one."""
    drawn = sorted(rows, key=lambda r: digest([seed, r["id"]]))[:n]
    return [{"id": digest([lang, r["instruction"], r["output"]])[:16], "lang": lang, "row": r["id"], "text": r["output"],
             "instruction": r["instruction"], "translation": translated.get(r["output"])} for r in drawn]


def preference_items(questions, answers, pairs, lang, n, seed, translated):
    """Items of the comparison: n questions drawn by seed, for every pair of models; answers: {model: {question id: text}}.

    The translated instruction is the question's own `native_instruction`, or comes from `translated`, or is None. Answers
    have translations where `translated` has both: one alone would favour its answer. Where there are Vicuna's questions, only
    those are drawn, as in the paper.
    """
    vicuna = [q for q in questions if q.get("benchmark") == "vicuna"]
    drawn = sorted(vicuna or questions, key=lambda q: digest([seed, q["id"]]))[:n]
    return [{"id": digest([lang, q["instruction"], [[m, answers[m][q["id"]]] for m in pair]])[:16], "lang": lang, "row": q["id"],
             "instruction": q["instruction"], "models": list(pair), "answers": {m: answers[m][q["id"]] for m in pair},
             "answer_translations": {m: translated[answers[m][q["id"]]] for m in pair
                                     if all(answers[other][q["id"]] in translated for other in pair)},
             "translation": translated.get(q["instruction"]) or q.get("native_instruction")} for pair in pairs for q in drawn]


def order(items, annotator, seed):
    """The items in this annotator's own order."""
    return sorted(items, key=lambda item: digest([seed, annotator, item["id"]]))


def sides(item, annotator, seed):
    """The models behind answers A and B, drawn for this item and annotator; none in the quality review."""
    return sorted(item.get("models", []), key=lambda model: digest([seed, annotator, item["id"], model]))


def person(name):
    """An annotator's name as it is kept. Raises InputError for an empty or long one, and for the oracle's."""
    name = " ".join(unicodedata.normalize("NFKC", UNSEEN.sub("", name)).split()).casefold()
    if not 0 < len(name) <= 40 or name in (ORACLE, JUDGE):
        raise InputError(f"a name has 1 to 40 letters and is not {ORACLE!r} or {JUDGE!r}, but {name[:50]!r} came")
    return name


class Store:
    """Items and labels of a form in SQLite (WAL). Labels are appended and never changed: the last one of an item and an
    annotator holds, earlier ones are its history. A call returns when its labels are on the disk."""

    SCHEMA = """CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, content TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS labels (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, item TEXT NOT NULL REFERENCES items (id),
      annotator TEXT NOT NULL, answers TEXT NOT NULL, feedback TEXT NOT NULL, shown TEXT NOT NULL, seconds REAL);
    CREATE TRIGGER IF NOT EXISTS kept BEFORE UPDATE ON labels BEGIN SELECT RAISE(ABORT, 'labels are only appended'); END;
    CREATE TRIGGER IF NOT EXISTS held BEFORE DELETE ON labels BEGIN SELECT RAISE(ABORT, 'labels are only appended'); END;"""

    def __init__(self, path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript("PRAGMA journal_mode=WAL;" + self.SCHEMA)
        self.snapshot()

    @classmethod
    def of(cls, run, lang, name):
        """The people's store of a form: <run>/labels/<lang>/<form>.sqlite, outside of every step."""
        return cls(run_dir(run) / "labels" / lang / f"{name}.sqlite")

    @contextlib.contextmanager
    def _open(self):
        with contextlib.closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as db:
            db.executescript("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
            db.row_factory = sqlite3.Row
            yield db

    def put(self, items):
        """Add items; known ones stay as they are."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR IGNORE INTO items VALUES (?, ?)", [(i["id"], json.dumps(i)) for i in items])
            db.execute("COMMIT")

    def items(self):
        """All items ever put: {id: item}."""
        with self._open() as db:
            return {r["id"]: json.loads(r["content"]) for r in db.execute("SELECT * FROM items ORDER BY rowid")}

    def add(self, *labels):
        """Append labels: dicts of item, annotator, answers, and feedback, shown (the models of A and B), seconds, at (now).

        One that says the same as the last of its item and annotator is left out. All are stored, or none.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for label in labels:
                row = {"feedback": "", "shown": [], "seconds": None, "at": now} | label
                row["feedback"] = row["feedback"][:5000].encode("utf-8", "replace").decode()
                last = db.execute("SELECT * FROM labels WHERE item=? AND annotator=? ORDER BY seq DESC LIMIT 1",
                                  (row["item"], row["annotator"])).fetchone()
                if not last or any(_read(last)[k] != row[k] for k in ("answers", "feedback", "shown")):
                    db.execute("INSERT INTO labels VALUES (NULL, :at, :item, :annotator, :answers, :feedback, :shown, :seconds)",
                               row | {k: json.dumps(row[k]) for k in ("answers", "shown")})
            db.execute("COMMIT")
        self.snapshot()

    def history(self):
        """Every label ever given, oldest first: dicts of seq, at, item, annotator, answers, feedback, shown, seconds."""
        with self._open() as db:
            return [_read(r) for r in db.execute("SELECT * FROM labels ORDER BY seq")]

    def current(self):
        """The labels that hold, the last of each item and annotator, oldest first."""
        return sorted({(r["item"], r["annotator"]): r for r in self.history()}.values(), key=lambda r: r["seq"])

    def snapshot(self):
        """The history as JSONL beside the database, written where it changed: a second copy, and what a step reads."""
        path = self.path.with_suffix(".jsonl")
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = self.history()
            if not path.exists() or list(read_jsonl(path)) != rows:
                write_jsonl(path, rows)
        return path


def _read(row):
    return {key: json.loads(row[key]) if key in ("answers", "shown") else row[key] for key in row.keys()}  # noqa: SIM118


def said(labels, items):
    """Labels of today's items as flat rows {item, annotator, feedback, seconds, and the answers}.

    A preference becomes `pair` and `verdict`, win, tie or lose of the pair's first model.
    """
    today, rows = {i["id"]: i for i in items}, []
    for label in (r for r in labels if r["item"] in today):
        row, item = {k: label[k] for k in ("item", "annotator", "feedback", "seconds")}, today[label["item"]]
        if "models" in item:
            chosen = dict(zip("AB", label["shown"], strict=True)).get(label["answers"]["choice"])
            row |= {"pair": " vs ".join(item["models"]),
                    "verdict": "tie" if chosen is None else "win" if chosen == item["models"][0] else "lose"}
        rows.append(row if "models" in item else row | label["answers"])
    return rows
