"""What a run pays others: the judge, the translators of prompts and of seed data, in USD."""

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.method.translation import GOOGLE_USD
from xinstruct_utils.reporting.work import lengths, output_chars, prompts

OURS = ("refined", "unrefined", "seed")


def usd(profile: Profile, lang: str) -> dict[str, float]:
    """What is paid for one language: {what: USD}.

    Chapter 9 compares models in both orders, and asks for the three views of each; replies are
    counted at their longest.
    """
    mean = lengths(profile, lang)
    asked = prompts(profile, lang) if profile.judge_by == "openai" else 0
    translated = asked if profile.translator_model else 0
    read = mean.output + mean.instruction + 300
    reply = profile.judge_max_tokens
    contests = asked * 2 * _contests(profile)
    zero_shot = 1 + bool(profile.larger_model)
    views = asked * (_models(profile) + zero_shot + _is_of_outside(profile.opponent))
    return {
        "judge": _paid(profile, "judge", contests, read + mean.output, reply),
        "three views": _paid(profile, "judge", views, read, reply),
        "translation of prompts": _paid(profile, "judge", translated, mean.instruction + 100,
                                        3 * mean.instruction),
        "translation of seed data": _translated_seeds(profile, lang),
    }


def _paid(profile: Profile, to: str, calls: int, tokens_in: int, tokens_out: int) -> float:
    """USD for so many calls, at the prices of the judge or the translator."""
    price_in = getattr(profile, f"{to}_price_in")
    price_out = getattr(profile, f"{to}_price_out")
    return calls * (tokens_in * price_in + tokens_out * price_out) / 1e6


def _is_of_outside(opponent: str) -> bool:
    """Is the opponent none of our models?"""
    return opponent not in OURS


def _models(profile: Profile) -> int:
    """Models that are compared."""
    return (len(OURS) + len(profile.baselines) + len(profile.joint_baselines)
            + len(profile.others) + bool(profile.larger_model))


def _contests(profile: Profile) -> int:
    """Comparisons of one question.

    Three pairs, sampled (and greedy); each model against an opponent of outside; the zero-shot
    answers twice, and against those of others. A larger model meets the tuned one, and its
    zero-shot answers the opponent and its own.
    """
    pairs = 6 if profile.judge_greedy else 3
    models = _models(profile)
    rivals = models if _is_of_outside(profile.opponent) else models - len(OURS)
    zero_shot = 2 + len(profile.others)
    larger = 3 if profile.larger_model else 0
    return pairs + rivals + zero_shot + larger


def _translated_seeds(profile: Profile, lang: str) -> float:
    """USD for the translation of the seed data."""
    translator = profile.seed_translator.partition(":")[0]
    if translator == "google":
        return profile.seed_size * output_chars(lang) * GOOGLE_USD / 1e6
    if translator == "openai":
        output = lengths(profile, lang).output
        to = "translator" if profile.translator_base_url else "judge"
        return _paid(profile, to, profile.seed_size, output + 100, output)
    return 0.0
