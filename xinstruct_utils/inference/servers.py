"""Servers that a job starts for itself, by the profile's `server_command`, and takes down with it.

For `remote`. The command runs once for each of `server_urls`, with {model}, {port} (of that
address) and {index} (from 0) filled in. Each runs under a guard,
`python -m xinstruct_utils.inference.servers PARENT COMMAND...`, which ends the server's whole
process group when the job goes, be it killed. Jobs of one process that ask for the same model
share the servers.
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
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xinstruct_utils.core.paths import root
from xinstruct_utils.core.process import die_with_parent
from xinstruct_utils.core.secrets import redact

LOOK = 0.1                                       # seconds between a guard's looks at its server

running: dict[str, Any] = {"model": None, "guards": [], "locks": [], "log": None}


def started(s: dict[str, Any], model: str) -> Callable[[], str | None]:
    """Have the servers of a model run where the settings hold a command.

    Returns a function that says why all of them have ended, or None.
    """
    command = s.get("server_command")
    if not command:
        return lambda: None
    wanted = (model, command, s["server_urls"])
    if running["model"] != wanted or any(guard.poll() is not None for guard in running["guards"]):
        stop()
        running["model"] = wanted
        for index, url in enumerate(s["server_urls"]):
            _start(command, model, urlsplit(url).port, index, Path(s["out"]))
    return _ended


def _start(command: str, model: str, port: int | None, index: int, out: Path) -> None:
    root().mkdir(parents=True, exist_ok=True)
    lock_file = root() / f".server-{os.uname().nodename}-{port}.lock"
    lock = open(lock_file, "w")  # noqa: SIM115  `stop` closes it
    print(f"waiting until no other job has a server at port {port}", flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
    values = {"{model}": model, "{port}": str(port), "{index}": str(index)}
    line = shlex.split(command)
    for name, value in values.items():
        line = [word.replace(name, value) for word in line]
    log = out.parent / "logs" / f"{out.name}.server-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print("$", shlex.join(line), flush=True)
    guarded = [sys.executable, "-m", "xinstruct_utils.inference.servers", str(os.getpid()), *line]
    with open(log, "ab") as stream:
        # The guard holds the lock too: the port is taken until it ends.
        child = subprocess.Popen(guarded, stdout=stream, stderr=subprocess.STDOUT,
                                 pass_fds=[lock.fileno()])
    running["guards"].append(child)
    running["locks"].append(lock)
    running["log"] = log


def _ended() -> str | None:
    """Why no server runs any more, with the end of its log; None where one does."""
    codes = [guard.poll() for guard in running["guards"]]
    if None in codes:
        return None
    log = running["log"]
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    return (f"server_command ended with exit code {codes[-1]}, the whole log is {log}, "
            f"its end: {' | '.join(tail)}")


@atexit.register
def stop() -> None:
    """End the servers that run, and wait until they are gone: the next ones need their memory."""
    for guard in running["guards"]:
        guard.terminate()
    for guard in running["guards"]:
        guard.wait()
    for lock in running["locks"]:
        lock.close()
    running.update(model=None, guards=[], locks=[])


def _log(lines: Iterable[str]) -> None:
    """Pass a server's output on; some tell the key that they were started with."""
    for line in lines:
        sys.stdout.write(redact(line))
        sys.stdout.flush()


def _end_group(child: subprocess.Popen) -> None:
    """End a process and all that it started: first politely, then not."""
    for how, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)


def guard(parent: str, line: list[str]) -> int:
    """Run a server in a process group of its own, and end the group with the server, at SIGTERM,
    or with the parent. Returns the server's exit code, 0 where the guard ended it."""
    signals: list[int] = []
    # Noted, and looked for below. An exception raised here could come while `Popen` starts the
    # server, and would leave it behind with nobody to end it.
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    die_with_parent(int(parent), signal.SIGTERM)
    try:
        child = subprocess.Popen(line, start_new_session=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, encoding="utf-8",
                                 errors="replace")
    except OSError as error:
        print(f"server_command: {error}", file=sys.stderr)
        return 127
    log = threading.Thread(target=_log, args=(child.stdout,), daemon=True)
    log.start()
    while not signals and child.poll() is None:
        time.sleep(LOOK)
    code = child.returncode
    _end_group(child)
    log.join(5)
    return code or 0


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1], sys.argv[2:]))
