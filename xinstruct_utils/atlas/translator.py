"""A translator of the Atlas: pages out of English, with errors of known kinds at known rates.

It stands in for the machine translation of the paper's baselines. Its errors are those of the
paper's Figure 1 and introduction: what holds of English only is carried over as it stands, words
are translated wrongly, and code is spoiled.
"""

import random
from collections.abc import Callable, Sequence
from typing import TypedDict

from xinstruct_utils.atlas import world
from xinstruct_utils.atlas.pages import instructions, page
from xinstruct_utils.atlas.world import Fact

# Share of the texts with an error. A name that stays English, a name that becomes another one, a
# line of code whose words are translated.
RATES = {"left in English": 0.15, "wrong word": 0.1, "spoiled code": 0.5}
CODE = ("program",)      # topics with code: only they have its error, at its own rate


class Translated(TypedDict):
    """A pair out of English; `error`: its kind, None where there is none."""

    instruction: str
    output: str
    error: str | None


def translate(fact: Fact, language: str, rng: random.Random) -> Translated:
    """An English pair about a fact, instruction and page, in a language."""
    error = draw(fact, language, rng)
    values = dict(world.values(fact, language))
    if error:
        slot = rng.choice(_spoilable(fact, language, error))
        values[slot] = SPOILT[error](fact, slot, language, rng)
    return {"instruction": rng.choice(instructions(fact, language)),
            "output": page(fact, language, rng, values), "error": error}


def draw(fact: Fact, language: str, rng: random.Random) -> str | None:
    """The kind of error that a text has, or None; one that it cannot have is none."""
    at, start = rng.random(), 0.0
    for error, rate in RATES.items():
        if (error == "spoiled code") != (fact.topic in CODE):
            continue
        start += rate
        if at < start:
            return error if _spoilable(fact, language, error) else None
    return None


def _spoilable(fact: Fact, language: str, error: str) -> list[str]:
    """Slots of a fact in which an error shows."""
    own, english = world.values(fact, language), world.values(fact, "en")
    told = world.TOPICS[fact.topic]
    if error == "left in English":
        return [slot for slot in told if own[slot] != english[slot]]
    if error == "wrong word":
        return [slot for slot in told if own[slot] != english[slot]
                and len(world.all_values(slot, language)) > 1]
    return ["program"] if fact.topic in CODE else []


def _left(fact: Fact, slot: str, language: str, rng: random.Random) -> str:
    """The English name in a native sentence."""
    return world.values(fact, "en")[slot]


def _wrong(fact: Fact, slot: str, language: str, rng: random.Random) -> str:
    """Another name of the same kind."""
    right = world.values(fact, language)[slot]
    return rng.choice([value for value in world.all_values(slot, language) if value != right])


def _spoiled(fact: Fact, slot: str, language: str, rng: random.Random) -> str:
    """A line of code in which a translator has put typographic signs in place of Python's."""
    line = world.values(fact, language)[slot]
    return line.replace("print(", "print «").replace(")", "»").replace("-", "–")


SPOILT: dict[str, Callable[[Fact, str, str, random.Random], str]] = {
    "left in English": _left, "wrong word": _wrong, "spoiled code": _spoiled}


def pairs(language: str, n: int, seed: int, facts: Sequence[Fact] = ()) -> list[Translated]:
    """`n` translated pairs about the given facts, by default all: what Alpaca-MT is made of."""
    rng = random.Random(f"translated/{language}/{seed}")
    pool = list(facts or world.facts())
    return [translate(rng.choice(pool), language, rng) for _ in range(n)]
