"""A step's manifest: what made it, from what, on which machine; written last."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from xinstruct_utils.core.files import digest, known_hash, read_json, write_json
from xinstruct_utils.core.paths import REPO


def input_hash(path: Path | str, notes: Path) -> str:
    """Hash of an input. Of a manifest only what it says about rows counts, so that clocks in it rerun nothing.

    notes: folder of `core.files.known_hash`.
    """
    if Path(path).name == "manifest.json":
        return digest([read_json(path).get(k) for k in ("outputs", "counts")])
    return known_hash(path, notes)


PINNED = ("torch", "transformers", "trl", "datasets", "accelerate", "sentence-transformers", "faiss-cpu", "papermill")


def _git(*words):
    return subprocess.run(["git", *words], cwd=REPO, capture_output=True, text=True).stdout.strip()


def environment():
    """What made a step: versions, machine and commit (with "-dirty" where tracked files were changed since)."""
    import re
    from importlib.metadata import version

    import psutil

    commit, cpus = _git("rev-parse", "--quiet", "--verify", "HEAD"), Path("/proc/cpuinfo")
    changed = commit and _git("status", "--porcelain", "--untracked-files=no")
    models = re.findall(r"model name\s*:\s*(.+)", cpus.read_text()) if cpus.exists() else []
    return {"versions": {"python": platform.python_version(), **{p: version(p) for p in PINNED}},
            "git_commit": (commit + "-dirty" * bool(changed)) or None,
            "machine": {"system": platform.platform(), "processor": models[0] if models else platform.machine(),
                        "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}}


def write_manifest(home, facts):
    """Write a step's manifest, the last of its files."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(home / "manifest.json", facts | environment() | {"finished_at": now})
