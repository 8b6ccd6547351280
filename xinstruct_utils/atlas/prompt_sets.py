"""Four sets of prompts in the places of the paper's benchmarks, in their authors' file formats.

Vicuna has its nine categories, WizardLM levels 1 to 10 that get harder: more values to tell,
several facts joined, facts that no native page of the base model tells. All ask about facts that
seed pairs do not tell in full (`web.split_facts`), in English and in the output language.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, cycle

from xinstruct_utils.atlas import world
from xinstruct_utils.atlas.pages import instructions
from xinstruct_utils.atlas.web import Rows, Truths
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id

# Share of a run's prompts; the paper's sets have 80, 218, 300 and 180.
SHARES = {"vicuna": 0.3, "wizardlm": 0.3, "lima": 0.2, "koala": 0.2}
# Vicuna's nine categories, and the topics that stand in for them.
CATEGORIES = {
    "generic": ("profile",),
    "knowledge": ("currency", "languages", "city", "codes", "script", "issuer", "translate"),
    "roleplay": ("advice",),
    "common-sense": ("week", "compare"),
    "fermi": ("unit",),
    "counterfactual": ("yesno",),
    "coding": ("program",),
    "math": ("arithmetic",),
    "writing": ("letter",),
}
LEVELS = range(1, 11)
HIDDEN = 3         # levels more where the base model has read nothing of it in the language
JOINED = 3         # facts of a country in one prompt, at most

PATIENCE = 1000    # draws of a prompt that is there already, before there are taken to be no more

Asked = tuple[Fact, ...]      # the facts that a prompt asks about


def level(facts: Asked, language: str) -> int:
    """How hard a prompt is, 1 to 10: by the values to tell, and by whether they are hidden."""
    told = sum(len(world.TOPICS[fact.topic]) for fact in facts)
    hidden = any(world.hidden(fact, language) for fact in facts)
    return min(max(LEVELS), told - 1 + HIDDEN * hidden)


def text(facts: Asked, form: int, language: str) -> str:
    """A prompt about facts, in one of the forms that their topics have."""
    return " ".join(instructions(fact, language)[form] for fact in facts)


def sizes(n: int) -> dict[str, int]:
    """How many of `n` prompts each set has; one that would be empty is none."""
    counts = {name: int(n * share) for name, share in SHARES.items()}
    counts["vicuna"] += n - sum(counts.values())
    return {name: count for name, count in counts.items() if count}


def _by_category(facts: Iterable[Fact], rng: random.Random) -> Iterator[tuple[Asked, str]]:
    """Facts without end, category after category."""
    groups = {name: [f for f in facts if f.topic in topics] for name, topics in CATEGORIES.items()}
    for name in cycle(name for name, group in groups.items() if group):
        yield (rng.choice(groups[name]),), name


def _by_level(facts: Iterable[Fact], language: str,
              rng: random.Random) -> Iterator[tuple[Asked, int]]:
    """Joined facts without end, level after level."""
    countries = defaultdict(list)
    for fact in facts:
        countries[fact.country].append(fact)
    groups = defaultdict(list)
    for about in countries.values():
        for count in range(1, JOINED + 1):
            for joined in combinations(about, count):
                groups[level(joined, language)].append(joined)
    for step in cycle(step for step in LEVELS if groups[step]):
        yield rng.choice(groups[step]), step


def _any(facts: Sequence[Fact], rng: random.Random) -> Iterator[tuple[Asked, None]]:
    """Facts without end, one after the other."""
    while True:
        yield (rng.choice(facts),), None


def build(language: str, n: int, seed: int,
          facts: Sequence[Fact]) -> tuple[dict[str, Rows], Truths]:
    """`n` prompts in four sets {name: rows as its authors' file has them}, and their truth.

    Rows have `native_instruction` beside the authors' fields. The truth is by the ids that
    `evaluation.benchmarks.read` gives: those of the English text, so no text comes twice.
    """
    rng = random.Random(f"prompts/{language}/{seed}")
    draws: dict[str, Iterator[tuple[Asked, str | int | None]]] = {
        "vicuna": _by_category(facts, rng), "wizardlm": _by_level(facts, language, rng),
        "lima": _any(facts, rng), "koala": _any(facts, rng)}
    sets: dict[str, Rows] = {}
    truth: Truths = {}
    for name, count in sizes(n).items():
        rows = sets[name] = []
        repeated = 0
        while len(rows) < count:
            asked, mark = next(draws[name])
            form = rng.randrange(4)
            prompt = text(asked, form, "en")
            if (key := content_id("en", prompt)) in truth:
                repeated += 1
                if repeated > PATIENCE:
                    raise InputError(f"the Atlas has no {n} different prompts in '{language}': "
                                     f"{len(truth)} were found; lower prompt_count")
                continue
            repeated = 0
            row = FORMATS[name](len(rows), prompt, mark)
            rows.append(row | {"native_instruction": text(asked, form, language)})
            first, *others = asked
            truth[key] = {"topic": first.topic, "entity": first.entity,
                          "hidden": any(world.hidden(f, language) for f in asked),
                          "also": [[f.topic, f.entity] for f in others]}
    return sets, truth


def shown(row: dict) -> dict:
    """A row of any of the sets as people read it: its texts, and its category or level."""
    first = row.get("conversations", [None])[0]
    return {"instruction": row.get("text") or row.get("Instruction") or row.get("prompt") or first,
            "in the language": row["native_instruction"],
            "mark": row.get("category") or row.get("Difficulty") or ""}


# A row of each set, of its number, its prompt and its category or level.
FORMATS: dict[str, Callable[[int, str, str | int | None], dict]] = {
    "vicuna": lambda k, prompt, mark: {"question_id": k + 1, "text": prompt, "category": mark},
    "wizardlm": lambda k, prompt, mark: {"idx": k + 1, "Skill": "facts", "Difficulty": mark,
                                         "Instruction": prompt},
    "lima": lambda k, prompt, mark: {"conversations": [prompt], "source": "atlas"},
    "koala": lambda k, prompt, mark: {"id": f"koala_{k + 1}", "prompt": prompt},
}
