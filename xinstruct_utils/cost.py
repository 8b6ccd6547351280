"""What a run would cost: GPU-hours, disk and USD, before anything runs (`make plan`). An estimate, from a small model.

Tokens of each step come from the profile's sizes and the paper's mean lengths (Tables 2 and 8); a forward pass is 2 FLOP a
weight and token, training 6 (4 where only adapters learn); time is FLOP over a sustained rate, measured by `make bench` on a
GPU, or else assumed.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

from . import artifacts, config, languages
from .artifacts import REPO, InputError

# Sustained TFLOP/s where nothing was measured: 40% and 50% of an A100's 312, and 5% while writing, which waits for memory;
# of one CPU core, with the Atlas's small model (LOG.md).
ASSUMED = {"gpu": {"train": 125.0, "read": 156.0, "write": 15.6}, "cpu": {"train": 0.045, "read": 0.04, "write": 0.02}}
CHARS = {"Latn": 2.5}                   # characters a token; 1.0 in scripts that a base model mostly spells in bytes
INSTRUCTION = 30                        # tokens
ATLAS = {"output": 55, "instruction": 12}
GOOGLE_USD = 20.0                       # a million characters, as of 2026; look the price up


def parameters(model):
    """Weights of a base model: counted in its files, or read off its name ("Llama-2-7b"). Raises InputError."""
    from .atlas import BASE_MODEL

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


def rates(folder=REPO / "benchmarks" / "results", gpu=True):
    """({"train", "read", "write"} in TFLOP/s, where they are from): the newest measurement of a GPU, or what is assumed."""
    kind = "gpu" if gpu else "cpu"
    found = dict(ASSUMED[kind])
    if not gpu:
        return found, "assumed: one core of a CPU"
    files = [p for p in Path(folder).glob("gpu-*.json") if "tiny-model" not in p.name]
    told = max(map(artifacts.read_json, files), key=lambda t: t.get("date", ""), default=None)
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
    chars = artifacts.paper_numbers()["table2"].get(lang, {"output": [1000]})["output"][0]
    return round(chars / CHARS.get(languages.get(lang).script, 1.0)), INSTRUCTION


def corpus_texts(profile):
    """How many texts of a language a run reads. Files of one's own are not opened for this: `corpus_size` stands for them."""
    return profile.corpus_size if profile.source == "atlas" else profile.corpus_sample or profile.corpus_size


def steps(profile, lang):
    """The heavy work of one language: rows {step, kind, tokens, passes}, kind "train", "read" or "write"."""
    p, (out, ins) = profile, lengths(profile, lang)
    texts = corpus_texts(p)
    pair, d0r = out + ins, max(1, p.seed_size - p.d0x_size)
    ratings = d0r * (1 + p.damaged_per_pair + p.follower_per_pair + p.mismatched_per_pair)
    made = [("03 train generator", "train", p.seed_size * pair, p.generator_epochs),
            ("03 write instructions", "read", texts * out, 1), ("03 write instructions", "write", texts * ins, 1)]
    for k in range(1, p.iterations + 1):
        rows = p.d0x_size + (p.keep if k > 1 else 0)
        made += [(f"04 round {k}: train follower", "train", rows * pair, p.follower_epochs),
                 (f"04 round {k}: its answers", "write", d0r * p.follower_per_pair * out, 1),
                 (f"04 round {k}: train evaluator", "train", ratings * pair, p.evaluator_epochs * p.evaluators),
                 (f"04 round {k}: rate", "read", texts * pair, p.evaluators + (k == 1))]
    made += [("08 train three models", "train", (3 * p.seed_size + 2 * p.final_size) * pair, p.follower_epochs),
             ("09 answers", "write", prompts(p) * 7 * out, 1)]
    return [{"step": name, "kind": kind, "tokens": tokens, "passes": passes} for name, kind, tokens, passes in made]


def prompts(profile):
    """How many questions the judge gets: the Atlas's own, or those of the benchmark files that are there."""
    files = [Path(f) for f in profile.benchmarks]
    return profile.prompt_count if profile.source == "atlas" else sum(
        sum(1 for _ in open(f, "rb")) for f in files if f.exists())


def flops(row, weights, adapters=False):
    """FLOP of a step."""
    return row["tokens"] * row["passes"] * weights * (2 if row["kind"] != "train" else 4 if adapters else 6)


def usd(profile, lang):
    """What is paid for one language: {what: USD}. Judging counts nine comparisons in both orders (chapter 9)."""
    out, ins = lengths(profile, lang)
    judged = 0.0 if profile.judge_by == "oracle" else prompts(profile) * 18 * (
        (2 * out + ins + 300) * profile.judge_price_in + profile.judge_max_tokens * profile.judge_price_out) / 1e6
    chars = artifacts.paper_numbers()["table2"].get(lang, {"output": [1000]})["output"][0]
    seeds = profile.seed_size * chars * GOOGLE_USD / 1e6 if profile.seed_translator.startswith("google") else 0.0
    return {"judge": judged, "translation of seed data": seeds}


def disk(profile, lang, weights):
    """Bytes for one language: models in half precision, and the rows of the corpus as they pass through the steps."""
    out, ins = lengths(profile, lang)
    texts = corpus_texts(profile)
    models = 1 + profile.iterations * (1 + profile.evaluators) + 3
    row = 4 * out + 4 * ins + 150                   # about four bytes a token, and what JSON adds
    return 2 * weights * models + texts * row * (3 + 3 * profile.iterations)


def estimate(profile):
    """({"steps": rows with hours, "hours", "gb", "usd"}, where the rates are from); sums over the profile's languages."""
    weights, gpu = parameters(profile.base_model), profile.base_model != "atlas"
    rate, origin = rates(gpu=gpu)
    table = {}
    for lang in profile.languages:
        for row in steps(profile, lang):
            told = table.setdefault(row["step"], {"step": row["step"], "tokens": 0, "hours": 0.0})
            told["tokens"] += row["tokens"] * row["passes"]
            told["hours"] += flops(row, weights, profile.lora_rank > 0) / rate[row["kind"]] / 1e12 / 3600
    paid = [usd(profile, lang) for lang in profile.languages]
    return {"steps": list(table.values()), "hours": sum(r["hours"] for r in table.values()), "weights": weights,
            "gb": sum(disk(profile, lang, weights) for lang in profile.languages) / 1e9,
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
          + (" (no benchmarks named, so nothing is judged)" if not prompts(profile) else ""))


def main(argv=None):
    """Command line, with the variables of `make plan`."""
    parser = argparse.ArgumentParser(prog="python -m xinstruct_utils.cost", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--profile")
    parser.add_argument("--langs", default="")
    parser.add_argument("--set", default="", help="key=value ...")
    args = parser.parse_args(argv)
    try:
        given = config.parse_overrides([*shlex.split(args.set), *([f"languages={args.langs}"] if args.langs else [])])
        show(config.resolve(args.run, args.profile, given))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
