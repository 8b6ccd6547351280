"""Verbs and their objects as read from a constituency tree (nltk).

Two readings: all main verbs, or what the literature's code reads.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nltk import Tree

VERBS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
NOUNS = ("NN", "NNS", "NNP", "NNPS")
BARE_OBJECTS = (*NOUNS, "PRP", "PRP$", "DT", "CD", "JJ", "VBN", "VBG", "POS")
PARTICLES = ("PRT", "RP", "ADVP", "RB", "INTJ", "UH")     # may stand before the object
NOT_MAIN = ("SBAR", "PP", "NP", "ADVP", "WHNP", "WHADVP", "INTJ", "PRN")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HELPERS = _words("do does did be is are was were have has had would will can could should may might"
                 " plz please")
PERSONS = _words("me us you him her them")
THINGS = _words("it myself yourself himself herself itself ourselves yourselves themselves")
COPULAS = _words("be am is are was were been being 's 're 'm")

Pair = tuple[str, str]     # a verb and the noun that is its object


def _kids(tree: "Tree") -> list["Tree"]:
    return [child for child in tree if not isinstance(child, str)]


def _leaf(tree: "Tree") -> bool:
    return isinstance(tree[0], str)


def _noun(phrase: "Tree") -> "Tree | None":
    """The leaf that heads a noun phrase; None for an empty phrase.

    The last noun of its first phrase, else its last word.
    """
    kids = _kids(phrase)
    inner = [kid for kid in kids if kid.label() == "NP" and not _is_possessive(kid)]
    if inner and not any(k.label() in NOUNS for k in kids[kids.index(inner[0]) + 1:]):
        return _noun(inner[0])
    leaves = [kid for kid in kids if _leaf(kid) and kid.label() not in (",", ":", "CC")]
    nouns = [leaf for leaf in leaves if leaf.label() in NOUNS]
    return next(reversed(nouns or leaves), None)


def _is_possessive(phrase: "Tree") -> bool:
    return any(kid.label() == "POS" for kid in _kids(phrase))


def _recipient(phrase: "Tree", verb: str) -> bool:
    """Is a first object the one who gets the second: "give me a tip", but not "buy it now"?"""
    words = [word.lower() for word in phrase.leaves()]
    known = PERSONS | THINGS if verb.lower() == "give" else PERSONS
    return len(words) == 1 and words[0] in known


def _objects(verb_phrase: "Tree") -> list["Tree"]:
    """The noun phrases that follow the verb; bare words count, and "me a story" is two."""
    import nltk

    kids, phrases = _kids(verb_phrase), []
    at = next((i for i, kid in enumerate(kids) if kid.label() in VERBS), len(kids))
    for kid in kids[at + 1:]:
        parts = _kids(kid)
        if kid.label() == "NP" and len(parts) > 1 and _recipient(parts[0], kids[at][0]):
            phrases += [nltk.Tree("NP", [parts[0]]), nltk.Tree("NP", parts[1:])]
        elif kid.label() == "NP":
            phrases.append(kid)
        elif _leaf(kid) and kid.label() in BARE_OBJECTS:
            if phrases and phrases[-1].label() == "words":
                phrases[-1].append(kid)
            else:
                phrases.append(nltk.Tree("words", [kid]))
        elif kid.label() not in PARTICLES:
            return phrases or _of_clause(kid)[:1]
    return phrases


def _of_clause(clause: "Tree") -> list["Tree"]:
    """What could be the object in a clause that follows the verb: its subject.

    Or, without one, the objects of a participle: "find attached a copy".
    """
    if clause.label() != "S":
        return []
    parts = _kids(clause)
    subjects = [part for part in parts if part.label() == "NP"]
    phrase = next((part for part in parts if part.label() == "VP"), None)
    if phrase is not None and not subjects and _kids(phrase)[0].label() == "VBN":
        return _objects(phrase)
    return subjects


def _of_phrase(phrase: "Tree") -> list[tuple[str, "Tree | None"]]:
    """(verb, leaf that heads its object, or None) of the main verbs of a verb phrase."""
    kids = _kids(phrase)
    inner = [kid for kid in kids if kid.label() == "VP"]
    verb = next((kid[0] for kid in kids if kid.label() in VERBS and _leaf(kid)), None)
    if verb is None or (inner and verb.lower() in HELPERS):
        return [pair for kid in inner for pair in _of_phrase(kid)]
    objects = _objects(phrase)
    if len(objects) > 1 and _recipient(objects[0], verb):
        objects = objects[1:]                        # "give me a tip" asks for a tip
    return [(verb, _noun(objects[0]) if objects else None)]


def _main_verbs(tree: "Tree") -> list[tuple[str, "Tree | None"]]:
    """(verb, leaf that heads its object, or None) of each main verb phrase."""
    if _leaf(tree) or tree.label() in NOT_MAIN:
        return []
    if tree.label() == "VP":
        return _of_phrase(tree)
    kids = _kids(tree)
    labels = [kid.label() for kid in kids]
    if "VB" in labels and "VP" not in labels and "S" not in labels:
        # A request whose verb phrase the parser left out. What stands in front of the verb is none
        # ("attached find ...").
        return _of_phrase(type(tree)("VP", kids[labels.index("VB"):]))
    if "VP" in labels:
        # "using these words, write ...": the clause in front is not the request.
        kids = [kid for kid in kids if kid.label() != "S"]
    return [pair for kid in kids for pair in _main_verbs(kid)]


def pairs(tree: "Tree") -> list[tuple[str, str | None]]:
    """(verb, object's head word or None) of each main verb.

    Coordinated ones, and those behind "please" or "can you", are among them. The object may be a
    pronoun or a numeral; `noun_pairs` leaves those out.
    """
    return [(verb, head[0] if head is not None else None) for verb, head in _main_verbs(tree)]


def noun_pairs(tree: "Tree") -> list[Pair]:
    """The pairs that the paper's Figure 3 counts: the object is headed by a noun.

    So not "tell me", "give two", "is Albania".
    """
    nouns = []
    for verb, head in _main_verbs(tree):
        if head is None or head.label() not in NOUNS or verb.lower() in COPULAS:
            continue
        if head[0].lower() not in PERSONS | THINGS:
            nouns.append((verb, head[0]))
    return nouns


def first_child_pairs(tree: "Tree") -> list[Pair]:
    """The reading of the code that the literature copies.

    Down the first child only, to the first verb; any object counts.
    """
    while not _leaf(tree) and tree.label() != "VP":
        tree = _kids(tree)[0]
    if _leaf(tree):
        return []
    return [(verb, head[0]) for verb, head in _of_phrase(tree)[:1] if head is not None]
