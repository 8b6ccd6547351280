"""Reading scores out of a judge's reply (paper 5.2, Figure 13). What cannot be read without a guess is None."""

import html
import re
import unicodedata

NUMBER = r"(\d+(?:[.,]\d+)?)"
SCORE = rf"(?:(?:score|rating)\s*[:=]?\s*)?{NUMBER}(?:\s*(?:/|out of)\s*10(?:\.0)?|\s*points?)*\.?"


def plain(text):
    """The text in the form in which a judge may quote it: entities and look-alike characters resolved, none invisible."""
    for _ in range(3):                                 # an entity may be written as an entity
        text = html.unescape(text)
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")


def _in_range(text):
    value = float(text.replace(",", "."))
    return value if 0 <= value <= 10 else None


def tag_values(text, name, closed=False):
    """The values that stand in tags `<name>`: a set of numbers from 0 to 10, with None for what is no such number.

    A number may have decimals, a "/10", "points" or "Score:" beside it; its closing tag may be missing where the line or a tag
    follows (Figure 13 itself shows none for score 2), unless `closed`. A closing tag of another name makes it unreadable.
    """
    found = set()
    for match in re.finditer(rf"<\s*{name}\s*>\s*([^<\n]*)\s*(?:<\s*(/?)\s*(\w+)\s*>)?", text, re.I):
        inside, slash, after = match[1].strip(" \t*:"), match[2], (match[3] or name).lower()
        if not match[3] and re.match(rf"[^<]*<\s*/\s*{name}\b", text[match.end():], re.I):
            inside = f"several lines: {inside}"
        number = re.fullmatch(SCORE, inside, re.I)
        if number and not (slash and after != name) and (slash or not closed):
            found.add(_in_range(number[1]))
        elif re.search(r"\d", inside):
            found.add(None)
    return found


def _told(text):
    """Every number of a text, and whether letters and digits alone spell "score1" or another tag's name in it."""
    shown = plain(text)
    bare = re.sub(r"(answer|score)[\s_-]*[12](?!\d)", "", shown, flags=re.I)          # the number in a name is no score
    numbers = {float(n.replace(",", ".")) for n in re.findall(NUMBER, bare)}
    letters = re.sub(r"[\W_]", "", shown).lower()
    return numbers, lambda name: name.lower() in letters


def tagged(text, names=("score1", "score2"), answers=()):
    """Scores of a reply in the tags `names`, in their order; None unless each has exactly one readable value.

    `answers` are the judged texts. One that names a tag, in whatever disguise, may be quoted by the judge: then no number that
    stands in it counts, and only complete tags are read. So no answer can set its own score; at worst, there is none.
    """
    told, values = [_told(a) for a in answers], []
    for name in names:
        quoted = [numbers for numbers, names_it in told if names_it(name)]
        values.append(tag_values(text, name, closed=bool(quoted)) - set().union(*quoted))
    read = tuple(v.pop() if len(v) == 1 else None for v in values)
    return None if None in read else read


def paired(text, who="Assistant"):
    """Scores of a reply in FastChat's form: a first line of two numbers; else what is said of both, if it is said clearly.

    Every statement found ("Assistant 1: 8/10", "a score of 8 to Assistant 1", "Output: (8, 9)") must agree, else None.
    """
    first = re.fullmatch(rf"\W*{NUMBER}(?:\s+|\s*,\s*){NUMBER}\W*", text.strip().split("\n")[0])
    if first:
        read = _in_range(first[1]), _in_range(first[2])
        return None if None in read else read
    ten, said = r"(?:\s*(?:/|out of)\s*10)?(?![\d/]|\.\d|\.[ \t]+\w|\s*[-+*x=^])", ({}, {})
    for k in (1, 2):
        name = rf"{who} {k}"
        for pattern in (rf"{name}(?:'s (?:\w+ )?score)?(?: is|:)(?:\s*Score:)?[ \t]*{NUMBER}{ten}",
                        rf"{name}(?:'s [\w ]{{3,30}})? (?:with )?an? (?:score of )?{NUMBER}{ten}",
                        rf"score of {NUMBER}{ten} (?:to|for) {name}", rf"{name}'s \w+ as {NUMBER}{ten}",
                        rf"(?:[Bb]oth {who} 1 and {who} 2|both assistants)[\w' ]* an? (?:score of )?{NUMBER}{ten}"):
            said[k - 1].update(dict.fromkeys(_in_range(n) for n in re.findall(pattern, text)))
    both = (rf"(?:Output|tuple|scores)[\w ]*:?\s*\({NUMBER},\s*{NUMBER}\)"
            rf"|scores for {who} 1 and {who} 2 are {NUMBER} and {NUMBER}\b")
    for a, b, c, d in re.findall(both, text):
        said[0][_in_range(a or c)] = said[1][_in_range(b or d)] = None
    read = tuple(next(iter(v)) if len(v) == 1 else None for v in said)
    return None if None in read else read
