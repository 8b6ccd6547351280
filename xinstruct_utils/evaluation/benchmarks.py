"""Evaluation prompts, other models' answers, people's verdicts: readers of files (paper 5.1, B.2).

Prompts are read from the benchmarks' own files, as their authors publish them.
"""

from collections import defaultdict
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


def read(path: str | Path, benchmark: str | None = None) -> list[Question]:
    """Prompts of Vicuna, WizardLM, LIMA or Koala in their authors' JSONL, or of one's own.

    One's own rows have `instruction` (and id?, benchmark?, category?, difficulty?,
    native_instruction?), and the file gives its stem as the benchmark. A byte order mark and CRLF
    are no matter. Raises InputError with file and line.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a benchmark's prompts as JSONL")
    rows, seen = [], {}
    for number, row in readers.json_lines(path):
        kind = next((k for k in KINDS if k.prompt in row), KINDS[-1])
        where = f"{path}, line {number}"
        text, level = _prompt(row, kind, where), _level(row, kind, where)
        own = None if kind.benchmark else row.get("id")
        key = str(own or content_id("en", text))
        if own and key in seen:
            raise InputError(f"{where}: duplicate id {own!r}, first in line {seen[key]}; make ids "
                             "unique")
        if key in seen:                                # a repeated text is another question
            key = content_id("en", f"{text}\n{number}")
        seen[key] = number
        rows.append({"id": key,
                     "benchmark": (benchmark or kind.benchmark or row.get("benchmark")
                                   or path.stem),
                     "category": row.get(kind.category), "difficulty": level, "instruction": text,
                     "native_instruction": row.get("native_instruction")})
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
                         f"{', '.join(k.prompt for k in KINDS)}, but {text!r} came; the row has "
                         f"{', '.join(row) or 'no fields'}")
    return text


def _level(row: dict, kind: Kind, where: str) -> int | None:
    """The difficulty of a row, if it has one. Raises InputError."""
    level = row.get(kind.difficulty)
    if level is not None and level not in range(1, 11):
        raise InputError(f"{where}: {kind.difficulty} must be a whole number from 1 to 10, but "
                         f"{level!r} came")
    return level


def read_answers(path: str | Path, questions: list[Question]) -> dict[str, str]:
    """A model's answers from JSONL rows with `output` and the question's `id` or `instruction`.

    Returns {id: text}. Raises InputError where a question has none: comparing fewer of them would
    be another comparison.
    """
    ids = {q["instruction"]: q["id"] for q in questions}
    texts = {}
    for number, row in readers.json_lines(Path(path)):
        key = row.get("id") or ids.get(row.get("instruction"))
        if not isinstance(row.get("output"), str) or not key:
            raise InputError(f"{path}, line {number}: expected `output` and the question's `id` or "
                             f"`instruction`, but the row has {', '.join(row) or 'no fields'}")
        texts[key] = row["output"]
    absent = [q["instruction"] for q in questions if q["id"] not in texts]
    if absent:
        raise InputError(f"{path}: {len(absent)} of {len(questions)} questions have no answer, the "
                         f"first is {absent[0][:80]!r}")
    return {q["id"]: texts[q["id"]] for q in questions}


def read_labels(path: str | Path) -> dict[tuple[str, str], dict[str, str]]:
    """People's verdicts from JSONL rows {id, a, b, verdict}, a and b being models.

    Returns {(a, b): {id: "win", "tie" or "lose" of a}}. Raises InputError with file and line.
    """
    verdicts = defaultdict(dict)
    for number, row in readers.json_lines(Path(path)):
        if row.get("verdict") not in ("win", "tie", "lose") or not {"id", "a", "b"} <= set(row):
            raise InputError(f"{path}, line {number}: expected id, a, b and verdict (win, tie or "
                             f"lose of a), but {row!r} came")
        verdicts[row["a"], row["b"]][row["id"]] = row["verdict"]
    return dict(verdicts)
