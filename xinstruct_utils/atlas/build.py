"""Write the files of a run's language: web, seed pairs, prompts, and the truth apart."""

from pathlib import Path
from typing import Protocol, TypedDict

from xinstruct_utils.atlas import HOME, prompt_sets
from xinstruct_utils.atlas.sentences import faults, texts
from xinstruct_utils.atlas.web import seed_pairs, split_facts, web
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json, write_json, write_jsonl
from xinstruct_utils.core.paths import root

# Modules that decide what is written; a change in one makes the world anew.
MODULES = ("topics.py", "names.py", "world.py", "grading.py", "sentences.py", "pages.py", "web.py",
           "prompt_sets.py")


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
                      "prompts": prompts}
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
    write_json(home / "key.json", key)
    return paths


def _world_key(sentences: Path, settings: Sizes) -> str:
    """Digest of what a language's world is made of."""
    sizes = [settings.seed, settings.seed_size, settings.corpus_size, settings.prompt_count]
    files = [sentences, HOME / "texts" / "en.yaml", *(HOME / name for name in MODULES)]
    return digest([sizes, *map(file_hash, files)])
