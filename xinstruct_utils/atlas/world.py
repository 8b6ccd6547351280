"""Facts of the Atlas: countries, currencies and languages from CLDR (through Babel), in any locale.

An entity belongs to a topic; a fact is an entity with the values of the topic's slots. Values are CLDR
names in their dictionary form, so that the same fact can be told in every language.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from functools import cache

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
CONTINENTS = {"Africa": "002", "America": "019", "Asia": "142", "Europe": "150", "Pacific": "009"}
LOCALES = ("en", "fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")
N_COUNTRIES = 84
ISLANDS = ("SB", "TC", "TO")                      # CLDR names the time zones of these after an island, not a city


@dataclass(frozen=True)
class Fact:
    """One fact: `topic` and `entity` (a CLDR code) name it, `country` is the country it is about."""

    topic: str
    entity: str
    country: str

    @property
    def key(self):
        """The fact's name across languages, e.g. `currency/KE`."""
        return f"{self.topic}/{self.entity}"


def _share(*parts):
    """A number in [0, 1) that depends on the parts only: the same on every machine."""
    return int(hashlib.sha256("/".join(parts).encode()).hexdigest()[:8], 16) / 2**32


@cache
def _locale(code):
    from babel import Locale

    return Locale.parse(code)


@cache
def countries():
    """Countries with one time zone, one current currency and an official language, named in all locales.

    Countries with several zones give odd cities, so they are left out. Returns {code: dict of CLDR codes}.
    """
    from babel.core import get_global
    from babel.languages import get_official_languages
    from babel.numbers import get_territory_currencies

    zones, aliases, likely = (get_global(k) for k in ("territory_zones", "territory_aliases", "likely_subtags"))
    alpha3 = {v[0]: k for k, v in aliases.items() if len(k) == 3 and k.isalpha() and len(v) == 1}
    found = {}
    for code in sorted(zones):
        zone = zones[code][0] if len(zones[code]) == 1 else ""
        money = get_territory_currencies(code)
        spoken = [s.split("_")[0] for s in get_official_languages(code)]
        if not (zone and money and len(money) == 1 and spoken and code in alpha3):
            continue
        language = next((s for s in spoken if s in likely), "")
        continent = CONTINENTS.get(zone.split("/")[0])
        if not (language and continent) or likely[language].split("_")[1] == "Hans":  # named only "Simplified"
            continue
        script = likely[language].split("_")[1]
        found[code] = dict(zone=zone, currency=money[0], language=language, script=script, alpha3=alpha3[code],
                           continent=continent)
    named = [c for c, f in found.items() if all(_named(c, f, loc) for loc in LOCALES)]
    return {c: found[c] for c in sorted(sorted(named, key=lambda c: _share("country", c))[:N_COUNTRIES])}


def _named(code, fact, locale):
    loc = _locale(locale)
    return (code in loc.territories and fact["currency"] in loc.currencies and fact["language"] in loc.languages
            and fact["script"] in loc.scripts)


@cache
def has_city(code):
    """Does the country's time zone bear the name of a city: not the country's own, and not in letters of another script?"""
    zone = countries()[code]["zone"]
    country, city = _locale("en").territories[code].lower(), _city(_locale("en"), zone).lower()
    foreign = any(_latin(_city(_locale(loc), zone)) != _latin(_locale(loc).territories[code]) for loc in LOCALES)
    return not (code in ISLANDS or city in country or country in city or foreign)


def _latin(text):
    return unicodedata.name(next(c for c in text if c.isalpha())).startswith("LATIN")


@cache
def facts():
    """All facts of the world, in a fixed order. What needs a city is told of countries only that have one."""
    out = [Fact(topic, code, code) for topic in ("currency", "languages", "city", "week", "codes", "profile")
           for code in countries() if "city" not in TOPICS[topic] or has_city(code)]
    home, issuer = {}, {}
    for code, fact in countries().items():
        home.setdefault(fact["language"], []).append(code)
        issuer.setdefault(fact["currency"], []).append(code)
    from babel.core import get_global

    likely = get_global("likely_subtags")
    for language in sorted(home):
        place = likely[language].split("_")[2]
        if place in countries():
            out.append(Fact("script", language, place))
    out += [Fact("issuer", money, users[0]) for money, users in sorted(issuer.items()) if len(users) == 1]
    return tuple(out)


def hidden(fact, language):
    """Is the fact kept out of the base model's native pages in this language? True for half of the countries."""
    return _share("hidden", language, fact.country) < 0.5


@cache
def values(fact, locale):
    """Slot values of a fact in a locale: {"name": entity's name, slot: value, ...}, all strings.

    A tuple of pairs would be safer to cache; callers must not change the dict.
    """
    loc, country = _locale(locale), countries()[fact.country]
    names = dict(
        currency=loc.currencies[country["currency"]], code=country["currency"], city=_city(loc, country["zone"]),
        language=loc.languages[country["language"]], script=loc.scripts[country["script"]],
        continent=loc.territories[country["continent"]], place=loc.territories[fact.country],
        alpha2=fact.country, alpha3=country["alpha3"], **_week(loc, fact.country))
    entity = {"script": names["language"], "issuer": names["currency"]}.get(fact.topic, names["place"])
    return {"name": entity} | {slot: names[slot] for slot in TOPICS[fact.topic]}


def _city(loc, zone):
    """The time zone's exemplar city; CLDR leaves it out where it equals the last part of the zone's id."""
    entry = loc._data["time_zones"].get(zone, {})
    return entry.get("city") or zone.split("/")[-1].replace("_", " ")


def _week(loc, country):
    from babel import Locale

    territory = Locale.parse(f"und_{country}")
    days = _days(str(loc))
    return dict(first_day=days[territory.first_week_day], rest_day=days[territory.weekend_start])


@cache
def _days(locale):
    """Names of the weekdays, Monday first, in the form that stands alone.

    Read from the raw data: Babel 2.18 resolves the alias "stand-alone = format" once for all locales, so that the
    second locale of a process gets the days of the first.
    """
    from babel.localedata import load

    days = load(locale)["days"]
    alone = days["stand-alone"].get("wide")
    own = alone[1] if isinstance(alone, tuple) else alone   # (alias, the locale's own names)
    return own if isinstance(own, dict) and len(own) == 7 else days["format"]["wide"]


def all_values(slot, locale):
    """Every value a slot takes in the world, in a locale: used to find wrong values in an answer."""
    return sorted({values(f, locale)[slot] for f in facts() if slot in TOPICS[f.topic]})
