"""Evaluation prompts and other models' answers: readers of the benchmarks' own files, translation (paper 5.1, B.2)."""

from collections import Counter
from pathlib import Path

from . import artifacts, data, prompts, translate
from .artifacts import InputError
from .client import Client

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
    for number, row in data._lines(path):
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
        made = str(given or artifacts.content_id("en", text))
        if made in seen and given:
            raise InputError(f"{path}, line {number}: duplicate id {given!r}, first in line {seen[made]}; make ids unique")
        made = artifacts.content_id("en", f"{text}\n{number}") if made in seen else made
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
    for number, row in data._lines(Path(path)):
        key = row.get("id") or ids.get(row.get("instruction"))
        if not isinstance(row.get("output"), str) or not key:
            raise InputError(f"{path}, line {number}: expected `output` and the question's `id` or `instruction`, but the row "
                             f"has {', '.join(row) or 'no fields'}")
        found[key] = row["output"]
    absent = [q["instruction"] for q in questions if q["id"] not in found]
    if absent:
        raise InputError(f"{path}: {len(absent)} of {len(questions)} questions have no answer, the first is {absent[0][:80]!r}")
    return {q["id"]: found[q["id"]] for q in questions}


def ask_answers(client, lang, questions, batch=False):
    """A model's answers through its server, asked as the authors asked ChatGPT: {id: text}; "" where it refused."""
    bodies = [client.body(None, 2048, 0.7, messages=prompts.chat_request(q["instruction"], lang)) for q in questions]
    return {q["id"]: reply.get("text", "") for q, reply in zip(questions, client.ask(bodies, batch), strict=True)}


def read_labels(path):
    """People's verdicts from JSONL rows {id, a, b, verdict}: {(a, b): {id: "win", "tie" or "lose" of a}}."""
    found = {}
    for number, row in data._lines(Path(path)):
        if row.get("verdict") not in ("win", "tie", "lose") or not {"id", "a", "b"} <= set(row):
            raise InputError(f"{path}, line {number}: expected id, a, b and verdict (win, tie or lose of a), but {row!r} came")
        found.setdefault((row["a"], row["b"]), {})[row["id"]] = row["verdict"]
    return found


def server(profile, role, model, path, max_tokens=256):
    """The client of a model on a server; role: "judge", or "opponent", whose address and prices are the judge's where it has
    none of its own. path: the file of replies, one for all roles, so that they share a budget."""
    terms = [getattr(profile, f"{role}_{name}") for name in ("base_url", "price_in", "price_out")]
    url, *prices = [getattr(profile, f"judge_{name}") if own is None else own
                    for name, own in zip(("base_url", "price_in", "price_out"), terms, strict=True)]
    return Client(path, model, url, profile.judge_concurrency, *prices, profile.max_cost_usd, max_tokens)


def translator(profile, path):
    """What translates the prompts (`translator_model`), as `translate.open_translator` gives it, or None. The terms are those of
    the seed data's: a server of its own with its prices, else OpenAI at the judge's."""
    if not profile.translator_model:
        return None
    payer = "translator" if profile.translator_base_url else "judge"
    prices = tuple(getattr(profile, f"{payer}_{name}") for name in ("price_in", "price_out"))
    return translate.open_translator(profile.translator_model, path, profile.translator_base_url, profile.max_cost_usd, prices,
                                    profile.threads)


def others(named, taken):
    """Other models' files of answers, {name: file}, from `name=file.jsonl`. Raises InputError; `taken` are the names in use."""
    found = {}
    for entry in named:
        name, sign, file = entry.partition("=")
        if not (sign and name.strip() and file.endswith(".jsonl")) or name in (*taken, *found) or "greedy" in name:
            raise InputError(f"others: expected name=answers.jsonl with a name of its own, but {entry!r} came; taken are "
                             f"{', '.join((*taken, *found))}")
        found[name] = file
    return found


def translated(translator, lang, questions, path):
    """The questions with `native_instruction`: as given, else as kept in the JSONL file at `path`, else translated (once; then
    kept). Without a translator, and where it refuses, the field stays None. What looks wrong is told, not dropped."""
    path = Path(path)
    known = {r["id"]: r["native_instruction"] for r in artifacts.read_jsonl(path)} if path.exists() else {}
    todo = [q for q in questions if not q["native_instruction"] and q["id"] not in known]
    if translator and todo:
        texts, faults = translator([q["instruction"] for q in todo], "en", lang)
        known |= {q["id"]: t.strip() for q, t in zip(todo, texts, strict=True) if t and t.strip()}
        print("translations that look wrong:", dict(Counter(filter(None, faults))) or "none")
        artifacts.write_jsonl(path, [{"id": k, "native_instruction": v} for k, v in known.items()])
    return [{**q, "native_instruction": q["native_instruction"] or known.get(q["id"])} for q in questions]
