"""What pairs that no model has learned from say about models, where no truth is known.

Generated instructions beside the true ones, and how well a model expects the true outputs. Each
function gives a value for every pair: pairs, not their mean, carry the interval.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xinstruct_utils.evaluation.statistics import mean_interval
from xinstruct_utils.method.diversification import embed

Row = dict[str, Any]


def chrf(text: str, reference: str) -> float:
    """chrF of a text to its reference, 0 to 1 (character n-grams up to 6, beta 2; Popovic 2015)."""
    from sacrebleu.metrics import CHRF

    return CHRF().sentence_score(text, [reference]).score / 100


def closeness(generated: Mapping[str, str], pairs: Sequence[Row], encoder: str,
              threads: int = 1) -> list[Row]:
    """How near generated instructions are to the true ones, beside those of the other pairs.

    generated: {pair's id: instruction}. Returns for each pair that has one {"id", "chrf", "cosine",
    "chrf_others", "cosine_others"}: the last two are means over the other pairs' instructions, what
    any instruction of this kind would reach.
    """
    asked = [pair for pair in pairs if generated.get(pair["id"])]
    if len(asked) < 2:
        return []
    written = embed([generated[pair["id"]] for pair in asked], encoder, threads)
    true = embed([pair["instruction"] for pair in asked], encoder, threads)
    cosines = written @ true.T
    rows = []
    for i, pair in enumerate(asked):
        own = generated[pair["id"]]
        scores = [chrf(own, other["instruction"]) for other in asked]
        others = [k for k in range(len(asked)) if k != i]
        rows.append({"id": pair["id"], "chrf": scores[i], "cosine": float(cosines[i, i]),
                     "chrf_others": sum(scores[k] for k in others) / len(others),
                     "cosine_others": sum(float(cosines[i, k]) for k in others) / len(others)})
    return rows


def bits_per_char(results: Iterable[Row], pairs: Sequence[Row]) -> dict[str, float]:
    """Bits that a model needs for a character of each pair's output: {pair's id: bits}.

    results: rows of the task "likelihood" {"id", "log_likelihood": mean of a token, in nats,
    "tokens"}; what was too long to be read is absent. EOS counts among the tokens, not among the
    characters.
    """
    chars = {pair["id"]: len(pair["output"]) for pair in pairs}
    bits = {row["id"]: -row["log_likelihood"] * row["tokens"] / math.log(2)
            for row in results if row["log_likelihood"] is not None}
    return {key: value / chars[key] for key, value in bits.items()}


def estimate(values: Sequence[float]) -> Row:
    """Mean of values over pairs, its 95% interval (Student's t), and n; {} of none."""
    if not values:
        return {}
    value, low, high = mean_interval(values)
    return {"value": value, "low": low, "high": high, "n": len(values)}


def difference(one: Mapping[str, float], other: Mapping[str, float]) -> Row:
    """`estimate` of one less other, pair by pair, over those that both have."""
    return estimate([value - other[key] for key, value in one.items() if key in other])
