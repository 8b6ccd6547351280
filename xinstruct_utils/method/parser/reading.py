"""Verbs and their objects as read from a constituency tree (nltk): all main verbs, or what the literature's code reads."""


VERBS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
NOUNS = ("NN", "NNS", "NNP", "NNPS")
HELPERS = set("do does did be is are was were have has had would will can could should may might plz please".split())  # noqa: SIM905
PERSONS = set("me us you him her them".split())                                                # noqa: SIM905
THINGS = set("it myself yourself himself herself itself ourselves yourselves themselves".split())  # noqa: SIM905
COPULAS = set("be am is are was were been being 's 're 'm".split())                            # noqa: SIM905


def _kids(tree):
    return [child for child in tree if not isinstance(child, str)]


def _leaf(tree):
    return isinstance(tree[0], str)


def _noun(phrase):
    """The leaf that heads a noun phrase: the last noun of its first phrase, else its last word; None for an empty phrase."""
    kids = _kids(phrase)
    inner = [k for k in kids if k.label() == "NP" and not any(x.label() == "POS" for x in _kids(k))]
    if inner and not any(k.label() in NOUNS for k in kids[kids.index(inner[0]) + 1:]):
        return _noun(inner[0])
    leaves = [k for k in kids if _leaf(k) and k.label() not in (",", ":", "CC")]
    return ([k for k in leaves if k.label() in NOUNS] or leaves or [None])[-1]


def _recipient(phrase, verb):
    """Whether a first object is the one who gets the second: "give me a tip", but not "buy it now"."""
    words = [word.lower() for word in phrase.leaves()]
    return len(words) == 1 and words[0] in (PERSONS | THINGS if verb.lower() == "give" else PERSONS)


def _objects(verb_phrase):
    """The noun phrases that follow the verb; bare words count, and "me a story" is two."""
    import nltk

    kids, found = _kids(verb_phrase), []
    at = next((i for i, k in enumerate(kids) if k.label() in VERBS), len(kids))
    for kid in kids[at + 1:]:
        parts = _kids(kid)
        if kid.label() == "NP" and len(parts) > 1 and _recipient(parts[0], kids[at][0]):
            found += [nltk.Tree("NP", [parts[0]]), nltk.Tree("NP", parts[1:])]
        elif kid.label() == "NP":
            found.append(kid)
        elif _leaf(kid) and kid.label() in (*NOUNS, "PRP", "PRP$", "DT", "CD", "JJ", "VBN", "VBG", "POS"):
            if found and found[-1].label() == "words":
                found[-1].append(kid)
            else:
                found.append(nltk.Tree("words", [kid]))
        elif kid.label() not in ("PRT", "RP", "ADVP", "RB", "INTJ", "UH"):
            clause = next((k for k in parts if k.label() == "VP"), None) if kid.label() == "S" else None
            subject = [k for k in parts if k.label() == "NP"] if kid.label() == "S" else []
            if clause is not None and not subject and _kids(clause)[0].label() == "VBN":
                subject = _objects(clause)       # "find attached a copy"
            return found or subject[:1]
    return found


def _of_phrase(phrase):
    kids = _kids(phrase)
    inner = [k for k in kids if k.label() == "VP"]
    verb = next((k[0] for k in kids if k.label() in VERBS and _leaf(k)), None)
    if verb is None or inner and verb.lower() in HELPERS:
        return [pair for k in inner for pair in _of_phrase(k)]
    found = _objects(phrase)
    if len(found) > 1 and _recipient(found[0], verb):
        found = found[1:]                        # "give me a tip" asks for a tip
    return [(verb, _noun(found[0]) if found else None)]


def _main_verbs(tree):
    """(verb, leaf that heads its object, or None) of each main verb phrase."""
    skip = ("SBAR", "PP", "NP", "ADVP", "WHNP", "WHADVP", "INTJ", "PRN")
    if _leaf(tree) or tree.label() in skip:
        return []
    if tree.label() == "VP":
        return _of_phrase(tree)
    kids = _kids(tree)
    if not any(k.label() in ("VP", "S") for k in kids) and any(k.label() == "VB" for k in kids):
        while kids[0].label() != "VB":           # "attached find ...": what stands in front is no request
            kids = kids[1:]
        return _of_phrase(type(tree)("VP", kids))    # a request whose verb phrase the parser left out
    if any(k.label() == "VP" for k in kids):     # "using these words, write ...": the clause in front is not the request
        kids = [k for k in kids if k.label() != "S"]
    return [pair for k in kids for pair in _main_verbs(k)]


def pairs(tree):
    """(verb, object's head word or None) of each main verb: coordinated ones, and those behind "please" or "can you", among
    them. The object may be a pronoun or a numeral; `noun_pairs` leaves those out."""
    return [(verb, head[0] if head is not None else None) for verb, head in _main_verbs(tree)]


def noun_pairs(tree):
    """The pairs that the paper's Figure 3 counts: the object is headed by a noun, so not "tell me", "give two", "is Albania"."""
    return [(verb, head[0]) for verb, head in _main_verbs(tree) if head is not None and head.label() in NOUNS
            and head[0].lower() not in PERSONS | THINGS and verb.lower() not in COPULAS]


def first_child_pairs(tree):
    """The reading of the code that the literature copies: down the first child only, to the first verb; any object counts."""
    while not _leaf(tree) and tree.label() != "VP":
        tree = _kids(tree)[0]
    return [] if _leaf(tree) else [(verb, head[0]) for verb, head in _of_phrase(tree)[:1] if head is not None]
