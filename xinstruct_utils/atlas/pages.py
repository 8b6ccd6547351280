"""Pages of the mini web: what the method reads (seed, corpus, prompts), with the truth in a separate file.

Flaws come at the rates of RATES, the paper's Table 3 among them (navigation bars 11.3%, URL and HTTP-error
pages 3.8%). A flaw is labelled by what the page has become, never by what was planted.
"""

import random
import re
from functools import cache
from itertools import combinations

from xinstruct_utils.atlas import HOME, grading, world
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, digest, file_hash, read_json, write_json, write_jsonl
from xinstruct_utils.core.paths import root

# What becomes of a web page, in this order of drawing. The first two rates are the paper's (Table 3); the
# others are ours: text that hurts whoever learns from it must be common enough to be seen in a small corpus.
RATES = {
    "navigation": 0.113, "http_error": 0.038, "truncated": 0.06, "glued": 0.04, "boilerplate": 0.05,
    "wrong_fact": 0.06, "mixed_language": 0.04, "advert": 0.035, "chat": 0.03, "links": 0.024, "half_answer": 0.03,
}


@cache
def texts(language):
    """The sentences of a language (`texts/<language>.yaml`); a native speaker may correct that file."""
    import yaml

    return yaml.safe_load((HOME / "texts" / f"{language}.yaml").read_text(encoding="utf-8"))


def instructions(fact, language="en"):
    """All right instructions for a fact, in English or in another language of the Atlas."""
    name = world.values(fact, language)["name"]
    return [t.format(name=name) for t in texts(language)["topics"][fact.topic]["prompts"]]


def page(fact, language, rng, values=None, kind="pages", fillers=2):
    """A page about a fact: a template with its slots filled, and up to `fillers` sentences without facts."""
    topic = texts(language)["topics"][fact.topic]
    body = rng.choice(topic[kind]).format(**(values or world.values(fact, language)))
    extra = rng.sample(topic["fillers"], min(rng.randint(0, fillers), len(topic["fillers"])))
    glue = "\n" if "\n" in body else " "
    return glue.join([body, " ".join(extra)]) if extra else body


def flawed(fact, flaw, language, rng):
    """A page about a fact that has one flaw. Returns the text; it may turn out clean (see `label`)."""
    lines, values = texts(language)["flaws"], world.values(fact, language)
    name, slug = values["name"], re.sub(r"\W+", "-", world.values(fact, "en")["name"].lower())
    text = page(fact, language, rng)
    spoil = {k: rng.choice(v).format(name=name, slug=slug) for k, v in lines.items()}
    if flaw == "navigation":
        return rng.choice(["{s}\n{t}", "{t}\n{s}", "{s}\n{t}\n{s2}"]).format(
            s=spoil["navigation"], t=text, s2=rng.choice(lines["navigation"]))
    if flaw == "http_error":
        return rng.choice(["{s}\n{n}", "{s}\n{h}"]).format(s=spoil["http_error"], n=spoil["navigation"], h=text[:60])
    if flaw == "truncated":
        cut = text[: int(len(text) * rng.uniform(0.35, 0.75))].rstrip()
        return cut + rng.choice(["", "...", " " + spoil["read_more"]])
    if flaw == "glued":
        other = rng.choice([f for f in world.facts() if f.entity != fact.entity])
        return f"{text} {page(other, language, rng)}"
    if flaw == "boilerplate":
        return rng.choice(["{t}\n{s}", "{s}\n{t}"]).format(t=text, s=spoil["boilerplate"])
    if flaw == "wrong_fact":
        swap = dict(values)
        for slot in world.TOPICS[fact.topic]:
            swap[slot] = rng.choice([v for v in world.all_values(slot, language) if v != values[slot]])
        return page(fact, language, rng, swap)
    if flaw == "mixed_language":
        other = page(fact, "en", rng, fillers=1)
        half = re.split(r"(?<=[.!?۔\n])\s*", text)
        return " ".join(half[: max(1, len(half) // 2)]).strip() + " " + other
    if flaw == "half_answer":
        return page(fact, language, rng, kind="half")
    filler = rng.choice(texts(language)["topics"][fact.topic]["fillers"])
    return rng.choice(["{s}", "{s} {f}"]).format(s=spoil[flaw], f=filler)


def label(text, fact, flaw, language):
    """The flaw that the text really has: a cut that removed only filler has left a clean page."""
    if flaw in ("truncated", "wrong_fact", "half_answer"):
        right = grading.parts(text, fact, language)
        whole = all(right.values()) and grading.finished(text)
        return "clean" if whole else flaw
    return flaw


def web(language, n, seed, facts=None):
    """`n` web pages with their truth. Returns (rows {id, language, text}, truth {id: dict}); ids are content ids."""
    rng, rows, truth = random.Random(f"web/{language}/{seed}"), [], {}
    pool = list(facts or world.facts())
    while len(rows) < n:
        fact = rng.choice(pool)
        flaw = rng.choices([*RATES, "clean"], [*RATES.values(), 1 - sum(RATES.values())])[0]
        text = page(fact, language, rng) if flaw == "clean" else flawed(fact, flaw, language, rng)
        key = content_id(language, text)
        if key in truth and rng.random() < 0.7:      # the web repeats itself a little; more would starve a small corpus
            continue
        rows.append({"id": f"web-{language}-{len(rows):06d}", "language": language, "text": text})
        truth[key] = {"topic": fact.topic, "entity": fact.entity, "flaw": label(text, fact, flaw, language)}
    return rows, truth


def seed_pairs(language, n, seed, facts=None):
    """`n` clean seed pairs: an English instruction and a native page. Returns (rows, truth) as `web` does."""
    rng, rows, truth = random.Random(f"seed/{language}/{seed}"), [], {}
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


def prompts(language, n, seed, facts):
    """`n` evaluation prompts on the given facts: {id, language, instruction, native_instruction, category, difficulty}.

    The difficulty, 1 to 10 as WizardLM's: how many values the answer tells, and 4 more where no native page tells them.
    """
    rng, rows, truth = random.Random(f"prompts/{language}/{seed}"), [], {}
    pool = list(facts)
    rng.shuffle(pool)
    for k in range(n):
        fact, form = pool[k % len(pool)], rng.randrange(4)
        row = {"id": f"prompt-{language}-{k:04d}", "language": language, "instruction": instructions(fact)[form],
               "native_instruction": instructions(fact, language)[form], "category": fact.topic,
               "difficulty": len(world.TOPICS[fact.topic]) + 4 * world.hidden(fact, language)}
        rows.append(row)
        truth[row["id"]] = {"topic": fact.topic, "entity": fact.entity, "hidden": world.hidden(fact, language)}
    return rows, truth


def build_world(run, language, settings):
    """Write the source files of a run's language: seed, corpus, prompts, and the truth apart from them.

    About half of the facts never appear in the seed data (`split_facts`): the prompts ask about those, so that the web
    has to teach them. Files that today's sentences and code would write are left alone. Returns {"seed", "corpus",
    "prompts": Path}.
    """
    if not (HOME / "texts" / f"{language}.yaml").exists():
        raise InputError(f"the Atlas has no sentences in '{language}': expected one of "
                         f"{sorted(p.stem for p in (HOME / 'texts').glob('*.yaml'))}; write atlas/texts/{language}.yaml")
    home = root() / run / "world" / language
    paths = {name: home / f"{name}.jsonl" for name in ("seed", "corpus", "prompts")}
    sizes = [settings.seed, settings.seed_size, settings.corpus_size, settings.prompt_count]
    modules = ("world.py", "grading.py", "pages.py")
    made_of = [HOME / "texts" / f"{language}.yaml", HOME / "texts" / "en.yaml", *(HOME / name for name in modules)]
    key = digest([sizes, *map(file_hash, made_of)])
    if (home / "key.json").exists() and read_json(home / "key.json") == key:
        return paths
    known, asked = split_facts(settings.seed)
    seed_rows, truth = seed_pairs(language, settings.seed_size, settings.seed, known)
    corpus_rows, corpus_truth = web(language, settings.corpus_size, settings.seed)
    prompt_rows, prompt_truth = prompts(language, settings.prompt_count, settings.seed, asked)
    write_json(root() / run / "truth" / f"{language}.json", truth | corpus_truth | prompt_truth)
    for name, rows in (("seed", seed_rows), ("corpus", corpus_rows), ("prompts", prompt_rows)):
        write_jsonl(paths[name], rows)
    write_json(home / "key.json", key)
    return paths


# Two topics tell the same thing from both ends, so they go to the same side.
SAME = {"currency": "money", "issuer": "money", "languages": "tongue", "script": "tongue"}


@cache
def split_facts(seed):
    """(facts that seed pairs may tell, facts that the evaluation asks about): about half and half, whatever the country.

    What seed pairs about other facts tell in full is not asked: the currency in a profile, for one. A part of an answer may
    be told all the same, such as the continent. By countries it cannot be split: the generator would learn that the
    others do not exist (LOG.md).
    """
    asked = {f for f in world.facts() if world._share("asked", str(seed), SAME.get(f.topic, f.topic), f.country) < 0.5}
    while True:
        told = set().union(*(_relations(f) for f in world.facts() if f not in asked))
        also = {f for f in asked if all(frozenset(r) in told for r in _answer(f))}
        if not also:
            return [f for f in world.facts() if f not in asked], [f for f in world.facts() if f in asked]
        asked -= also


def _answer(fact):
    values = world.values(fact, "en")
    return [(values["name"], values[slot]) for slot in world.TOPICS[fact.topic]]


def _relations(fact):
    """What a page about a fact tells: pairs of names that belong together."""
    return {frozenset(pair) for pair in combinations(world.values(fact, "en").values(), 2)}
