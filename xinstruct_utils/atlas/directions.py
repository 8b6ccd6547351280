"""The Atlas's seed facts told in two directions (paper, Table 1).

Asked in the language and answered in it, or asked in the language and answered in English: does a
base model understand a language sooner than it writes it? For measuring cells only.
"""

import random
from collections.abc import Iterable, Sequence

from xinstruct_utils.atlas import oracle, pages
from xinstruct_utils.atlas.web import Truths
from xinstruct_utils.atlas.world import Fact

Pair = dict[str, str]


def pairs(seed_pairs: Iterable[dict], truth: Truths, language: str,
          seed: int) -> dict[str, list[Pair]]:
    """Seed pairs with their instructions in the language, {answered in: pairs}.

    The keys are the language's code and "en"; pairs are {"instruction", "output"}, both of the same
    facts and with the same instructions.
    """
    rng = random.Random(f"directions/{language}/{seed}")
    made: dict[str, list[Pair]] = {language: [], "en": []}
    for row in seed_pairs:
        fact = oracle.fact_of(truth[row["id"]])
        asked = rng.choice(pages.instructions(fact, language))
        made[language].append({"instruction": asked, "output": row["output"]})
        made["en"].append({"instruction": asked, "output": pages.page(fact, "en", rng)})
    return made


def score(text: str, facts: Sequence[Fact], answered_in: str, language: str) -> float:
    """The oracle's score (0-10) of an answer in the language, or in English.

    One that should be in English and is in the language has 0, as the other way round.
    """
    if answered_in != "en":
        return oracle.score(text, facts, language)
    if not text.strip() or oracle.language_share(text, language) > 0.4:
        return 0.0
    return oracle.points(oracle.aspects(text, facts, "en"))
