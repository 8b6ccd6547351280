"""Rules of cleaning that look at one text: repairs, masks, the language, and what it shares with evaluation prompts."""

import re
import unicodedata
from functools import cache

UNSPACED = {"Thai", "Laoo", "Khmr", "Mymr", "Hans", "Hant", "Jpan"}
CHARS_A_WORD = 4               # where there are no spaces, n words are taken as 4n characters
SPAN = 13                      # words shared with an evaluation prompt that count as contamination (GPT-3)


class _Fold(dict):
    """Translation table, filled as it is used: letters, marks and digits stay, joiners vanish, the rest becomes a space."""

    def __missing__(self, code):
        kind = unicodedata.category(chr(code))
        self[code] = None if kind == "Cf" else chr(code) if kind[0] in "LMN" else " "
        return self[code]


_FOLD = _Fold()


def _words(text):
    return unicodedata.normalize("NFKC", text).casefold().translate(_FOLD).split()


def spans(text, n, script="Latn"):
    """The set of all sequences of n words (4n characters in scripts without spaces), without case and punctuation."""
    words = _words(text)
    if script in UNSPACED:
        signs, n = "".join(words), n * CHARS_A_WORD
        return {signs[k:k + n] for k in range(len(signs) - n + 1)}
    return {" ".join(words[k:k + n]) for k in range(len(words) - n + 1)}


def _compared(text, script):
    """Spans of 13 words; of a shorter text its whole, so that a short prompt is known where a text is nothing but that."""
    return spans(text, SPAN, script) or {" ".join(_words(text))}


def prompt_spans(prompts, script="Latn"):
    """Spans of evaluation prompts (texts) for the rule "contamination"."""
    kinds = {script, "Latn"}        # a Thai page may quote an English prompt
    return {kind: set().union(*(_compared(p, kind) for p in prompts)) for kind in kinds} if prompts else {}


def contaminated(text, found):
    """Whether a text shares 13 words with an evaluation prompt, or is a shorter one; `found` is of `prompt_spans`."""
    return any(not known.isdisjoint(_compared(text, script)) for script, known in found.items())


# Controls but tab and newline; bidi marks, embeddings and isolates; soft hyphen, byte order mark, invisible tags. Joiners
# stay: Urdu, Bengali, Hindi and emoji are written with them, and Thai marks words with U+200B.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
                     "\U000e0000-\U000e007f]")
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
DIGITS = re.compile(r"\d(?:[ \t().\-/]{0,3}\d){6}")


def repaired(text):
    """The text with mojibake and HTML entities mended by ftfy; quotes, ligatures, widths and accents stay as written."""
    import ftfy

    if not ("&" in text or "\x1b" in text or ftfy.badness.is_bad(text)):
        return text
    return ftfy.fix_text(text, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, normalization=None,
                         remove_control_chars=False, fix_line_breaks=False)


def without_controls(text):
    """The text without control, bidi and invisible characters; all line ends become newlines."""
    return CONTROL.sub("", re.sub("\r\n?|[\u2028\u2029\x85\x0b\x0c]", "\n", text))


@cache
def _region(lang):
    """The region in which a language is mostly spoken (CLDR likely subtags): its telephone numbers are written there."""
    from babel.core import get_global

    return get_global("likely_subtags")[lang].split("_")[-1]


def masked(text, lang):
    """The text with [email] and [phone] in place of e-mail addresses and of valid telephone numbers (libphonenumber)."""
    text = EMAIL.sub("[email]", text) if "@" in text else text
    if not DIGITS.search(text):
        return text
    from phonenumbers import PhoneNumberMatcher

    for match in reversed(list(PhoneNumberMatcher(text, _region(lang)))):
        text = text[:match.start] + "[phone]" + text[match.end:]
    return text
