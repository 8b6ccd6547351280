"""Processes: gone with their parent, known by rank, accounted for."""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

from xinstruct_utils.core.files import write_json


def peak_rss():
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def die_with_parent(parent=None, how=signal.SIGKILL):
    """Have the operating system (Linux) kill this process as soon as its parent, of process id `parent`, is gone."""
    if LIBC:
        LIBC.prctl(1, how)                       # PR_SET_PDEATHSIG
        if parent and os.getppid() != parent:    # it went before the call
            os._exit(1)


def rank():
    """(This process's number, how many there are), over all nodes."""
    node, nodes = map(int, os.environ.get("XINSTRUCT_NODE", "0/1").split("/"))
    here = int(os.environ.get("WORLD_SIZE", 1))
    return node * here + int(os.environ.get("RANK", 0)), nodes * here


def finish_job(out, settings, startup_s, begun, **facts):
    """Called by a heavy job when all its files are written: its done.json, with what it cost."""
    write_json(Path(out) / "done.json", {"key": settings.get("key"), **facts, "cost": {
        "wall_s": round(time.time() - begun, 2), "startup_s": round(startup_s, 2), "peak_rss_mib": round(peak_rss())}})
