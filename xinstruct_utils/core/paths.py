"""Where runs and their steps lie."""

import os
import re
from pathlib import Path

from xinstruct_utils.core.errors import InputError

REPO = Path(__file__).resolve().parents[2]


def root():
    """The folder of all runs: $XINSTRUCT_RUNS, or papermill_runs/ in the repository."""
    return Path(os.environ.get("XINSTRUCT_RUNS") or REPO / "papermill_runs").absolute()


def run_dir(run):
    """Folder of a run. Raises InputError for a name that is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", run) or run == "published":
        raise InputError(f"a run needs a plain name of letters, digits, '_', '-' and '.', but {run!r} came (published/ is for "
                         "`make publish`)")
    return root() / run


def step_dir(run, lang, notebook, iteration=None):
    """Folder of a step: <run>/<lang>/<notebook>[/iter<k>]."""
    return run_dir(run) / lang / notebook / (f"iter{iteration}" if iteration else "")


def hashes_dir(run):
    """Where a run notes the hashes of large files (`core.files.known_hash`)."""
    return run_dir(run) / ".hashes"


def shown(path):
    """A path as Snakemake and people are shown it: relative to the working folder where it is inside of it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
