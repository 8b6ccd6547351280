"""Pages of the mini web: what the method reads (seed, corpus, prompts), the truth apart from it.

Flaws come at the rates of RATES, the paper's Table 3 among them (navigation bars 11.3%, URL and
HTTP-error pages 3.8%). A flaw is labelled by what the page has become, never by what was planted.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

from xinstruct_utils.atlas import HOME, grading, world
from xinstruct_utils.atlas.sentences import faults
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import (
    content_id,
    digest,
    file_hash,
    read_json,
    write_json,
    write_jsonl,
)
from xinstruct_utils.core.paths import root

# What becomes of a web page, in this order of drawing. The first two rates are the paper's (Table
# 3); the others are ours: text that hurts whoever learns from it must be common enough to be seen
# in a small corpus.
RATES = {
    "navigation": 0.113, "http_error": 0.038, "truncated": 0.06, "glued": 0.04,
    "boilerplate": 0.05, "wrong_fact": 0.06, "mixed_language": 0.04, "advert": 0.035,
    "chat": 0.03, "links": 0.024, "half_answer": 0.03,
}
REPEATED = 0.7     # share of exact repetitions that are left out: more would starve a small corpus
# Modules that decide what a page says; a change in one makes the world anew.
MODULES = ("world.py", "grading.py", "pages.py")


class Truth(TypedDict):
    """The truth about a page (`flaw`) or a prompt (`hidden`)."""

    topic: str
    entity: str
    flaw: NotRequired[str]
    hidden: NotRequired[bool]


Rows = list[dict]
Truths = dict[str, Truth]     # {content id of a page, or id of a prompt: Truth}


class Sizes(Protocol):
    """The settings of a profile that the world is made from."""

    seed: int
    seed_size: int
    corpus_size: int
    prompt_count: int


@cache
def texts(language: str) -> dict:
    """The sentences of a language (`texts/<language>.yaml`).

    A native speaker may correct that file.
    """
    import yaml

    return yaml.safe_load((HOME / "texts" / f"{language}.yaml").read_text(encoding="utf-8"))


def instructions(fact: Fact, language: str = "en") -> list[str]:
    """All right instructions for a fact, in English or in another language of the Atlas."""
    name = world.values(fact, language)["name"]
    return [t.format(name=name) for t in texts(language)["topics"][fact.topic]["prompts"]]


def page(fact: Fact, language: str, rng: random.Random, values: Mapping[str, str] | None = None,
         kind: str = "pages", fillers: int = 2) -> str:
    """A page about a fact: a template with its slots filled, then sentences without facts.

    values: of the slots, by default the right ones; kind: which templates; fillers: how many
    sentences without facts at most.
    """
    topic = texts(language)["topics"][fact.topic]
    body = rng.choice(topic[kind]).format(**(values or world.values(fact, language)))
    count = min(rng.randint(0, fillers), len(topic["fillers"]))
    extra = rng.sample(topic["fillers"], count)
    glue = "\n" if "\n" in body else " "
    return glue.join([body, " ".join(extra)]) if extra else body


def flawed(fact: Fact, flaw: str, language: str, rng: random.Random) -> str:
    """A page about a fact that has one flaw; it may turn out clean (see `label`)."""
    lines, name = texts(language)["flaws"], world.values(fact, language)["name"]
    slug = re.sub(r"\W+", "-", world.values(fact, "en")["name"].lower())
    text = page(fact, language, rng)
    spoil = {k: rng.choice(v).format(name=name, slug=slug) for k, v in lines.items()}
    if flaw in MADE_ANEW:
        return MADE_ANEW[flaw](fact, text, language, rng)
    if flaw == "navigation":
        form = rng.choice(["{s}\n{t}", "{t}\n{s}", "{s}\n{t}\n{s2}"])
        second = rng.choice(lines["navigation"])
        return form.format(s=spoil["navigation"], t=text, s2=second)
    if flaw == "http_error":
        form = rng.choice(["{s}\n{n}", "{s}\n{h}"])
        return form.format(s=spoil["http_error"], n=spoil["navigation"], h=text[:60])
    if flaw == "truncated":
        cut = text[: int(len(text) * rng.uniform(0.35, 0.75))].rstrip()
        return cut + rng.choice(["", "...", " " + spoil["read_more"]])
    if flaw == "boilerplate":
        return rng.choice(["{t}\n{s}", "{s}\n{t}"]).format(t=text, s=spoil["boilerplate"])
    filler = rng.choice(texts(language)["topics"][fact.topic]["fillers"])
    return rng.choice(["{s}", "{s} {f}"]).format(s=spoil[flaw], f=filler)


def _glued(fact: Fact, text: str, language: str, rng: random.Random) -> str:
    """Two pages in one."""
    other = rng.choice([f for f in world.facts() if f.entity != fact.entity])
    return f"{text} {page(other, language, rng)}"


def _wrong(fact: Fact, text: str, language: str, rng: random.Random) -> str:
    """A page that tells another fact's values."""
    right = world.values(fact, language)
    values = dict(right)
    for slot in world.TOPICS[fact.topic]:
        others = [v for v in world.all_values(slot, language) if v != right[slot]]
        values[slot] = rng.choice(others)
    return page(fact, language, rng, values)


def _mixed(fact: Fact, text: str, language: str, rng: random.Random) -> str:
    """A page that goes on in English."""
    english = page(fact, "en", rng, fillers=1)
    sentences = re.split(r"(?<=[.!?۔\n])\s*", text)
    first_half = " ".join(sentences[: max(1, len(sentences) // 2)]).strip()
    return f"{first_half} {english}"


def _half(fact: Fact, text: str, language: str, rng: random.Random) -> str:
    """A page that leaves a part of the answer out."""
    return page(fact, language, rng, kind="half")


# Flaws of a page that something else is told in.
MADE_ANEW: dict[str, Callable[[Fact, str, str, random.Random], str]] = {
    "glued": _glued, "wrong_fact": _wrong, "mixed_language": _mixed, "half_answer": _half}


def _written(fact: Fact, flaw: str, language: str, rng: random.Random) -> str:
    """A page with a flaw, or "clean"."""
    if flaw == "clean":
        return page(fact, language, rng)
    return flawed(fact, flaw, language, rng)


def label(text: str, fact: Fact, flaw: str, language: str) -> str:
    """The flaw that the text really has: a cut that removed only filler has left a clean page."""
    if flaw not in ("truncated", "wrong_fact", "half_answer"):
        return flaw
    whole = all(grading.parts(text, fact, language).values()) and grading.finished(text)
    return "clean" if whole else flaw


def web(language: str, n: int, seed: int,
        facts: Sequence[Fact] | None = None) -> tuple[Rows, Truths]:
    """`n` web pages {id, language, text} and their truth, by content id."""
    rng = random.Random(f"web/{language}/{seed}")
    rows: Rows = []
    truth: Truths = {}
    pool = list(facts or world.facts())
    kinds, weights = [*RATES, "clean"], [*RATES.values(), 1 - sum(RATES.values())]
    while len(rows) < n:
        fact = rng.choice(pool)
        flaw = rng.choices(kinds, weights)[0]
        text = _written(fact, flaw, language, rng)
        key = content_id(language, text)
        if key in truth and rng.random() < REPEATED:      # the web repeats itself a little
            continue
        rows.append({"id": f"web-{language}-{len(rows):06d}", "language": language, "text": text})
        truth[key] = {"topic": fact.topic, "entity": fact.entity,
                      "flaw": label(text, fact, flaw, language)}
    return rows, truth


def seed_pairs(language: str, n: int, seed: int,
               facts: Sequence[Fact] | None = None) -> tuple[Rows, Truths]:
    """`n` clean seed pairs and their truth: an English instruction and a native page."""
    rng = random.Random(f"seed/{language}/{seed}")
    rows: Rows = []
    truth: Truths = {}
    pool = list(facts or world.facts())
    while len(rows) < n:
        fact = rng.choice(pool)
        text = page(fact, language, rng)
        key = content_id(language, text)
        if key in truth:
            continue
        rows.append({"id": f"seed-{language}-{len(rows):05d}", "language": language,
                     "instruction": rng.choice(instructions(fact)), "output": text})
        truth[key] = {"topic": fact.topic, "entity": fact.entity, "flaw": "clean"}
    return rows, truth


def prompts(language: str, n: int, seed: int, facts: Sequence[Fact]) -> tuple[Rows, Truths]:
    """`n` evaluation prompts on the given facts, and their truth by the prompts' ids.

    Rows are {id, language, instruction, native_instruction, category, difficulty}. The difficulty,
    1 to 10 as WizardLM's: how many values the answer tells, and 4 more where no native page tells
    them.
    """
    rng = random.Random(f"prompts/{language}/{seed}")
    rows: Rows = []
    truth: Truths = {}
    pool = list(facts)
    rng.shuffle(pool)
    for k in range(n):
        fact, form = pool[k % len(pool)], rng.randrange(4)
        hidden = world.hidden(fact, language)
        row = {"id": f"prompt-{language}-{k:04d}", "language": language,
               "instruction": instructions(fact)[form],
               "native_instruction": instructions(fact, language)[form], "category": fact.topic,
               "difficulty": len(world.TOPICS[fact.topic]) + (4 if hidden else 0)}
        rows.append(row)
        truth[row["id"]] = {"topic": fact.topic, "entity": fact.entity, "hidden": hidden}
    return rows, truth


def build_world(run: str, language: str, settings: Sizes) -> dict[str, Path]:
    """Write the source files of a run's language, and the truth apart from them.

    About half of the facts never appear in the seed data (`split_facts`): the prompts ask about
    those, so that the web has to teach them. Files that today's sentences and code would write are
    left alone. Returns {"seed", "corpus", "prompts": path}. Raises InputError for a language
    without sentences, or with a fault in them.
    """
    sentences = HOME / "texts" / f"{language}.yaml"
    if not sentences.exists():
        raise InputError(f"the Atlas has no sentences in '{language}': expected one of "
                         f"{sorted(p.stem for p in (HOME / 'texts').glob('*.yaml'))}; "
                         f"write atlas/texts/{language}.yaml")
    if wrong := faults(texts(language), texts("en")):
        raise InputError("\n  ".join([f"{sentences}: these sentences cannot be used:", *wrong]))
    home = root() / run / "world" / language
    paths = {name: home / f"{name}.jsonl" for name in ("seed", "corpus", "prompts")}
    key = _world_key(sentences, settings)
    if (home / "key.json").exists() and read_json(home / "key.json") == key:
        return paths
    seed = settings.seed
    known, asked = split_facts(seed)
    made = {"seed": seed_pairs(language, settings.seed_size, seed, known),
            "corpus": web(language, settings.corpus_size, seed),
            "prompts": prompts(language, settings.prompt_count, seed, asked)}
    truth: Truths = {}
    for _, part in made.values():
        truth |= part
    write_json(root() / run / "truth" / f"{language}.json", truth)
    for name, (rows, _) in made.items():
        write_jsonl(paths[name], rows)
    write_json(home / "key.json", key)
    return paths


def _world_key(sentences: Path, settings: Sizes) -> str:
    """Digest of what a language's world is made of."""
    sizes = [settings.seed, settings.seed_size, settings.corpus_size, settings.prompt_count]
    files = [sentences, HOME / "texts" / "en.yaml", *(HOME / name for name in MODULES)]
    return digest([sizes, *map(file_hash, files)])


# Two topics tell the same thing from both ends, so they go to the same side.
SAME = {"currency": "money", "issuer": "money", "languages": "tongue", "script": "tongue"}


@cache
def split_facts(seed: int) -> tuple[list[Fact], list[Fact]]:
    """Facts that seed pairs may tell, and facts that the evaluation asks about.

    About half and half, whatever the country. What seed pairs about other facts tell in full is
    not asked: the currency in a profile, for one. A part of an answer may be told all the same,
    such as the continent. By countries it cannot be split: the generator would learn that the
    others do not exist (LOG.md).
    """
    asked = {fact for fact in world.facts() if _drawn(fact, seed)}
    while True:
        known = [fact for fact in world.facts() if fact not in asked]
        told = set().union(*map(_relations, known))
        also = {fact for fact in asked if _answer(fact) <= told}
        if not also:
            return known, [fact for fact in world.facts() if fact in asked]
        asked -= also


def _drawn(fact: Fact, seed: int) -> bool:
    """Is the fact drawn for the evaluation?"""
    side = SAME.get(fact.topic, fact.topic)
    return world.share("asked", str(seed), side, fact.country) < 0.5


def _answer(fact: Fact) -> set[frozenset[str]]:
    """What an answer about a fact tells: the entity's name with each value."""
    values = world.values(fact, "en")
    return {frozenset((values["name"], values[slot])) for slot in world.TOPICS[fact.topic]}


def _relations(fact: Fact) -> set[frozenset[str]]:
    """What a page about a fact tells: pairs of names that belong together."""
    pairs = combinations(world.values(fact, "en").values(), 2)
    return {frozenset(pair) for pair in pairs}
