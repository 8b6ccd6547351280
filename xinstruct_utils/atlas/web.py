"""What the method reads: the mini web and the seed pairs, and the truth about them, apart."""

import random
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import NotRequired, TypedDict

from xinstruct_utils.atlas import world
from xinstruct_utils.atlas.pages import RATES, instructions, label, page, written
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core.files import content_id

REPEATED = 0.7     # share of exact repetitions that are left out: more would starve a small corpus
# Share of web pages that are articles: longer, in other words and another order than the seed
# pairs' pages, so that a model of the seed pairs does not know a good page by its wording.
ARTICLES = 0.4


class Truth(TypedDict):
    """The truth about a page (`flaw`, `kind`) or a prompt (`hidden`, `also`)."""

    topic: str
    entity: str
    flaw: NotRequired[str]
    kind: NotRequired[str]                # of its sentences: "pages" or "articles"
    hidden: NotRequired[bool]
    also: NotRequired[list[list[str]]]    # [topic, entity] of further facts that are asked for


Rows = list[dict]
Truths = dict[str, Truth]     # {content id of a page, or id of a prompt: Truth}


def web(language: str, n: int, seed: int,
        facts: Sequence[Fact] | None = None) -> tuple[Rows, Truths]:
    """`n` web pages {id, language, text} and their truth, by content id.

    Flaws come at the rates of RATES, the paper's Table 3 among them (navigation bars 11.3%, URL
    and HTTP-error pages 3.8%).
    """
    rng = random.Random(f"web/{language}/{seed}")
    rows: Rows = []
    truth: Truths = {}
    pool = list(facts or world.facts())
    flaws, weights = [*RATES, "clean"], [*RATES.values(), 1 - sum(RATES.values())]
    while len(rows) < n:
        fact = rng.choice(pool)
        flaw = rng.choices(flaws, weights)[0]
        kind = "articles" if rng.random() < ARTICLES else "pages"
        text = written(fact, flaw, language, rng, kind)
        key = content_id(language, text)
        if key in truth and rng.random() < REPEATED:      # the web repeats itself a little
            continue
        rows.append({"id": f"web-{language}-{len(rows):06d}", "language": language, "text": text})
        truth[key] = {"topic": fact.topic, "entity": fact.entity, "kind": kind,
                      "flaw": label(text, fact, flaw, language)}
    return rows, truth


def seed_pairs(language: str, n: int, seed: int,
               facts: Sequence[Fact] | None = None) -> tuple[Rows, Truths]:
    """`n` clean seed pairs and their truth: an English instruction and a native page."""
    rng = random.Random(f"seed/{language}/{seed}")
    rows: Rows = []
    truth: Truths = {}
    pool = list(facts or world.facts())
    while len(rows) < n:
        fact = rng.choice(pool)
        text = page(fact, language, rng)
        key = content_id(language, text)
        if key in truth:
            continue
        rows.append({"id": f"seed-{language}-{len(rows):05d}", "language": language,
                     "instruction": rng.choice(instructions(fact)), "output": text})
        truth[key] = {"topic": fact.topic, "entity": fact.entity, "flaw": "clean", "kind": "pages"}
    return rows, truth


# Two topics tell the same thing from both ends, so they go to the same side.
SAME = {"currency": "money", "issuer": "money", "languages": "tongue", "script": "tongue"}


@cache
def split_facts(seed: int) -> tuple[list[Fact], list[Fact]]:
    """Facts that seed pairs may tell, and facts that the evaluation asks about.

    About half and half, whatever the country. What seed pairs about other facts tell in full is
    not asked: the currency in a profile, for one. A part of an answer may be told all the same,
    such as the continent. By countries it cannot be split: the generator would learn that the
    others do not exist (LOG.md).
    """
    asked = {fact for fact in world.facts() if _drawn(fact, seed)}
    while True:
        known = [fact for fact in world.facts() if fact not in asked]
        told = set().union(*map(_relations, known))
        also = {fact for fact in asked if _answer(fact) <= told}
        if not also:
            return known, [fact for fact in world.facts() if fact in asked]
        asked -= also


def _drawn(fact: Fact, seed: int) -> bool:
    """Is the fact drawn for the evaluation?"""
    side = SAME.get(fact.topic, fact.topic)
    return world.share("asked", str(seed), side, fact.country) < 0.5


def _answer(fact: Fact) -> set[frozenset[str]]:
    """What an answer about a fact tells: the entity's name with each value."""
    values = world.values(fact, "en")
    subject = {slot: values["other" if slot.startswith("other_") else "name"]
               for slot in world.TOPICS[fact.topic]}
    return {frozenset((subject[slot], values[slot])) for slot in subject}


def _relations(fact: Fact) -> set[frozenset[str]]:
    """What a page about a fact tells: pairs of names that belong together."""
    pairs = combinations(world.values(fact, "en").values(), 2)
    return {frozenset(pair) for pair in pairs}
