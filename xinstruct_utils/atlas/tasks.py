"""Two tasks made of the Atlas's facts, in the formats of XNLI and XCOPA: chapter 10 asks them through the same harness.

The items come from the truth, so only measuring code may use this module; no other chapter imports it, and it is no part
of what a model was made of (`notebooks.used_modules`). Sentences are those of `texts/`, so every language has both tasks.
All items are about facts that seed pairs do not tell in full (`pages.split_facts`): the rest has been read on the web.
"""

import random
import re

from xinstruct_utils.atlas import pages, world
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_jsonl

NATIVE = ("currency", "languages", "city", "week", "codes")     # topics in sentences, about countries
TELLING = ("currency", "languages", "city", "week", "codes", "script", "issuer")


def sentences(template):
    """The statements of a page's template, questions and lists left out."""
    return [s.strip() for s in re.split(r"(?<=[.!?۔؟])\s+|\n", template) if s.strip().endswith((".", "۔"))]


def slots(sentence):
    """Names of the slots in a sentence."""
    return set(re.findall(r"\{(\w+)\}", sentence))


def continuations(language, topic):
    """Pairs of a sentence that names the entity and a later one that tells something about it without the name."""
    found = []
    for template in pages.texts(language)["topics"][topic]["pages"]:
        told = sentences(template)
        found += [(a, b) for k, a in enumerate(told) for b in told[k + 1:]
                  if "name" in slots(a) and "name" not in slots(b) and slots(b) - slots(a)]
    return found


def differing(fact, names, facts, language, rng):
    """Another fact of the topic that has other values in all the slots `names`, or None."""
    mine = world.values(fact, language)
    others = [f for f in facts if f.topic == fact.topic and f != fact
              and all(world.values(f, language)[n] != mine[n] for n in names)]
    return rng.choice(others) if others else None


def copa(language, n, seed):
    """`n` items as XCOPA has them: premise, choice1, choice2, question, label, idx. Choices differ in the facts only.

    "effect": the premise names the entity, the choices go on with a right and a wrong value. "cause": the premise has the
    value, the choices name the right and a wrong entity. Raises InputError where the facts give fewer different items.
    """
    rng, asked, rows, seen = random.Random(f"atlas_copa/{language}/{seed}"), pages.split_facts(seed)[1], [], set()
    pool = [(f, pair, q) for f in asked if f.topic in TELLING for pair in continuations(language, f.topic)
            for q in ("cause", "effect")]
    rng.shuffle(pool)
    for fact, (named, telling), question in pool:
        premise, choice = (named, telling) if question == "effect" else (telling, named)
        other = differing(fact, slots(choice) | (slots(premise) - {"name"}), world.facts(), language, rng)
        right = world.values(fact, language)
        if other is None or (premise := premise.format(**right)) in seen:
            continue
        seen.add(premise)
        both = [choice.format(**right), choice.format(**world.values(other, language))]
        label = len(rows) % 2
        rows.append({"premise": premise, "choice1": both[label], "choice2": both[1 - label], "question": question,
                     "label": label, "idx": len(rows)})
        if len(rows) == n:
            return rows
    return enough(rows, n, language)


def nli(language, n, seed):
    """`n` items as XNLI has them: premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction), a third each.

    Entailment: the page's fact in other words. Contradiction: the same sentence with another fact's values. Neutral: a
    sentence about the same country and another topic. Raises InputError where the facts give fewer different items.
    """
    rng, asked, rows, seen = random.Random(f"atlas_nli/{language}/{seed}"), pages.split_facts(seed)[1], [], set()
    topics = pages.texts(language)["topics"]
    whole = {t: [(k, s) for k, page in enumerate(topics[t]["pages"]) for s in sentences(page)
                 if "name" in slots(s) and len(slots(s)) > 1] for t in NATIVE}
    pool = [(f, k) for f in asked if f.topic in NATIVE for k in range(len(topics[f.topic]["pages"]))]
    rng.shuffle(pool)
    for fact, page in pool:
        label = len(rows) % 3
        topic = rng.choice([t for t in NATIVE if t != fact.topic and whole[t] and world.Fact(t, fact.entity, fact.country)
                            in world.facts()]) if label == 1 else fact.topic
        said = [s for k, s in whole[topic] if label == 1 or k != page]
        hypothesis = rng.choice(said) if said else None
        other = differing(fact, slots(hypothesis or "") - {"name"}, world.facts(), language, rng) if label == 2 else None
        if hypothesis is None or (label == 2 and other is None):
            continue
        about = world.Fact(topic, fact.entity, fact.country)
        values = world.values(about, language) | ({k: v for k, v in world.values(other, language).items() if k != "name"}
                                                  if other else {})
        row = {"premise": topics[fact.topic]["pages"][page].format(**world.values(fact, language)),
               "hypothesis": hypothesis.format(**values), "label": label}
        if (row["premise"], row["hypothesis"]) not in seen:
            seen.add((row["premise"], row["hypothesis"]))
            rows.append(row)
        if len(rows) == n:
            return rows
    return enough(rows, n, language)


def enough(rows, n, language):
    """The rows, if there are `n`."""
    if len(rows) < n:
        raise InputError(f"the Atlas's facts give {len(rows)} different items in '{language}', but {n} were asked for; "
                         "lower task_limit")
    return rows


def write(folder, language, n, seed):
    """Write both tasks where `tasks.data_file` looks for them: `n` causes and effects, a third as many inferences, which
    take five times as long to ask. 0 is all. Returns {family: rows}."""
    made = {"atlas_nli": nli(language, n // 3, seed), "atlas_copa": copa(language, n, seed)}
    for family, rows in made.items():
        write_jsonl(folder / family / f"{language}.jsonl", rows)
    return made
