"""Licences and terms that go with a run's texts, base model and seed data; `publish` writes them into its cards."""


# Appendix H of the paper: the licences of CulturaX are those of mC4 and OSCAR. (identifier on the hub, words)
TEXTS = {
    "culturax": ("odc-by", "ODC-BY (mC4) and CC0 (OSCAR), as CulturaX, from which the texts come"),
    "fineweb2": ("odc-by", "ODC-BY, as FineWeb-2, from which the texts come; Common Crawl's terms of use apply too"),
    "atlas": ("apache-2.0", "Apache-2.0: the texts are generated from Unicode CLDR data, for tests and teaching only"),
    "files": ("other", "that of the texts, which the maker of this data set brought and has to state here"),
}
# Part of a base model's name: (identifier on the hub, words of the model's card, what holds for texts that it writes).
MODELS = {
    "llama-2": ("llama2", "the Llama 2 Community License and its acceptable use policy, which go with every copy",
                "The Llama 2 Community License (1.b.v) forbids to use output of LLaMA-2, as these instructions and ratings are, "
                "to improve any large language model but Llama 2 and what is derived from it."),
    "qwen3": ("apache-2.0", "Apache-2.0", ""),
    "gemma": ("gemma", "the Gemma Terms of Use and prohibited use policy, which go with every copy",
              "The Gemma Terms of Use count a model that was trained on Gemma's output to be like it as a derivative of Gemma."),
    "mistral-7b": ("apache-2.0", "Apache-2.0", ""),
    "atlas": ("apache-2.0", "Apache-2.0", ""),
}
UNKNOWN = ("other", "whoever uploads this has to state it here",
           "The base model wrote the instructions; whether its licence restricts the use of what it writes has to be looked up.")
SEEDS = {
    "oasst": "Seed pairs: Open Assistant, Apache-2.0.",
    "aya": "Seed pairs: Aya, Apache-2.0.",
    "alpaca": "Seed pairs: Alpaca, CC-BY-NC 4.0, written by a model of OpenAI, whose terms forbid to build competing models "
              "with it.",
    "dolly": "Seed pairs: Dolly, CC-BY-SA 3.0.",
}
TRANSLATORS = {
    "nllb": "One side of the seed pairs was translated by NLLB, whose licence, CC-BY-NC 4.0, allows non-commercial use only.",
    "openai": "One side of the seed pairs was translated by a model on a server; where that is OpenAI's, its terms forbid to "
              "build competing models with the output.",
}


def _of_model(base_model):
    return next((told for part, told in MODELS.items() if part in base_model.lower()), UNKNOWN)


def _of_seeds(profile):
    if profile.seed_format == "files":
        return []
    return [SEEDS[profile.seed_format], *filter(None, [TRANSLATORS.get(profile.seed_translator.partition(":")[0])])]


def of_dataset(source, profile):
    """(identifier on the hub, text of the card) of a data set: its texts' licence, and terms of what wrote the instructions."""
    (identifier, words), terms = TEXTS[source], _of_model(profile.base_model)[2]
    return identifier, " ".join([f"{words}.", *filter(None, [terms]), *_of_seeds(profile)])


def of_model(base_model, profile):
    """(identifier on the hub, text of the card) of a tuned model: its base model's licence, and terms of the seed pairs."""
    identifier, words, _ = _of_model(base_model)
    return identifier, " ".join([f"The base model's: {words}.", *_of_seeds(profile)])
