"""Facts of the Atlas: countries, currencies, languages from CLDR (through Babel), in any locale.

An entity belongs to a topic; a fact is an entity with the values of the topic's slots. Values are
CLDR names in their dictionary form, so that the same fact can be told in every language.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from babel import Locale

TOPICS = {
    "currency": ("currency", "code"),
    "languages": ("language", "script"),
    "city": ("city", "continent"),
    "week": ("first_day", "rest_day"),
    "codes": ("alpha2", "alpha3"),
    "profile": ("continent", "currency", "language", "city"),
    "script": ("script", "place"),
    "issuer": ("place", "code"),
}
PER_COUNTRY = ("currency", "languages", "city", "week", "codes", "profile")
CONTINENTS = {"Africa": "002", "America": "019", "Asia": "142", "Europe": "150", "Pacific": "009"}
LOCALES = ("en", "fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")
N_COUNTRIES = 84
# CLDR names the time zones of these after an island, not a city.
ISLANDS = ("SB", "TC", "TO")


@dataclass(frozen=True)
class Fact:
    """One fact: `topic` and `entity` (a CLDR code) name it, `country` is what it is about."""

    topic: str
    entity: str
    country: str

    @property
    def key(self) -> str:
        """The fact's name across languages, e.g. `currency/KE`."""
        return f"{self.topic}/{self.entity}"


class Country(NamedTuple):
    """What CLDR knows of a country, as codes; zone: its time zone, such as Africa/Nairobi."""

    zone: str
    currency: str
    language: str
    script: str
    alpha3: str
    continent: str


def share(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts only: the same on every machine."""
    return int(hashlib.sha256("/".join(parts).encode()).hexdigest()[:8], 16) / 2**32


@cache
def _locale(code: str) -> "Locale":
    from babel import Locale

    return Locale.parse(code)


@cache
def countries() -> dict[str, Country]:
    """{code: Country} of the world's countries.

    They have one time zone, one current currency and an official language, and are named in all
    locales. Countries with several zones give odd cities, so they are left out.
    """
    from babel.core import get_global

    aliases = get_global("territory_aliases")
    alpha3 = {names[0]: alias for alias, names in aliases.items()
              if len(alias) == 3 and alias.isalpha() and len(names) == 1}
    zones = get_global("territory_zones")
    complete = {}
    for code in sorted(zones):
        country = _country(code, zones[code], alpha3.get(code))
        if country and all(_is_named(code, country, locale) for locale in LOCALES):
            complete[code] = country
    drawn = sorted(complete, key=lambda code: share("country", code))[:N_COUNTRIES]
    return {code: complete[code] for code in sorted(drawn)}


def _country(code: str, zones: list[str], alpha3: str | None) -> Country | None:
    """A country's codes, or None where one is missing or there are several."""
    from babel.core import get_global
    from babel.languages import get_official_languages
    from babel.numbers import get_territory_currencies

    likely = get_global("likely_subtags")
    money = get_territory_currencies(code) or []
    spoken = [name.split("_")[0] for name in get_official_languages(code)]
    language = next((name for name in spoken if name in likely), None)
    if not (len(zones) == len(money) == 1 and zones[0] and language and alpha3):
        return None
    continent = CONTINENTS.get(zones[0].split("/")[0])
    script = likely[language].split("_")[1]
    if not continent or script == "Hans":  # named only "Simplified"
        return None
    return Country(zones[0], money[0], language, script, alpha3, continent)


def _is_named(code: str, country: Country, locale: str) -> bool:
    """Has the locale names for all that is told of the country?"""
    names = _locale(locale)
    return (code in names.territories and country.currency in names.currencies
            and country.language in names.languages and country.script in names.scripts)


@cache
def has_city(code: str) -> bool:
    """Does the country's time zone bear the name of a city?

    Not the country's own name, and not one in letters of another script.
    """
    zone = countries()[code].zone
    country = _locale("en").territories[code].lower()
    city = _city(_locale("en"), zone).lower()
    if code in ISLANDS or city in country or country in city:
        return False
    for loc in map(_locale, LOCALES):
        if _is_latin(_city(loc, zone)) != _is_latin(loc.territories[code]):
            return False
    return True


def _is_latin(text: str) -> bool:
    letter = next(c for c in text if c.isalpha())
    return unicodedata.name(letter).startswith("LATIN")


@cache
def facts() -> tuple[Fact, ...]:
    """All facts of the world, in a fixed order.

    What needs a city is told of countries only that have one.
    """
    told = [Fact(topic, code, code) for topic in PER_COUNTRY for code in countries()
            if "city" not in TOPICS[topic] or has_city(code)]
    return (*told, *_scripts(), *_issuers())


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


def hidden(fact: Fact, language: str) -> bool:
    """Is the fact kept out of the base model's native pages? True for half of the countries."""
    return share("hidden", language, fact.country) < 0.5


@cache
def values(fact: Fact, locale: str) -> Mapping[str, str]:
    """Slot values of a fact in a locale: {"name": entity's name, slot: value, ...}.

    They are cached, so nobody may change them.
    """
    names = _names(fact.country, locale)
    entity = {"script": "language", "issuer": "currency"}.get(fact.topic, "place")
    return {"name": names[entity]} | {slot: names[slot] for slot in TOPICS[fact.topic]}


def _names(code: str, locale: str) -> dict[str, str]:
    """All that is told of a country, in a locale: {slot: value}."""
    loc, country = _locale(locale), countries()[code]
    return {
        "place": loc.territories[code], "alpha2": code, "alpha3": country.alpha3,
        "currency": loc.currencies[country.currency], "code": country.currency,
        "language": loc.languages[country.language], "script": loc.scripts[country.script],
        "continent": loc.territories[country.continent], "city": _city(loc, country.zone),
        **_week(loc, code),
    }


def _city(loc: "Locale", zone: str) -> str:
    """The time zone's exemplar city.

    CLDR leaves it out where it equals the last part of the zone's id.
    """
    entry = loc._data["time_zones"].get(zone, {})
    return entry.get("city") or zone.split("/")[-1].replace("_", " ")


def _week(loc: "Locale", country: str) -> dict[str, str]:
    """The first day of a country's week, and the first of its weekend."""
    from babel import Locale

    territory = Locale.parse(f"und_{country}")
    days = _days(str(loc))
    return {"first_day": days[territory.first_week_day], "rest_day": days[territory.weekend_start]}


@cache
def _days(locale: str) -> Mapping[int, str]:
    """Names of the weekdays, Monday first, in the form that stands alone.

    Read from the raw data: Babel 2.18 resolves the alias "stand-alone = format" once for all
    locales, so that the second locale of a process gets the days of the first.
    """
    from babel.localedata import load

    days: Any = load(locale)["days"]
    alone = days["stand-alone"].get("wide")
    own = alone[1] if isinstance(alone, tuple) else alone   # (alias, the locale's own names)
    return own if isinstance(own, dict) and len(own) == 7 else days["format"]["wide"]


def all_values(slot: str, locale: str) -> list[str]:
    """Every value a slot takes in a locale: used to find wrong values in an answer."""
    return sorted({values(f, locale)[slot] for f in facts() if slot in TOPICS[f.topic]})
