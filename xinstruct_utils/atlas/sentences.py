"""The sentences of a language (`texts/<language>.yaml`), and what is missing or wrong in them.

A native speaker may correct these files.
"""

import re
from collections.abc import Iterator
from functools import cache

from xinstruct_utils.atlas import HOME
from xinstruct_utils.atlas.topics import TOPICS, asked, every, slots

PROMPTS = 4      # of a topic, in the order of the English ones
PAGES = 4        # of a topic, at least
ARTICLES = 2     # of a topic, at least
TOLD = ("pages", "half", "articles", "fillers")      # kinds of which pages are made
# Where a sentence ends in a language whose sentences have no full stop; shown as a blank.
BREAK = "␠"


@cache
def texts(language: str) -> dict:
    """The sentences of a language."""
    import yaml

    return yaml.safe_load((HOME / "texts" / f"{language}.yaml").read_text(encoding="utf-8"))


def shown(text: str) -> str:
    """A text as a reader sees it."""
    return text.replace(BREAK, " ")


def split(text: str) -> list[str]:
    """The sentences of a text or template, without the blanks around them."""
    parts = re.split(rf"(?<=[.!?۔؟।])\s+|[\n{BREAK}]+", text)
    return [part.strip() for part in parts if part.strip()]


def faults(sentences: dict, english: dict) -> list[str]:
    """What is missing or wrong in a language's sentences, each with its place; [] if nothing is.

    sentences: as `texts` reads them; english: those of English, whose kinds they have.
    """
    topics = sentences.get("topics") or {}
    found = _missing("topics", topics, TOPICS)
    for topic in TOPICS:
        if topic in topics:
            found += _topic_faults(topic, topics[topic])
    flaws = sentences.get("flaws") or {}
    found += _missing("flaws", flaws, english["flaws"])
    for kind, lines in flaws.items():
        found += _unknown_slots(f"flaws, {kind}", lines, {"name", "slug"})
    glossary = sentences.get("glossary") or []
    if not glossary:
        found.append("glossary: there is none")
    for line in glossary:
        if slots(line) != {"english", "native"}:
            found.append(f"glossary: {line!r} needs {{english}} and {{native}}, and nothing else")
    return found + list(_word_faults(sentences.get("words") or {}, topics.get("yesno") or {}))


def _word_faults(words: dict, kinds: dict) -> Iterator[str]:
    """Are there two answers, and does none of them stand where another is meant?"""
    if set(words) != {"yes", "no"}:
        yield f"words: expected \"yes\" and \"no\", but {sorted(map(str, words))} came"
        return
    for name, word in words.items():
        other = words["no" if name == "yes" else "yes"]
        for line in [other, *(line for kind in TOLD for line in kinds.get(kind) or [])]:
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", line, re.IGNORECASE):
                yield f"words, {name}: {word!r} stands in {line!r}, which is not about the answer"


def _missing(place: str, given: dict, wanted: dict) -> list[str]:
    return [f"{place}: {name} is missing" for name in wanted if not given.get(name)]


def _unknown_slots(place: str, lines: list[str], known: set[str]) -> Iterator[str]:
    for line in lines:
        if unknown := slots(line) - known:
            yield f"{place}: {line!r} has {_braced(unknown)}, which nothing fills"


def _braced(names: set[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))


def _topic_faults(topic: str, kinds: dict) -> Iterator[str]:
    """What is wrong with the sentences of one topic."""
    whole, question = every(topic), set(asked(topic))
    yield from _missing(topic, kinds, dict.fromkeys(("prompts", *TOLD)))
    prompts = kinds.get("prompts") or []
    if len(prompts) != PROMPTS:
        yield f"{topic}: {len(prompts)} prompts, expected {PROMPTS}, in the order of the English"
    for line in prompts:
        if slots(line) != question:
            yield f"{topic}, prompts: {line!r} needs {_braced(question)}, and nothing else"
    for kind, least in (("pages", PAGES), ("articles", ARTICLES)):
        lines = kinds.get(kind) or []
        if len(lines) < least:
            yield f"{topic}: {len(lines)} {kind}, expected {least} or more"
        for line in lines:
            if absent := whole - slots(line):
                yield f"{topic}, {kind}: {line!r} lacks {_braced(absent)}"
    for line in kinds.get("half") or []:
        if not set(TOPICS[topic]) - slots(line):
            yield f"{topic}, half: {line!r} leaves out no slot"
    for kind in ("pages", "half", "articles"):
        yield from _unknown_slots(f"{topic}, {kind}", kinds.get(kind) or [], whole)
    yield from _unknown_slots(f"{topic}, fillers", kinds.get("fillers") or [], set())
