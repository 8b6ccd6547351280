"""The verb-noun parser on other people's sentences, and its speed beside benepar called sentence by sentence.

`python benchmarks/syntax.py [FOLDER]`, FOLDER with en_ewt-ud-dev.conllu (UD English EWT) and alpaca_5000.json, writes
xinstruct_utils/parser/results.json, which 06_statistics shows. Gold: the root verb and its `obj` of each imperative (root
with Mood=Imp); a pair counts as right where verb and noun are both the gold words. With -v it prints what is wrong.
"""

import datetime
import json
import sys
import time
from pathlib import Path

from xinstruct_utils.core.files import write_json
from xinstruct_utils.method import syntax
from xinstruct_utils.method.parser import reading


def imperatives(path):
    """(Sentence, gold pairs) of every tree whose root is an imperative verb: first the root's own (verb, object or None), then
    those of the verbs coordinated with it."""
    made = []
    for block in Path(path).read_text(encoding="utf-8").strip().split("\n\n"):
        rows = [f for f in (line.split("\t") for line in block.splitlines() if line[0] != "#") if f[0].isdigit()]
        root = next(f for f in rows if f[7] == "root")
        if "Mood=Imp" in root[5]:
            verbs = [root, *(f for f in rows if f[6] == root[0] and f[7] == "conj" and f[3] == "VERB")]
            objects = [next((f[1] for f in rows if f[6] == verb[0] and f[7] == "obj"), None) for verb in verbs]
            blanks = ["SpaceAfter=No" not in f[9] for f in rows]
            made.append((syntax.Sentence([f[1] for f in rows], blanks), list(zip([v[1] for v in verbs], objects, strict=True))))
    return made


def measure(gold, read):
    """{"right", "predicted", "gold", "precision", "recall", "f1"} over sentences; both: lists of pairs, an object is a must."""
    gold, read = ([[p for p in found if p[1]] for found in given] for given in (gold, read))
    right = sum(len(set(g) & set(r)) for g, r in zip(gold, read, strict=True))
    predicted, wanted = sum(map(len, read)), sum(map(len, gold))
    return {"right": right, "predicted": predicted, "gold": wanted, "precision": round(right / predicted, 3),
            "recall": round(right / wanted, 3), "f1": round(2 * right / (predicted + wanted), 3)}


def countings(parser, sentences):
    """{counting: measure} of the imperatives; the first is the headline, the strictest of those over the root verb's object."""
    read = [[p for p in reading.pairs(tree) if p[1]] for tree in syntax.parse(parser, [s for s, _ in sentences])]
    root, every = [gold[:1] for _, gold in sentences], [gold for _, gold in sentences]
    some = [k for k, [pair] in enumerate(root) if pair[1]]
    best = [[g] if g in r else r[:1] for [g], r in zip(root, read, strict=True)]
    return {"with an object, every pair": measure([root[k] for k in some], [read[k] for k in some]),
            "with an object, best pair of a sentence": measure([root[k] for k in some], [best[k] for k in some]),
            "all, every pair": measure(root, read), "all, first pair of a sentence": measure(root, [r[:1] for r in read]),
            "all, every pair, coordinated verbs in the gold": measure(every, read)}


def main(folder="../shared/data/instruction_parsing"):
    parser, gold = syntax.load(), imperatives(Path(folder) / "en_ewt-ud-dev.conllu")
    counted = countings(parser, gold)
    texts = [row["instruction"] for row in json.loads((Path(folder) / "alpaca_5000.json").read_text(encoding="utf-8"))]
    start = time.time()
    trees = syntax.parse_texts(parser, texts)
    rate = len(trees) / (time.time() - start)
    share = {read.__name__: round(sum(map(bool, syntax.of_instructions(trees, texts, read))) / len(texts), 3)
             for read in (reading.noun_pairs, reading.first_child_pairs)}
    some = [row for text in texts[:200] for row in syntax.sentences(text)]
    start = time.time()
    syntax.parse(parser, some)
    batched = time.time() - start
    start = time.time()
    for row in some:
        list(parser.parse([row]))
    alone = time.time() - start
    today = datetime.date.today().isoformat()
    told = {"imperatives": len(gold), "with an object": sum(pairs[0][1] is not None for _, pairs in gold),
            **{k: counted["with an object, every pair"][k] for k in ("precision", "recall", "f1")}, "countings": counted,
            "alpaca instructions": len(texts), "coverage, all main verbs with a noun": share["noun_pairs"],
            "coverage, first child only": share["first_child_pairs"],
            "sentences a second, batched": round(len(some) / batched, 1),
            "batched against one by one": round(alone / batched, 2), "Alpaca instructions a second": round(rate, 1),
            "speed measured": today, "measured": today, "command": "python benchmarks/syntax.py"}
    write_json(syntax.HOME / "results.json", told)
    print(json.dumps(told, indent=1))
    for sentence, [wanted, *_] in gold if "-v" in sys.argv else []:
        [tree] = syntax.parse(parser, [sentence])
        if [p for p in reading.pairs(tree) if p[1]] != ([wanted] if wanted[1] else []):
            print(*wanted, reading.pairs(tree), " ".join(sentence.words)[:100])


if __name__ == "__main__":
    folders = [a for a in sys.argv[1:] if a != "-v"]
    if not Path(folders[0] if folders else "../shared/data/instruction_parsing").is_dir():
        sys.exit("no sentences to measure on: give the folder of en_ewt-ud-dev.conllu and alpaca_5000.json")
    main(*folders)
