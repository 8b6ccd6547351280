"""What a text says of a fact, and whether it ends as a page ends.

Shared by the pages' truth and by the oracle.
"""

import re
import unicodedata
from functools import cache

from xinstruct_utils.atlas import world
from xinstruct_utils.atlas.sentences import TOLD, shown, split, texts
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core import languages

ENDINGS = ".!?۔؟।:)"
ITEM = re.compile(r"(?:[-*•]|\d+\.) ")
LAST = 0x0E80      # the Atlas's scripts stand before it
# Vowel signs and the like belong to the word before them, which \w does not know.
MARKS = "".join(c for c in map(chr, range(LAST)) if unicodedata.category(c)[0] == "M")
PART_OF_WORD = rf"[\w{MARKS}-]"
TAIL = 6            # characters by which the end of a sentence without a full stop is known


def is_unspaced(text: str) -> bool:
    """Is the text in Thai letters, between whose words no blanks stand?"""
    return any("ก" <= c <= "๛" for c in text)


def has_value(value: str, text: str) -> bool:
    """Is the value in the text as a whole word? Codes are matched in capitals, names in any case.

    Guinea is not Guinea-Bissau. In Thai, where words are not set apart, a value is none where it is
    a part of a longer name of the world.
    """
    if is_unspaced(value):
        for longer in _longer(value):
            text = text.replace(longer, " ")
        return value in text
    return _pattern(value).search(text) is not None


@cache
def _pattern(value: str) -> re.Pattern[str]:
    """The pattern of a value; kept, since there are more of them than `re` keeps."""
    is_code = value.isupper() and len(value) <= 3
    return re.compile(whole(value), 0 if is_code else re.IGNORECASE)


def whole(value: str) -> str:
    """A pattern that finds a value as a whole word."""
    if is_unspaced(value):
        return re.escape(value)
    return rf"(?<!{PART_OF_WORD}){re.escape(value)}(?!{PART_OF_WORD})"


@cache
def _longer(value: str) -> tuple[str, ...]:
    """Thai names that hold the value, the longest first."""
    names = [name for name in world.all_names("th") if value in name and name != value]
    return tuple(sorted(names, key=len, reverse=True))


def parts(text: str, fact: Fact, language: str) -> dict[str, bool]:
    """Which of the fact's slots the text fills rightly: {slot: bool}."""
    right = world.values(fact, language)
    return {slot: has_value(right[slot], text) for slot in world.TOPICS[fact.topic]}


def finished(text: str, language: str) -> bool:
    """Does the text end as a page ends: with a full stop, or with the last item of a list?

    A language without full stops has the ends of its own sentences.
    """
    text = text.rstrip()
    if not text or text.endswith("..."):
        return False
    if text[-1] in ENDINGS or "\n" in text and ITEM.match(text.rsplit("\n", 1)[-1]):
        return True
    return language in languages.LANGUAGES and not languages.get(language).spaced \
        and text.endswith(_tails(language))


@cache
def _tails(language: str) -> tuple[str, ...]:
    """The last letters of a language's sentences."""
    kinds = [lines for topic in texts(language)["topics"].values()
             for kind, lines in topic.items() if kind in TOLD]
    ends = [split(line)[-1].rsplit("}", 1)[-1] for lines in kinds for line in lines]
    return tuple({shown(end)[-TAIL:] for end in ends if len(end) >= TAIL})
