"""Reading scores out of a judge's reply (paper 5.2, Figure 13).

What cannot be read without a guess is None.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NUMBER = r"(\d+(?:[.,]\d+)?)"
SCORE = (rf"(?:(?:score|rating)\s*[:=]?\s*)?{NUMBER}"
         r"(?:\s*(?:/|out of)\s*10(?:\.0)?|\s*points?)*\.?")
# After a number in running text: "/10" may follow, but no fraction, decimals, list or arithmetic.
OUT_OF_TEN = r"(?:\s*(?:/|out of)\s*10)?(?![\d/]|\.\d|\.[ \t]+\w|\s*[-+*x=^])"


def plain(text: str) -> str:
    """The text in the form in which a judge may quote it: entities and look-alike characters
    resolved, none invisible."""
    for _ in range(3):                                 # an entity may be written as an entity
        text = html.unescape(text)
    shown = unicodedata.normalize("NFKC", text)
    return "".join(c for c in shown if unicodedata.category(c) != "Cf")


def _in_range(text):
    value = float(text.replace(",", "."))
    return value if 0 <= value <= 10 else None


def tag_values(text: str, name: str, closed: bool = False) -> set[float | None]:
    """The values that stand in tags `<name>`: a set of numbers from 0 to 10, with None for what is
    no such number.

    A number may have decimals, a "/10", "points" or "Score:" beside it; its closing tag may be
    missing where the line or a tag follows (Figure 13 itself shows none for score 2), unless
    `closed`. A closing tag of another name makes it unreadable.
    """
    values = set()
    tag = rf"<\s*{name}\s*>\s*([^<\n]*)\s*(?:<\s*(/?)\s*(\w+)\s*>)?"
    for match in re.finditer(tag, text, re.I):
        inside, slash, after = match[1].strip(" \t*:"), match[2], (match[3] or name).lower()
        if not match[3] and re.match(rf"[^<]*<\s*/\s*{name}\b", text[match.end():], re.I):
            inside = f"several lines: {inside}"
        number = re.fullmatch(SCORE, inside, re.I)
        if number and not (slash and after != name) and (slash or not closed):
            values.add(_in_range(number[1]))
        elif re.search(r"\d", inside):
            values.add(None)
    return values


class _Judged(NamedTuple):
    """A judged text: every number in it, and its letters and digits alone, in small letters."""

    numbers: set[float]
    letters: str


def _judged(text):
    shown = plain(text)
    # The number in a name is no score.
    bare = re.sub(r"(answer|score)[\s_-]*[12](?!\d)", "", shown, flags=re.I)
    numbers = {float(n.replace(",", ".")) for n in re.findall(NUMBER, bare)}
    return _Judged(numbers, re.sub(r"[\W_]", "", shown).lower())


def tagged(text: str, names: Sequence[str] = ("score1", "score2"),
           answers: Iterable[str] = ()) -> tuple[float, ...] | None:
    """Scores of a reply in the tags `names`, in their order; None unless each has exactly one
    readable value.

    `answers` are the judged texts. One that names a tag, in whatever disguise, may be quoted by the
    judge: then no number that stands in it counts, and only complete tags are read. So no answer
    can set its own score; at worst, there is none.
    """
    judged, values = [_judged(a) for a in answers], []
    for name in names:
        quoted = [answer.numbers for answer in judged if name.lower() in answer.letters]
        values.append(tag_values(text, name, closed=bool(quoted)) - set().union(*quoted))
    return _clear(values)


def _clear(values):
    """The one value of each set, or None where a set has none, several, or an unreadable one."""
    scores = tuple(next(iter(v)) if len(v) == 1 else None for v in values)
    return None if None in scores else scores


def paired(text: str, who: str = "Assistant") -> tuple[float, float] | None:
    """Scores of a reply in FastChat's form: a first line of two numbers; else what is said of both,
    if it is said clearly.

    Every statement found ("Assistant 1: 8/10", "a score of 8 to Assistant 1", "Output: (8, 9)")
    must agree, else None.
    """
    first = re.fullmatch(rf"\W*{NUMBER}(?:\s+|\s*,\s*){NUMBER}\W*", text.strip().split("\n")[0])
    if first:
        return _clear([{_in_range(first[1])}, {_in_range(first[2])}])
    stated = _of_one(text, f"{who} 1", who), _of_one(text, f"{who} 2", who)
    both = (rf"(?:Output|tuple|scores)[\w ]*:?\s*\({NUMBER},\s*{NUMBER}\)"
            rf"|scores for {who} 1 and {who} 2 are {NUMBER} and {NUMBER}\b")
    for a, b, c, d in re.findall(both, text):
        stated[0].add(_in_range(a or c))
        stated[1].add(_in_range(b or d))
    return _clear(stated)


def _of_one(text, name, who):
    """The scores that sentences give to one of the two."""
    patterns = (
        rf"{name}(?:'s (?:\w+ )?score)?(?: is|:)(?:\s*Score:)?[ \t]*{NUMBER}{OUT_OF_TEN}",
        rf"{name}(?:'s [\w ]{{3,30}})? (?:with )?an? (?:score of )?{NUMBER}{OUT_OF_TEN}",
        rf"score of {NUMBER}{OUT_OF_TEN} (?:to|for) {name}",
        rf"{name}'s \w+ as {NUMBER}{OUT_OF_TEN}",
        rf"(?:[Bb]oth {who} 1 and {who} 2|both assistants)[\w' ]* an? (?:score of )?"
        rf"{NUMBER}{OUT_OF_TEN}")
    return {_in_range(n) for pattern in patterns for n in re.findall(pattern, text)}
