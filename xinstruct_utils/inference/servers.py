"""Servers that a job starts for itself, by the profile's `server_command`, and takes down with it: for `server`.

The command runs once for each of `server_urls`, with {model}, {port} (of that address) and {index} (from 0) filled in. Each runs
under a guard, `python -m xinstruct_utils.inference.servers PARENT COMMAND...`, which ends the server's whole process group when the job goes,
be it killed. Jobs of one process that ask for the same model share the servers.
"""

import atexit
import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from xinstruct_utils.core.paths import root
from xinstruct_utils.core.process import die_with_parent
from xinstruct_utils.core.secrets import redact

running = {"model": None, "guards": [], "locks": [], "log": None}


def started(s, model):
    """Have the servers of a model run where the settings hold a command. Returns a function: why all have ended, or None."""
    command = s.get("server_command")
    if not command:
        return lambda: None
    if running["model"] != (model, command, s["server_urls"]) or any(g.poll() is not None for g in running["guards"]):
        stop()
        running["model"] = (model, command, s["server_urls"])
        for index, url in enumerate(s["server_urls"]):
            _start(command, model, urlsplit(url).port, index, Path(s["out"]))
    return _ended


def _start(command, model, port, index, out):
    root().mkdir(parents=True, exist_ok=True)
    lock = open(root() / f".server-{os.uname().nodename}-{port}.lock", "w")  # noqa: SIM115  `stop` closes it
    print(f"waiting until no other job has a server at port {port}", flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
    values = {"{model}": model, "{port}": str(port), "{index}": str(index)}
    line = shlex.split(command)
    for name, value in values.items():
        line = [word.replace(name, value) for word in line]
    log = out.parent / "logs" / f"{out.name}.server-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print("$", shlex.join(line), flush=True)
    with open(log, "ab") as stream:
        guard = subprocess.Popen([sys.executable, "-m", "xinstruct_utils.inference.servers", str(os.getpid()), *line], stdout=stream,
                                 stderr=subprocess.STDOUT, pass_fds=[lock.fileno()])     # the port is taken until the guard ends
    running["guards"].append(guard)
    running["locks"].append(lock)
    running["log"] = log


def _ended():
    """Why no server runs any more, with the end of its log; None where one does."""
    codes = [guard.poll() for guard in running["guards"]]
    if None in codes:
        return None
    tail = running["log"].read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    return f"server_command ended with exit code {codes[-1]}, the whole log is {running['log']}, its end: {' | '.join(tail)}"


@atexit.register
def stop():
    """End the servers that run, and wait until they are gone: the next ones need their memory."""
    for guard in running["guards"]:
        guard.terminate()
    for guard in running["guards"]:
        guard.wait()
    for lock in running["locks"]:
        lock.close()
    running.update(model=None, guards=[], locks=[])


def _log(lines):
    """Pass a server's output on; some tell the key that they were started with."""
    for line in lines:
        sys.stdout.write(redact(line))
        sys.stdout.flush()


def guard(parent, line):
    """Run a server in a process group of its own, and end the group with the server, at SIGTERM, or with the parent."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    die_with_parent(int(parent), signal.SIGTERM)
    try:
        child = subprocess.Popen(line, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 encoding="utf-8", errors="replace")
    except OSError as error:
        print(f"server_command: {error}", file=sys.stderr)
        return 127
    log = threading.Thread(target=_log, args=(child.stdout,), daemon=True)
    log.start()
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for how, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)
        log.join(5)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1], sys.argv[2:]))
