"""Which language a text is in: the one place that asks the detector."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.data.boilerplate import URL
from xinstruct_utils.data.romanised import is_romanised

if TYPE_CHECKING:
    from lingua import LanguageDetector

# Neighbours of our languages. Malay is left out on purpose: in 200 characters lingua takes every
# fifth Indonesian text for it.
COMPARED = ("en", "et", "sv", "az", "mr", "fa", "ar", "es", "pt", "fr", "de", "nl", "ru", "so",
            "zu")
OURS = ("en", *languages.LANGUAGES)
FEW_LETTERS = 15               # too few for the detector


def known(codes: Iterable[str]) -> frozenset[str]:
    """Those of some language codes that lingua knows."""
    from lingua import IsoCode639_1

    return frozenset(code for code in codes if hasattr(IsoCode639_1, code.upper()))


@cache
def detector(codes: frozenset[str], quick: bool = False) -> "LanguageDetector":
    """lingua's detector for the languages of some codes; a quick one errs more, ten times
    faster."""
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    wanted = [getattr(IsoCode639_1, code.upper()) for code in sorted(codes)]
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*wanted)
    return (builder.with_low_accuracy_mode() if quick else builder).build()


def confidence(text: str, lang: str, codes: frozenset[str], quick: bool = False) -> float:
    """How sure lingua is that a text is in `lang` rather than in the others of `codes`: 0 to 1."""
    from lingua import IsoCode639_1, Language

    wanted = Language.from_iso_code_639_1(getattr(IsoCode639_1, lang.upper()))
    return detector(codes, quick).compute_language_confidence(text, wanted)


def in_language(text: str, lang: str) -> bool:
    """Whether the 200 characters in the middle of a text are in the language, as lingua sees it.

    Raises InputError for a language that lingua has not.
    """
    codes = known({*languages.LANGUAGES, *COMPARED})
    if lang not in codes:
        raise InputError(
            f"the cleaning rule 'language' does not know {lang!r} (lingua has no such language); "
            "leave the rule out of cleaning:")
    middle = len(text) // 2
    return confidence(text[max(0, middle - 100):middle + 100], lang, codes) >= 0.5


def is_english(text: str) -> bool:
    """Whether a short text may be English: not so in another script, nor where it is Hindi, Urdu,
    Bengali or Tamil in Latin letters, nor where lingua is sure of another of our languages.

    Names make much of a short text, so that English is given up at a confidence under 0.05 only:
    right instructions of the Atlas have 0.11 or more. Under 15 letters lingua is not asked.
    """
    letters = [c for c in text if c.isalpha()]
    if sum(c.isascii() for c in letters) <= 0.9 * len(letters):
        return False
    if is_romanised(text):
        return False
    prose = URL.sub(" ", text)             # an address is in no language
    if sum(c.isalpha() for c in prose) < FEW_LETTERS:
        return True
    begun, codes = prose[:200], known(OURS)
    return (confidence(begun, "en", codes, quick=True) >= 0.5
            or confidence(begun, "en", codes) >= 0.05)


def detected(text: str) -> str | None:
    """The code of the language, English or one of ours, that a text is in most likely, or None."""
    language = detector(known(OURS)).detect_language_of(text)
    return language.iso_code_639_1.name.lower() if language else None
