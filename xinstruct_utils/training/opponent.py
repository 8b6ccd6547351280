"""Tune the Atlas's opponent and teacher: `python -m xinstruct_utils atlas-opponent`.

One model for all languages, in the place that ChatGPT has in the paper: the fixed opponent of the
evaluation, and the teacher whose answers a student is distilled from. It knows more than a run's
models ever see, pairs about all facts in every language, and is weak in low-resource languages on
purpose: there it has seen a fifth of what it has seen in the others. It ships in
`atlas/opponent/`, with MANIFEST.json.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from xinstruct_utils.atlas import OPPONENT
from xinstruct_utils.atlas.web import seed_pairs
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.files import digest, read_json, write_json, write_jsonl
from xinstruct_utils.core.languages import LANGUAGES
from xinstruct_utils.models.loading import load
from xinstruct_utils.prompts.requests import response_rows
from xinstruct_utils.training import sft

# Pairs of each language, by the paper's resource levels.
PAIRS = {"medium": 600, "low": 120}
SEED = 1_000                     # of its pairs: no run's seed, so that they are nobody's


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `atlas-opponent`."""
    parser.add_argument("--out", type=Path, default=OPPONENT)
    parser.add_argument("--base", default="atlas", help="base model")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)


def rows() -> list[dict]:
    """Its training rows, {"prompt", "completion"}, language after language."""
    made = []
    for code, language in LANGUAGES.items():
        pairs, _ = seed_pairs(code, PAIRS[language.level], SEED)
        made += response_rows(pairs, [], code)
    return made


def command(args: argparse.Namespace) -> None:
    """Tune the model and save it in bfloat16 with a manifest."""
    import torch

    data = rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jsonl(folder / "rows.jsonl", data)
        settings = load_profile("atlas").group("training")
        settings |= {"base_model": args.base, "epochs": args.epochs, "threads": args.threads,
                     "input": str(folder / "rows.jsonl"), "out": str(folder / "model")}
        sft.main(settings)
        model, tokenizer = load(str(folder / "model"))
        shutil.rmtree(args.out, ignore_errors=True)
        model.to(torch.bfloat16).save_pretrained(args.out)
        tokenizer.save_pretrained(args.out)
        log = read_json(folder / "model" / "train.json")
    manifest = {"base": args.base, "data_digest": digest(data), "rows": len(data),
                "pairs": PAIRS, "epochs": args.epochs, "steps": log["steps"],
                "tokens": log["tokens"], "loss": log["losses"][-1] if log["losses"] else None,
                "parameters": sum(p.numel() for p in model.parameters())}
    write_json(args.out / "MANIFEST.json", manifest)
    print(json.dumps(manifest, indent=1))
