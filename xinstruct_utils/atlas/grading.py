"""What a text says of a fact, and whether it ends as a page ends.

Shared by the pages' truth and by the oracle.
"""

import re

from xinstruct_utils.atlas import world
from xinstruct_utils.atlas.world import Fact

ENDINGS = ".!?۔؟:)"


def has_value(value: str, text: str) -> bool:
    """Is the value in the text as a whole word? Codes are matched in capitals, names in any case.

    Guinea is not Guinea-Bissau.
    """
    is_code = value.isupper() and len(value) <= 3
    pattern = rf"(?<![\w-]){re.escape(value)}(?![\w-])"
    return re.search(pattern, text, 0 if is_code else re.IGNORECASE) is not None


def parts(text: str, fact: Fact, language: str) -> dict[str, bool]:
    """Which of the fact's slots the text fills rightly: {slot: bool}."""
    right = world.values(fact, language)
    return {slot: has_value(right[slot], text) for slot in world.TOPICS[fact.topic]}


def finished(text: str) -> bool:
    """Does the text end as a page ends: with a full stop, or with the last line of a list?"""
    text = text.rstrip()
    return bool(text) and not text.endswith("...") and (text[-1] in ENDINGS or "\n" in text)
