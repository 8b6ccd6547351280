"""Experiments with the evaluator: what it is taught and how, one thing changed at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference import local
from xinstruct_utils.method import regression
from xinstruct_utils.method.refinement import PseudoRating, average, pseudo_ratings
from xinstruct_utils.models.loading import load_tokenizer, model_path
from xinstruct_utils.prompts.requests import rating_rows
from xinstruct_utils.training import sft

Row = dict[str, Any]
Right = Callable[[str, str], bool]               # is the output a right answer to the instruction?


@dataclass(frozen=True)
class Setup:
    """How an evaluator is taught; `variants` change one thing of a run's own."""

    learning_rate: float
    epochs: int
    true: int                                    # times that a true output stands in its data
    damaged: int                                 # a pair, as the next two
    follower: int
    mismatched: int
    hard: Literal["half", "all", "none"] = "half"
    pairs: int | None = None                     # of D0r; None: all that are not held out
    with_d0x: bool = False                       # the pairs that the follower learns from too
    output_first: bool = False
    random_weights: bool = False
    base_model: str = ""                         # taught instead of the run's own base model
    right_left_out: bool = False                 # without what is rated 1 and is right
    answers_of: int = 1                          # the round whose follower's answers are rated 1
    binary: bool = False                         # 2 against the rest: what is rated 1 gets 0
    head: Literal["token", "regression"] = "token"


def variants(own: Setup, rounds: int = 1, other_base: str = "", other_rate: float = 0.0,
             other_epochs: int = 0, factors: Sequence[str] = ()) -> dict[tuple[str, str], Setup]:
    """{(factor, level): setup}: the run's own first, then each with one thing changed.

    A level that the run has itself, or an earlier factor, is left out. Of "together", several
    things change. rounds: of refinement; their evaluators differ by the follower's answers only.
    other_base: taught in place of the run's base, with its weights and with random ones, at
    other_rate, for other_epochs or the run's. factors: those to try, all by default. Raises
    InputError for one that is not there.
    """
    changes = _changes(own, rounds)
    changes["weights"] |= _of_a_base(other_base, other_rate, other_epochs or own.epochs)
    if unknown := set(factors) - set(changes):
        raise InputError(f"experiment_factors: there is no {', '.join(sorted(unknown))}; expected "
                         f"some of: {', '.join(changes)}")
    made = {("the run's own", ""): own}
    for factor in factors or changes:
        for level, change in changes[factor].items():
            setup = replace(own, **change)
            if setup not in made.values():
                made[factor, level] = setup
    return made


def _changes(own: Setup, rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """{factor: {level: what it changes}}."""
    return {
        "weights": {"random": {"random_weights": True}},
        "learning rate": {"a third": {"learning_rate": own.learning_rate / 3},
                          "three times": {"learning_rate": own.learning_rate * 3}},
        "epochs": {"1": {"epochs": 1}, "8": {"epochs": 8}},
        "pairs": {"50": {"pairs": 50}, "100": {"pairs": 100},
                  "all seed pairs": {"with_d0x": True}},
        "kinds": {"mismatched only": {"damaged": 0, "follower": 0},
                  "without damaged": {"damaged": 0}, "without the follower's": {"follower": 0}},
        "mismatched a pair": {"2": {"mismatched": 2}, "4": {"mismatched": 4}},
        # of a single mismatch, the hard half is that one
        "mismatches": {"random": {"hard": "none"},
                       **({"hard": {"hard": "all"}} if own.mismatched > 1 else {})},
        "true outputs": {"once, as the paper": {"true": 1}},
        "order": {"output first": {"output_first": True}},
        "right ones rated 1": {"left out": {"right_left_out": True}},
        "follower of round": {str(n): {"answers_of": n} for n in range(2, rounds + 1)},
        "last follower, right ones": {"left out": {"answers_of": rounds, "right_left_out": True}},
        "ratings": {"2 against the rest": {"binary": True}},
        "head": {"regression on the last state": {"head": "regression"}},
        "together": {"all seed pairs, 4 mismatched": {"with_d0x": True, "mismatched": 4}}}


def _of_a_base(name: str, learning_rate: float, epochs: int) -> dict[str, dict[str, Any]]:
    """What changes with another base model, as it is and with random weights; {} without a name."""
    if not name:
        return {}
    change = {"base_model": name, "learning_rate": learning_rate, "epochs": epochs}
    return {name: change, f"{name}, random": change | {"random_weights": True}}


def lesson(setup: Setup, d0r: Sequence[Row], d0x: Sequence[Row],
           answers: Mapping[int, Mapping[str, list[str]]], seed: int | str, right: Right,
           ) -> list[PseudoRating]:
    """The pseudo-ratings that a setup teaches.

    d0r: pairs that are not held out; answers: of each round's follower, by a pair's id. right reads
    the truth.
    """
    pairs = [*d0r[:setup.pairs], *(d0x if setup.with_d0x else ())]
    rows, _ = pseudo_ratings(pairs, answers[setup.answers_of], setup.damaged, setup.follower,
                             setup.mismatched, seed, setup.hard)
    if setup.right_left_out:
        rows = [row for row in rows if not wrongly_rated(row, right)]
    return rows


def wrongly_rated(row: PseudoRating, right: Right) -> bool:
    """Is what is rated 1 a right answer all the same?"""
    return row["rating"] == 1 and right(row["instruction"], row["output"])


def in_order(rows: Sequence[Row], output_first: bool) -> list[Row]:
    """Rows with instruction and output changing places where the output comes first."""
    if not output_first:
        return list(rows)
    return [row | {"instruction": row["output"], "output": row["instruction"]} for row in rows]


def training_rows(setup: Setup, rows: Sequence[PseudoRating]) -> list[Row]:
    """{"prompt", "completion"} of an evaluator's training."""
    taught = in_order([dict(row) for row in rows], setup.output_first)
    if setup.binary:
        taught = [row | {"rating": 2 if row["rating"] == 2 else 0} for row in taught]
    return rating_rows(taught, setup.true)


def write_all_random_weights(setups: Iterable[Setup], base_model: str, folder: Path,
                             seed: int) -> None:
    """Random weights for each base model of which a setup wants them; base_model: the run's."""
    for other in dict.fromkeys(setup.base_model for setup in setups if setup.random_weights):
        write_random_weights(other or base_model, _random_weights(folder, other), seed)


def _random_weights(folder: Path, other_base: str) -> Path:
    return folder / "random_weights" / (Path(other_base).name or "own")


def write_random_weights(base_model: str, out: Path, seed: int) -> None:
    """A model of the base model's configuration that has learned nothing, with its tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    set_seed(seed)
    config = AutoConfig.from_pretrained(model_path(base_model), trust_remote_code=False)
    load_tokenizer(base_model).save_pretrained(out)
    AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(out)


def write_inputs(folder: Path, parts: Mapping[str, Sequence[Row]]) -> None:
    """The rows that are rated, {part: rows}, in both orders."""
    for name, rows in parts.items():
        for output_first in (False, True):
            write_jsonl(_input(folder, name, output_first), in_order(rows, output_first))


def _input(folder: Path, part: str, output_first: bool) -> Path:
    return folder / f"{part}{'-output-first' if output_first else ''}.jsonl"


def jobs(setup: Setup, name: str, rows: Sequence[PseudoRating], folder: Path,
         training: Row, reading: Row, parts: Iterable[str]) -> dict[str, tuple]:
    """An evaluator's training, and its rating of `parts`: {title: job of `launch.run_all`}.

    training, reading: the run's settings of the two groups, with this evaluator's seed. Where the
    setup begins from random weights, `write_all_random_weights` has put them into the folder.
    """
    lesson_file, model = folder / "lessons" / f"{name}.jsonl", folder / "models" / name
    write_jsonl(lesson_file, training_rows(setup, rows))
    learning = training | {"input": str(lesson_file), "epochs": setup.epochs,
                           "learning_rate": setup.learning_rate}
    if setup.base_model:
        learning["base_model"] = setup.base_model
    if setup.random_weights:
        learning["base_model"] = str(_random_weights(folder, setup.base_model))
    teacher, reader = (regression, regression) if setup.head == "regression" else (sft, local)
    made = {name: (teacher, learning, model)}
    for part in parts:
        asking = reading | {"task": "rate", "model": str(model), "request": {"kind": "rating"},
                            "input": str(_input(folder, part, setup.output_first))}
        made[f"{name}, {part}"] = (reader, asking, folder / "rated" / name / part)
    return made


def rated(folder: Path, names: Sequence[str], part: str, rows: Sequence[Row]) -> list[Row]:
    """Rows with the mean rating of some evaluators, and what they are ranked by as score.

    That is p2, and the rating itself of a regression. Rows that were not read are left out.
    """
    votes = [Shards(folder / "rated" / name / part).read() for name in names]
    made = []
    for row, own in zip(rows, zip(*votes, strict=True), strict=True):
        if own[0]["p2"] is not None:
            rating = average(own)
            scores = [vote.get("score", vote["p2"]) for vote in own]
            made.append({**row, **rating, "score": round(sum(scores) / len(scores), 6)})
    return made
