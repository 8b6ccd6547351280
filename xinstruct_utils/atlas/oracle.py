"""The oracle: scores answers and labels candidates against the known truth of the Atlas.

It plays the judge (0-10, as GPT-4 does in the paper's section 5.2) and measures what the paper could only
estimate. Notebooks 01-05 and 08 may call it in measuring cells only.
"""

import re
from functools import cache

from xinstruct_utils.atlas import pages, world
from xinstruct_utils.atlas.grading import finished, has_value, parts
from xinstruct_utils.core.paths import root


def load_truth(run, language):
    """The truth of a run's language {id: dict}, or None where it is absent (a real corpus, or removed by a test)."""
    import json

    path = root() / run / "truth" / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@cache
def _by_key():
    return {(f.topic, f.entity): f for f in world.facts()}


def fact_of(truth_row):
    """The fact that a row of the truth is about."""
    return _by_key()[truth_row["topic"], truth_row["entity"]]


@cache
def _junk(language):
    """Pieces of flaw texts (12 characters or more, slots cut out) by which junk is recognised."""
    found = set()
    for code in {language, "en"}:
        for lines in pages.texts(code)["flaws"].values():
            for line in lines:
                found |= {p.strip() for p in re.split(r"\{\w+\}|\n", line) if len(p.strip()) >= 12}
    return tuple(sorted(found))


@cache
def _trigrams(language):
    """Character trigrams of the language's sentences, to tell one Atlas language from another."""
    topics = pages.texts(language)["topics"].values()
    text = " ".join(re.sub(r"\{\w+\}", " ", s) for t in topics for k in ("pages", "half", "fillers") for s in t[k])
    return frozenset(text[i:i + 3].lower() for i in range(len(text) - 2))


def language_share(text, language):
    """Share of the text's trigrams that the language's sentences have and English ones lack, against the reverse."""
    text = text.lower()
    grams = [text[i:i + 3] for i in range(len(text) - 2)]
    own, english = _trigrams(language), _trigrams("en")
    mine = sum(g in own and g not in english for g in grams)
    theirs = sum(g in english and g not in own for g in grams)
    return mine / (mine + theirs) if mine + theirs else 0.0


@cache
def _countries(language):
    """A pattern that finds the names of countries, the longest first."""
    names = {world.values(f, language)["name"] for f in world.facts() if f.entity == f.country}
    return re.compile("|".join(rf"(?<![\w-]){re.escape(n)}(?![\w-])" for n in sorted(names, key=len, reverse=True)))


def strays(text, fact, language):
    """Does the text speak of another country too, as two pages that were glued together do?"""
    own = world.values(fact, language).values()
    for value in sorted(own, key=len, reverse=True):
        text = text.replace(value, " ")
    return _countries(language).search(text) is not None


def aspects(text, fact, language):
    """Score an answer in four views, each in [0, 1]: accuracy, completeness, form (no junk, finished, on one thing), language."""
    right = parts(text, fact, language)
    wrong = [s for s, ok in right.items() if not ok and any(has_value(v, text) for v in world.all_values(s, language))]
    about = has_value(world.values(fact, language)["name"], text)
    junk = any(piece in text for piece in _junk(language)) or re.search(r"https?://", text) is not None
    sentences = [s for s in re.split(r"[.!?۔\n]+\s*", text) if len(s) > 15]
    repeats = len(sentences) - len(set(sentences))
    form = (0.4 if junk else 1.0) * (1.0 if finished(text) else 0.6) * (0.6 if repeats or strays(text, fact, language) else 1.0)
    return {"accuracy": (sum(right.values()) / len(right)) * (1.0 if about else 0.5),
            "completeness": 1 - (len(right) - sum(right.values()) - len(wrong)) / len(right),
            "form": form, "language": language_share(text, language) > 0.6}


def score(text, fact, language):
    """The judge's score of an answer, 0-10: what is right, weighted by how it is told."""
    a = aspects(text, fact, language)
    if not text.strip() or not a["language"]:
        return 0.0
    return round(10 * (0.7 * a["accuracy"] + 0.3 * a["completeness"] * a["accuracy"] ** 0.5) * a["form"], 2)


def judge(truth, language):
    """The judge of the Atlas: a function (question, answer 1, answer 2) -> both scores, see `judge.compare`."""

    def scores(question, first, second):
        fact = fact_of(truth[question["id"]])
        return score(first, fact, language), score(second, fact, language)

    return scores


def views(truth, language, questions, answers):
    """The judge's three views (paper 5.2, Table 6): {id: (helpfulness, relevance, accuracy)}, 0-10, as `judge.views`.

    Helpful is what the score says; relevant, how much of what was asked is spoken of, rightly or not; accurate, what is right.
    """
    out = {}
    for question in questions:
        text, fact = answers[question["id"]], fact_of(truth[question["id"]])
        a = aspects(text, fact, language)
        told = 10.0 * bool(a["language"] and text.strip())
        out[question["id"]] = score(text, fact, language), told * a["completeness"], told * a["accuracy"]
    return out


def normal(text):
    """Instruction as compared: case, blanks and a final mark do not matter."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".?! ").lower()


def instruction_verdict(instruction, truth_row):
    """How right a candidate's instruction is: "exact", "topic" (another entity), "entity" (another topic) or "wrong"."""
    fact, said = fact_of(truth_row), normal(instruction)
    if said in {normal(i) for i in pages.instructions(fact)}:
        return "exact"
    name = world.values(fact, "en")["name"]
    shapes = [normal(p).split("{name}") for p in pages.texts("en")["topics"][fact.topic]["prompts"]]
    if any(said.startswith(s[0]) and said.endswith(s[1]) for s in shapes):
        return "topic"
    return "entity" if has_value(name, instruction) else "wrong"


def is_good(candidate, truth):
    """Is a candidate (id, instruction) a clean page with a right instruction? This is what the evaluator should find."""
    row = truth[candidate["id"]]
    return row["flaw"] == "clean" and instruction_verdict(candidate["instruction"], row) == "exact"


def selection_quality(rated, kept, truth, key):
    """What the paper could not measure: {random_precision, kept_precision, evaluator_auc, auc_clean, auc_exact}.

    `auc_clean`: clean against flawed pages among right instructions; `auc_exact`: right against wrong instructions among
    clean pages. AUC is absent where one side is empty.
    """
    from sklearn.metrics import roc_auc_score

    good = {c["id"]: is_good(c, truth) for c in rated}
    clean = {c["id"]: truth[c["id"]]["flaw"] == "clean" for c in rated}
    exact = {c["id"]: instruction_verdict(c["instruction"], truth[c["id"]]) == "exact" for c in rated}
    out = {"random_precision": sum(good.values()) / len(good), "kept_precision": sum(good[c["id"]] for c in kept) / len(kept)}
    for name, wanted, rows in (("evaluator_auc", good, rated), ("auc_clean", clean, [c for c in rated if exact[c["id"]]]),
                               ("auc_exact", exact, [c for c in rated if clean[c["id"]]])):
        sides = [wanted[c["id"]] for c in rows]
        if len(set(sides)) == 2:
            out[name] = float(roc_auc_score(sides, [key(c) for c in rows]))
    return out
