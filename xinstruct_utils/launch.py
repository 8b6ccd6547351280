"""Heavy work in a subprocess: shown, logged, resumable, and gone when the kernel goes (DESIGN rule 5)."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .artifacts import digest, file_hash, read_json, write_json

# Large tensors are freed and allocated at every step; without these, glibc gives the pages back to the kernel each
# time (measured: a third of the training time on two cores).
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "134217728"}
QUIET = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
         "DATASETS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}


def _die_with_parent():
    """Runs in the child before exec: the kernel (Linux) kills it as soon as its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def command(module, settings_path, processes=1):
    """The command line of a heavy step; one process needs no launcher and saves its start-up."""
    if processes == 1:
        return [sys.executable, "-m", f"xinstruct_utils.{module}", str(settings_path)]
    return [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes), "-m",
            f"xinstruct_utils.{module}", str(settings_path)]


def key_of(module, settings):
    """Digest of what a heavy step depends on: settings, contents of its input files and of its model."""
    files = {k: file_hash(v) for k, v in settings.items()
             if k in ("input", "model", "base_model") and isinstance(v, str) and Path(v).exists()}
    return digest([module, {k: v for k, v in settings.items() if k not in ("out", "input", "model")}, files])


def run(module, settings, out, processes=1):
    """Run `python -m xinstruct_utils.<module>` on a settings file; results go to the folder `out`.

    Shows settings and command, writes logs/<name>.log beside it, shows the log's last line while it runs.
    A finished run with the same settings and inputs is not repeated. Returns {"wall_s", "startup_s", "peak_rss_mib"}.
    Raises RuntimeError with the end of the log on failure.
    """
    import psutil

    out = Path(out)
    key, done, began = key_of(module, settings), out / "done.json", out.with_name(f".{out.name}.key")
    if done.exists() and read_json(done).get("key") == key:
        print(f"{out.name}: already done")
        return read_json(done)["cost"]
    if out.exists() and not (began.exists() and began.read_text() == key):
        import shutil

        shutil.rmtree(out)                       # left by other settings: shards of two kinds must not mix
    out.mkdir(parents=True, exist_ok=True)
    began.write_text(key)
    settings_path, log = out.with_name(f"{out.name}.settings.json"), out.parent / "logs" / f"{out.name}.log"
    write_json(settings_path, settings | {"out": str(out)})
    log.parent.mkdir(parents=True, exist_ok=True)
    line = command(module, settings_path, processes)
    print("settings:", ", ".join(f"{k}={v}" for k, v in settings.items() if k not in ("input", "model")))
    print("$", " ".join(["python", *line[1:]]).replace(str(out.parent), "."))
    start, peak = time.time(), 0
    with open(log, "ab") as stream:
        child = subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent,
                                 env=os.environ | MALLOC | QUIET | {"OMP_NUM_THREADS": str(settings["threads"])})
        try:
            while child.poll() is None:
                peak = max(peak, _rss(psutil, child.pid))
                _progress(log)
                time.sleep(0.5)
        finally:
            child.kill()
    print("\r" + " " * 100, end="\r")
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    if child.returncode:
        raise RuntimeError(f"{module} failed with exit code {child.returncode}; the whole log is {log}; its end:\n" + "\n".join(tail))
    made = read_json(done)
    cost = {"wall_s": round(time.time() - start, 2), "startup_s": made.get("startup_s"), "peak_rss_mib": round(peak / 2**20)}
    write_json(done, made | {"key": key, "cost": cost})
    print(f"{out.name}: done in {cost['wall_s']:.1f} s")
    return cost


def _rss(psutil, pid):
    """Resident bytes of a process and its children."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def _progress(log):
    """Show the log's last line in place, where someone is watching."""
    if os.environ.get("XINSTRUCT_STEP"):
        return                                   # headless: a page of the book needs no progress bars
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\r" + (lines[-1] if lines else "starting")[:100].ljust(100), end="", flush=True)
