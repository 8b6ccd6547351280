"""Other people's text in a page, a card or a form: the one place where it is escaped.

Web text is hostile. What is shown of it goes through here, so that none of it can act in a browser.
"""

import html
import re
import unicodedata

from xinstruct_utils.core import languages

# Controls that turn text round or hide it; joiners and the marks U+200E and U+200F belong to honest
# Urdu, Bengali, Tamil.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
MARKDOWN = re.compile(r"[\[\]`*_|$~\\]")


def escaped(text: object, quotes: bool = True) -> str:
    """Text with markup made harmless; `quotes` too, as an attribute's value needs it."""
    return html.escape(str(text), quote=quotes)


def spelled_out(text: str) -> str:
    """Text escaped, with controls that nobody would see as their code points."""
    return UNSEEN.sub(lambda m: f"<small>U+{ord(m[0]):04X}</small>", escaped(text))


def markdown_text(text: object) -> str:
    """Text of others in a line of Markdown, as it is: no link, code, emphasis or formula."""
    line = escaped(" ".join(str(text).split()), quotes=False)
    return MARKDOWN.sub(lambda m: f"&#{ord(m[0])};", line)


def table_cell(value: object) -> str:
    """A value as a cell of a Markdown table: escaped, without bars and line breaks.

    Decimals have three digits; None is an empty cell.
    """
    if value is None:
        return ""
    shown = f"{value:,.3g}" if isinstance(value, float) else str(value)
    return markdown_text(shown)


def is_right_to_left(lang: str) -> bool:
    """Is the language known, and written from right to left?"""
    return lang in languages.LANGUAGES and languages.get(lang).direction == "rtl"


def letters_by_direction(text: str) -> tuple[int, int]:
    """How many of a text's characters run from right to left, and how many from left to right."""
    kinds = [unicodedata.bidirectional(character) for character in text]
    return kinds.count("R") + kinds.count("AL"), kinds.count("L")
