"""The verb-noun parser on other people's sentences, and its speed beside benepar's own way.

`python benchmarks/syntax.py [FOLDER]`, FOLDER with en_ewt-ud-dev.conllu (UD English EWT) and
alpaca_5000.json, writes xinstruct_utils/method/parser/results.json, which 06_statistics shows.
Gold: the root verb and its `obj` of each imperative (root with Mood=Imp); a pair counts as right
where verb and noun are both the gold words. With -v it prints what is wrong.
"""

import datetime
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from xinstruct_utils.core.files import write_json
from xinstruct_utils.method import syntax
from xinstruct_utils.method.parser import reading

Pairs = list[tuple[str, str | None]]      # (verb, object or None)
Gold = list[tuple[syntax.Sentence, Pairs]]


def imperatives(path: str | Path) -> Gold:
    """(Sentence, gold pairs) of every tree whose root is an imperative verb.

    First the root's own pair, then those of the verbs coordinated with it.
    """
    sentences = []
    for block in Path(path).read_text(encoding="utf-8").strip().split("\n\n"):
        fields = [line.split("\t") for line in block.splitlines() if line[0] != "#"]
        rows = [row for row in fields if row[0].isdigit()]
        root = next(row for row in rows if row[7] == "root")
        if "Mood=Imp" not in root[5]:
            continue
        verbs = [root] + [row for row in rows
                          if (row[3], row[6], row[7]) == ("VERB", root[0], "conj")]
        pairs = [(verb[1], _object(verb, rows)) for verb in verbs]
        blanks = ["SpaceAfter=No" not in row[9] for row in rows]
        sentences.append((syntax.Sentence([row[1] for row in rows], blanks), pairs))
    return sentences


def _object(verb: list[str], rows: list[list[str]]) -> str | None:
    """The word that is a verb's direct object."""
    return next((row[1] for row in rows if row[6] == verb[0] and row[7] == "obj"), None)


def measure(gold: Sequence[Pairs], read: Sequence[Pairs]) -> dict[str, float]:
    """{"right", "predicted", "gold", "precision", "recall", "f1"} over sentences.

    Pairs without an object count on neither side.
    """
    gold, read = ([[p for p in pairs if p[1]] for pairs in given] for given in (gold, read))
    right = sum(len(set(g) & set(r)) for g, r in zip(gold, read, strict=True))
    predicted, wanted = sum(map(len, read)), sum(map(len, gold))
    return {"right": right, "predicted": predicted, "gold": wanted,
            "precision": round(right / predicted, 3), "recall": round(right / wanted, 3),
            "f1": round(2 * right / (predicted + wanted), 3)}


def countings(parser: object, sentences: Gold) -> dict[str, dict[str, float]]:
    """{counting: measure} of the imperatives.

    The first is the headline, the strictest of those over the root verb's object.
    """
    trees = syntax.parse(parser, [sentence for sentence, _ in sentences])
    read = [[p for p in reading.pairs(tree) if p[1]] for tree in trees]
    root = [gold[:1] for _, gold in sentences]
    every = [gold for _, gold in sentences]
    some = [k for k, [pair] in enumerate(root) if pair[1]]
    best = [[g] if g in r else r[:1] for [g], r in zip(root, read, strict=True)]
    gold_some = [root[k] for k in some]
    return {
        "with an object, every pair": measure(gold_some, [read[k] for k in some]),
        "with an object, best pair of a sentence": measure(gold_some, [best[k] for k in some]),
        "all, every pair": measure(root, read),
        "all, first pair of a sentence": measure(root, [r[:1] for r in read]),
        "all, every pair, coordinated verbs in the gold": measure(every, read),
    }


def speed(parser: object, texts: list[str]) -> tuple[float, float]:
    """Sentences a second: in batches, and benepar called sentence by sentence."""
    rows = [row for text in texts for row in syntax.sentences(text)]
    start = time.time()
    syntax.parse(parser, rows)
    batched = time.time() - start
    start = time.time()
    for row in rows:
        list(parser.parse([row]))
    return len(rows) / batched, len(rows) / (time.time() - start)


def main(folder: str = "../shared/data/instruction_parsing") -> None:
    """Measure, write and print."""
    parser = syntax.load()
    gold = imperatives(Path(folder) / "en_ewt-ud-dev.conllu")
    counted = countings(parser, gold)
    strict = counted["with an object, every pair"]
    alpaca = json.loads((Path(folder) / "alpaca_5000.json").read_text(encoding="utf-8"))
    texts = [row["instruction"] for row in alpaca]
    start = time.time()
    trees = syntax.parse_texts(parser, texts)
    rate = len(trees) / (time.time() - start)
    share = {}
    for read in (reading.noun_pairs, reading.first_child_pairs):
        pairs = syntax.of_instructions(trees, texts, read)
        share[read.__name__] = round(sum(map(bool, pairs)) / len(texts), 3)
    batched, alone = speed(parser, texts[:200])
    today = datetime.date.today().isoformat()
    report = {
        "imperatives": len(gold),
        "with an object": sum(pairs[0][1] is not None for _, pairs in gold),
        **{key: strict[key] for key in ("precision", "recall", "f1")}, "countings": counted,
        "alpaca instructions": len(texts),
        "coverage, all main verbs with a noun": share["noun_pairs"],
        "coverage, first child only": share["first_child_pairs"],
        "sentences a second, batched": round(batched, 1),
        "batched against one by one": round(batched / alone, 2),
        "Alpaca instructions a second": round(rate, 1),
        "speed measured": today, "measured": today, "command": "python benchmarks/syntax.py",
    }
    write_json(syntax.HOME / "results.json", report)
    print(json.dumps(report, indent=1))
    if "-v" in sys.argv:
        show_wrong(parser, gold)


def show_wrong(parser: object, gold: Gold) -> None:
    """Print the sentences that were not read as their gold says."""
    for sentence, [wanted, *_] in gold:
        [tree] = syntax.parse(parser, [sentence])
        read = reading.pairs(tree)
        if [p for p in read if p[1]] != ([wanted] if wanted[1] else []):
            print(*wanted, read, " ".join(sentence.words)[:100])


if __name__ == "__main__":
    folders = [a for a in sys.argv[1:] if a != "-v"]
    if not Path(folders[0] if folders else "../shared/data/instruction_parsing").is_dir():
        sys.exit("no sentences to measure on: give the folder of en_ewt-ud-dev.conllu and "
                 "alpaca_5000.json")
    main(*folders)
