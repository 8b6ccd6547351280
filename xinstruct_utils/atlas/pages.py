"""Pages of the mini web, whole ones and flawed ones, written from a language's sentences.

A flaw is labelled by what the page has become, never by what was planted.
"""

import random
import re
from collections.abc import Callable, Mapping

from xinstruct_utils.atlas import grading, world
from xinstruct_utils.atlas.sentences import shown, split, texts
from xinstruct_utils.atlas.world import Fact

# What becomes of a web page, in this order of drawing. The first two rates are the paper's (Table
# 3); the others are ours: text that hurts whoever learns from it must be common enough to be seen
# in a small corpus.
RATES = {
    "navigation": 0.113, "http_error": 0.038, "truncated": 0.06, "glued": 0.04,
    "boilerplate": 0.05, "wrong_fact": 0.06, "mixed_language": 0.04, "advert": 0.035,
    "chat": 0.03, "links": 0.024, "half_answer": 0.03,
}


def instructions(fact: Fact, language: str = "en") -> list[str]:
    """All right instructions for a fact, in English or in another language of the Atlas."""
    told = world.values(fact, language)
    return [shown(t.format(**told)) for t in texts(language)["topics"][fact.topic]["prompts"]]


def page(fact: Fact, language: str, rng: random.Random, values: Mapping[str, str] | None = None,
         kind: str = "pages", fillers: int = 2) -> str:
    """A page about a fact: a template with its slots filled, then sentences without facts.

    values: of the slots, by default the right ones; kind: which templates, "pages", "articles" or
    "half"; fillers: how many sentences without facts at most.
    """
    topic = texts(language)["topics"][fact.topic]
    body = rng.choice(topic[kind]).format(**(values or world.values(fact, language)))
    count = min(rng.randint(0, fillers), len(topic["fillers"]))
    extra = rng.sample(topic["fillers"], count)
    glue = "\n" if "\n" in body else " "
    return shown(glue.join([body, " ".join(extra)]) if extra else body)


def flawed(fact: Fact, flaw: str, language: str, rng: random.Random, kind: str = "pages") -> str:
    """A page of a kind about a fact that has one flaw; it may turn out clean (see `label`)."""
    lines, name = texts(language)["flaws"], world.values(fact, language)["name"]
    slug = re.sub(r"\W+", "-", world.values(fact, "en")["name"].lower()).strip("-")
    text = page(fact, language, rng, kind=kind)
    spoil = {k: rng.choice(v).format(name=name, slug=slug) for k, v in lines.items()}
    if flaw in MADE_ANEW:
        return MADE_ANEW[flaw](fact, text, language, rng, kind)
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


def _glued(fact: Fact, text: str, language: str, rng: random.Random, kind: str) -> str:
    """Two pages in one, the second about another country."""
    second = rng.choice([f for f in world.facts() if f.country in world.countries()
                         and f.country not in world.about(fact)])
    return f"{text} {page(second, language, rng, kind=kind)}"


def _wrong(fact: Fact, text: str, language: str, rng: random.Random, kind: str) -> str:
    """A page that tells another fact's values."""
    right = world.values(fact, language)
    values = dict(right)
    for slot in world.TOPICS[fact.topic]:
        others = [v for v in world.all_values(slot, language) if v != right[slot]]
        values[slot] = rng.choice(others)
    return page(fact, language, rng, values, kind)


def _mixed(fact: Fact, text: str, language: str, rng: random.Random, kind: str) -> str:
    """A page that goes on in English."""
    english = page(fact, "en", rng, kind=kind, fillers=1)
    sentences = split(text)
    if len(sentences) == 1:                       # a language that has blanks there only
        sentences = text.split()
    first_half = " ".join(sentences[: max(1, len(sentences) // 2)]).strip()
    return f"{first_half} {english}"


def _half(fact: Fact, text: str, language: str, rng: random.Random, kind: str) -> str:
    """A page that leaves a part of the answer out."""
    return page(fact, language, rng, kind="half")


# Flaws of a page that something else is told in.
MADE_ANEW: dict[str, Callable[[Fact, str, str, random.Random, str], str]] = {
    "glued": _glued, "wrong_fact": _wrong, "mixed_language": _mixed, "half_answer": _half}


def written(fact: Fact, flaw: str, language: str, rng: random.Random, kind: str = "pages") -> str:
    """A page of a kind with a flaw, or "clean"."""
    if flaw == "clean":
        return page(fact, language, rng, kind=kind)
    return flawed(fact, flaw, language, rng, kind)


def label(text: str, fact: Fact, flaw: str, language: str) -> str:
    """The flaw that the text really has: a cut that removed only filler has left a clean page."""
    if flaw not in ("truncated", "wrong_fact", "half_answer"):
        return flaw
    told = all(grading.parts(text, fact, language).values())
    return "clean" if told and grading.finished(text, language) else flaw
