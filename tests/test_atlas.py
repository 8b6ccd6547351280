"""The Atlas: its sentences, its web, its truth and its oracle."""

import copy
import random
import shutil

import pytest

from xinstruct_utils.atlas import (
    BASE_MODEL,
    HOME,
    base,
    oracle,
    pages,
    sentences,
    tasks,
    world,
)
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.evaluation import outcomes

# Those with sentences, whether the base model has read them or not.
LANGUAGES = sorted(path.stem for path in (HOME / "texts").glob("*.yaml") if path.stem != "en")


@pytest.mark.parametrize("language", ("en", *LANGUAGES))
def test_the_sentences_of_every_language_are_whole(language):
    assert sentences.faults(pages.texts(language), pages.texts("en")) == []


def test_the_base_model_has_read_languages_that_have_sentences():
    assert set(base.LANGUAGES) <= set(LANGUAGES)


def replaced(kind, line):
    """A change that puts another first sentence into a kind of the topic `currency`."""
    return lambda texts: texts["topics"]["currency"][kind].__setitem__(0, line)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("topics"), "topics: issuer is missing"),
        (lambda t: t["topics"].pop("issuer"), "topics: issuer is missing"),
        (lambda t: t["topics"]["week"].pop("half"), "week: half is missing"),
        (lambda t: t["topics"]["week"].update(fillers=[]), "week: fillers is missing"),
        (lambda t: t["topics"]["week"]["prompts"].pop(), "week: 3 prompts, expected 4"),
        (lambda t: t["topics"]["week"].update(pages=["{name}"]), "week: 1 pages, expected 4"),
        (replaced("pages", "{name} {code}."), "pages: '{name} {code}.' lacks {currency}"),
        (replaced("pages", "{nama}."), "pages: '{nama}.' has {nama}, which nothing fills"),
        (replaced("half", "{name} {code} {currency}."), "{currency}.' leaves out no slot"),
        (replaced("fillers", "In {name}."), "fillers: 'In {name}.' has {name}"),
        (replaced("prompts", "Which money?"), "prompts: 'Which money?' needs {name}"),
        (lambda t: t["flaws"].pop("links"), "flaws: links is missing"),
        (lambda t: t["flaws"]["advert"].append("{place}!"), "advert: '{place}!' has {place}"),
        (lambda t: t.pop("glossary"), "glossary: there is none"),
        (lambda t: t.update(glossary=["{english}"]), "'{english}' needs {english} and {native}"),
    ],
)
def test_a_fault_of_a_file_of_sentences_is_named(change, words):
    texts = copy.deepcopy(pages.texts("fi"))
    change(texts)
    assert any(words in fault for fault in sentences.faults(texts, pages.texts("en")))


def test_no_world_is_made_of_sentences_with_a_fault(runs, monkeypatch, tmp_path):
    shutil.copytree(pages.HOME / "texts", tmp_path / "texts")
    path = tmp_path / "texts" / "sw.yaml"
    path.write_text(path.read_text().replace("{currency}", "{sarafu}"))
    monkeypatch.setattr(pages, "HOME", tmp_path)
    pages.texts.cache_clear()
    try:
        with pytest.raises(InputError, match=r"sw\.yaml: these sentences cannot(.|\n)*sarafu"):
            pages.build_world("r", "sw", load_profile("smoke"))
    finally:
        pages.texts.cache_clear()
    assert not runs.exists()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_both_tasks(language):
    assert len(tasks.copa(language, 60, 0)) == 60 and len(tasks.nli(language, 60, 0)) == 60


@pytest.mark.parametrize("language", LANGUAGES)
def test_clean_pages_get_the_full_score_and_flawed_ones_less(language):
    rng, facts = random.Random(0), random.Random(1).sample(world.facts(), 60)
    full = [oracle.score(pages.page(f, language, rng), f, language) for f in facts]
    assert sum(s == 10 for s in full) >= 0.97 * len(full)
    for flaw in pages.RATES:
        made = [(pages.flawed(f, flaw, language, rng), f) for f in facts]
        spoiled = [
            oracle.score(text, f, language)
            for text, f in made
            if pages.label(text, f, flaw, language) != "clean"
        ]
        # What is told in English may read alike in both languages: a list of codes.
        assert sum(s == 10 for s in spoiled) <= (8 if flaw == "mixed_language" else 0), flaw
        assert len(spoiled) > 50 and sum(spoiled) / len(spoiled) <= 6.01, flaw


@pytest.mark.parametrize("language", LANGUAGES)
def test_flaws_come_at_their_rates(language):
    rows, truth = pages.web(language, 3000, 0)
    flaws = [truth[content_id(language, r["text"])]["flaw"] for r in rows]
    assert (
        abs(flaws.count("navigation") / 3000 - 0.113) < 0.03
        and abs(flaws.count("http_error") / 3000 - 0.038) < 0.02
    )
    assert all(key not in row for row in rows for key in ("flaw", "topic", "entity"))


def test_an_answer_in_english_scores_nothing():
    fact = world.facts()[0]
    assert oracle.score(pages.page(fact, "en", random.Random(0)), fact, "fi") == 0


def test_the_second_locale_of_a_process_has_its_own_weekdays():
    """Babel 2.18 shares the alias "stand-alone = format" between locales: Urdu got Swahili days."""
    assert [world._days(code)[0] for code in ("sw", "ur", "fi")] == ["Jumatatu", "پیر", "maanantai"]


def test_base_documents_never_tell_a_hidden_fact_in_its_language(monkeypatch):
    """A part of a document in Swahili that names a hidden country and a fact's two or more values
    would tell it.
    """
    monkeypatch.setattr(base, "LANGUAGES", ("sw",))
    rng, facts = (
        random.Random(0),
        [f for f in world.facts() if f.entity == f.country and f.topic != "week"],
    )
    native = [
        part
        for _ in range(1500)
        for part in base.document(rng).split("\n\n")
        if "=" not in part and " kwa Ki" not in part and oracle.language_share(part, "sw") > 0.6
    ]
    assert len(native) > 500

    def telling(chosen):
        """Parts that tell one of these facts."""
        values = [world.values(f, "sw") for f in chosen]
        return sum(all(v in part for v in told.values()) for told in values for part in native
                   if len(set(told.values())) == len(told))

    assert telling(f for f in facts if not world.hidden(f, "sw")) > 200
    assert telling(f for f in facts if world.hidden(f, "sw")) == 0


def test_the_world_is_the_same_twice():
    assert pages.web("sw", 50, 3) == pages.web("sw", 50, 3) and pages.web("sw", 50, 3) != pages.web(
        "sw", 50, 4
    )


def test_prompts_ask_what_the_seed_does_not_tell():
    for seed in (0, 1, 2):
        known, asked = pages.split_facts(seed)
        assert (
            not set(known) & set(asked)
            and len(known) + len(asked) == len(world.facts())
            and len(asked) > 200
        )
        told = {
            frozenset((a, b))
            for f in known
            for v in [list(world.values(f, "en").values())]
            for a in v
            for b in v
        }
        for fact in asked:
            values = world.values(fact, "en")
            assert not all(
                frozenset((values["name"], values[s])) in told for s in world.TOPICS[fact.topic]
            ), fact


def test_a_city_is_a_city():
    """CLDR names the time zone of El Salvador after El Salvador, and that of Nepal in Latin letters
    in Urdu.
    """
    told = {f.entity for f in world.facts() if "city" in world.TOPICS[f.topic]}
    assert {"KE", "FI", "TZ"} & set(world.countries()) <= told and not told & {
        "SV",
        "NP",
        "BB",
        "SB",
        "SG",
    }
    assert len(told) > 50


def test_a_corrected_sentence_changes_the_pages(runs, monkeypatch, tmp_path):
    from types import SimpleNamespace

    settings = SimpleNamespace(seed=0, seed_size=12, corpus_size=20, prompt_count=5)
    paths = pages.build_world("r", "sw", settings)
    before = {name: path.read_bytes() for name, path in paths.items()}
    paths["seed"].write_text("")  # what is there and fits is left alone
    assert pages.build_world("r", "sw", settings) == paths and not paths["seed"].read_bytes()
    shutil.copytree(pages.HOME / "texts", tmp_path / "atlas" / "texts")
    for module in ("world.py", "grading.py", "pages.py"):
        shutil.copy(pages.HOME / module, tmp_path / "atlas")
    sentences = tmp_path / "atlas" / "texts" / "sw.yaml"
    sentences.write_text(sentences.read_text() + "# corrected\n")
    monkeypatch.setattr(pages, "HOME", tmp_path / "atlas")
    pages.texts.cache_clear()
    pages.build_world("r", "sw", settings)
    assert {name: path.read_bytes() for name, path in paths.items()} == before


def test_prompts_have_a_level_of_difficulty_in_each_of_the_papers_bins():
    rows, truth = pages.prompts("sw", 100, 0, world.facts())
    made = outcomes.grouped([r | {"verdict": "tie"} for r in rows], "difficulty")
    assert set(made) == set(outcomes.LEVELS) and not any(
        truth[r["id"]]["hidden"] for r in made["easy"]
    )


def test_instruction_verdicts():
    code, other = list(world.countries())[:2]
    here, there = (world.values(world.Fact("codes", c, c), "en")["name"] for c in (code, other))
    row = {"topic": "currency", "entity": code}
    said = {
        f"What is the currency of {here}?": "exact",
        f"what is the currency of {here}": "exact",
        f"What is the currency of {there}?": "topic",
        f"What is the country code of {here}?": "entity",
        "Sing a song": "wrong",
    }
    assert {s: oracle.instruction_verdict(s, row) for s in said} == said


def test_the_shipped_base_model_tells_how_it_was_made():
    import json

    manifest = json.loads((BASE_MODEL / "MANIFEST.json").read_text())
    assert {"data_digest", "seed", "steps", "loss"} <= manifest.keys()
    assert (BASE_MODEL / "model.safetensors").stat().st_size < 8e6
