"""What figures say, in words: findings of a chapter, and claims of the paper beside a run.

Every verdict is computed, by one rule each: an interval that leaves out the value of "no effect"
says yes or no (of a claim: holds or opposite), one that holds it says undecided (not seen).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.evaluation.statistics import Z, mean_interval, verdict, wilson

Answer = Literal["yes", "no", "undecided"]
ANSWERS: dict[str, Answer] = {"higher": "yes", "lower": "no", "undecided": "undecided"}
OF_CLAIM = {"higher": "holds", "lower": "opposite", "undecided": "not seen"}
CLAIM_ANSWERS: dict[str, Answer] = {"holds": "yes", "opposite": "no", "not seen": "undecided"}

Figures = dict[str, Any]                         # a run's figures.json
Cells = dict[tuple[str, str], float]             # {(seed, language): value}


@dataclass(frozen=True)
class Finding:
    """A question, its answer, and the figure that gives it.

    value, low, high, null: in the unit of `unit`; low and high are None without an interval; null:
    what "no effect" would be; n: of what `of` names. exact: what was counted, not drawn, and needs
    no interval.
    """

    question: str
    answer: Answer
    value: float
    low: float | None
    high: float | None
    n: int
    of: str
    unit: str
    null: float = 0.0
    exact: bool = False

    @property
    def sentence(self) -> str:
        """The figure in words: "+8.7 points (95% interval 2.0 to 15.3), n = 300 prompts"."""
        sign = "+" if self.unit == "points" else ""
        unit = "%" if self.unit == "%" else f" {self.unit}"
        value = round(self.value, 1) or 0.0      # never "-0.0"
        text = f"{value:{sign}.1f}{unit}"
        if self.exact:
            return f"{text} of {self.n:,} {self.of}"
        if self.low is None or self.high is None:
            text += " (no interval)"
        else:
            text += f" (95% interval {self.low:.1f} to {self.high:.1f})"
        if self.null:
            text += f" against {self.null:.1f}{unit}"
        return f"{text}, n = {self.n:,} {self.of}"


def finding(question: str, value: float, low: float | None, high: float | None, n: int, of: str,
            unit: str = "points", null: float = 0.0) -> Finding:
    """A finding whose answer is "yes" where the interval lies above `null`, "no" where below.

    value, low, high, null: shares or differences of shares; they are shown times 100.
    """
    above = None if low is None or high is None else (low - null, high - null)
    answer = ANSWERS[verdict(*above)] if above else "undecided"
    shown = [None if x is None else round(100 * x, 6) for x in (low, high)]
    return Finding(question, answer, round(100 * value, 6), shown[0], shown[1], n, of, unit,
                   round(100 * null, 6))


def share(question: str, right: float, n: int, of: str, null: float = 0.5) -> Finding:
    """A finding about a share of `n` items, with Wilson's interval; of none it is undecided."""
    if not n:
        return Finding(question, "undecided", 0.0, None, None, 0, of, "%")
    low, high = wilson(right / n, n)
    return finding(question, right / n, low, high, n, of, "%", null)


def more(question: str, share: float, n: int, other: float, other_n: int, of: str) -> Finding:
    """A finding about a share of `n` items less another share, of items of their own."""
    half = Z * (share * (1 - share) / n + other * (1 - other) / other_n) ** 0.5
    value = share - other
    return finding(question, value, value - half, value + half, n, of)


def repeated(question: str, values: Iterable[float | None], of: str) -> Finding:
    """A finding about a mean over repetitions (seeds, languages), with Student's interval.

    Unknown values are left out; of fewer than two it is undecided.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Finding(question, "undecided", 0.0, None, None, 0, of, "points")
    return finding(question, *mean_interval(known), len(known), of)


def complete(question: str, right: int, n: int, of: str) -> Finding:
    """A finding of bookkeeping: "yes" where all `n` are right, "no" else; there is no interval."""
    value = 100 * right / n if n else 0.0
    answer: Answer = "yes" if right == n and n else "no"
    return Finding(question, answer, value, None, None, n, of, "%", exact=True)


def counted(question: str, value: float, n: int, of: str) -> Finding:
    """A finding of what was counted: "yes" where `value`, a share, is above 0; no interval."""
    answer: Answer = "yes" if value > 0 else "no"
    return Finding(question, answer, round(100 * value, 6), None, None, n, of, "points", exact=True)


# Claims of the paper


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and how a run's figures speak of it.

    paper: what the paper says; names in braces are of `_printed`, its own numbers. cells:
    {language: value} of a run's figures, a share or a difference of shares, above 0 where the claim
    holds.
    """

    name: str
    claim: str
    section: str
    paper: str
    cells: Callable[[Figures], Mapping[str, float | None]]


def balance(figures: Figures, contest: str) -> dict[str, float]:
    """Wins minus losses of a contest, {language: share}; {} where it was not judged."""
    wins, losses = (figures.get(rate, {}).get(contest, {}) for rate in ("win_rate", "lose_rate"))
    return {code: wins[code] - losses[code] for code in wins if code in losses}


def _balance(contest: str) -> Callable[[Figures], dict[str, float]]:
    """The cells of a claim about a contest."""
    return lambda figures: balance(figures, contest)


def _last_precision(name: str) -> Callable[[Figures], dict[str, float]]:
    """Precision in the last round less that of a random choice."""

    def cells(figures: Figures) -> dict[str, float]:
        random = figures.get("random_precision", {})
        return {code: rounds[-1] - random[code]
                for code, rounds in figures.get(name, {}).items() if code in random}

    return cells


def _over_rounds(name: str) -> Callable[[Figures], dict[str, float]]:
    """The last round's figure less the first's, where there are several rounds."""
    return lambda figures: {code: rounds[-1] - rounds[0]
                            for code, rounds in figures.get(name, {}).items() if len(rounds) > 1}


def _beyond_guessing(figures: Figures) -> dict[str, float]:
    return {code: sum(rounds) / len(rounds)
            for code, rounds in figures.get("beyond_guessing", {}).items() if rounds}


def _won_more_often(figures: Figures) -> dict[str, float]:
    """Wins minus losses against the first follower: the last round's less the first one's."""
    wins, losses = (figures.get(f"{rate}_rate_over_rounds", {}) for rate in ("win", "lose"))
    return {code: (wins[code][-1] - losses[code][-1]) - (wins[code][0] - losses[code][0])
            for code in wins if len(wins[code]) > 1}


def _tasks(figures: Figures) -> dict[str, float]:
    """The mean gain over a language's tasks."""
    return {code: sum(gains.values()) / len(gains)
            for code, gains in figures.get("task_gain", {}).items() if gains}


def _people(contest: str) -> Callable[[Figures], dict[str, float]]:
    return lambda figures: {code: row["win"] - row["lose"]
                            for code, row in figures.get(f"human_{contest}", {}).items()}


def _rater_gap(figures: Figures) -> dict[str, float]:
    """Precision of the evaluator's choice less that of the best rater that needs no training."""
    own = figures.get("rater_p2_precision", {})
    rivals = [figures.get(f"rater_{name}_precision", {})
              for name in ("likelihood", "gain", "contrast", "agreement", "length")]
    return {code: own[code] - max(row[code] for row in rivals if code in row)
            for code in own if any(code in row for row in rivals)}


def _duel(name: str) -> Callable[[Figures], dict[str, float]]:
    """Wins minus losses of two models of chapter 17, tuned on choices that differ in one thing."""
    return lambda figures: {code: duels[name]["value"]
                            for code, duels in figures.get("data_duels", {}).items()
                            if name in duels}


def _gain_in_english(figures: Figures) -> dict[str, float]:
    """What answering in English gains of the best score, 10."""
    return {code: row["gain"]["value"] / 10
            for code, row in figures.get("data_directions", {}).items()}


CLAIMS = (
    Claim("refined_vs_unrefined", "Data chosen by the run's ranking teach more than as many "
          "unrefined ones", "3.3, 5.4", "implied: the rounds are the method",
          _balance("refined_vs_unrefined")),
    Claim("rated_vs_unrefined", "What the evaluator would choose teaches more than as many "
          "unrefined ones", "3.3, 5.4", "implied", _balance("rated_vs_unrefined")),
    Claim("refined_vs_seed", "The mined data teach more than the seed pairs alone", "C.3",
          "{won:.1f} against {won_by_seed:.1f} prompts won of 80", _balance("refined_vs_seed")),
    Claim("refined_vs_translated", "The mined data teach more than translated "
          "instructions (Alpaca-MT)", "5.2", "win rates {ours} against {alpaca}",
          _balance("refined_vs_translated")),
    Claim("mined_vs_as_many_translated", "The mined data teach more than as many "
          "translated pairs, both beside the seed pairs", "5.2", "not asked",
          _duel("as many mined as translated pairs")),
    Claim("refined_vs_distilled", "The mined data teach more than a teacher's answers "
          "(Bactrian-M)", "5.2",
          "win rates {ours} against {bactrian}", _balance("refined_vs_distilled")),
    Claim("refined_vs_joint", "The mined data teach more than a teacher's answers in all languages "
          "together (Bactrian-X)", "5.2", "win rates {ours} against {bactrian_x}",
          _balance("refined_vs_distilled_joint")),
    Claim("evaluator_learns", "The evaluator is right about held-out pseudo-ratings more often "
          "than always guessing the commonest rating", "3.3", "no figure", _beyond_guessing),
    Claim("evaluator_above_random", "What the evaluator would choose is better than a random "
          "choice", "3.3", "no figure", _last_precision("evaluator_precision")),
    Claim("kept_above_random", "What the run's ranking keeps is better than a random choice", "3.3",
          "no figure", _last_precision("kept_precision")),
    Claim("precision_rises", "The evaluator's choice gets better from round to round", "5.4.1",
          "Figure 7a rises", _over_rounds("evaluator_precision")),
    Claim("rounds_teach", "The last round's follower answers better than that of the "
          "second, the first that learned from mined pairs", "5.4.1",
          "Figure 7a rises", _won_more_often),
    Claim("tasks", "Tuning on the data helps with tasks it was not made for", "5.4.3",
          "{tasks:+.1f} points over its base", _tasks),
    Claim("more_pairs_teach", "Eight times as many pairs teach more", "5.4.2", "Figure 7b rises",
          _duel("all of the better half against an eighth")),
    Claim("better_rated_teach", "Pairs that the run's ranking puts in the better half teach more "
          "than as many of the other", "5.4.2", "Figure 7b: higher ratings are better",
          _duel("better half against the other")),
    Claim("clusters_teach", "Sampling from several clusters teaches more than from one", "3.4, C.2",
          "Figure 9: 1,000, with a drop at 2,000", _duel("several clusters against one")),
    Claim("english_is_easier", "Tuned on few pairs, a model answers the language's questions "
          "better in English", "1, Table 1", "{sw_sw} against {sw_en} of 10 (sw), {ur_ur} against "
          "{ur_en} (ur)", _gain_in_english),
    Claim("people", "People, in the Atlas the oracle in their place, prefer the refined "
          "model's answers to the seed model's", "5.3", "Figure 6: to ChatGPT's and Bactrian-M's",
          _people("refined_vs_seed")),
    Claim("evaluator_above_raters", "The evaluator chooses better than any rater "
          "that needs no training", "", "not asked", _rater_gap),
)


def of_claims(runs: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Each claim over runs, {seed: figures}: the table of what was found.

    A cell is a seed and a language: prompts inside of it share their models, so cells, not prompts,
    are what is repeated, and the interval is Student's t over them. Returns [{"name", "claim",
    "section", "paper", "here", "interval", "n", "seeds", "languages", "verdict", "cells"}]; here
    and interval are in points (times 100). A claim that nothing was measured of has here None and
    the verdict "not measured".
    """
    return [_of_claim(claim, runs) for claim in CLAIMS]


def _printed() -> dict[str, float]:
    """The paper's numbers that claims quote: Tables 1, 5 and 12 (7B), and section 5.4.3."""
    paper = paper_numbers()
    names = {"ours": "X-Instruction 7B", "alpaca": "Alpaca-MT 7B", "bactrian": "Bactrian-M 7B",
             "bactrian_x": "Bactrian-X 7B"}
    rates = {key: paper["table5"][model]["average"][0] for key, model in names.items()}
    by_seed, won, _ = paper["table12"]["all"]
    tasks = paper["results"]["tasks: tuned model above its base, points"]
    answered = {key.replace(" to ", "_"): score for key, score in paper["table1"].items()}
    return {**rates, **answered, "won": won, "won_by_seed": by_seed, "tasks": tasks}


def _of_claim(claim: Claim, runs: Mapping[str, Figures]) -> dict[str, Any]:
    cells: Cells = {(seed, code): value for seed, figures in runs.items()
                    for code, value in claim.cells(figures).items() if value is not None}
    row: dict[str, Any] = {"name": claim.name, "claim": claim.claim, "section": claim.section,
                           "paper": claim.paper.format(**_printed()),
                           "here": None, "interval": None, "n": len(cells),
                           "seeds": len({seed for seed, _ in cells}),
                           "languages": len({code for _, code in cells}),
                           "verdict": "not measured", "cells": []}
    if not cells:
        return row
    mean, low, high = mean_interval(list(cells.values()))
    interval = None if low is None or high is None else [round(100 * low, 2), round(100 * high, 2)]
    return row | {
        "here": round(100 * mean, 2), "interval": interval,
        "verdict": OF_CLAIM[verdict(low, high)],
        "cells": [{"seed": seed, "language": code, "points": round(100 * value, 2)}
                  for (seed, code), value in cells.items()]}


def as_findings(claims: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Measured claims as findings of a chapter."""
    found = []
    for row in claims:
        if row["verdict"] != "not measured":
            low, high = row["interval"] or (None, None)
            answer = CLAIM_ANSWERS[row["verdict"]]
            found.append(Finding(row["claim"], answer, row["here"], low,
                                 high, row["n"], "cells of a seed and a language", "points"))
    return found


def failures(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence on each claim that does not hold: the opposite ones first, then those not seen."""
    said = []
    failed = [row for row in claims if row["verdict"] in ("opposite", "not seen")]
    for row in sorted(failed, key=lambda row: row["verdict"] != "opposite"):
        figure = f"{row['here']:+.1f} points"
        if row["interval"]:
            figure += f" (95% interval {row['interval'][0]:.1f} to {row['interval'][1]:.1f})"
        word = {"opposite": "The opposite was seen",
                "not seen": "This was not seen"}[row["verdict"]]
        cells = "one cell, which decides nothing" if row["n"] == 1 else cells_in_words(row)
        said.append(f"{row['claim']}{in_paper(row)}. {word}: {figure}, {cells}.")
    return said


def in_paper(row: Mapping[str, Any]) -> str:
    """Where the paper has a claim: " (paper, 3.3)"; "" for one that goes beyond it."""
    return f" (paper, {row['section']})" if row["section"] else ""


def cells_in_words(row: Mapping[str, Any]) -> str:
    """How often a claim was measured: languages and seeds, or cells where some are not there."""
    if row["languages"] * row["seeds"] != row["n"]:
        return counted_noun(row["n"], "cell")
    return f"{counted_noun(row['languages'], 'language')}, {counted_noun(row['seeds'], 'seed')}"


def counted_noun(n: int, noun: str) -> str:
    """A number and its noun: "1 seed", "3 seeds"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def stored(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as they are kept among a step's measures."""
    return [asdict(one) | {"sentence": one.sentence} for one in findings]
