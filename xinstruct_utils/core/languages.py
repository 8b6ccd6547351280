"""The languages, one row each: the only place where a language is described. Add a row to add a language."""

from dataclasses import dataclass

from xinstruct_utils.core.errors import InputError


@dataclass(frozen=True)
class Language:
    """A language: ISO 639-1 code, English and own name, script (ISO 15924), writing direction, resource level of the
    paper, CLDR locale, config names in CulturaX and FineWeb-2, FLORES-200 code, family (paper, Table 13)."""

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
    def spaced(self):
        """Whether blanks stand between its words, so that they can be counted without a model."""
        return self.script not in ("Thai", "Laoo", "Khmr", "Mymr", "Jpan", "Hans", "Hant")


_ROWS = [
    ("fi", "Finnish", "suomi", "Latn", "ltr", "medium", "fi", "fi", "fin_Latn", "fin_Latn", "Uralic"),
    ("id", "Indonesian", "Bahasa Indonesia", "Latn", "ltr", "medium", "id", "id", "ind_Latn", "ind_Latn", "Austronesian"),
    ("th", "Thai", "ไทย", "Thai", "ltr", "medium", "th", "th", "tha_Thai", "tha_Thai", "Kra-Dai"),
    ("tr", "Turkish", "Türkçe", "Latn", "ltr", "medium", "tr", "tr", "tur_Latn", "tur_Latn", "Turkic"),
    ("vi", "Vietnamese", "Tiếng Việt", "Latn", "ltr", "medium", "vi", "vi", "vie_Latn", "vie_Latn", "Austroasiatic"),
    ("bn", "Bengali", "বাংলা", "Beng", "ltr", "low", "bn", "bn", "ben_Beng", "ben_Beng", "Indo-European"),
    ("hi", "Hindi", "हिन्दी", "Deva", "ltr", "low", "hi", "hi", "hin_Deva", "hin_Deva", "Indo-European"),
    ("sw", "Swahili", "Kiswahili", "Latn", "ltr", "low", "sw", "sw", "swh_Latn", "swh_Latn", "Niger-Congo"),
    ("ta", "Tamil", "தமிழ்", "Taml", "ltr", "low", "ta", "ta", "tam_Taml", "tam_Taml", "Dravidian"),
    ("ur", "Urdu", "اردو", "Arab", "rtl", "low", "ur", "ur", "urd_Arab", "urd_Arab", "Indo-European"),
]
LANGUAGES = {row[0]: Language(*row) for row in _ROWS}
ENGLISH = Language("en", "English", "English", "Latn", "ltr", "high", "en", "en", "eng_Latn", "eng_Latn",
                   "Indo-European")   # of instructions


def get(code):
    """The language with this code. Raises InputError for an unknown one."""
    if code not in LANGUAGES:
        raise InputError(
            f"unknown language code {code!r}: expected one of {', '.join(LANGUAGES)}; to add a "
            "language, add its row to xinstruct_utils/core/languages.py")
    return LANGUAGES[code]


def named(code):
    """As `get`, and English too: what is translated from or into."""
    return ENGLISH if code == ENGLISH.code else get(code)
