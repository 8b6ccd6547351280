"""Experiments with the evaluator: what it is taught and how, one thing changed at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xinstruct_utils.core.files import write_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference import local
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
    right_left_out: bool = False                 # without what is rated 1 and is right


def variants(own: Setup) -> dict[tuple[str, str], Setup]:
    """{(factor, level): setup}: the run's own first, then each with one thing changed.

    A level that the run has itself is left out.
    """
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "weights": {"random": {"random_weights": True}},
        "learning rate": {"a third": {"learning_rate": own.learning_rate / 3},
                          "three times": {"learning_rate": own.learning_rate * 3}},
        "epochs": {"1": {"epochs": 1}, "8": {"epochs": 8}},
        "pairs": {"50": {"pairs": 50}, "100": {"pairs": 100},
                  "all seed pairs": {"with_d0x": True}},
        "kinds": {"mismatched only": {"damaged": 0, "follower": 0},
                  "without damaged": {"damaged": 0}, "without the follower's": {"follower": 0}},
        "mismatched a pair": {"2": {"mismatched": 2}, "4": {"mismatched": 4}},
        "mismatches": {"random": {"hard": "none"}, "hard": {"hard": "all"}},
        "true outputs": {"once, as the paper": {"true": 1}},
        "order": {"output first": {"output_first": True}},
        "right ones rated 1": {"left out": {"right_left_out": True}}}
    made = {("the run's own", ""): own}
    for factor, levels in changes.items():
        changed = {(factor, level): replace(own, **change) for level, change in levels.items()}
        made |= {key: setup for key, setup in changed.items() if setup != own}
    return made


def lesson(setup: Setup, d0r: Sequence[Row], d0x: Sequence[Row],
           answers: Mapping[str, list[str]], seed: int | str, right: Right) -> list[PseudoRating]:
    """The pseudo-ratings that a setup teaches.

    d0r: pairs that are not held out; answers: the follower's by a pair's id. right reads the truth.
    """
    pairs = [*d0r[:setup.pairs], *(d0x if setup.with_d0x else ())]
    rows, _ = pseudo_ratings(pairs, answers, setup.damaged, setup.follower, setup.mismatched, seed,
                             setup.hard)
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
    return rating_rows(in_order([dict(row) for row in rows], setup.output_first), setup.true)


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
    setup begins from random weights, they lie in "random_weights" of the folder.
    """
    lesson_file, model = folder / "lessons" / f"{name}.jsonl", folder / "models" / name
    write_jsonl(lesson_file, training_rows(setup, rows))
    learning = training | {"input": str(lesson_file), "epochs": setup.epochs,
                           "learning_rate": setup.learning_rate}
    if setup.random_weights:
        learning["base_model"] = str(folder / "random_weights")
    made = {name: (sft, learning, model)}
    for part in parts:
        asking = reading | {"task": "rate", "model": str(model), "request": {"kind": "rating"},
                            "input": str(_input(folder, part, setup.output_first))}
        made[f"{name}, {part}"] = (local, asking, folder / "rated" / name / part)
    return made


def rated(folder: Path, names: Sequence[str], part: str, rows: Sequence[Row]) -> list[Row]:
    """Rows with the mean rating of some evaluators, and p2 as score; those that were read."""
    votes = [Shards(folder / "rated" / name / part).read() for name in names]
    made = []
    for row, own in zip(rows, zip(*votes, strict=True), strict=True):
        if own[0]["p2"] is not None:
            rating = average(own)
            made.append({**row, **rating, "score": rating["p2"]})
    return made
