"""Models of others: servers that answer or translate, and answers from files."""

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl, write_jsonl
from xinstruct_utils.evaluation.benchmarks import Question
from xinstruct_utils.inference.chat import Client
from xinstruct_utils.method import translation
from xinstruct_utils.prompts.requests import chat_request

TERMS = ("base_url", "price_in", "price_out")
ANSWER_TOKENS, ANSWER_TEMPERATURE = 2048, 0.7          # as the authors asked ChatGPT


def ask_answers(client: Client, lang: str, questions: list[Question],
                batch: bool = False) -> dict[str, str]:
    """A model's answers through its server, {id: text}; "" where it refused."""
    bodies = [client.body(None, ANSWER_TOKENS, ANSWER_TEMPERATURE,
                          messages=chat_request(q["instruction"], lang)) for q in questions]
    replies = client.ask(bodies, batch)
    return {q["id"]: reply.get("text", "") for q, reply in zip(questions, replies, strict=True)}


def server(profile: Profile, role: str, model: str, path: str | Path,
           max_tokens: int = 256) -> Client:
    """The client of a model on a server; role: "judge" or "opponent".

    The opponent's address and prices are the judge's where it has none of its own. path: the file
    of replies, one for all roles, so that they share a budget.
    """
    terms = []
    for name in TERMS:
        own = getattr(profile, f"{role}_{name}")
        terms.append(getattr(profile, f"judge_{name}") if own is None else own)
    url, price_in, price_out = terms
    return Client(path, model, url, profile.judge_concurrency, price_in, price_out,
                  profile.max_cost_usd, max_tokens)


def translator(profile: Profile, path: str | Path) -> Callable | None:
    """What translates the prompts (`translator_model`), as `open_translator` gives it, or None.

    The terms are those of the seed data's: a server of its own with its prices, else OpenAI at the
    judge's.
    """
    if not profile.translator_model:
        return None
    payer = "translator" if profile.translator_base_url else "judge"
    prices = tuple(getattr(profile, f"{payer}_{name}") for name in ("price_in", "price_out"))
    return translation.open_translator(profile.translator_model, path, profile.translator_base_url,
                                       profile.max_cost_usd, prices, profile.threads)


def others(named: list[str], taken: Collection[str]) -> dict[str, str]:
    """Other models' files of answers, {name: file}, from `name=file.jsonl`.

    `taken` are the names in use. Raises InputError.
    """
    files: dict[str, str] = {}
    for entry in named:
        name, sign, file = entry.partition("=")
        complete = sign and name.strip() and file.endswith(".jsonl")
        if not complete or name in (*taken, *files) or "greedy" in name:
            raise InputError("others: expected name=answers.jsonl with a name of its own, but "
                             f"{entry!r} came; taken are {', '.join((*taken, *files))}")
        files[name] = file
    return files


def translated(translator: Callable | None, lang: str, questions: list[Question],
               path: str | Path) -> list[Question]:
    """The questions with `native_instruction`: as given, else as kept in the JSONL file at `path`.

    The rest is translated, once, and kept. Without a translator, and where it refuses, the field
    stays None. What looks wrong is told, not dropped.
    """
    path = Path(path)
    known = {}
    if path.exists():
        known = {r["id"]: r["native_instruction"] for r in read_jsonl(path)}
    todo = [q for q in questions if not q["native_instruction"] and q["id"] not in known]
    if translator and todo:
        texts, faults = translator([q["instruction"] for q in todo], "en", lang)
        known |= {q["id"]: text.strip() for q, text in zip(todo, texts, strict=True)
                  if text and text.strip()}
        wrong = dict(Counter(filter(None, faults)))
        print("translations that look wrong:", wrong or "none")
        write_jsonl(path, [{"id": k, "native_instruction": v} for k, v in known.items()])
    return [{**q, "native_instruction": q["native_instruction"] or known.get(q["id"])}
            for q in questions]
