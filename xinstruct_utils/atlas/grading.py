"""What a text says of a fact, and whether it ends as a page ends: shared by the pages' truth and by the oracle."""

import re

from xinstruct_utils.atlas import world

ENDINGS = ".!?۔؟:)"


def has_value(value, text):
    """Is the value in the text as a whole word? Codes are matched in capitals, names without regard to case."""
    flags = 0 if value.isupper() and len(value) <= 3 else re.IGNORECASE
    return re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text, flags) is not None    # Guinea is not Guinea-Bissau


def parts(text, fact, language):
    """Which of the fact's slots the text fills rightly: {slot: bool}."""
    right = world.values(fact, language)
    return {slot: has_value(right[slot], text) for slot in world.TOPICS[fact.topic]}


def finished(text):
    """Does the text end as a page ends: with a full stop, or with the last line of a list?"""
    text = text.rstrip()
    return bool(text) and not text.endswith("...") and (text[-1] in ENDINGS or "\n" in text)
