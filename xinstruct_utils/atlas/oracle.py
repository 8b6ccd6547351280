"""The oracle: scores answers and labels candidates against the known truth of the Atlas.

It plays the judge (0-10, as GPT-4 does in the paper's section 5.2) and measures what the paper
could only estimate. Notebooks 01-05 and 08 may call it in measuring cells only.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypedDict

from xinstruct_utils.atlas import pages, world
from xinstruct_utils.atlas.grading import finished, has_value, parts
from xinstruct_utils.atlas.pages import Truth, Truths
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core.paths import root


class Aspects(TypedDict):
    """Four views of an answer: accuracy, completeness and form in [0, 1], and its language.

    form: no junk, finished, on one thing.
    """

    accuracy: float
    completeness: float
    form: float
    language: bool


def load_truth(run: str, language: str) -> Truths | None:
    """The truth of a run's language.

    None where it is absent (a real corpus, or removed by a test).
    """
    path = root() / run / "truth" / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@cache
def _by_key() -> dict[tuple[str, str], Fact]:
    return {(f.topic, f.entity): f for f in world.facts()}


def fact_of(truth_row: Truth) -> Fact:
    """The fact that a row of the truth is about."""
    return _by_key()[truth_row["topic"], truth_row["entity"]]


@cache
def _junk(language: str) -> tuple[str, ...]:
    """Pieces of flaw texts (12 characters or more, slots cut out) by which junk is recognised."""
    pieces = set()
    for code in {language, "en"}:
        for lines in pages.texts(code)["flaws"].values():
            for line in lines:
                pieces |= {piece.strip() for piece in re.split(r"\{\w+\}|\n", line)}
    return tuple(sorted(piece for piece in pieces if len(piece) >= 12))


@cache
def _trigrams(language: str) -> frozenset[str]:
    """Character trigrams of the language's sentences, to tell one Atlas language from another."""
    kinds = ("pages", "half", "fillers")
    topics = pages.texts(language)["topics"].values()
    sentences = [s for topic in topics for kind in kinds for s in topic[kind]]
    text = " ".join(re.sub(r"\{\w+\}", " ", s) for s in sentences)
    return frozenset(text[i:i + 3].lower() for i in range(len(text) - 2))


def language_share(text: str, language: str) -> float:
    """How much of a text is in the language and not in English, in [0, 1].

    Of its trigrams that one of the two has and the other lacks, the language's share.
    """
    text = text.lower()
    grams = [text[i:i + 3] for i in range(len(text) - 2)]
    own, english = _trigrams(language), _trigrams("en")
    mine = sum(gram in own and gram not in english for gram in grams)
    theirs = sum(gram in english and gram not in own for gram in grams)
    return mine / (mine + theirs) if mine + theirs else 0.0


@cache
def _countries(language: str) -> re.Pattern[str]:
    """A pattern that finds the names of countries, the longest first."""
    countries = [f for f in world.facts() if f.entity == f.country]
    names = {world.values(f, language)["name"] for f in countries}
    ordered = sorted(names, key=len, reverse=True)
    return re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in ordered))


def strays(text: str, fact: Fact, language: str) -> bool:
    """Does the text speak of another country too, as two pages that were glued together do?"""
    own = world.values(fact, language).values()
    for value in sorted(own, key=len, reverse=True):
        text = text.replace(value, " ")
    return _countries(language).search(text) is not None


def _has_junk(text: str, language: str) -> bool:
    """Does the text hold a piece of a flaw, or an address?"""
    if any(piece in text for piece in _junk(language)):
        return True
    return re.search(r"https?://", text) is not None


def _repeats(text: str) -> bool:
    """Does a sentence of more than 15 characters stand there twice?"""
    sentences = [s for s in re.split(r"[.!?۔\n]+\s*", text) if len(s) > 15]
    return len(sentences) > len(set(sentences))


def _form(text: str, fact: Fact, language: str) -> float:
    """The view of form: 1.0, less for junk, for an end that is none, for what is beside it."""
    junk = 0.4 if _has_junk(text, language) else 1.0
    end = 1.0 if finished(text) else 0.6
    beside = 0.6 if _repeats(text) or strays(text, fact, language) else 1.0
    return junk * end * beside


def aspects(text: str, fact: Fact, language: str) -> Aspects:
    """Score an answer in four views."""
    right = parts(text, fact, language)
    correct = sum(right.values())
    missing = [slot for slot, ok in right.items() if not ok]
    wrong = [slot for slot in missing
             if any(has_value(v, text) for v in world.all_values(slot, language))]
    about = has_value(world.values(fact, language)["name"], text)
    untold = len(right) - correct - len(wrong)
    return {"accuracy": correct / len(right) * (1.0 if about else 0.5),
            "completeness": 1 - untold / len(right), "form": _form(text, fact, language),
            "language": language_share(text, language) > 0.6}


def score(text: str, fact: Fact, language: str) -> float:
    """The judge's score of an answer, 0-10: what is right, weighted by how it is told."""
    a = aspects(text, fact, language)
    if not text.strip() or not a["language"]:
        return 0.0
    content = 0.7 * a["accuracy"] + 0.3 * a["completeness"] * a["accuracy"] ** 0.5
    return round(10 * content * a["form"], 2)


def judge(truth: Truths, language: str) -> Callable[[Any, str, str], tuple[float, float]]:
    """The judge of the Atlas: (question, answer 1, answer 2) -> both scores (`judge.compare`)."""
    def scores(question: Any, first: str, second: str) -> tuple[float, float]:
        fact = fact_of(truth[question["id"]])
        return score(first, fact, language), score(second, fact, language)

    return scores


def views(truth: Truths, language: str, questions: Iterable[Any],
          answers: Mapping[str, str]) -> dict[str, tuple[float, float, float]]:
    """The judge's three views (paper 5.2, Table 6), as `judge.views`.

    answers: {question's id: text}. Returns {id: (helpfulness, relevance, accuracy)}, 0-10. Helpful
    is what the score says; relevant, how much of what was asked is spoken of, rightly or not;
    accurate, what is right.
    """
    seen = {}
    for question in questions:
        name = question["id"]
        text, fact = answers[name], fact_of(truth[name])
        a = aspects(text, fact, language)
        top = 10.0 if a["language"] and text.strip() else 0.0
        seen[name] = score(text, fact, language), top * a["completeness"], top * a["accuracy"]
    return seen


def normal(text: str) -> str:
    """Instruction as compared: case, blanks and a final mark do not matter."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".?! ").lower()


def instruction_verdict(instruction: str, truth_row: Truth) -> str:
    """How right a candidate's instruction is.

    "exact", "topic" (right topic, another entity), "entity" (another topic) or "wrong".
    """
    fact, given = fact_of(truth_row), normal(instruction)
    if given in {normal(i) for i in pages.instructions(fact)}:
        return "exact"
    for prompt in pages.texts("en")["topics"][fact.topic]["prompts"]:
        before, after = normal(prompt).split("{name}")
        if given.startswith(before) and given.endswith(after):
            return "topic"
    name = world.values(fact, "en")["name"]
    return "entity" if has_value(name, instruction) else "wrong"


def is_good(candidate: dict, truth: Truths) -> bool:
    """Is a candidate (id, instruction) a clean page with a right instruction?

    This is what the evaluator should find.
    """
    row = truth[candidate["id"]]
    exact = instruction_verdict(candidate["instruction"], row) == "exact"
    return row["flaw"] == "clean" and exact


def selection_quality(rated: Sequence[dict], kept: Sequence[dict], truth: Truths,
                      key: Callable[[dict], float]) -> dict[str, float]:
    """What the paper could not measure: precision of the candidates, AUC of the evaluator.

    {random_precision, kept_precision, evaluator_auc, auc_clean, auc_exact}; `auc_clean`: clean
    against flawed pages among right instructions; `auc_exact`: right against wrong instructions
    among clean pages. AUC is absent where one side is empty.
    """
    good = {c["id"]: is_good(c, truth) for c in rated}
    clean = {c["id"]: truth[c["id"]]["flaw"] == "clean" for c in rated}
    exact = {}
    for c in rated:
        verdict = instruction_verdict(c["instruction"], truth[c["id"]])
        exact[c["id"]] = verdict == "exact"
    quality = {"random_precision": sum(good.values()) / len(good),
               "kept_precision": sum(good[c["id"]] for c in kept) / len(kept)}
    for name, wanted, rows in (("evaluator_auc", good, rated),
                               ("auc_clean", clean, [c for c in rated if exact[c["id"]]]),
                               ("auc_exact", exact, [c for c in rated if clean[c["id"]]])):
        area = _auc([wanted[c["id"]] for c in rows], [key(c) for c in rows])
        if area is not None:
            quality[name] = area
    return quality


def _auc(wanted: list[bool], ratings: list[float]) -> float | None:
    """Area under the ROC curve; None where one side is empty."""
    from sklearn.metrics import roc_auc_score

    if len(set(wanted)) < 2:
        return None
    return float(roc_auc_score(wanted, ratings))
