"""Evaluation prompts and other models' answers: readers of the benchmarks' own files, translation (paper 5.1, B.2)."""

from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.data import readers

# Fields that tell one benchmark's original file from another's: (name, prompt, category, difficulty).
KINDS = (("wizardlm", "Instruction", "Skill", "Difficulty"), ("lima", "conversations", None, None),
         ("vicuna", "turns", "category", None), ("vicuna", "text", "category", None), ("koala", "prompt", None, None),
         (None, "instruction", "category", "difficulty"))


def read(path, benchmark=None):
    """Prompts of Vicuna, WizardLM, LIMA or Koala in their authors' JSONL, or of one's own with `instruction` (and id?,
    benchmark?, category?, difficulty?, native_instruction?).

    Returns rows {id, benchmark, category, difficulty, instruction, native_instruction}; what a file lacks is None; one's own
    file gives its stem as the benchmark. A byte order mark and CRLF are no matter. Raises InputError with file and line.
    """
    path, rows, seen = Path(path), [], {}
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a benchmark's prompts as JSONL")
    for number, row in readers.json_lines(path):
        name, field, category, difficulty = next((k for k in KINDS if k[1] in row), KINDS[-1])
        text = row.get(field)
        text = text[0] if isinstance(text, list) and text else text
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{path}, line {number}: expected a prompt in the field {', '.join(k[1] for k in KINDS)}, but "
                             f"{text!r} came; the row has {', '.join(row) or 'no fields'}")
        level = row.get(difficulty)
        if level is not None and level not in range(1, 11):
            raise InputError(f"{path}, line {number}: {difficulty} must be a whole number from 1 to 10, but {level!r} came")
        given = None if name else row.get("id")        # one's own id, else that of the text; a repeated text counts again
        made = str(given or content_id("en", text))
        if made in seen and given:
            raise InputError(f"{path}, line {number}: duplicate id {given!r}, first in line {seen[made]}; make ids unique")
        made = content_id("en", f"{text}\n{number}") if made in seen else made
        seen[made] = number
        rows.append({"id": made, "benchmark": benchmark or name or row.get("benchmark") or path.stem,
                     "category": row.get(category), "difficulty": level, "instruction": text,
                     "native_instruction": row.get("native_instruction")})
    if not rows:
        raise InputError(f"{path}: the file is empty; expected a benchmark's prompts as JSONL")
    return rows


def read_answers(path, questions):
    """A model's answers from JSONL rows with `output` and the question's `id` or `instruction`: {id: text}.

    Raises InputError where a question has none: comparing fewer of them would be another comparison.
    """
    ids, found = {q["instruction"]: q["id"] for q in questions}, {}
    for number, row in readers.json_lines(Path(path)):
        key = row.get("id") or ids.get(row.get("instruction"))
        if not isinstance(row.get("output"), str) or not key:
            raise InputError(f"{path}, line {number}: expected `output` and the question's `id` or `instruction`, but the row "
                             f"has {', '.join(row) or 'no fields'}")
        found[key] = row["output"]
    absent = [q["instruction"] for q in questions if q["id"] not in found]
    if absent:
        raise InputError(f"{path}: {len(absent)} of {len(questions)} questions have no answer, the first is {absent[0][:80]!r}")
    return {q["id"]: found[q["id"]] for q in questions}


def read_labels(path):
    """People's verdicts from JSONL rows {id, a, b, verdict}: {(a, b): {id: "win", "tie" or "lose" of a}}."""
    found = {}
    for number, row in readers.json_lines(Path(path)):
        if row.get("verdict") not in ("win", "tie", "lose") or not {"id", "a", "b"} <= set(row):
            raise InputError(f"{path}, line {number}: expected id, a, b and verdict (win, tie or lose of a), but {row!r} came")
        found.setdefault((row["a"], row["b"]), {})[row["id"]] = row["verdict"]
    return found
