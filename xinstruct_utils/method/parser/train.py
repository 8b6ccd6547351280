"""Train the packaged parser: `python -m xinstruct_utils train-parser` (minutes on one core)."""

import argparse
import random
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_json
from xinstruct_utils.method.syntax import HOME, Sentence, chart_parser, shipped

if TYPE_CHECKING:
    import nltk
    import torch

LEARNING_RATE = 1e-3
ENCODER_LEARNING_RATE = 1e-4
BATCH = 16     # sentences


def treebank(path: Path = HOME / "treebank.txt") -> list["nltk.Tree"]:
    """The trees of a treebank file, one a line: brackets with labels, leaves as word/TAG.

    Raises InputError that names the line.
    """
    import nltk

    trees = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        bracketed = re.sub(r"([^\s()]+)/([^\s()/]+)", r"(\2 \1)", line)
        try:
            trees.append(nltk.Tree.fromstring(f"(TOP {bracketed})"))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: expected a tree in brackets, but: {error}"
                             ) from None
    return trees


def _optimizer(parser: "torch.nn.Module", steps: int) -> tuple[
        "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"]:
    """AdamW with a smaller rate for the encoder's layer, and its schedule over `steps`."""
    import torch

    rates = {False: LEARNING_RATE, True: ENCODER_LEARNING_RATE}
    groups = []
    for of_encoder, rate in rates.items():
        weights = [weight for name, weight in parser.named_parameters()
                   if weight.requires_grad and name.startswith("pretrained") == of_encoder]
        groups.append({"params": weights, "lr": rate})
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, list(rates.values()), total_steps=steps + 1, pct_start=0.1)
    return optimizer, schedule


def train(epochs: int, seed: int) -> None:
    """Train on the treebank; writes parser/model.safetensors and config.json."""
    import torch
    from benepar.decode_chart import ChartDecoder
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    trees = treebank()
    names = sorted({tag for tree in trees for _, tag in tree.pos()})
    tags = {tag: i for i, tag in enumerate(["UNK", *names])}
    labels = ChartDecoder.build_vocab(trees)
    parser = chart_parser(tags, labels)
    rows = [Sentence(tree.leaves(), tree=tree) for tree in trees]
    _fit(parser, rows, epochs, random.Random(seed))
    weights = {name: weight.half() if weight.is_floating_point() else weight
               for name, weight in shipped(parser).items()}
    save_file(weights, HOME / "model.safetensors")
    write_json(HOME / "config.json", {"tags": tags, "labels": labels, "trees": len(trees),
                                      "epochs": epochs, "seed": seed})


def _fit(parser: Any, rows: list[Sentence], epochs: int, rng: random.Random) -> None:
    """The training loop, with a line for each epoch."""
    import torch

    optimizer, schedule = _optimizer(parser, epochs * -(-len(rows) // BATCH))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    start = time.time()
    for epoch in range(1, epochs + 1):
        rng.shuffle(rows)
        for i in range(0, len(rows), BATCH):
            optimizer.zero_grad()
            parts = parser.train().encode_and_collate_subbatches(rows[i:i + BATCH], 4000)
            for _, part in parts:
                parser.compute_loss(part).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
        left = (time.time() - start) * (epochs / epoch - 1)
        print(f"epoch {epoch}/{epochs} ETA {left:.0f} s", flush=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train-parser`."""
    parser.add_argument("--epochs", type=int, default=28)
    parser.add_argument("--seed", type=int, default=0)


def command(args: argparse.Namespace) -> None:
    """Train the packaged parser."""
    train(args.epochs, args.seed)
