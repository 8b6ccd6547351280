"""Rules of cleaning that look at one text: repairs, masks, and what it shares with prompts."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from xinstruct_utils.core.languages import UNSPACED

CHARS_A_WORD = 4               # where there are no spaces, n words are taken as 4n characters
SPAN = 13                      # words shared with a prompt that count as contamination (GPT-3)

# Arabic letters that stand for Urdu's (and Persian's) where a page was typed on an Arabic keyboard.
ARABIC_FOR_URDU = {"ي": "ی", "ى": "ی", "ك": "ک", "ه": "ہ", "ة": "ۃ"}


class _Fold(dict):
    """Translation table, filled as it is used.

    Letters, marks and digits stay, Arabic letters become Urdu's, joiners vanish, the rest becomes
    a space.
    """

    def __missing__(self, code: int) -> str | None:
        self[code] = self._folded(chr(code))
        return self[code]

    @staticmethod
    def _folded(sign: str) -> str | None:
        if sign in ARABIC_FOR_URDU:
            return ARABIC_FOR_URDU[sign]
        kind = unicodedata.category(sign)
        if kind == "Cf":
            return None
        return sign if kind[0] in "LMN" else " "


_FOLD = _Fold()


def _words(text):
    return unicodedata.normalize("NFKC", text).casefold().translate(_FOLD).split()


def spans(text: str, n: int, script: str = "Latn") -> set[str]:
    """The set of all sequences of n words, without case and punctuation.

    In scripts without spaces, of 4n characters.
    """
    words = _words(text)
    if script in UNSPACED:
        signs, n = "".join(words), n * CHARS_A_WORD
        return {signs[k:k + n] for k in range(len(signs) - n + 1)}
    return {" ".join(words[k:k + n]) for k in range(len(words) - n + 1)}


def _compared(text, script):
    """Spans of 13 words; of a shorter text its whole, so that a short prompt is known where a text
    is nothing but that."""
    return spans(text, SPAN, script) or {" ".join(_words(text))}


def prompt_spans(prompts: Iterable[str], script: str = "Latn") -> dict[str, set[str]]:
    """Spans of evaluation prompts for the rule "contamination": {script: spans}."""
    prompts = list(prompts)
    if not prompts:
        return {}
    scripts = {script, "Latn"}        # a Thai page may quote an English prompt
    return {kind: set().union(*(_compared(p, kind) for p in prompts)) for kind in scripts}


def contaminated(text: str, prompts: dict[str, set[str]]) -> bool:
    """Whether a text shares 13 words with an evaluation prompt, or is a shorter one.

    `prompts` are of `prompt_spans`.
    """
    return any(not known.isdisjoint(_compared(text, script)) for script, known in prompts.items())


# Controls but tab and newline; bidi marks, embeddings and isolates; soft hyphen, byte order mark,
# invisible tags. Joiners stay: Urdu, Bengali, Hindi and emoji are written with them, and Thai marks
# words with U+200B.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]")
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
DIGITS = re.compile(r"\d(?:[ \t().\-/]{0,3}\d){6}")


def repaired(text: str) -> str:
    """The text with mojibake and HTML entities mended by ftfy.

    Quotes, ligatures, widths and accents stay as written.
    """
    import ftfy

    if not ("&" in text or "\x1b" in text or ftfy.badness.is_bad(text)):
        return text
    return ftfy.fix_text(text, uncurl_quotes=False, fix_latin_ligatures=False,
                         fix_character_width=False, normalization=None, remove_control_chars=False,
                         fix_line_breaks=False)


def without_controls(text: str) -> str:
    """The text without control, bidi and invisible characters; all line ends become newlines."""
    return CONTROL.sub("", re.sub("\r\n?|[\u2028\u2029\x85\x0b\x0c]", "\n", text))


@cache
def _region(lang):
    """The region in which a language is mostly spoken (CLDR likely subtags): its telephone numbers
    are written there."""
    from babel.core import get_global

    return get_global("likely_subtags")[lang].split("_")[-1]


def masked(text: str, lang: str) -> str:
    """The text with [email] and [phone] in place of addresses and of valid numbers
    (libphonenumber)."""
    text = EMAIL.sub("[email]", text) if "@" in text else text
    if not DIGITS.search(text):
        return text
    from phonenumbers import PhoneNumberMatcher

    for match in reversed(list(PhoneNumberMatcher(text, _region(lang)))):
        text = text[:match.start] + "[phone]" + text[match.end:]
    return text
