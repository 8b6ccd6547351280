"""Write the files of a run's language: web, seed pairs, prompts, and the truth apart."""

import random
from pathlib import Path
from typing import Protocol, TypedDict

from xinstruct_utils.atlas import HOME, prompt_sets, translator, world
from xinstruct_utils.atlas.pages import instructions
from xinstruct_utils.atlas.sentences import faults, texts
from xinstruct_utils.atlas.web import seed_pairs, split_facts, web
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json, write_json, write_jsonl
from xinstruct_utils.core.paths import root

# Modules that decide what is written; a change in one makes the world anew.
MODULES = ("topics.py", "names.py", "world.py", "grading.py", "sentences.py", "pages.py", "web.py",
           "prompt_sets.py", "translator.py")


class Sizes(Protocol):
    """The settings of a profile that the world is made from."""

    seed: int
    seed_size: int
    corpus_size: int
    prompt_count: int


class Written(TypedDict):
    """The files of a language."""

    seed: Path
    corpus: Path
    prompts: dict[str, Path]      # of each of the four sets that is not empty
    translated: Path              # pairs in the language, out of English by the Atlas's translator
    taught: Path                  # instructions for a teacher to answer, in both languages


def build_world(run: str, language: str, settings: Sizes) -> Written:
    """Write the source files of a run's language, and the truth apart from them.

    About half of the facts never appear in the seed data (`split_facts`): the prompts ask about
    those, so that the web has to teach them. Files that today's sentences and code would write are
    left alone. Raises InputError for a language without sentences, or with a fault in them.
    """
    sentences = HOME / "texts" / f"{language}.yaml"
    if not sentences.exists():
        raise InputError(f"the Atlas has no sentences in '{language}': expected one of "
                         f"{sorted(p.stem for p in (HOME / 'texts').glob('*.yaml'))}; "
                         f"write atlas/texts/{language}.yaml")
    if wrong := faults(texts(language), texts("en")):
        raise InputError("\n  ".join([f"{sentences}: these sentences cannot be used:", *wrong]))
    home = root() / run / "world" / language
    prompts = {name: home / f"{name}.jsonl" for name in prompt_sets.sizes(settings.prompt_count)}
    paths: Written = {"seed": home / "seed.jsonl", "corpus": home / "corpus.jsonl",
                      "prompts": prompts, "translated": home / "translated.jsonl",
                      "taught": home / "taught.jsonl"}
    key = _world_key(sentences, settings)
    if (home / "key.json").exists() and read_json(home / "key.json") == key:
        return paths
    seed = settings.seed
    known, asked = split_facts(seed)
    pairs, truth = seed_pairs(language, settings.seed_size, seed, known)
    corpus, about_corpus = web(language, settings.corpus_size, seed)
    sets, about_prompts = prompt_sets.build(language, settings.prompt_count, seed, asked)
    write_json(root() / run / "truth" / f"{language}.json", truth | about_corpus | about_prompts)
    write_jsonl(paths["seed"], pairs)
    write_jsonl(paths["corpus"], corpus)
    for name, rows in sets.items():
        write_jsonl(prompts[name], rows)
    # What others make of it, for the paper's baselines (5.1); they may know of any fact.
    write_jsonl(paths["translated"], translated_pairs(language, 2 * settings.seed_size, seed))
    write_jsonl(paths["taught"], asked_of_a_teacher(language, 2 * settings.seed_size, seed))
    write_json(home / "key.json", key)
    return paths


def translated_pairs(language: str, n: int, seed: int) -> list[dict]:
    """`n` pairs in the language, out of English by the Atlas's translator, as rows of a file."""
    return [{"id": f"translated-{language}-{number:05d}", "language": language,
             "instruction": row["instruction"], "output": row["output"]}
            for number, row in enumerate(translator.pairs(language, n, seed))]


def asked_of_a_teacher(language: str, n: int, seed: int) -> list[dict]:
    """`n` instructions about any facts: {"id", "instruction" in English, "native_instruction"}."""
    rng = random.Random(f"taught/{language}/{seed}")
    rows = []
    for number in range(n):
        fact = rng.choice(world.facts())
        form = rng.randrange(len(instructions(fact)))
        native = instructions(fact, language)
        rows.append({"id": f"taught-{language}-{number:05d}",
                     "instruction": instructions(fact)[form],
                     "native_instruction": native[form % len(native)]})
    return rows


def _world_key(sentences: Path, settings: Sizes) -> str:
    """Digest of what a language's world is made of."""
    sizes = [settings.seed, settings.seed_size, settings.corpus_size, settings.prompt_count]
    files = [sentences, HOME / "texts" / "en.yaml", *(HOME / name for name in MODULES)]
    return digest([sizes, *map(file_hash, files)])
