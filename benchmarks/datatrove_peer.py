"""datatrove's near-duplicates, for `peers.py`: run by a Python that has datatrove (see there).

`python benchmarks/datatrove_peer.py FOLDER BANDS HASHES WORDS`: for each line that comes, finds
the near-duplicates of FOLDER/texts/*.jsonl (rows with "id" and "text") in datatrove's four steps,
with so many bands, hashes in each and words in a shingle, and answers with the number of rows that
stay.
"""

import logging
import shutil
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig


def kept(folder: Path, bands: int, hashes: int, words: int) -> int:
    """Rows that are no near-duplicate of an earlier one."""
    config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=bands,
                           hashes_per_bucket=hashes, n_grams=words)
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    parts = {name: str(work / name) for name in ("signatures", "buckets", "remove", "out")}

    def run(name: str, *pipeline: object, tasks: int = 1) -> None:
        """One step after the other, in this process."""
        LocalPipelineExecutor(pipeline=list(pipeline), tasks=tasks, workers=1,
                              logging_dir=str(work / f"log-{name}")).run()

    texts = JsonlReader(str(folder / "texts"), glob_pattern="*.jsonl")
    run("signatures", texts, MinhashDedupSignature(parts["signatures"], config=config))
    run("buckets", MinhashDedupBuckets(parts["signatures"], parts["buckets"], config=config),
        tasks=bands)
    run("clusters", MinhashDedupCluster(parts["buckets"], parts["remove"], config=config))
    run("filter", texts, MinhashDedupFilter(parts["remove"]),
        JsonlWriter(parts["out"], compression=None))
    return sum(len(file.read_text(encoding="utf-8").splitlines())
               for file in Path(parts["out"]).glob("*"))


def main() -> None:
    """Answer each line of the input."""
    logging.disable()
    answers, sys.stdout = sys.stdout, sys.stderr     # datatrove prints what it did
    folder, *numbers = sys.argv[1:]
    for _ in sys.stdin:
        print(kept(Path(folder), *map(int, numbers)), file=answers, flush=True)


if __name__ == "__main__":
    main()
