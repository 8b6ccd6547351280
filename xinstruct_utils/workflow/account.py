"""The whole account of a run's rows: what left one chapter is in its files, and is what the next chapter met.

Each chapter's own sums are checked where they are made (`artifacts.Step.count`); here the chapters are tied together.
"""


from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.shards import rows_in

# chapter: (the stage by which its rows leave, the files that hold them, the chapter whose rows come in there)
LINKS = {"01_seed_data": ("split", ("d0x.jsonl", "d0r.jsonl"), None), "02_corpus": ("cleaning", ("corpus",), None),
         "03_backtranslation": ("candidates", ("candidates.jsonl",), "02_corpus"),
         "04_refinement": ("kept candidates", ("kept.jsonl",), "03_backtranslation"),
         "05_diversification": ("sampled", ("x_instruction.jsonl",), "04_refinement")}


def whole(step, iterations):
    """The counts of chapters 01 to 05, [{chapter, round, stage, in, out, dropped}], tied to each other and to their files.

    Raises InputError where a row got lost in a file or between two chapters.
    """
    told, left = [], {}
    for name, (stage, files, source) in LINKS.items():
        for k in range(1, iterations + 1) if name == "04_refinement" else [None]:
            home = step.input(name, "manifest.json", iteration=k).parent
            counts = read_json(home / "manifest.json")["counts"]
            link = next(c for c in counts if c["stage"] == stage)
            found = sum(rows_in(home / file) for file in files)
            if found != link["out"]:
                raise InputError(f"{name}: {link['out']} rows left the stage {stage!r}, but {found} are in {', '.join(files)} of "
                                 f"{home}; run that step again with --force")
            if source and link["in"] != left[source]:
                raise InputError(f"{name}: {link['in']} rows came in, but {left[source]} left {source}; run both again")
            left[name] = link["out"]
            told += [{"chapter": name, "round": k or "", **c} for c in counts]
    return told
