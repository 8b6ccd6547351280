"""A step's manifest: what made it, from what, on which machine; written last."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xinstruct_utils.core.files import digest, known_hash, read_json, write_json
from xinstruct_utils.core.paths import REPO


def input_hash(path: Path | str, notes: Path) -> str:
    """Hash of an input. Of a manifest, what it says about rows counts; clocks in it rerun nothing.

    notes: folder of `core.files.known_hash`.
    """
    if Path(path).name == "manifest.json":
        return digest([read_json(path).get(k) for k in ("outputs", "counts")])
    return known_hash(path, notes)


PINNED = ("torch", "transformers", "trl", "datasets", "accelerate", "sentence-transformers",
          "faiss-cpu", "papermill")


def _git(*words: str) -> str:
    line = ["git", *words]
    return subprocess.run(line, cwd=REPO, capture_output=True, text=True).stdout.strip()


def _commit() -> str | None:
    """The commit of the code, with "-dirty" where tracked files were changed since."""
    commit = _git("rev-parse", "--quiet", "--verify", "HEAD")
    if not commit:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _processor() -> str:
    """The model of this machine's processor, else its architecture."""
    cpus = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*:\s*(.+)", cpus.read_text()) if cpus.exists() else []
    return models[0] if models else platform.machine()


def environment() -> dict[str, Any]:
    """What made a step: versions, machine and commit."""
    import psutil

    versions = {"python": platform.python_version()}
    versions |= {package: version(package) for package in PINNED}
    memory = psutil.virtual_memory().total / 2**30
    machine = {"system": platform.platform(), "processor": _processor(),
               "cores": os.cpu_count(), "memory_gib": round(memory, 1)}
    return {"versions": versions, "git_commit": _commit(), "machine": machine}


def write_manifest(home: Path, facts: dict[str, Any]) -> None:
    """Write a step's manifest, the last of its files."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(home / "manifest.json", facts | environment() | {"finished_at": now})
