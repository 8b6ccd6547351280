"""Evaluation prompts, other models' answers, people's verdicts: readers of files (paper 5.1, B.2).

Prompts are read from the benchmarks' own files, as their authors publish them.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.data import readers


class Question(TypedDict):
    """A prompt of the evaluation; what its file lacks is None."""

    id: str
    benchmark: str
    category: str | None
    difficulty: int | None                             # 1 to 10
    instruction: str                                   # English
    native_instruction: str | None                     # the same in the output language


class Kind(NamedTuple):
    """A benchmark's original file, known by the field of its prompts."""

    benchmark: str | None
    prompt: str
    category: str | None = None
    difficulty: str | None = None


KINDS = (Kind("wizardlm", "Instruction", "Skill", "Difficulty"), Kind("lima", "conversations"),
         Kind("vicuna", "turns", "category"), Kind("vicuna", "text", "category"),
         Kind("koala", "prompt"), Kind(None, "instruction", "category", "difficulty"))
MT_BENCH = "mt_bench"              # has Vicuna's fields, and a second turn, which is not asked
COLUMNS = ("id", "benchmark", "native_instruction", "output",
           *(name for kind in KINDS for name in kind[1:] if name))
VERDICTS = ("win", "tie", "lose")


def read(path: str | Path, benchmark: str | None = None) -> list[Question]:
    """Prompts of Vicuna, MT-bench, WizardLM, LIMA or Koala in their authors' JSONL, or one's own.

    One's own rows have `instruction` (and id?, benchmark?, category?, difficulty?,
    native_instruction?), and the file gives its stem as the benchmark. A byte order mark and CRLF
    are no matter. Raises InputError with file and line.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a benchmark's prompts as JSONL")
    rows: list[Question] = []
    ids, keys = readers.UniqueIds(), set()
    for number, record in enumerate(readers.records(path, COLUMNS), 1):
        row, where = record.row, record.where
        kind = next((k for k in KINDS if row.get(k.prompt) is not None), KINDS[-1])
        text, level = _prompt(row, kind, where), _level(row, kind, where)
        own = None if kind.benchmark else readers.row_id(row.get("id"), where)
        ids.add(own, record)
        key = own or content_id("en", text)
        if key in keys:                                # a repeated text is another question
            key = content_id("en", f"{text}\n{number}")
        keys.add(key)
        named = _optional(row, "benchmark", where) or _benchmark(row, kind)
        rows.append({"id": key, "benchmark": benchmark or named or path.stem,
                     "category": _optional(row, kind.category, where), "difficulty": level,
                     "instruction": text,
                     "native_instruction": _optional(row, "native_instruction", where)})
    if not rows:
        raise InputError(f"{path}: the file is empty; expected a benchmark's prompts as JSONL")
    return rows


def _prompt(row: dict, kind: Kind, where: str) -> str:
    """The prompt of a row, the first turn of a conversation. Raises InputError."""
    text = row.get(kind.prompt)
    if isinstance(text, list) and text:
        text = text[0]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: expected a prompt in the field "
                         f"{', '.join(k.prompt for k in KINDS)}, but "
                         f"{readers.shown(repr(text))} came; the row has {readers.names_of(row)}")
    return readers.storable(text, where, kind.prompt)


def _benchmark(row: dict, kind: Kind) -> str | None:
    """Whose file a row is of, by its fields."""
    turns = row.get(kind.prompt)
    if kind.prompt == "turns" and isinstance(turns, list) and len(turns) > 1:
        return MT_BENCH
    return kind.benchmark


def _optional(row: dict, field: str | None, where: str) -> str | None:
    """A text that a row may have; null and NaN are none. Raises InputError for another thing."""
    text = row.get(field)
    if text is None or text != text:                   # only NaN differs from itself
        return None
    if not isinstance(text, str):
        raise InputError(f"{where}: {field} must be a string, but {type(text).__name__} came")
    return readers.storable(text, where, str(field))


def _level(row: dict, kind: Kind, where: str) -> int | None:
    """The difficulty of a row, if it has one. Raises InputError."""
    level = row.get(kind.difficulty)
    if level is None or level != level:
        return None
    if isinstance(level, bool) or level not in range(1, 11):
        raise InputError(f"{where}: {kind.difficulty} must be a whole number from 1 to 10, but "
                         f"{readers.shown(repr(level))} came")
    return int(level)


def read_answers(path: str | Path, questions: list[Question]) -> dict[str, str]:
    """A model's answers from JSONL rows with `output` and the question's `id` or `instruction`.

    An answer is matched by its id; where that is no question's, by its instruction: the second
    answer to an instruction that is asked twice goes to the second of the questions. Returns
    {id: text}. Raises InputError where a question has none: comparing fewer of them would be
    another comparison.
    """
    asked = {q["id"] for q in questions}
    by_id, by_instruction = {}, defaultdict(list)
    for record in readers.records(path, COLUMNS):
        row, where = record.row, record.where
        key, instruction = readers.row_id(row.get("id"), where), row.get("instruction")
        known = key is not None or isinstance(instruction, str)
        if not isinstance(row.get("output"), str) or not known:
            raise InputError(f"{where}: expected `output` and the question's `id` or "
                             f"`instruction`, but the row has {readers.names_of(row)}")
        output = readers.storable(row["output"], where, "output")
        if key in by_id:
            raise InputError(f"{where}: a second answer to the question of id "
                             f"{readers.shown(repr(key))}; leave one")
        if key in asked:
            by_id[key] = output
        elif isinstance(instruction, str):
            by_instruction[instruction].append(output)
    texts, absent = {}, []
    for q in questions:
        others = by_instruction[q["instruction"]]
        if q["id"] in by_id:
            texts[q["id"]] = by_id[q["id"]]
        elif others:
            texts[q["id"]] = others.pop(0) if len(others) > 1 else others[0]
        else:
            absent.append(q["instruction"])
    if absent:
        raise InputError(f"{path}: {len(absent)} of {len(questions)} questions have no answer, the "
                         f"first is {absent[0][:80]!r}")
    return texts


def read_labels(path: str | Path, questions: Sequence[Question] = (),
                ) -> dict[tuple[str, str], dict[str, str]]:
    """People's verdicts from JSONL rows {id, a, b, verdict}, a and b being models.

    Returns {(a, b): {id: "win", "tie" or "lose" of a}}. Raises InputError with file and line, and
    where no id is one of `questions` (if these are given): nothing could be compared.
    """
    verdicts: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    ids = set()
    for record in readers.records(path, ("id", "a", "b", "verdict")):
        row, where = record.row, record.where
        key = readers.row_id(row.get("id"), where)
        named = isinstance(row.get("a"), str) and isinstance(row.get("b"), str)
        if row.get("verdict") not in VERDICTS or key is None or not named:
            raise InputError(f"{where}: expected id, a, b and verdict (win, tie or lose of a), but "
                             f"{readers.shown(repr(row))} came")
        if key in verdicts[row["a"], row["b"]]:
            pair = readers.shown(f"{row['a']} and {row['b']}")
            raise InputError(f"{where}: a second verdict on {pair} for id "
                             f"{readers.shown(repr(key))}; leave one, for instance the majority's")
        verdicts[row["a"], row["b"]][key] = row["verdict"]
        ids.add(key)
    if questions and ids.isdisjoint(q["id"] for q in questions):
        raise InputError(f"{path}: none of its {len(ids)} ids is of a question (such as "
                         f"{questions[0]['id']!r}); expected labels with the questions' ids")
    return dict(verdicts)
