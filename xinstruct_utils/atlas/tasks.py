"""Two tasks made of the Atlas's facts, in the formats of XNLI and XCOPA.

Chapter 10 asks them through the same harness. The items come from the truth, so only measuring code
may use this module; no other chapter imports it, and it is no part of what a model was made of
(`notebooks.used_modules`). Sentences are those of `texts/`, so every language has both tasks. All
items are about facts that seed pairs do not tell in full (`web.split_facts`): the rest has been
read on the web.
"""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from xinstruct_utils.atlas import web, world
from xinstruct_utils.atlas.sentences import BREAK, shown, split, texts
from xinstruct_utils.atlas.topics import slots
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_jsonl

NATIVE = ("currency", "languages", "city", "week", "codes")     # in sentences, about countries
TELLING = ("currency", "languages", "city", "week", "codes", "script", "issuer")
ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2     # XNLI's labels


class Choice(TypedDict):
    """An item as XCOPA has them; label: 0 where choice1 is right, else 1."""

    premise: str
    choice1: str
    choice2: str
    question: str
    label: int
    idx: int


class Inference(TypedDict):
    """An item as XNLI has them."""

    premise: str
    hypothesis: str
    label: int


def sentences(template: str) -> list[str]:
    """The statements of a page's template, questions and lists left out."""
    parts = split(template)
    if BREAK in template:                  # a language whose statements end without a mark
        return [part for part in parts if not part.endswith("?")]
    return [part for part in parts if part.endswith((".", "۔", "।"))]


def continuations(language: str, topic: str) -> list[tuple[str, str]]:
    """Pairs of sentences of a page: one that names the entity, and a later one without the name.

    The later one tells something about it that the first does not.
    """
    pairs = []
    for template in texts(language)["topics"][topic]["pages"]:
        statements = sentences(template)
        for k, first in enumerate(statements):
            for later in statements[k + 1:]:
                goes_on = "name" not in slots(later) and slots(later) - slots(first)
                if "name" in slots(first) and goes_on:
                    pairs.append((first, later))
    return pairs


def differing(fact: Fact, names: set[str], facts: Iterable[Fact], language: str,
              rng: random.Random) -> Fact | None:
    """Another fact of the topic that has other values in all the slots `names`, or None."""
    own = world.values(fact, language)
    others = []
    for other in facts:
        if other.topic == fact.topic and other != fact:
            values = world.values(other, language)
            if all(values[name] != own[name] for name in names):
                others.append(other)
    return rng.choice(others) if others else None


def copa(language: str, n: int, seed: int) -> list[Choice]:
    """`n` items as XCOPA has them; 0 is all. Choices differ in the facts only.

    "effect": the premise names the entity, the choices go on with a right and a wrong value.
    "cause": the premise has the value, the choices name the right and a wrong entity. Raises
    InputError where the facts give fewer different items.
    """
    rng = random.Random(f"atlas_copa/{language}/{seed}")
    rows: list[Choice] = []
    seen = set()
    pool = [(fact, pair, question)
            for fact in web.split_facts(seed)[1] if fact.topic in TELLING
            for pair in continuations(language, fact.topic) for question in ("cause", "effect")]
    rng.shuffle(pool)
    for fact, (named, telling), question in pool:
        premise, choice = (named, telling) if question == "effect" else (telling, named)
        differ = slots(choice) | (slots(premise) - {"name"})
        other = differing(fact, differ, world.facts(), language, rng)
        right = world.values(fact, language)
        told = premise.format(**right)
        if other is None or told in seen:
            continue
        seen.add(told)
        wrong = world.values(other, language)
        rows.append(_choice(told, choice.format(**right), choice.format(**wrong), question,
                            len(rows)))
        if len(rows) == n:
            return rows
    return enough(rows, n, language)


def _choice(premise: str, right: str, wrong: str, question: str, k: int) -> Choice:
    """The k-th item: the right choice is the first of every other one."""
    label = k % 2
    first, second = (wrong, right) if label else (right, wrong)
    return {"premise": premise, "choice1": first, "choice2": second, "question": question,
            "label": label, "idx": k}


def nli(language: str, n: int, seed: int) -> list[Inference]:
    """`n` items as XNLI has them, a third of each label; 0 is all.

    Entailment: the page's fact in other words. Contradiction: the same sentence with another
    fact's values. Neutral: a sentence about the same country and another topic. Raises InputError
    where the facts give fewer different items.
    """
    rng = random.Random(f"atlas_nli/{language}/{seed}")
    rows: list[Inference] = []
    seen = set()
    topics = texts(language)["topics"]
    whole = {topic: _whole_sentences(topics[topic]["pages"]) for topic in NATIVE}
    pool = [(fact, k) for fact in web.split_facts(seed)[1] if fact.topic in NATIVE
            for k in range(len(topics[fact.topic]["pages"]))]
    rng.shuffle(pool)
    for fact, page in pool:
        label = len(rows) % 3
        hypothesis = _hypothesis(fact, page, label, whole, language, rng)
        if hypothesis is None:
            continue
        template = topics[fact.topic]["pages"][page]
        premise = shown(template.format(**world.values(fact, language)))
        if (premise, hypothesis) not in seen:
            seen.add((premise, hypothesis))
            rows.append({"premise": premise, "hypothesis": hypothesis, "label": label})
        if len(rows) == n:
            return rows
    return enough(rows, n, language)


def _whole_sentences(templates: Sequence[str]) -> list[tuple[int, str]]:
    """(page's number, sentence) of sentences that name the entity and tell something."""
    return [(k, sentence) for k, page in enumerate(templates) for sentence in sentences(page)
            if "name" in slots(sentence) and len(slots(sentence)) > 1]


def _hypothesis(fact: Fact, page: int, label: int, whole: dict[str, list[tuple[int, str]]],
                language: str, rng: random.Random) -> str | None:
    """A sentence that has this relation to a page of the fact; None where there is none."""
    if label == NEUTRAL:
        topic = rng.choice([t for t in NATIVE if t != fact.topic and whole[t]
                            and _same_place(fact, t) in world.facts()])
        choices = [sentence for _, sentence in whole[topic]]
        fact = _same_place(fact, topic)
    else:
        choices = [sentence for k, sentence in whole[fact.topic] if k != page]
    if not choices:
        return None
    sentence = rng.choice(choices)
    values = dict(world.values(fact, language))
    if label == CONTRADICTION:
        other = differing(fact, slots(sentence) - {"name"}, world.facts(), language, rng)
        if other is None:
            return None
        values |= world.values(other, language) | {"name": values["name"]}
    return sentence.format(**values)


def _same_place(fact: Fact, topic: str) -> Fact:
    """The fact of another topic about the same entity."""
    return Fact(topic, fact.entity, fact.country)


def enough(rows: list, n: int, language: str) -> list:
    """The rows, if there are `n`. Raises InputError."""
    if len(rows) < n:
        raise InputError(f"the Atlas's facts give {len(rows)} different items in '{language}', "
                         f"but {n} were asked for; lower task_limit")
    return rows


def write(folder: Path, language: str, n: int, seed: int) -> dict[str, list]:
    """Write both tasks where `tasks.data_file` looks for them. Returns {family: rows}.

    `n` causes and effects, a third as many inferences, which take five times as long to ask. 0 is
    all.
    """
    families = {"atlas_nli": nli(language, n // 3, seed), "atlas_copa": copa(language, n, seed)}
    for family, rows in families.items():
        write_jsonl(folder / family / f"{language}.jsonl", rows)
    return families
