"""datatrove's near-duplicates, for `peers.py`: run by a Python that has datatrove (see there).

`python benchmarks/datatrove_peer.py FOLDER`: for each line that comes, finds the near-duplicates of
FOLDER/texts/*.jsonl (rows with "id" and "text") in datatrove's four steps, with the same bands and
shingles as `data.cleaning`, and answers with the number of rows that stay.
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

BANDS, HASHES, SHINGLE = 14, 8, 5                # as data.cleaning's PERMUTATIONS and BANDS


def kept(folder: Path) -> int:
    """Rows that are no near-duplicate of an earlier one."""
    config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=BANDS,
                           hashes_per_bucket=HASHES, n_grams=SHINGLE)
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
        tasks=BANDS)
    run("clusters", MinhashDedupCluster(parts["buckets"], parts["remove"], config=config))
    run("filter", texts, MinhashDedupFilter(parts["remove"]),
        JsonlWriter(parts["out"], compression=None))
    return sum(len(file.read_text(encoding="utf-8").splitlines())
               for file in Path(parts["out"]).glob("*"))


def main() -> None:
    """Answer each line of the input."""
    logging.disable()
    answers, sys.stdout = sys.stdout, sys.stderr     # datatrove prints what it did
    for _ in sys.stdin:
        print(kept(Path(sys.argv[1])), file=answers, flush=True)


if __name__ == "__main__":
    main()
