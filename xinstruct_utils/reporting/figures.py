"""What a run measured, under flat names: for programs, the book, and other runs (figures.json).

Arguments are {language: measures of a chapter}, of refinement {round: {language: measures}}. A
figure that could not be measured is absent.
"""

from xinstruct_utils.config.profile import MACHINE, Profile
from xinstruct_utils.core.files import digest
from xinstruct_utils.reporting.table_cells import Measures
from xinstruct_utils.reporting.tables import CONTESTS

RATES = {"win_rate": "win", "lose_rate": "lose"}


def per_language(values: dict, *names: str) -> dict:
    """{language: the figure under these names}, only of the languages that have it."""
    for name in names:
        values = {code: v.get(name) for code, v in values.items() if v is not None}
    return {code: v for code, v in values.items() if v is not None and v != []}


def known(value: object) -> object:
    """The value without what could not be measured; None where nothing is left."""
    if isinstance(value, dict):
        inner = {k: known(v) for k, v in value.items()}
        value = {k: v for k, v in inner.items() if v is not None}
    return None if isinstance(value, dict | list) and not value else value


def of_method(generator: Measures, refined: dict[int, Measures]) -> dict:
    """Backtranslation, and refinement over the rounds, a list for each language."""
    figures = {name: per_language(generator, name)
               for name in ("generator_exact", "generator_topic", "random_precision")}
    for name in ("kept_precision", "ranking_auc", "evaluator_auc", "evaluator_precision",
                 "beyond_guessing", "held_out_auc"):
        figures[name] = per_language({
            code: [measures[code][name] for measures in refined.values() if name in measures[code]]
            for code in generator})
    for name in ("one_pass_label_agreement", "one_pass_speedup"):
        figures[name] = per_language(refined[1], name)
    return figures


def settings_key(profile: Profile) -> str:
    """Digest of what runs that differ in their seed only have in common.

    Languages, what belongs to a machine, and where files lie may differ too. A key that older
    runs did not know counts only where it is set.
    """
    free = {"seed", "languages", "featured", *MACHINE}
    values = {key: value for key, value in profile.model_dump(exclude_defaults=True).items()
              if key not in free and not key.endswith("_path")}
    return digest(values)


def of_contests(judged: Measures) -> dict:
    """The judged contests; the interval of a win rate is that over its prompts."""
    figures = {}
    for rate, field in RATES.items():
        figures[rate] = {c: per_language(judged, c, field) for c in CONTESTS}
        figures |= {f"{rate}_{c}": figures[rate][c] for c in CONTESTS}
    figures["win_rate_interval"] = {
        contest: {code: [v[contest]["win_low"], v[contest]["win_high"]]
                  for code, v in judged.items() if "win_low" in v.get(contest, {})}
        for contest in CONTESTS}
    return figures


def of_chapters(judged: Measures, more: dict[str, Measures]) -> dict:
    """The judge's faults, and all that the chapters in `more` measured, under the same names."""
    figures = {name: per_language(judged, name)
               for name in ("order_flip_rate", "longer_wins_rate", "unparsed")}
    for values in more.values():
        for name in dict.fromkeys(f for v in values.values() for f in v):
            figures[name] = per_language(values, name)
    if parsing := figures.get("verb_noun_f1_ewt"):     # measured once, whatever the language
        figures["verb_noun_f1_ewt"] = next(iter(parsing.values()))
    return figures


def over_seeds(figures: dict, code: str) -> dict:
    """What is compared over seeds, for one language; what a run lacks is absent."""
    row = {"generator exact": figures.get("generator_exact", {}).get(code),
           "kept - random": figures["kept_precision"][code][-1] - figures["random_precision"][code]}
    for contest in CONTESTS:
        win, lose = (figures.get(rate, {}).get(contest, {}).get(code) for rate in RATES)
        if win is not None and lose is not None:
            row[f"wins - losses, {contest.replace('_', ' ')}"] = win - lose
    return row
