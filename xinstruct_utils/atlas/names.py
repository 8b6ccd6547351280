"""What CLDR (through Babel) calls things: countries, money, languages, cities, days, units."""

import hashlib
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from babel import Locale

CONTINENTS = {"Africa": "002", "America": "019", "Asia": "142", "Europe": "150", "Pacific": "009"}
# Where a time zone's name and the continent of CLDR's containment (UN M49) differ; Babel has no
# containment to read.
CONTINENT_OF = {"TR": "142"}
LOCALES = ("en", "fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")
N_COUNTRIES = 84
# CLDR names the time zones of these after an island, not a city.
ISLANDS = ("SB", "TC", "TO")


class Country(NamedTuple):
    """What CLDR knows of a country, as codes; zone: its time zone, such as Africa/Nairobi."""

    zone: str
    currency: str
    language: str
    script: str
    alpha3: str
    continent: str


class Unit(NamedTuple):
    """A unit of measurement: its symbol, and how many of a smaller one it is."""

    symbol: str
    number: int
    base: str


UNITS = {
    "length-kilometer": Unit("km", 1000, "length-meter"),
    "length-meter": Unit("m", 100, "length-centimeter"),
    "length-centimeter": Unit("cm", 10, "length-millimeter"),
    "length-mile": Unit("mi", 1760, "length-yard"),
    "length-yard": Unit("yd", 3, "length-foot"),
    "length-foot": Unit("ft", 12, "length-inch"),
    "mass-tonne": Unit("t", 1000, "mass-kilogram"),
    "mass-kilogram": Unit("kg", 1000, "mass-gram"),
    "mass-gram": Unit("g", 1000, "mass-milligram"),
    "mass-pound": Unit("lb", 16, "mass-ounce"),
    "volume-liter": Unit("l", 1000, "volume-milliliter"),
    "area-hectare": Unit("ha", 10000, "area-square-meter"),
    "duration-hour": Unit("h", 60, "duration-minute"),
    "duration-minute": Unit("min", 60, "duration-second"),
    "duration-second": Unit("s", 1000, "duration-millisecond"),
    "power-megawatt": Unit("MW", 1000, "power-kilowatt"),
    "power-kilowatt": Unit("kW", 1000, "power-watt"),
    "energy-kilojoule": Unit("kJ", 1000, "energy-joule"),
    "frequency-megahertz": Unit("MHz", 1000, "frequency-kilohertz"),
    "frequency-gigahertz": Unit("GHz", 1000, "frequency-megahertz"),
    "digital-kilobyte": Unit("kB", 1000, "digital-byte"),
    "digital-megabyte": Unit("MB", 1000, "digital-kilobyte"),
    "digital-gigabyte": Unit("GB", 1000, "digital-megabyte"),
    "digital-terabyte": Unit("TB", 1000, "digital-gigabyte"),
}


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
    continent = CONTINENT_OF.get(code) or CONTINENTS.get(zones[0].split("/")[0])
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


def territory(code: str, locale: str) -> str:
    """The name of a country, or of a continent by its number."""
    return _locale(locale).territories[code]


@cache
def of_country(code: str, locale: str) -> Mapping[str, str]:
    """All that is told of a country, in a locale: {slot: value}."""
    loc, country = _locale(locale), countries()[code]
    return {
        "place": loc.territories[code], "alpha2": code, "alpha3": country.alpha3,
        "currency": loc.currencies[country.currency], "code": country.currency,
        "language": loc.languages[country.language], "script": loc.scripts[country.script],
        "continent": loc.territories[country.continent], "city": _city(loc, country.zone),
        "french": territory(code, "fr"), "spanish": territory(code, "es"),
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
    days = weekdays(str(loc))
    return {"first_day": days[territory.first_week_day], "rest_day": days[territory.weekend_start]}


@cache
def weekdays(locale: str) -> Mapping[int, str]:
    """Names of the weekdays, Monday first, in the form that stands alone.

    Read from the raw data: Babel 2.18 resolves the alias "stand-alone = format" once for all
    locales, so that the second locale of a process gets the days of the first.
    """
    from babel.localedata import load

    days: Any = load(locale)["days"]
    alone = days["stand-alone"].get("wide")
    own = alone[1] if isinstance(alone, tuple) else alone   # (alias, the locale's own names)
    return own if isinstance(own, dict) and len(own) == 7 else days["format"]["wide"]


@cache
def unit(name: str, locale: str) -> str:
    """The display name of a unit, the long one where CLDR has it (often a plural)."""
    from babel.localedata import load

    known: Any = load(locale)["unit_display_names"].get(name, {})
    return known.get("long") or known["short"]
