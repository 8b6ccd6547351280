"""What a run would cost: GPU-hours, disk and USD, before anything runs. An estimate, from a model.

Tokens of each step come from the profile's sizes and the paper's mean lengths (Tables 2 and 8); a
forward pass is 2 FLOP a weight and token, training 6 (4 where only adapters learn); time is FLOP
over a sustained rate: the profile's `gpu_tflops`, else measured by `make bench` on a GPU, else
assumed. `reporting.plan` shows it.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from xinstruct_utils.config.profile import ATLAS_MODELS, Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import count_lines, read_json
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.evaluation import planted, tasks
from xinstruct_utils.method import raters, seeds
from xinstruct_utils.method.translation import GOOGLE_USD
from xinstruct_utils.models.loading import model_path
from xinstruct_utils.workflow.chapters import of_run

Kind = Literal["train", "read", "write"]
Rates = dict[Kind, float]

# Sustained TFLOP/s where nothing was measured: 40% and 50% of an A100's 312, and 5% while writing,
# which waits for memory; of one CPU core, with the Atlas's small model (LOG.md).
ASSUMED: dict[str, Rates] = {
    "gpu": {"train": 125.0, "read": 156.0, "write": 15.6},
    "cpu": {"train": 0.045, "read": 0.04, "write": 0.02},
}
# The part of a measurement that gives a rate, and its share of the device's peak.
MEASURED: dict[Kind, tuple[str, str]] = {
    "train": ("sft_full", "mfu"),
    "read": ("rating", "share_of_peak"),
    "write": ("generation", "share_of_peak"),
}
CHARS = {"Latn": 2.5}                   # characters a token; 1.0 in scripts mostly spelled in bytes
INSTRUCTION = 30                        # tokens
# Items of a task's test set times the choices that are read; XCOPA is asked in three readings.
CHOICES = {"xnli": 5010 * 3, "xcopa": 500 * 2 * 3, "xstorycloze": 1511 * 2}
LARGER, LARGER_ANSWERS = "08 tune the larger model", "09 answers of the larger model"
OF_LARGER = (LARGER, LARGER_ANSWERS)             # steps of `larger_model`
BENCHMARKS = {"vicuna": 80, "koala": 180, "wizardlm": 218, "lima": 300}     # Table 9
ITEM = 60                               # tokens of a choice with its premise
MODELS = 4                              # base, refined, unrefined and seed are asked
KINDS = len(planted.OF_TEXT) + 2        # planted flaws, mismatched, and as it is
OURS = ("refined", "unrefined", "seed")


class Lengths(NamedTuple):
    """Mean tokens of a pair's two sides."""

    output: int
    instruction: int

    @property
    def pair(self) -> int:
        """Tokens of both."""
        return self.output + self.instruction


ATLAS = Lengths(output=55, instruction=12)


class Work(TypedDict):
    """Heavy work of a step: so many tokens are trained on, read or written, so many times."""

    step: str
    kind: Kind
    tokens: int
    passes: int


class StepHours(TypedDict):
    """A step of all languages: its tokens, with repetitions, and hours of one device."""

    step: str
    tokens: int
    hours: float


class Estimate(TypedDict):
    """A run's cost; sums over the profile's languages."""

    steps: list[StepHours]
    hours: float
    weights: int
    gb: float
    usd: dict[str, float]


def parameters(model: str) -> int:
    """Weights of a base model: counted in its files, or read off its name ("Llama-2-7b").

    Raises InputError where neither tells.
    """
    folder = Path(model_path(model))
    total = sum(map(_weights_in, folder.glob("*.safetensors")))
    if total:
        return total
    size = re.search(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", Path(model).name.lower())
    if not size:
        raise InputError(f"base_model {model!r}: its size is not known here: expected a folder "
                         "with safetensors, or a name with its size, such as Llama-2-7b-hf")
    return round(float(size[1]) * {"b": 1e9, "m": 1e6}[size[2]])


def _weights_in(path: Path) -> int:
    """Numbers that a file of safetensors holds, by its header."""
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items()
               if name != "__metadata__")


def rates(folder: Path | str = REPO / "benchmarks" / "results", gpu: bool = True,
          given: float = 0.0) -> tuple[Rates, str]:
    """(TFLOP/s by kind of work, where they are from): given, or measured on a GPU, or assumed.

    A rate that is given is that of training and reading; a tenth of it is taken for writing, as in
    `ASSUMED`. Of several measurements in the folder, the newest counts.
    """
    if given:
        own: Rates = {"train": given, "read": given, "write": given / 10}
        return own, f"given: gpu_tflops is {given:g}"
    if not gpu:
        return dict(ASSUMED["cpu"]), "assumed: one core of a CPU"
    files = [path for path in Path(folder).glob("gpu-*.json") if "tiny-model" not in path.name]
    newest = max(map(read_json, files), key=lambda report: report.get("date", ""), default=None)
    if not newest:
        return (dict(ASSUMED["gpu"]),
                "assumed: an A100; measure yours with python benchmarks/gpu.py")
    origin = f"measured: {newest['machine']['device']}, {newest.get('date', '')}"
    return _measured(newest["parts"]), origin


def _measured(parts: dict[str, Any]) -> Rates:
    """The rates of a measurement; what failed there is assumed."""
    measured = dict(ASSUMED["gpu"])
    peak = parts.get("product", {}).get("tflops")
    for kind, (part, field) in MEASURED.items():
        share = parts.get(part, {}).get(field)
        if peak and share:
            measured[kind] = peak * share
    return measured


def lengths(profile: Profile, lang: str) -> Lengths:
    """Mean tokens of an output and of an instruction."""
    if profile.source == "atlas":
        return ATLAS
    chars_per_token = CHARS.get(languages.get(lang).script, 1.0)
    return Lengths(round(_output_chars(lang) / chars_per_token), INSTRUCTION)


def _output_chars(lang: str) -> float:
    """Mean characters of an output (paper, Table 2); 1,000 where the paper has no figure."""
    return paper_numbers()["table2"].get(lang, {"output": [1000]})["output"][0]


def corpus_texts(profile: Profile) -> int:
    """How many texts of a language a run reads.

    Files of one's own are not opened for this: `corpus_size` stands for them.
    """
    if profile.source == "atlas":
        return profile.corpus_size
    return profile.corpus_sample or profile.corpus_size


def steps(profile: Profile, lang: str) -> list[Work]:
    """The heavy work of one language."""
    work = _backtranslation(profile, lang)
    for k in range(1, profile.iterations + 1):
        work += _refinement(profile, lang, k)
    chapters = {chapter.name[:2] for chapter in of_run(profile)}
    work += [row for row in _evaluation(profile, lang) if row["step"][:2] in chapters]
    return [row for row in work if row["tokens"]]


def _work(step: str, kind: Kind, tokens: int, passes: int = 1) -> Work:
    return {"step": step, "kind": kind, "tokens": tokens, "passes": passes}


def _backtranslation(profile: Profile, lang: str) -> list[Work]:
    """Chapter 3."""
    mean = lengths(profile, lang)
    texts = corpus_texts(profile)
    return [
        _work("03 train generator", "train", profile.seed_size * mean.pair,
              profile.generator_epochs),
        _work("03 write instructions", "read", texts * mean.output),
        _work("03 write instructions", "write", texts * mean.instruction),
    ]


def _refinement(profile: Profile, lang: str, k: int) -> list[Work]:
    """Chapter 4's round k: beside the evaluators, the passes of the rater that ranks."""
    mean = lengths(profile, lang)
    d0x, d0r = _split_sizes(profile)
    followed = d0x + (profile.keep if k > 1 else 0)
    outputs_of_a_pair = (profile.true_per_pair + profile.damaged_per_pair
                         + profile.follower_per_pair + profile.mismatched_per_pair)
    ratings = (d0r - min(profile.held_out_pairs, d0r // 4)) * outputs_of_a_pair
    likelihoods = len(raters.passes(profile.ranking, "", "", {}))
    return [
        _work(f"04 round {k}: train follower", "train", followed * mean.pair,
              profile.follower_epochs),
        _work(f"04 round {k}: its answers", "write",
              d0r * profile.follower_per_pair * mean.output),
        _work(f"04 round {k}: train evaluator", "train", ratings * mean.pair,
              profile.evaluator_epochs * profile.evaluators),
        _work(f"04 round {k}: rate", "read", corpus_texts(profile) * mean.pair,
              profile.evaluators + likelihoods),
    ]


def _split_sizes(profile: Profile) -> tuple[int, int]:
    """Pairs of D0x and of D0r."""
    learned = profile.seed_size - profile.test_pairs
    held = seeds.held_back(learned, profile.d0x_size)
    return learned - held, held


def _evaluation(profile: Profile, lang: str) -> list[Work]:
    """Chapters 8 to 16, those that a run may not have among them."""
    mean = lengths(profile, lang)
    asked = prompts(profile, lang)
    baselines = [named.partition("=")[2] for named in profile.baselines]
    made = sum(not file for file in baselines)      # as many rows as the refined model has
    tuned = ((3 + made) * profile.seed_size + (2 + made) * profile.final_size
             + lines([file for file in baselines if file], lang))
    # Chapter 17: rounds, two bands of four sizes, five cluster counts, two directions, translated.
    compared = profile.iterations - 1 + 2 * 4 + 5 + 3 if profile.data_experiments else 0
    chosen = compared * (profile.seed_size + profile.final_size // 2)
    larger = profile.seed_size + profile.final_size if profile.larger_model else 0
    answers = asked * (2 * (3 + len(baselines)) + 1)
    ablated = profile.iterations * asked + 4 * min(asked, 150)
    return [
        _work("08 tune models", "train", tuned * mean.pair, profile.follower_epochs),
        _work(LARGER, "train", larger * mean.pair, profile.follower_epochs),
        _work("09 answers", "write", answers * mean.output),
        _work(LARGER_ANSWERS, "write", 2 * asked * mean.output if larger else 0),
        _work("10 tasks", "read", _choices(profile, lang) * ITEM, MODELS),
        _work("12 answers", "write", ablated * mean.output),
        _work("17 tune models", "train", chosen * mean.pair, profile.follower_epochs),
        _work("17 answers", "write", compared * asked * mean.output),
        _work("16 planted flaws", "read", profile.planted_flaws * KINDS * mean.pair,
              2 * profile.iterations + 2),
        _work("16 answers", "write", profile.test_pairs * MODELS * mean.output),
    ]


def _choices(profile: Profile, lang: str) -> int:
    """Choices that a model reads for the tasks."""
    limit = profile.task_limit or 10**9
    covered = tasks.covered(profile.tasks, lang)
    families = [family for family in CHOICES
                if any(task.startswith(f"{family}_") for task in covered)]
    choices = sum(min(CHOICES[family], 3 * limit) for family in families)
    if profile.source == "atlas":
        choices += 3 * limit * len(profile.tasks)
    return choices


def lines(files: Iterable[str], lang: str) -> int:
    """Lines of those files that are there; {lang} in a name is the language."""
    paths = [Path(file.replace("{lang}", lang)) for file in files]
    return sum(count_lines(path) for path in paths if path.exists())


def prompts(profile: Profile, lang: str) -> int:
    """How many questions the judge gets: the Atlas's own, or those of the benchmark files.

    Of a file that is not there yet, as many as the paper's Table 9 says of its name.
    """
    if profile.source == "atlas":
        return profile.prompt_count
    absent = [Path(file).stem for file in profile.benchmarks
              if not Path(file.replace("{lang}", lang)).exists()]
    return lines(profile.benchmarks, lang) + sum(BENCHMARKS.get(name, 0) for name in absent)


def flops(work: Work, weights: float, adapters: bool = False) -> float:
    """FLOP of a step's work with a model of so many weights."""
    return work["tokens"] * work["passes"] * weights * _flop_per_weight(work["kind"], adapters)


def _flop_per_weight(kind: Kind, adapters: bool) -> int:
    """FLOP a weight and token."""
    if kind != "train":
        return 2
    return 4 if adapters else 6


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
    return (len(OURS) + len(profile.baselines) + len(profile.others)
            + bool(profile.larger_model))


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
        return profile.seed_size * _output_chars(lang) * GOOGLE_USD / 1e6
    if translator == "openai":
        output = lengths(profile, lang).output
        to = "translator" if profile.translator_base_url else "judge"
        return _paid(profile, to, profile.seed_size, output + 100, output)
    return 0.0


def disk(profile: Profile, lang: str, weights: int, tuned: int) -> int:
    """Bytes for one language: models in half precision, and the rows that steps write.

    weights, tuned: of the base model, and of the model that chapter 8 tunes.
    """
    models = 1 + profile.iterations * (1 + profile.evaluators)
    tuned_models = 3 + len(profile.baselines)
    row = 4 * lengths(profile, lang).pair + 150     # four bytes a token, and what JSON adds
    copies = 3 + 3 * profile.iterations
    return 2 * weights * models + 2 * tuned * tuned_models + corpus_texts(profile) * row * copies


def checkpoints(profile: Profile, weights: int) -> int:
    """Bytes that a training holds while it runs.

    Its weights in the end, and before that two checkpoints with weights, and with a master copy
    and two moments in float32; adapters are small.
    """
    if profile.lora_rank:
        return 0
    return weights * (4 + 2 * 14) if profile.save_steps else weights * 4


def estimate(profile: Profile) -> tuple[Estimate, str]:
    """(The run's cost, where the rates are from). Raises InputError for a model of unknown size."""
    weights = parameters(profile.base_model)
    tuned = parameters(profile.tuned_model or profile.base_model)
    larger = parameters(profile.larger_model) if profile.larger_model else 0
    rate, origin = rates(gpu=profile.base_model not in ATLAS_MODELS, given=profile.gpu_tflops)
    table: dict[str, StepHours] = {}
    for lang in profile.languages:
        for work in steps(profile, lang):
            name = work["step"]
            row = table.setdefault(name, {"step": name, "tokens": 0, "hours": 0.0})
            row["tokens"] += work["tokens"] * work["passes"]
            size = weights if name < "08" else larger if name in OF_LARGER else tuned
            flop = flops(work, size, adapters=profile.lora_rank > 0)
            row["hours"] += flop / rate[work["kind"]] / 1e12 / 3600
    stored = sum(disk(profile, lang, weights, tuned) + 2 * larger for lang in profile.languages)
    paid = [usd(profile, lang) for lang in profile.languages]
    run: Estimate = {
        "steps": list(table.values()),
        "hours": sum(row["hours"] for row in table.values()),
        "weights": weights,
        "gb": (stored + checkpoints(profile, max(weights, tuned, larger))) / 1e9,
        "usd": {what: sum(row[what] for row in paid) for what in paid[0]},
    }
    return run, origin
