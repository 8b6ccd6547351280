"""What pages are about: the topics, what an instruction names, and what an answer has to tell."""

import re

# What a page of the topic tells. `name` is the entity's.
TOPICS = {
    "currency": ("currency", "code"),
    "languages": ("language", "script"),
    "city": ("city", "continent"),
    "week": ("first_day", "rest_day"),
    "codes": ("alpha2", "alpha3"),
    "profile": ("continent", "currency", "language", "city"),
    "script": ("script", "place"),
    "issuer": ("place", "code"),
    "translate": ("french", "spanish"),
    "compare": ("currency", "other_currency"),
    "yesno": ("verdict", "continent"),
    "arithmetic": ("result", "check"),
    "program": ("program", "output"),
    "unit": ("symbol", "number", "base"),
    "letter": ("city", "currency"),
    "advice": ("currency", "language", "first_day"),
}
# What an instruction names beside the entity; a page repeats it.
ASKED = {"compare": ("other",), "yesno": ("claimed",)}


def asked(topic: str) -> tuple[str, ...]:
    """Slots of a topic's instructions."""
    return ("name", *ASKED.get(topic, ()))


def every(topic: str) -> set[str]:
    """Slots of a topic's pages."""
    return {*asked(topic), *TOPICS[topic]}


def slots(sentence: str) -> set[str]:
    """Names of the slots in a sentence."""
    return set(re.findall(r"\{(\w+)\}", sentence))
