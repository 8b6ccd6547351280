"""The languages, one row each: the only place where a language is described.

Add a row to add a language.
"""

from dataclasses import dataclass

from xinstruct_utils.core.errors import InputError

# Scripts in which no blanks stand between words.
UNSPACED = frozenset({"Thai", "Laoo", "Khmr", "Mymr", "Jpan", "Hans", "Hant"})


@dataclass(frozen=True)
class Language:
    """A language: ISO 639-1 code, English and own name, script (ISO 15924), writing direction,
    resource level of the paper, CLDR locale, config names in CulturaX and FineWeb-2, FLORES-200
    code, family (paper, Table 13)."""

    code: str
    name: str
    native_name: str
    script: str
    direction: str
    level: str
    locale: str
    culturax: str
    fineweb2: str
    flores: str
    family: str

    @property
    def spaced(self) -> bool:
        """Whether blanks stand between its words, so that they can be counted without a model."""
        return self.script not in UNSPACED


def _language(code, names, script, level, flores, family, direction="ltr") -> Language:
    """A language of which CLDR and CulturaX use the ISO code, and FineWeb-2 the FLORES code."""
    name, native_name = names
    return Language(code, name, native_name, script, direction, level, code, code, flores, flores,
                    family)


_ROWS = [
    _language("fi", ("Finnish", "suomi"), "Latn", "medium", "fin_Latn", "Uralic"),
    _language("id", ("Indonesian", "Bahasa Indonesia"), "Latn", "medium", "ind_Latn",
              "Austronesian"),
    _language("th", ("Thai", "ไทย"), "Thai", "medium", "tha_Thai", "Kra-Dai"),
    _language("tr", ("Turkish", "Türkçe"), "Latn", "medium", "tur_Latn", "Turkic"),
    _language("vi", ("Vietnamese", "Tiếng Việt"), "Latn", "medium", "vie_Latn", "Austroasiatic"),
    _language("bn", ("Bengali", "বাংলা"), "Beng", "low", "ben_Beng", "Indo-European"),
    _language("hi", ("Hindi", "हिन्दी"), "Deva", "low", "hin_Deva", "Indo-European"),
    _language("sw", ("Swahili", "Kiswahili"), "Latn", "low", "swh_Latn", "Niger-Congo"),
    _language("ta", ("Tamil", "தமிழ்"), "Taml", "low", "tam_Taml", "Dravidian"),
    _language("ur", ("Urdu", "اردو"), "Arab", "low", "urd_Arab", "Indo-European", "rtl"),
]
LANGUAGES = {row.code: row for row in _ROWS}
ENGLISH = _language("en", ("English", "English"), "Latn", "high", "eng_Latn", "Indo-European")

# Other people's codes: ISO 639-3, as the FLORES codes begin, and the macrolanguage of Swahili.
_SUBTAGS = {row.flores[:3]: row.code for row in (*_ROWS, ENGLISH)} | {"swa": "sw"}


def get(code: str) -> Language:
    """The language with this code. Raises InputError for an unknown one."""
    if code not in LANGUAGES:
        raise InputError(
            f"unknown language code {code!r}: expected one of {', '.join(LANGUAGES)}; to add a "
            "language, add its row to xinstruct_utils/core/languages.py")
    return LANGUAGES[code]


def named(code: str) -> Language:
    """As `get`, and English too: what is translated from or into."""
    return ENGLISH if code == ENGLISH.code else get(code)


def code_of(label: str) -> str:
    """Our code for a data set's name of a language; a name that is none of ours is given back.

    Understood are ISO 639-1, ISO 639-3, FLORES-200 and BCP 47, in any case: `sw`, `swa`,
    `swh_Latn`, `hi-IN`. A language in another than its own script (`hin_Latn`) is none of ours.
    """
    first, *others = label.strip().replace("_", "-").casefold().split("-")
    code = _SUBTAGS.get(first, first)
    if code not in LANGUAGES and code != ENGLISH.code:
        return label
    scripts = [subtag for subtag in others if len(subtag) == 4 and subtag.isalpha()]
    if scripts and scripts != [named(code).script.casefold()]:
        return label
    return code
