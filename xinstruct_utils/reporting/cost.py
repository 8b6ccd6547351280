"""What a run would cost: GPU-hours, disk and USD, before anything runs. An estimate, from a model.

The tokens of each step are counted in `reporting.work`, what is paid in `reporting.prices`; a
forward pass is 2 FLOP a weight and token, training 6 (4 where only adapters learn); time is FLOP
over a sustained rate: the profile's `gpu_tflops`, else measured by `make bench` on a GPU, else
assumed. `reporting.plan` shows it.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, TypedDict

from xinstruct_utils.config.profile import ATLAS_MODELS, Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.models.loading import model_path
from xinstruct_utils.reporting.prices import usd
from xinstruct_utils.reporting.work import Kind, Model, Work, corpus_texts, lengths, steps

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


def flops(work: Work, weights: float, adapters: bool = False) -> float:
    """FLOP of a step's work with a model of so many weights."""
    return work["tokens"] * work["passes"] * weights * _flop_per_weight(work["kind"], adapters)


def _flop_per_weight(kind: Kind, adapters: bool) -> int:
    """FLOP a weight and token."""
    if kind != "train":
        return 2
    return 4 if adapters else 6


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
    sizes: dict[Model, int] = {"base": weights, "tuned": tuned, "larger": larger}
    table: dict[str, StepHours] = {}
    for lang in profile.languages:
        for work in steps(profile, lang):
            name = work["step"]
            row = table.setdefault(name, {"step": name, "tokens": 0, "hours": 0.0})
            row["tokens"] += work["tokens"] * work["passes"]
            flop = flops(work, sizes[work["model"]], adapters=profile.lora_rank > 0)
            row["hours"] += flop / rate[work["kind"]] / 1e12 / 3600
    stored = sum(disk(profile, lang, weights, tuned) + 2 * larger for lang in profile.languages)
    paid = [usd(profile, lang) for lang in profile.languages]
    run: Estimate = {
        "steps": list(table.values()),
        "hours": sum(row["hours"] for row in table.values()),
        "weights": weights,
        "gb": (stored + checkpoints(profile, max(sizes.values()))) / 1e9,
        "usd": {what: sum(row[what] for row in paid) for what in paid[0]},
    }
    return run, origin
