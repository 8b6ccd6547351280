"""Models of others: servers that answer or translate, and answers from files."""

from collections import Counter
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl, write_jsonl
from xinstruct_utils.inference.chat import Client
from xinstruct_utils.method import translation
from xinstruct_utils.prompts.requests import chat_request


def ask_answers(client, lang, questions, batch=False):
    """A model's answers through its server, asked as the authors asked ChatGPT: {id: text}; "" where it refused."""
    bodies = [client.body(None, 2048, 0.7, messages=chat_request(q["instruction"], lang)) for q in questions]
    return {q["id"]: reply.get("text", "") for q, reply in zip(questions, client.ask(bodies, batch), strict=True)}


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
    return translation.open_translator(profile.translator_model, path, profile.translator_base_url, profile.max_cost_usd, prices,
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
    known = {r["id"]: r["native_instruction"] for r in read_jsonl(path)} if path.exists() else {}
    todo = [q for q in questions if not q["native_instruction"] and q["id"] not in known]
    if translator and todo:
        texts, faults = translator([q["instruction"] for q in todo], "en", lang)
        known |= {q["id"]: t.strip() for q, t in zip(todo, texts, strict=True) if t and t.strip()}
        print("translations that look wrong:", dict(Counter(filter(None, faults))) or "none")
        write_jsonl(path, [{"id": k, "native_instruction": v} for k, v in known.items()])
    return [{**q, "native_instruction": q["native_instruction"] or known.get(q["id"])} for q in questions]
