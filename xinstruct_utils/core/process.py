"""Processes: gone with their parent, known by rank, accounted for."""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from xinstruct_utils.core.files import write_json


def peak_rss() -> float:
    """Largest resident memory of this process so far, in MiB."""
    units_per_mib = 1024 if sys.platform == "linux" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mib


LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def die_with_parent(parent: int | None = None, how: int = signal.SIGKILL) -> None:
    """Have the operating system (Linux) kill this process as soon as its parent is gone.

    parent: its process id, for a child that may be too late to ask.
    """
    if LIBC:
        LIBC.prctl(1, how)                       # PR_SET_PDEATHSIG
        if parent and os.getppid() != parent:    # it went before the call
            os._exit(1)


def rank() -> tuple[int, int]:
    """(This process's number, how many there are), over all nodes."""
    node, nodes = map(int, os.environ.get("XINSTRUCT_NODE", "0/1").split("/"))
    processes = int(os.environ.get("WORLD_SIZE", 1))
    number = node * processes + int(os.environ.get("RANK", 0))
    return number, nodes * processes


def finish_job(out: Path | str, settings: dict[str, Any], startup_s: float, begun: float,
               **facts: Any) -> None:
    """Called by a heavy job when all its files are written: its done.json, with what it cost."""
    cost = {"wall_s": round(time.time() - begun, 2), "startup_s": round(startup_s, 2),
            "peak_rss_mib": round(peak_rss())}
    write_json(Path(out) / "done.json", {"key": settings.get("key"), **facts, "cost": cost})
