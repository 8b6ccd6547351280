"""Other people's text in a page, a card or a form: the one place where it is escaped.

Web text is hostile. What is shown of it goes through here, so that none of it can act in a browser.
"""

import html
import unicodedata

from xinstruct_utils.core import languages


def escaped(text: object, quotes: bool = True) -> str:
    """Text with markup made harmless; `quotes` too, as an attribute's value needs it."""
    return html.escape(str(text), quote=quotes)


def table_cell(value: object) -> str:
    """A value as a cell of a Markdown table: escaped, without bars and line breaks.

    Decimals have three digits; None is an empty cell.
    """
    if value is None:
        return ""
    shown = f"{value:,.3g}" if isinstance(value, float) else str(value)
    return escaped(shown, quotes=False).replace("|", "&#124;").replace("\n", " ")


def is_right_to_left(lang: str) -> bool:
    """Is the language known, and written from right to left?"""
    return lang in languages.LANGUAGES and languages.get(lang).direction == "rtl"


def letters_by_direction(text: str) -> tuple[int, int]:
    """How many of a text's characters run from right to left, and how many from left to right."""
    kinds = [unicodedata.bidirectional(character) for character in text]
    return kinds.count("R") + kinds.count("AL"), kinds.count("L")
