"""Train the packaged parser: `python -m xinstruct_utils train-parser` (some minutes on one core)."""

import random
import re
import time
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_json
from xinstruct_utils.method.syntax import HOME, Sentence, chart_parser, shipped


def treebank(path=HOME / "treebank.txt"):
    """The trees of a treebank file, one a line: brackets with labels, leaves as word/TAG. Raises InputError."""
    import nltk

    trees = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            trees.append(nltk.Tree.fromstring("(TOP " + re.sub(r"([^\s()]+)/([^\s()/]+)", r"(\2 \1)", line) + ")"))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: expected a tree in brackets, but: {error}") from None
    return trees


def main(epochs=28, lr=1e-3, encoder_lr=1e-4, batch=16, seed=0):
    """Train the packaged parser on the treebank (two minutes on one core) and write parser/model.safetensors, config.json."""
    import torch
    from benepar.decode_chart import ChartDecoder
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    trees, rng = treebank(), random.Random(seed)
    tags = {tag: i for i, tag in enumerate(["UNK", *sorted({tag for tree in trees for _, tag in tree.pos()})])}
    parser, rows = chart_parser(tags, labels := ChartDecoder.build_vocab(trees)), [Sentence(t.leaves(), tree=t) for t in trees]
    groups = [[p for n, p in parser.named_parameters() if p.requires_grad and n.startswith("pretrained") == tuned]
              for tuned in (False, True)]
    optimizer = torch.optim.AdamW([{"params": g, "lr": r} for g, r in zip(groups, (lr, encoder_lr), strict=True)])
    steps = epochs * -(-len(rows) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [lr, encoder_lr], total_steps=steps + 1, pct_start=0.1)
    start = time.time()
    for epoch in range(1, epochs + 1):
        rng.shuffle(rows)
        for i in range(0, len(rows), batch):
            optimizer.zero_grad()
            for _, part in parser.train().encode_and_collate_subbatches(rows[i:i + batch], 4000):
                parser.compute_loss(part).backward()
            torch.nn.utils.clip_grad_norm_([*groups[0], *groups[1]], 1.0)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch}/{epochs} ETA {(time.time() - start) * (epochs / epoch - 1):.0f} s", flush=True)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in shipped(parser).items()}, HOME / "model.safetensors")
    write_json(HOME / "config.json", {"tags": tags, "labels": labels, "trees": len(trees), "epochs": epochs, "seed": seed})



def arguments(parser):
    """Arguments of `train-parser`."""
    parser.add_argument("--epochs", type=int, default=28)
    parser.add_argument("--seed", type=int, default=0)


def command(args):
    """Train the packaged parser."""
    main(args.epochs, seed=args.seed)
