"""Is a language's file of sentences whole? `faults` names what is missing or wrong in it."""

import re
from collections.abc import Iterator

from xinstruct_utils.atlas.world import TOPICS

PROMPTS = 4      # of a topic, in the order of the English ones
PAGES = 4        # of a topic, at least


def faults(sentences: dict, english: dict) -> list[str]:
    """What is missing or wrong in a language's sentences, each with its place; [] if nothing is.

    sentences: as `pages.texts` reads them; english: those of English, whose kinds they have.
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
    return found


def slots(sentence: str) -> set[str]:
    """Names of the slots in a sentence."""
    return set(re.findall(r"\{(\w+)\}", sentence))


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
    every = {"name", *TOPICS[topic]}
    yield from _missing(topic, kinds, dict.fromkeys(("prompts", "pages", "half", "fillers")))
    prompts, pages = kinds.get("prompts") or [], kinds.get("pages") or []
    if len(prompts) != PROMPTS:
        yield f"{topic}: {len(prompts)} prompts, expected {PROMPTS}, in the order of the English"
    if len(pages) < PAGES:
        yield f"{topic}: {len(pages)} pages, expected {PAGES} or more"
    for line in prompts:
        if slots(line) != {"name"}:
            yield f"{topic}, prompts: {line!r} needs {{name}}, and nothing else"
    for line in pages:
        if absent := every - slots(line):
            yield f"{topic}, pages: {line!r} lacks {_braced(absent)}"
    for line in kinds.get("half") or []:
        if not every - slots(line):
            yield f"{topic}, half: {line!r} leaves out no slot"
    for kind in ("pages", "half"):
        yield from _unknown_slots(f"{topic}, {kind}", kinds.get(kind) or [], every)
    yield from _unknown_slots(f"{topic}, fillers", kinds.get("fillers") or [], set())
