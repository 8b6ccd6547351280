"""Licences and terms that go with a run's texts, base model and seed data.

`publish` writes them into its cards. "Identifier" is the hub's name of a licence.
"""

from typing import NamedTuple

from xinstruct_utils.config.profile import Profile


class Licence(NamedTuple):
    """A licence: its identifier on the hub, and the card's words."""

    identifier: str
    words: str


class ModelLicence(NamedTuple):
    """A base model's licence: identifier, the card's words, what holds for texts that it writes."""

    identifier: str
    words: str
    output_terms: str


# Appendix H of the paper: the licences of CulturaX are those of mC4 and OSCAR.
TEXTS = {
    "culturax": Licence(
        "odc-by", "ODC-BY (mC4) and CC0 (OSCAR), as CulturaX, from which the texts come"),
    "fineweb2": Licence(
        "odc-by", "ODC-BY, as FineWeb-2, from which the texts come; Common Crawl's terms of use "
        "apply too"),
    "atlas": Licence(
        "apache-2.0", "Apache-2.0: the texts are generated from Unicode CLDR data, for tests and "
        "teaching only"),
    "files": Licence(
        "other", "that of the texts, which the maker of this data set brought and has to state "
        "here"),
}
# Found by a part of the base model's name.
MODELS = {
    "llama-2": ModelLicence(
        "llama2", "the Llama 2 Community License and its acceptable use policy, which go with "
        "every copy",
        "The Llama 2 Community License (1.b.v) forbids to use output of LLaMA-2, as these "
        "instructions and ratings are, to improve any large language model but Llama 2 and what "
        "is derived from it."),
    "qwen3": ModelLicence("apache-2.0", "Apache-2.0", ""),
    "gemma": ModelLicence(
        "gemma", "the Gemma Terms of Use and prohibited use policy, which go with every copy",
        "The Gemma Terms of Use count a model that was trained on Gemma's output to be like it as "
        "a derivative of Gemma."),
    "mistral-7b": ModelLicence("apache-2.0", "Apache-2.0", ""),
    "atlas": ModelLicence("apache-2.0", "Apache-2.0", ""),
}
UNKNOWN = ModelLicence(
    "other", "whoever uploads this has to state it here",
    "The base model wrote the instructions; whether its licence restricts the use of what it "
    "writes has to be looked up.")
SEEDS = {
    "oasst": "Seed pairs: Open Assistant, Apache-2.0.",
    "aya": "Seed pairs: Aya, Apache-2.0.",
    "alpaca": "Seed pairs: Alpaca, CC-BY-NC 4.0, written by a model of OpenAI, whose terms forbid "
              "to build competing models with it.",
    "dolly": "Seed pairs: Dolly, CC-BY-SA 3.0.",
}
TRANSLATORS = {
    "nllb": "One side of the seed pairs was translated by NLLB, whose licence, CC-BY-NC 4.0, "
            "allows non-commercial use only.",
    "openai": "One side of the seed pairs was translated by a model on a server; where that is "
              "OpenAI's, its terms forbid to build competing models with the output.",
}


def _of_model(base_model: str) -> ModelLicence:
    name = base_model.lower()
    return next((licence for part, licence in MODELS.items() if part in name), UNKNOWN)


def _of_seeds(profile: Profile) -> list[str]:
    """Sentences on seed pairs of others and on who translated them."""
    if profile.seed_format == "files":
        return []
    translator = profile.seed_translator.partition(":")[0]
    sentences = [SEEDS[profile.seed_format]]
    if translator in TRANSLATORS:
        sentences.append(TRANSLATORS[translator])
    return sentences


def of_dataset(source: str, profile: Profile) -> Licence:
    """The licence of a data set: that of its texts, and terms of what wrote the instructions.

    source: a key of TEXTS.
    """
    sentences = [f"{TEXTS[source].words}."]
    if terms := _of_model(profile.base_model).output_terms:
        sentences.append(terms)
    words = " ".join(sentences + _of_seeds(profile))
    return Licence(TEXTS[source].identifier, words)


def of_model(base_model: str, profile: Profile) -> Licence:
    """The licence of a tuned model: its base model's, and terms of the seed pairs."""
    licence = _of_model(base_model)
    words = " ".join([f"The base model's: {licence.words}.", *_of_seeds(profile)])
    return Licence(licence.identifier, words)
