"""People's labels: what is asked about, an append-only store, and what comes out (4.4, 5.3).

A form is "quality" (paper Figure 11) or "preference" (Figure 12); its words are in forms.json.
Labels lie beside the run's steps, in <run>/labels/<lang>/, so no rerun of a step deletes them.
"""

import contextlib
import fcntl
import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NotRequired, Self, TypedDict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, read_json, read_jsonl, write_jsonl
from xinstruct_utils.core.markup import UNSEEN
from xinstruct_utils.core.paper import place_of
from xinstruct_utils.core.paths import run_dir
from xinstruct_utils.data import readers

# Who knows the truth of the Atlas, and the model that judges; no person has these names.
ORACLE = "oracle"
JUDGE = "judge"


class Item(TypedDict):
    """What is asked about. A pair has `text`; two answers have `models` and what follows it.

    row: the id of the pair or question; translation: of the text, or of the instruction.
    """

    id: str
    lang: str
    row: str
    instruction: str
    translation: str | None
    text: NotRequired[str]
    models: NotRequired[list[str]]
    answers: NotRequired[dict[str, str]]
    answer_translations: NotRequired[dict[str, str]]


class NewLabel(TypedDict):
    """A label as it is given: answers {question: choice}, and what is known besides.

    shown: the models of answers A and B; at: when, in UTC (without it, now).
    """

    item: str
    annotator: str
    answers: dict[str, str]
    feedback: NotRequired[str]
    shown: NotRequired[list[str]]
    seconds: NotRequired[float | None]
    at: NotRequired[str | None]


class Label(TypedDict):
    """A label as it is kept; `seq` is its number in the store."""

    seq: int
    at: str | None
    item: str
    annotator: str
    answers: dict[str, str]
    feedback: str
    shown: list[str]
    seconds: float | None


def form(name: str) -> dict:
    """Words of a form.

    {"attention", "questions": {question: {"words", "choices": {choice: words}}}, "label_studio",
    "feedback", "css"}
    """
    every = read_json(Path(__file__).with_name("forms.json"))
    return every[name] | {"feedback": every["feedback"], "css": "".join(every["css"])}


def translations(path: str | None, lang: str) -> dict[str, str]:
    """{text: translation} of a user's file (fields language, text, translation); {} without one."""
    if not path:
        return {}
    fields = ("language", "text", "translation")
    rows = readers.read_rows(path.replace("{lang}", lang), fields, lang)[0]
    return {r["text"]: r["translation"] for r in rows}


def quality_items(rows: Iterable[dict], lang: str, n: int, seed: int,
                  translated: Mapping[str, str]) -> list[Item]:
    """Items of the quality review: n pairs drawn by seed.

    A larger n keeps the items of a smaller one.
    """
    drawn = sorted(rows, key=lambda r: digest([seed, r["id"]]))[:n]
    items = []
    for row in drawn:
        name = digest([lang, row["instruction"], row["output"]])[:16]
        items.append({"id": name, "lang": lang, "row": row["id"], "text": row["output"],
                      "instruction": row["instruction"],
                      "translation": translated.get(row["output"])})
    return items


def preference_items(questions: Sequence[dict], answers: Mapping[str, Mapping[str, str]],
                     pairs: Iterable[Sequence[str]], lang: str, n: int, seed: int,
                     translated: Mapping[str, str]) -> list[Item]:
    """Items of the comparison: n questions drawn by seed, for every pair of models.

    answers: {model: {question id: text}}. The translated instruction is the question's own
    `native_instruction`, or comes from `translated`, or is None. Answers have translations where
    `translated` has both: one alone would favour its answer. Where there are Vicuna's questions,
    only those are drawn, as in the paper.
    """
    vicuna = [q for q in questions if place_of(q.get("benchmark")) == "vicuna"]
    drawn = sorted(vicuna or questions, key=lambda q: digest([seed, q["id"]]))[:n]
    return [_preference(q, {m: answers[m][q["id"]] for m in pair}, lang, translated)
            for pair in pairs for q in drawn]


def _preference(question: dict, answers: dict[str, str], lang: str,
                translated: Mapping[str, str]) -> Item:
    """The item of a question and the answers of two models."""
    instruction = question["instruction"]
    both = all(text in translated for text in answers.values())
    return {"id": digest([lang, instruction, [[m, text] for m, text in answers.items()]])[:16],
            "lang": lang, "row": question["id"], "instruction": instruction,
            "models": list(answers), "answers": answers,
            "answer_translations": {m: translated[t] for m, t in answers.items()} if both else {},
            "translation": translated.get(instruction) or question.get("native_instruction")}


def order(items: Iterable[Item], annotator: str, seed: int) -> list[Item]:
    """The items in this annotator's own order."""
    return sorted(items, key=lambda item: digest([seed, annotator, item["id"]]))


def sides(item: Item, annotator: str, seed: int) -> list[str]:
    """The models behind answers A and B, drawn for this item and annotator.

    None in the quality review.
    """
    models = item.get("models", [])
    return sorted(models, key=lambda model: digest([seed, annotator, item["id"], model]))


def person(name: str) -> str:
    """An annotator's name as it is kept.

    Raises InputError for an empty or long one, and for the oracle's.
    """
    name = " ".join(unicodedata.normalize("NFKC", UNSEEN.sub("", name)).split()).casefold()
    if not 0 < len(name) <= 40 or name in (ORACLE, JUDGE):
        raise InputError(f"a name has 1 to 40 letters and is not {ORACLE!r} or {JUDGE!r}, "
                         f"but {name[:50]!r} came")
    return name


class Store:
    """Items and labels of a form in SQLite (WAL).

    Labels are appended and never changed: the last one of an item and an annotator holds, earlier
    ones are its history. A call returns when its labels are on the disk.
    """

    SCHEMA = """CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, content TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS labels (
      seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, item TEXT NOT NULL REFERENCES items (id),
      annotator TEXT NOT NULL, answers TEXT NOT NULL, feedback TEXT NOT NULL, shown TEXT NOT NULL,
      seconds REAL);
    CREATE TRIGGER IF NOT EXISTS kept BEFORE UPDATE ON labels
      BEGIN SELECT RAISE(ABORT, 'labels are only appended'); END;
    CREATE TRIGGER IF NOT EXISTS held BEFORE DELETE ON labels
      BEGIN SELECT RAISE(ABORT, 'labels are only appended'); END;"""
    LAST = "SELECT * FROM labels WHERE item=? AND annotator=? ORDER BY seq DESC LIMIT 1"
    APPEND = ("INSERT INTO labels VALUES "
              "(NULL, :at, :item, :annotator, :answers, :feedback, :shown, :seconds)")

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript("PRAGMA journal_mode=WAL;" + self.SCHEMA)
        self.snapshot()

    @classmethod
    def of(cls, run: str, lang: str, name: str) -> Self:
        """The people's store of a form: <run>/labels/<lang>/<form>.sqlite, outside every step."""
        return cls(run_dir(run) / "labels" / lang / f"{name}.sqlite")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        with contextlib.closing(connection) as db:
            db.executescript("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
            db.row_factory = sqlite3.Row
            yield db

    def put(self, items: Iterable[Item]) -> None:
        """Add items; known ones stay as they are."""
        rows = [(item["id"], json.dumps(item)) for item in items]
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR IGNORE INTO items VALUES (?, ?)", rows)
            db.execute("COMMIT")

    def items(self) -> dict[str, Item]:
        """All items ever put: {id: item}."""
        with self._open() as db:
            rows = db.execute("SELECT * FROM items ORDER BY rowid")
            return {r["id"]: json.loads(r["content"]) for r in rows}

    def add(self, *labels: NewLabel) -> None:
        """Append labels.

        One that says the same as the last of its item and annotator is left out. All are stored,
        or none.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for label in labels:
                self._append(db, {"feedback": "", "shown": [], "seconds": None, "at": now} | label)
            db.execute("COMMIT")
        self.snapshot()

    def _append(self, db: sqlite3.Connection, row: dict) -> None:
        """Append a label, unless it says the same as the last one."""
        row["feedback"] = row["feedback"][:5000].encode("utf-8", "replace").decode()
        last = db.execute(self.LAST, (row["item"], row["annotator"])).fetchone()
        if last:
            before = _read(last)
            if all(before[k] == row[k] for k in ("answers", "feedback", "shown")):
                return
        db.execute(self.APPEND, row | {k: json.dumps(row[k]) for k in ("answers", "shown")})

    def history(self) -> list[Label]:
        """Every label ever given, oldest first."""
        with self._open() as db:
            return [_read(r) for r in db.execute("SELECT * FROM labels ORDER BY seq")]

    def current(self) -> list[Label]:
        """The labels that hold, the last of each item and annotator, oldest first."""
        last = {(r["item"], r["annotator"]): r for r in self.history()}
        return sorted(last.values(), key=lambda r: r["seq"])

    def snapshot(self) -> Path:
        """The history as JSONL beside the database, written where it changed. Returns its path.

        It is a second copy, and what a step reads.
        """
        path = self.path.with_suffix(".jsonl")
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = self.history()
            if not path.exists() or list(read_jsonl(path)) != rows:
                write_jsonl(path, rows)
        return path


def _read(row: sqlite3.Row) -> Label:
    label = {key: row[key] for key in row.keys()}  # noqa: SIM118
    for key in ("answers", "shown"):
        label[key] = json.loads(label[key])
    return label


def label_rows(labels: Iterable[Label], items: Iterable[Item]) -> list[dict]:
    """Labels of today's items as flat rows {item, annotator, feedback, seconds, and the answers}.

    A preference becomes `pair` and `verdict`, win, tie or lose of the pair's first model.
    """
    today = {item["id"]: item for item in items}
    rows = []
    for label in labels:
        if label["item"] not in today:
            continue
        item = today[label["item"]]
        row = {k: label[k] for k in ("item", "annotator", "feedback", "seconds")}
        if "models" in item:
            row["pair"] = " vs ".join(item["models"])
            row["verdict"] = _verdict(label, item)
        else:
            row |= label["answers"]
        rows.append(row)
    return rows


def _verdict(label: Label, item: Item) -> str:
    """What a choice of A, B or neither says of the item's first model."""
    chosen = dict(zip("AB", label["shown"], strict=True)).get(label["answers"]["choice"])
    if chosen is None:
        return "tie"
    return "win" if chosen == item["models"][0] else "lose"
