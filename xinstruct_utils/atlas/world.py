"""Facts of the Atlas, in any locale: what can be told, and of what.

An entity belongs to a topic; a fact is an entity with the values of the topic's slots. Values are
CLDR names in their dictionary form, numbers, or lines of Python, so that the same fact can be told
in every language.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from xinstruct_utils.atlas import names
from xinstruct_utils.atlas.names import UNITS, countries, has_city, share
from xinstruct_utils.atlas.sentences import texts
from xinstruct_utils.atlas.topics import TOPICS

# Topics that are told of every country, and of a few.
PER_COUNTRY = ("currency", "languages", "city", "week", "codes", "profile")
PER_SOME = ("translate", "compare", "yesno", "letter", "advice")
SOME = 30           # countries that one of these is told of; sums; programs
# CLDR has some Urdu names with the Arabic letters that look alike.
URDU_LETTERS = str.maketrans("يك", "یک")


@dataclass(frozen=True)
class Fact:
    """One fact: `topic` and `entity` (a CLDR code, a sum) name it.

    `country` is what it is about; of units and sums, which are about none, it is the entity.
    """

    topic: str
    entity: str
    country: str

    @property
    def key(self) -> str:
        """The fact's name across languages, e.g. `currency/KE`."""
        return f"{self.topic}/{self.entity}"


@cache
def facts() -> tuple[Fact, ...]:
    """All facts of the world, in a fixed order.

    What needs a city is told of countries only that have one.
    """
    told = [Fact(topic, code, code) for topic in PER_COUNTRY for code in _tellable(topic)]
    for topic in PER_SOME:
        drawn = sorted(_tellable(topic), key=lambda code, topic=topic: share(topic, code))[:SOME]
        told += [Fact(topic, code, code) for code in sorted(drawn)]
    told += [Fact("unit", name, name) for name in UNITS]
    told += [Fact("arithmetic", sum_, sum_) for sum_ in _sums()]
    told += [Fact("program", sum_, sum_) for sum_ in _programs()]
    return (*told, *_scripts(), *_issuers())


def _tellable(topic: str) -> list[str]:
    """Countries that have all that the topic tells: a city, or a name that changes."""
    if topic == "translate":
        return [code for code in countries()
                if len({names.territory(code, locale) for locale in ("en", "fr", "es")}) == 3]
    return [code for code in countries() if "city" not in TOPICS[topic] or has_city(code)]


def _scripts() -> list[Fact]:
    """In what script a language is written, told of the country where most of its speakers live."""
    from babel.core import get_global

    likely = get_global("likely_subtags")
    languages = sorted({country.language for country in countries().values()})
    homes = {language: likely[language].split("_")[2] for language in languages}
    return [Fact("script", language, home) for language, home in homes.items()
            if home in countries()]


def _issuers() -> list[Fact]:
    """Whose money a currency is, where one country has it for itself."""
    users = defaultdict(list)
    for code, country in countries().items():
        users[country.currency].append(code)
    return [Fact("issuer", money, codes[0]) for money, codes in sorted(users.items())
            if len(codes) == 1]


def _sums() -> list[str]:
    """Multiplications, such as 6 × 14."""
    every = [f"{a} × {b}" for a in range(3, 13) for b in range(13, 26)]
    return sorted(sorted(every, key=lambda sum_: share("arithmetic", sum_))[:SOME])


def _programs() -> list[str]:
    """Sums and differences, and sums of whole rows such as 1 + 2 + 3 + 4."""
    short = [f"{a} {sign} {b}" for a in range(20, 60) for b in range(3, 19) for sign in "+-"]
    short = sorted(short, key=lambda sum_: share("program", sum_))
    rows = [" + ".join(map(str, range(1, end + 1))) for end in range(3, 10)]
    return sorted([*rows, *short[:SOME - len(rows)]])


def hidden(fact: Fact, language: str) -> bool:
    """Is the fact kept out of the base model's native pages? True for half of the countries."""
    return any(share("hidden", language, country) < 0.5 for country in about(fact))


def about(fact: Fact) -> tuple[str, ...]:
    """The countries that a fact is about: two where they are compared."""
    return (fact.country, other(fact.entity)) if fact.topic == "compare" else (fact.country,)


@cache
def other(code: str) -> str:
    """The country that a country is compared with: the next one that has another currency."""
    ring = sorted(countries(), key=lambda country: share("compare", country))
    start = ring.index(code)
    return next(country for country in [*ring[start + 1:], *ring[:start]]
                if countries()[country].currency != countries()[code].currency)


@cache
def claimed(code: str) -> str:
    """The continent that a country is claimed to lie on, as CLDR's number: right in half of all."""
    own = countries()[code].continent
    if share("claim", code) < 0.5:
        return own
    others = [number for number in names.CONTINENTS.values() if number != own]
    return others[int(share("claimed", code) * len(others))]


@cache
def values(fact: Fact, locale: str) -> Mapping[str, str]:
    """Slot values of a fact in a locale: {"name": entity's name, slot: value, ...}.

    They are cached, so nobody may change them.
    """
    letters = URDU_LETTERS if locale == "ur" else {}
    return {slot: unicodedata.normalize("NFC", value).translate(letters)
            for slot, value in _values(fact, locale).items()}


def _values(fact: Fact, locale: str) -> dict[str, str]:
    """Slot values as CLDR has them."""
    if fact.topic == "unit":
        unit = UNITS[fact.entity]
        return {"name": names.unit(fact.entity, locale), "symbol": unit.symbol,
                "number": str(unit.number), "base": names.unit(unit.base, locale)}
    if fact.topic == "arithmetic":
        first, second = map(int, fact.entity.split(" × "))
        result = first * second
        return {"name": fact.entity, "result": str(result),
                "check": f"{result} ÷ {second} = {first}"}
    if fact.topic == "program":
        return {"name": fact.entity, **_program(fact.entity)}
    known = dict(names.of_country(fact.country, locale))
    entity = {"script": "language", "issuer": "currency"}.get(fact.topic, "place")
    told = {"name": known[entity]}
    if fact.topic == "compare":
        rival = names.of_country(other(fact.entity), locale)
        told["other"], known["other_currency"] = rival["place"], rival["currency"]
    if fact.topic == "yesno":
        claim, words = claimed(fact.entity), texts(locale)["words"]
        told["claimed"] = names.territory(claim, locale)
        known["verdict"] = words["yes" if told["claimed"] == known["continent"] else "no"]
    return told | {slot: known[slot] for slot in TOPICS[fact.topic]}


def _program(sum_: str) -> dict[str, str]:
    """A line of Python that prints a sum, and what it prints."""
    terms = [int(term) for term in sum_.replace("- ", "-").replace("+ ", "").split()]
    line = f"print({sum_})" if len(terms) == 2 else f"print(sum(range(1, {terms[-1] + 1})))"
    return {"program": line, "output": str(sum(terms))}


@cache
def all_values(slot: str, locale: str) -> tuple[str, ...]:
    """Every value a slot takes in a locale: used to find wrong values in an answer."""
    return tuple(sorted({values(f, locale)[slot] for f in facts() if slot in TOPICS[f.topic]}))


@cache
def all_names(locale: str) -> frozenset[str]:
    """Everything that fills a slot in a locale."""
    return frozenset(value for fact in facts() for value in values(fact, locale).values())
