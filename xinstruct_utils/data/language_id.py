"""Which language a text is in: the one place that asks the detector."""

from functools import cache

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError

COMPARED = ("en", "et", "sv", "az", "mr", "fa", "ar", "es", "pt", "fr", "de", "nl", "ru", "so", "zu")


@cache
def _detector(lang):
    """A language detector (lingua) for our languages and their neighbours, and its name for this one.

    Malay is left out on purpose: in 200 characters lingua takes every fifth Indonesian text for it.
    """
    from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

    known = {code: getattr(IsoCode639_1, code.upper(), None) for code in sorted({*languages.LANGUAGES, *COMPARED})}
    if not known.get(lang):
        raise InputError(f"the cleaning rule 'language' does not know {lang!r} (lingua has no such language); leave the rule "
                         "out of cleaning:")
    return (LanguageDetectorBuilder.from_iso_codes_639_1(*filter(None, known.values())).build(),
            Language.from_iso_code_639_1(known[lang]))


def in_language(text, lang):
    """Whether the 200 characters in the middle of a text are in the language, as lingua sees it."""
    detector, wanted = _detector(lang)
    middle = len(text) // 2
    return detector.compute_language_confidence(text[max(0, middle - 100):middle + 100], wanted) >= 0.5


@cache
def _english_detectors():
    """lingua for English against our ten languages: a quick detector, and one that is ten times slower and errs less."""
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    known = [getattr(IsoCode639_1, code.upper()) for code in sorted({"en", *languages.LANGUAGES})]
    return (LanguageDetectorBuilder.from_iso_codes_639_1(*known).with_low_accuracy_mode().build(),
            LanguageDetectorBuilder.from_iso_codes_639_1(*known).build())


def is_english(text):
    """Whether a short text may be English: not so in another script, nor where lingua is sure of another language.

    Names make much of a short text, so that English is given up at a confidence under 0.05 only: right instructions of the
    Atlas have 0.11 or more. Under 15 letters lingua is not asked.
    """
    letters = [c for c in text if c.isalpha()]
    if sum(c.isascii() for c in letters) <= 0.9 * len(letters):
        return False
    if len(letters) < 15:
        return True
    from lingua import Language

    quick, slow = _english_detectors()
    return (quick.compute_language_confidence(text[:200], Language.ENGLISH) >= 0.5
            or slow.compute_language_confidence(text[:200], Language.ENGLISH) >= 0.05)
