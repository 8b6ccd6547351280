"""The Atlas: its sentences, its web, its truth and its oracle."""

import random
import re

import pytest

from xinstruct_utils.artifacts import content_id
from xinstruct_utils.atlas import base, oracle, pages, world

LANGUAGES = base.LANGUAGES


@pytest.mark.parametrize("language", ("en", *LANGUAGES))
def test_every_page_template_has_all_slots_of_its_topic(language):
    topics = pages.texts(language)["topics"]
    assert topics.keys() == world.TOPICS.keys() and len(topics) >= 8
    for topic, slots in world.TOPICS.items():
        assert len(topics[topic]["pages"]) >= 4 and len(topics[topic]["prompts"]) == 4
        for template in topics[topic]["pages"]:
            assert set(re.findall(r"\{(\w+)\}", template)) == {"name", *slots}
        assert all(set(re.findall(r"\{(\w+)\}", t)) < {"name", *slots} for t in topics[topic]["half"])
        assert not any("{" in f for f in topics[topic]["fillers"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_clean_pages_get_the_full_score_and_flawed_ones_less(language):
    rng, facts = random.Random(0), random.Random(1).sample(world.facts(), 60)
    full = [oracle.score(pages.page(f, language, rng), f, language) for f in facts]
    assert sum(s == 10 for s in full) >= 0.97 * len(full)
    for flaw in ("navigation", "http_error", "advert", "chat", "links", "half_answer"):
        spoiled = [oracle.score(pages.flawed(f, flaw, language, rng), f, language) for f in facts[:20]]
        # A half answer may be whole all the same: Arabic is the name of a language and of its script.
        assert sum(s == 10 for s in spoiled) <= 3 and sum(spoiled) / 20 < 6, flaw


@pytest.mark.parametrize("language", LANGUAGES)
def test_flaws_come_at_their_rates(language):
    rows, truth = pages.web(language, 3000, 0)
    flaws = [truth[content_id(language, r["text"])]["flaw"] for r in rows]
    assert abs(flaws.count("navigation") / 3000 - 0.113) < 0.03 and abs(flaws.count("http_error") / 3000 - 0.038) < 0.02
    assert all(key not in row for row in rows for key in ("flaw", "topic", "entity"))


def test_an_answer_in_english_scores_nothing():
    fact = world.facts()[0]
    assert oracle.score(pages.page(fact, "en", random.Random(0)), fact, "fi") == 0


def test_the_second_locale_of_a_process_has_its_own_weekdays():
    """Babel 2.18 shares the alias "stand-alone = format" between locales: Urdu got Swahili days."""
    assert [world._days(code)[0] for code in ("sw", "ur", "fi")] == ["Jumatatu", "پیر", "maanantai"]


def test_base_documents_never_tell_a_hidden_fact_in_its_language(monkeypatch):
    monkeypatch.setattr(base, "LANGUAGES", ("sw",))
    secret = [f for f in world.facts() if f.topic == "city" and world.hidden(f, "sw")]
    rng = random.Random(0)
    native = [base.document(rng) for _ in range(3000)]
    hits = 0
    for fact in secret:
        values = world.values(fact, "sw")
        for text in native:
            hits += any(re.escape(values["name"]) in line and values["city"] in line and values["continent"] in line
                        and "nchi" in line.lower() for line in [text.split("\n\n")[0]] if values["name"] != values["city"])
    assert hits == 0


def test_the_world_is_the_same_twice():
    assert pages.web("sw", 50, 3) == pages.web("sw", 50, 3) and pages.web("sw", 50, 3) != pages.web("sw", 50, 4)


def test_prompts_ask_what_the_seed_does_not_tell():
    known, asked = pages.split_facts(0)
    assert not set(known) & set(asked) and len(known) + len(asked) == len(world.facts())


def test_prompts_have_a_level_of_difficulty_in_each_of_the_papers_bins():
    rows, truth = pages.prompts("sw", 100, 0, world.facts())
    from xinstruct_utils import judge
    made = judge.grouped([r | {"verdict": "tie"} for r in rows], "difficulty")
    assert set(made) == set(judge.LEVELS) and not any(truth[r["id"]]["hidden"] for r in made["easy"])


def test_instruction_verdicts():
    code, other = list(world.countries())[:2]
    here, there = (world.values(world.Fact("codes", c, c), "en")["name"] for c in (code, other))
    row = {"topic": "currency", "entity": code}
    said = {f"What is the currency of {here}?": "exact", f"what is the currency of {here}": "exact",
            f"What is the currency of {there}?": "topic", f"What is the country code of {here}?": "entity",
            "Sing a song": "wrong"}
    assert {s: oracle.instruction_verdict(s, row) for s in said} == said


def test_the_shipped_base_model_tells_how_it_was_made():
    import json

    from xinstruct_utils.atlas import BASE_MODEL

    manifest = json.loads((BASE_MODEL / "MANIFEST.json").read_text())
    assert {"data_digest", "seed", "steps", "loss"} <= manifest.keys()
    assert (BASE_MODEL / "model.safetensors").stat().st_size < 8e6
