"""Where runs and their steps lie."""

import os
import re
from pathlib import Path

from xinstruct_utils.core.errors import InputError

REPO = Path(__file__).resolve().parents[2]


def root() -> Path:
    """The folder of all runs: $XINSTRUCT_RUNS, or papermill_runs/ in the repository."""
    return Path(os.environ.get("XINSTRUCT_RUNS") or REPO / "papermill_runs").absolute()


def run_dir(run: str) -> Path:
    """Folder of a run. Raises InputError for a name that is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", run) or run == "published":
        raise InputError("a run needs a plain name of letters, digits, '_', '-' and '.', but "
                         f"{run!r} came (published/ is for `make publish`)")
    return root() / run


def step_dir(run: str, lang: str, notebook: str, iteration: int | None = None) -> Path:
    """Folder of a step: <run>/<lang>/<notebook>[/iter<k>]."""
    home = run_dir(run) / lang / notebook
    return home / f"iter{iteration}" if iteration else home


def hashes_dir(run: str) -> Path:
    """Where a run notes the hashes of large files (`core.files.known_hash`)."""
    return run_dir(run) / ".hashes"


def shown(path: Path | str) -> str:
    """A path as Snakemake and people are shown it: relative to the working folder where it can."""
    path = Path(path)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
