"""What a run would cost: GPU-hours, disk and USD, before anything runs (`make plan`). An estimate, from a small model.

Tokens of each step come from the profile's sizes and the paper's mean lengths (Tables 2 and 8); a forward pass is 2 FLOP a
weight and token, training 6 (4 where only adapters learn); time is FLOP over a sustained rate: the profile's `gpu_tflops`, else
measured by `make bench` on a GPU, else assumed.
"""

import json
import re
from pathlib import Path

from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.config.runs import open_run, resolve_call
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.evaluation import tasks
from xinstruct_utils.method import seeds
from xinstruct_utils.method.translation import GOOGLE_USD
from xinstruct_utils.workflow.chapters import of_run, steps_of
from xinstruct_utils.workflow.staleness import stale_steps

# Sustained TFLOP/s where nothing was measured: 40% and 50% of an A100's 312, and 5% while writing, which waits for memory;
# of one CPU core, with the Atlas's small model (LOG.md).
ASSUMED = {"gpu": {"train": 125.0, "read": 156.0, "write": 15.6}, "cpu": {"train": 0.045, "read": 0.04, "write": 0.02}}
CHARS = {"Latn": 2.5}                   # characters a token; 1.0 in scripts that a base model mostly spells in bytes
INSTRUCTION = 30                        # tokens
ATLAS = {"output": 55, "instruction": 12}
# Items of a task's test set times the choices that are read; XCOPA is asked in three readings.
CHOICES = {"xnli": 5010 * 3, "xcopa": 500 * 2 * 3, "xstorycloze": 1511 * 2}
ITEM, MODELS = 60, 4                    # tokens of a choice with its premise; base, refined, unrefined and seed are asked


def parameters(model):
    """Weights of a base model: counted in its files, or read off its name ("Llama-2-7b"). Raises InputError."""
    folder = BASE_MODEL if model == "atlas" else Path(model)
    total = 0
    for file in folder.glob("*.safetensors"):
        with open(file, "rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for n in tensor["shape"]:
                    size *= n
                total += size
    if total:
        return total
    told = re.search(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", Path(model).name.lower())
    if not told:
        raise InputError(f"base_model {model!r}: its size is not known here: expected a folder with safetensors, or a name with "
                         "its size, such as Llama-2-7b-hf")
    return round(float(told[1]) * {"b": 1e9, "m": 1e6}[told[2]])


def rates(folder=REPO / "benchmarks" / "results", gpu=True, given=0.0):
    """({"train", "read", "write"} in TFLOP/s, where they are from): given, or the newest measurement of a GPU, or assumed.

    A rate that is given is that of training and reading; a tenth of it is taken for writing, as in `ASSUMED`.
    """
    kind = "gpu" if gpu else "cpu"
    found = dict(ASSUMED[kind])
    if given:
        return {"train": given, "read": given, "write": given / 10}, f"given: gpu_tflops is {given:g}"
    if not gpu:
        return found, "assumed: one core of a CPU"
    files = [p for p in Path(folder).glob("gpu-*.json") if "tiny-model" not in p.name]
    told = max(map(read_json, files), key=lambda t: t.get("date", ""), default=None)
    if not told:
        return found, "assumed: an A100; measure yours with python benchmarks/gpu.py"
    parts, peak = told["parts"], told["parts"].get("product", {}).get("tflops")
    for name, part in (("train", "sft_full"), ("read", "rating"), ("write", "generation")):
        share = parts.get(part, {}).get("mfu" if name == "train" else "share_of_peak")
        found[name] = peak * share if peak and share else found[name]
    return found, f"measured: {told['machine']['device']}, {told.get('date', '')}"


def lengths(profile, lang):
    """Mean tokens of an output and of an instruction."""
    if profile.source == "atlas":
        return ATLAS["output"], ATLAS["instruction"]
    chars = paper_numbers()["table2"].get(lang, {"output": [1000]})["output"][0]
    return round(chars / CHARS.get(languages.get(lang).script, 1.0)), INSTRUCTION


def corpus_texts(profile):
    """How many texts of a language a run reads. Files of one's own are not opened for this: `corpus_size` stands for them."""
    return profile.corpus_size if profile.source == "atlas" else profile.corpus_sample or profile.corpus_size


def steps(profile, lang):
    """The heavy work of one language: rows {step, kind, tokens, passes}, kind "train", "read" or "write"."""
    p, (out, ins) = profile, lengths(profile, lang)
    texts = corpus_texts(p)
    pair, (d0x, d0r) = out + ins, map(len, seeds.split_seed([{"id": str(k)} for k in range(p.seed_size)], p.d0x_size, 0))
    made_of = p.true_per_pair + p.damaged_per_pair + p.follower_per_pair + p.mismatched_per_pair
    ratings = (d0r - min(p.held_out_pairs, d0r // 4)) * made_of
    made = [("03 train generator", "train", p.seed_size * pair, p.generator_epochs),
            ("03 write instructions", "read", texts * out, 1), ("03 write instructions", "write", texts * ins, 1)]
    for k in range(1, p.iterations + 1):
        rows = d0x + (p.keep if k > 1 else 0)
        made += [(f"04 round {k}: train follower", "train", rows * pair, p.follower_epochs),
                 (f"04 round {k}: its answers", "write", d0r * p.follower_per_pair * out, 1),
                 (f"04 round {k}: train evaluator", "train", ratings * pair, p.evaluator_epochs * p.evaluators),
                 (f"04 round {k}: rate", "read", texts * pair, p.evaluators + (k == 1 and p.source == "atlas"))]
    asked, others, limit = prompts(p, lang), [named.partition("=")[2] for named in p.baselines], p.task_limit or 10**9
    rows = 3 * p.seed_size + 2 * p.final_size + lines(others, lang)
    items = sum(min(n, 3 * limit) for f, n in CHOICES.items() if any(t.startswith(f"{f}_") for t in tasks.covered(p.tasks, lang)))
    if p.source == "atlas":
        items += 3 * limit * len(p.tasks)
    last = [("08_instruction_tuning", "tune models", "train", rows * pair, p.follower_epochs),
            ("09_judge_evaluation", "answers", "write", asked * (2 * (3 + len(others)) + 1) * out, 1),
            ("10_task_evaluation", "tasks", "read", items * ITEM, MODELS),
            ("12_ablations", "answers", "write", (p.iterations * asked + 4 * min(asked, 150)) * out, 1)]
    made += [(f"{name[:2]} {what}", *more) for name, what, *more in last if name in {chapter.name for chapter in of_run(p)}]
    return [{"step": name, "kind": kind, "tokens": tokens, "passes": passes} for name, kind, tokens, passes in made if tokens]


def lines(files, lang):
    """Lines of those files that are there; {lang} in a name is the language."""
    paths = [Path(str(f).replace("{lang}", lang)) for f in files]
    return sum(sum(1 for _ in open(path, "rb")) for path in paths if path.exists())


def prompts(profile, lang):
    """How many questions the judge gets: the Atlas's own, or those of the benchmark files that are there."""
    return profile.prompt_count if profile.source == "atlas" else lines(profile.benchmarks, lang)


def flops(row, weights, adapters=False):
    """FLOP of a step."""
    return row["tokens"] * row["passes"] * weights * (2 if row["kind"] != "train" else 4 if adapters else 6)


def usd(profile, lang):
    """What is paid for one language: {what: USD}. Chapter 9 compares models in both orders, and asks for the three views of
    each; replies are counted at their longest."""
    p, (out, ins) = profile, lengths(profile, lang)

    def paid(n, tokens_in, tokens_out, by="judge"):
        return n * (tokens_in * getattr(p, f"{by}_price_in") + tokens_out * getattr(p, f"{by}_price_out")) / 1e6

    # Three pairs, sampled (and greedy); each model against an opponent of outside; the zero-shot answers twice.
    models, outside = 3 + len(p.baselines) + len(p.others), p.opponent not in ("refined", "unrefined", "seed")
    contests = 3 + 3 * p.judge_greedy + (models if outside else models - 3) + 2 + len(p.others)
    asked = prompts(p, lang) if p.judge_by == "openai" else 0
    chars = paper_numbers()["table2"].get(lang, {"output": [1000]})["output"][0]
    seeds = {"google": p.seed_size * chars * GOOGLE_USD / 1e6,
             "openai": paid(p.seed_size, out + 100, out, "translator" if p.translator_base_url else "judge")}
    return {"judge": paid(asked * 2 * contests, 2 * out + ins + 300, p.judge_max_tokens),
            "three views": paid(asked * (models + 1 + outside), out + ins + 300, p.judge_max_tokens),
            "translation of prompts": paid(asked if p.translator_model else 0, ins + 100, 3 * ins),
            "translation of seed data": seeds.get(p.seed_translator.partition(":")[0], 0.0)}


def disk(profile, lang, weights, tuned):
    """Bytes for one language: models in half precision, and the rows of the corpus as they pass through the steps."""
    out, ins = lengths(profile, lang)
    texts = corpus_texts(profile)
    models = 1 + profile.iterations * (1 + profile.evaluators)
    row = 4 * out + 4 * ins + 150                   # about four bytes a token, and what JSON adds
    return (2 * weights * models + 2 * tuned * (3 + len(profile.baselines))
            + texts * row * (3 + 3 * profile.iterations))


def checkpoints(profile, weights):
    """Bytes that a training holds while it runs: its weights in the end, and before that two checkpoints with weights, and
    with a master copy and two moments in float32; adapters are small."""
    return weights * (0 if profile.lora_rank else 4 + 2 * 14 * (profile.save_steps > 0))


def estimate(profile):
    """({"steps": rows with hours, "hours", "gb", "usd"}, where the rates are from); sums over the profile's languages."""
    weights, gpu = parameters(profile.base_model), profile.base_model != "atlas"
    tuned = parameters(profile.tuned_model or profile.base_model)
    rate, origin = rates(gpu=gpu, given=profile.gpu_tflops)
    table = {}
    for lang in profile.languages:
        for row in steps(profile, lang):
            told = table.setdefault(row["step"], {"step": row["step"], "tokens": 0, "hours": 0.0})
            told["tokens"] += row["tokens"] * row["passes"]
            size = weights if row["step"] < "08" else tuned
            told["hours"] += flops(row, size, profile.lora_rank > 0) / rate[row["kind"]] / 1e12 / 3600
    paid = [usd(profile, lang) for lang in profile.languages]
    return {"steps": list(table.values()), "hours": sum(r["hours"] for r in table.values()), "weights": weights,
            "gb": (sum(disk(profile, lang, weights, tuned) for lang in profile.languages)
                   + checkpoints(profile, max(weights, tuned))) / 1e9,
            "usd": {k: sum(p[k] for p in paid) for k in paid[0]}}, origin


def show(profile):
    """Print the estimate."""
    told, origin = estimate(profile)
    unit = "core-hours" if profile.base_model == "atlas" else "GPU-hours"
    print(f"\nEstimate for {', '.join(profile.languages)}, {told['weights'] / 1e6:,.1f} M weights (rates {origin}):")
    for row in told["steps"]:
        print(f"  {row['step']:32} {row['tokens'] / 1e6:12,.2f} M tokens {row['hours']:12,.3f} {unit}")
    print(f"  {'in all':32} {'':21} {told['hours']:12,.3f} {unit}")
    if profile.source == "files" and not profile.corpus_sample:
        print(f"  for {corpus_texts(profile):,} texts a language (corpus_size; your files were not counted)")
    print(f"  disk {told['gb']:,.2f} GB; paid: " + ", ".join(f"{k} ${v:,.2f}" for k, v in told["usd"].items())
          + ("" if any(prompts(profile, lang) for lang in profile.languages) else " (no benchmarks named: nothing is judged)"))


def arguments(parser):
    """Arguments of `plan`: the variables of `make plan`."""
    parser.add_argument("--run", required=True)
    parser.add_argument("--profile")
    parser.add_argument("--langs", default="")
    parser.add_argument("--set", default="", help="key=value ...")


def command(args):
    """Print the steps that would run and why, and what they would cost."""
    profile = resolve_call(args.run, args.profile, args.langs, args.set)
    open_run(args.run, profile, note=False)      # a run made with other settings is refused, as `make run` would
    stale = stale_steps(args.run, profile)
    for step, reason in stale.items():
        print(f"{step}: {reason}")
    print(f"{len(stale)} of {len(steps_of(profile))} steps to run")
    show(profile)
