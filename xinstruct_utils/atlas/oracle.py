"""The oracle: scores answers and labels candidates against the known truth of the Atlas.

It plays the judge (0-10, as GPT-4 does in the paper's section 5.2) and measures what the paper
could only estimate. Notebooks 01-05 and 08 may call it in measuring cells only.
"""

import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, TypedDict

from xinstruct_utils.atlas import pages, world
from xinstruct_utils.atlas.grading import finished, has_value, is_unspaced, parts, whole
from xinstruct_utils.atlas.sentences import TOLD, shown, split, texts
from xinstruct_utils.atlas.web import Truth, Truths
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
    """The fact that a row of the truth is about, the first where a prompt joins several."""
    return _by_key()[truth_row["topic"], truth_row["entity"]]


def facts_of(truth_row: Truth) -> list[Fact]:
    """All facts that a prompt asks about."""
    others = [_by_key()[topic, entity] for topic, entity in truth_row.get("also", [])]
    return [fact_of(truth_row), *others]


@cache
def _junk(language: str) -> tuple[str, ...]:
    """Pieces of flaw texts (12 characters or more, slots cut out) by which junk is recognised."""
    pieces = set()
    for code in {language, "en"}:
        for lines in texts(code)["flaws"].values():
            for line in lines:
                pieces |= {piece.strip() for piece in re.split(r"\{\w+\}|\n", line)}
    return tuple(sorted(piece for piece in pieces if len(piece) >= 12))


@cache
def _trigrams(language: str) -> frozenset[str]:
    """Character trigrams of the language's sentences, to tell one Atlas language from another."""
    topics = texts(language)["topics"].values()
    sentences = [s for topic in topics for kind in TOLD for s in topic[kind]]
    text = shown(" ".join(re.sub(r"\{\w+\}", " ", s) for s in sentences))
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
def _countries(language: str) -> frozenset[str]:
    """The names of countries in the language."""
    return frozenset(world.names.territory(code, language) for code in world.countries())


@lru_cache(4096)
def _any_of(values: frozenset[str]) -> re.Pattern[str]:
    """A pattern that finds values as whole words, the longest first."""
    return re.compile("|".join(map(whole, sorted(values, key=len, reverse=True))))


def strays(text: str, facts: Sequence[Fact], language: str) -> bool:
    """Does the text speak of another country too, as two pages that were glued together do?

    Its own values are looked for beside the countries, since one may hold a country's name.
    """
    own = {value for fact in facts for value in world.values(fact, language).values()}
    # Few values stand in a text: a pattern of all would take a tenth of a second for every fact.
    there = frozenset(value for value in _countries(language) | own if value in text)
    if there <= own:
        return False
    return any(found[0] not in own for found in _any_of(there).finditer(text))


def _has_junk(text: str, language: str) -> bool:
    """Does the text hold a piece of a flaw, or an address?"""
    if any(piece in text for piece in _junk(language)):
        return True
    return re.search(r"https?://", text) is not None


def _repeats(text: str) -> bool:
    """Does a sentence of more than 15 characters stand there twice?

    In a language without full stops, what stands between blanks.
    """
    parts = text.split() if is_unspaced(text) else split(text)
    sentences = [s for s in parts if len(s) > 15]
    return len(sentences) > len(set(sentences))


def _form(text: str, facts: Sequence[Fact], language: str) -> float:
    """The view of form: 1.0, less for junk, for an end that is none, for what is beside it."""
    junk = 0.4 if _has_junk(text, language) else 1.0
    end = 1.0 if finished(text, language) else 0.6
    beside = 0.6 if _repeats(text) or strays(text, facts, language) else 1.0
    return junk * end * beside


def aspects(text: str, facts: Sequence[Fact], language: str) -> Aspects:
    """Score an answer about one fact, or about several, in four views."""
    return _aspects(text, tuple(facts), language).copy()


@lru_cache(16384)               # an answer meets several others, and is asked for its views too
def _aspects(text: str, facts: tuple[Fact, ...], language: str) -> Aspects:
    right = [(fact, slot, ok) for fact in facts
             for slot, ok in parts(text, fact, language).items()]
    correct = sum(ok for _, _, ok in right)
    missing = [(fact, slot) for fact, slot, ok in right if not ok]
    wrong = [slot for fact, slot in missing if _tells_another(text, fact, slot, language)]
    names = {world.values(fact, language)["name"] for fact in facts}
    about = sum(has_value(name, text) for name in names) / len(names)
    untold = len(missing) - len(wrong)
    return {"accuracy": correct / len(right) * (0.5 + 0.5 * about),
            "completeness": 1 - untold / len(right), "form": _form(text, facts, language),
            "language": language_share(text, language) > 0.6}


def _tells_another(text: str, fact: Fact, slot: str, language: str) -> bool:
    """Does the text give a slot another value than the right one?

    What it has to say of another slot is none of that.
    """
    told = set(world.values(fact, language).values())
    others = (v for v in world.all_values(slot, language) if v not in told)
    return any(has_value(value, text) for value in others)


def score(text: str, facts: Sequence[Fact], language: str) -> float:
    """The judge's score of an answer, 0-10: what is right, weighted by how it is told."""
    seen = aspects(text, facts, language)
    return points(seen) if text.strip() and seen["language"] else 0.0


def points(seen: Aspects) -> float:
    """The views of an answer in the right language in one figure, 0-10."""
    content = 0.7 * seen["accuracy"] + 0.3 * seen["completeness"] * seen["accuracy"] ** 0.5
    return round(10 * content * seen["form"], 2)


def judge(truth: Truths, language: str) -> Callable[[Any, str, str], tuple[float, float]]:
    """The judge of the Atlas: (question, answer 1, answer 2) -> both scores (`judge.compare`)."""
    def scores(question: Any, first: str, second: str) -> tuple[float, float]:
        facts = facts_of(truth[question["id"]])
        return score(first, facts, language), score(second, facts, language)

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
        text, facts = answers[name], facts_of(truth[name])
        a = aspects(text, facts, language)
        top = 10.0 if a["language"] and text.strip() else 0.0
        seen[name] = score(text, facts, language), top * a["completeness"], top * a["accuracy"]
    return seen


def normal(text: str) -> str:
    """Instruction as compared: case, blanks and a final mark do not matter."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".?! ").lower()


@cache
def shapes(topic: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of a topic's instructions as `normal` gives them: anything fills their slots."""
    return tuple(re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(normal(prompt))))
                 for prompt in texts("en")["topics"][topic]["prompts"])


def instruction_verdict(instruction: str, truth_row: Truth) -> str:
    """How right a candidate's instruction is.

    "exact", "topic" (right topic, another entity), "entity" (another topic) or "wrong".
    """
    fact, given = fact_of(truth_row), normal(instruction)
    if given in {normal(i) for i in pages.instructions(fact)}:
        return "exact"
    if any(shape.fullmatch(given) for shape in shapes(fact.topic)):
        return "topic"
    name = world.values(fact, "en")["name"]
    return "entity" if has_value(name, instruction) else "wrong"


@cache
def _by_instruction() -> dict[str, Fact]:
    return {normal(i): fact for fact in world.facts() for i in pages.instructions(fact)}


def is_right(instruction: str, output: str, language: str) -> bool:
    """Does an output answer an instruction of the Atlas in full, and hold nothing else?"""
    fact = _by_instruction().get(normal(instruction))
    return fact is not None and score(output, [fact], language) == 10


def is_good(candidate: dict, truth: Truths) -> bool:
    """Is a candidate (id, instruction) a clean page with a right instruction?

    This is what the evaluator should find.
    """
    row = truth[candidate["id"]]
    exact = instruction_verdict(candidate["instruction"], row) == "exact"
    return row["flaw"] == "clean" and exact


def gloss(truth_row: Truth) -> str:
    """An English page about what a page or a prompt is about; not a translation word by word."""
    texts_in_english = [pages.page(fact, "en", random.Random(fact.entity), fillers=0)
                        for fact in facts_of(truth_row)]
    return " ".join(texts_in_english)


def explained(candidates: Iterable[dict], truth: Truths | None) -> list[dict]:
    """Candidates with what a reader needs to judge them: "in English", and "right" or why not.

    Without a truth they come back as they are, both fields empty.
    """
    rows = []
    for candidate in candidates:
        known = (truth or {}).get(candidate["id"])
        if known is None:
            rows.append(candidate | {"in English": "", "right": ""})
            continue
        faults = [] if known["flaw"] == "clean" else [f"page: {known['flaw']}"]
        verdict = instruction_verdict(candidate["instruction"], known)
        if verdict != "exact":
            faults.append(f"instruction: {WRONG[verdict]}")
        right = f"✗ {', '.join(faults)}".replace("_", " ") if faults else "✓"
        rows.append(candidate | {"in English": gloss(known), "right": right})
    return rows


# What `instruction_verdict` says, for a reader.
WRONG = {"topic": "another entity", "entity": "another question", "wrong": "of neither"}


RIGHT = 9.5      # score of an answer with all its parts and nothing that does not belong


def marked(text: str, truth_row: Truth, language: str) -> str:
    """An answer with a tick or a cross and its score before it: "✓ 10: ...", "✗ 3: ..."."""
    points = score(text, facts_of(truth_row), language)
    return f"{'✓' if points >= RIGHT else '✗'} {points:.0f}: {text}"


def selection_quality(rated: Sequence[dict], kept: Sequence[dict], truth: Truths,
                      key: Callable[[dict], float]) -> dict[str, float]:
    """What the paper could not measure: precision of the candidates, AUC of what ranks them.

    {random_precision, kept_precision, auc, auc_clean, auc_exact}; `auc_clean`: clean
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
    for name, wanted, rows in (("auc", good, rated),
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
