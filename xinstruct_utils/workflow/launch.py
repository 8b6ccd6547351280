"""Heavy work in a subprocess: shown, logged, resumable, gone when the kernel goes (DESIGN rule 5).

Run by itself, `python -m xinstruct_utils.workflow.launch SETTINGS.json ...`, it is that subprocess.
"""

import importlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from xinstruct_utils.config.load import accelerate_config
from xinstruct_utils.config.profile import MACHINE
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError, disk_full, no_space
from xinstruct_utils.core.files import (
    digest,
    file_hash,
    known_hash,
    read_json,
    write_bytes,
    write_json,
)
from xinstruct_utils.core.paths import REPO, hashes_dir, root
from xinstruct_utils.core.process import die_with_parent, rank
from xinstruct_utils.core.secrets import mask
from xinstruct_utils.workflow.notebooks import modules_digest

# Large tensors are freed and allocated at every step; without these, glibc gives the pages back to
# the kernel each time (measured: a third of the training time on two cores).
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "134217728",
}
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DATASETS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}
# Paths, hashes, and what may hold a key.
UNSHOWN = ("input", "model", "data", "folders", "server_command", "server_urls")
# Where a job of servers runs, not what it makes.
SERVERS = ("server_urls", "server_concurrency", "server_command", "server_wait_s")
FULL = 2**16                                     # bytes that are left of a disk that is full
LAUNCHER = "accelerate.commands.launch"
TRAINING = "training.sft"
LOCAL = "inference.local"
REMOTE = "inference.remote"

Settings = dict[str, Any]
Job = tuple[ModuleType | str, Settings, Path | str]


class Place(NamedTuple):
    """Where jobs run; jobs of one place share a subprocess."""

    processes: int = 1
    nodes: int = 1
    accelerate: str = ""
    by_servers: bool = False

    @property
    def alone(self) -> bool:
        """Does one process do the work on this machine's devices?"""
        if self.by_servers:
            return False
        if self.accelerate:
            return accelerate_config(self.accelerate)[1]["num_processes"] == 1
        return self.processes == 1


THIS = ["-m", "xinstruct_utils.workflow.launch"]


def command(settings_paths: list[Any], processes: int = 1, config: str = "",
            nodes: int = 1) -> list[str]:
    """The command line of heavy jobs; one process needs no launcher and saves its start-up.

    config: an accelerate configuration (`config.load.accelerate_config`), which then says how many
    processes there are. On several nodes, `srun` starts this module once a node, which starts the
    node's launcher. Without `config`, the processes are those of a node, and know of each other by
    `rank` only. Raises InputError outside a Slurm allocation.
    """
    jobs = [*THIS, *map(str, settings_paths)]
    if config:
        return _configured(config, jobs)
    on_node = min(processes, int(os.environ.get("SLURM_GPUS_ON_NODE", processes)))
    here = [*_several(on_node), *jobs] if on_node > 1 else jobs
    if nodes == 1:
        return [sys.executable, *here]
    # The first rank waits for shards of all: none may go missing.
    srun = [*_srun(nodes, "inference_nodes"), "--kill-on-bad-exit=1"]
    return [*srun, sys.executable, *THIS, "--share", str(nodes), *here]


def _configured(config: str, jobs: list[str]) -> list[str]:
    """The command line that an accelerate configuration asks for."""
    path, values = accelerate_config(config)
    nodes = values["num_machines"]
    launcher = ["-m", LAUNCHER, "--config_file", str(path)]
    if nodes == 1:
        return [sys.executable, *launcher, "--main_process_port", "0", *jobs]
    srun = _srun(nodes, str(path))
    return [*srun, sys.executable, *THIS, "--node", *launcher, *_meeting_place(), *jobs]


def _srun(nodes: int, wanted_by: str) -> list[str]:
    """Slurm's command that starts one process a node. Raises InputError outside an allocation."""
    if not shutil.which("srun") or not os.environ.get("SLURM_JOB_ID"):
        raise InputError(f"{wanted_by}: {nodes} nodes are started with srun, inside a Slurm "
                         f"allocation (sbatch or salloc with --nodes={nodes}); there is none here")
    return ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]


def _several(processes: int) -> list[str]:
    """The launcher of several processes on this machine.

    Without --multi_gpu, accelerate would silently start one process only where there is no GPU;
    port 0 is any free one.
    """
    return ["-m", LAUNCHER, "--multi_gpu", "--num_processes", str(processes),
            "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
            "--main_process_port", "0"]


def _meeting_place() -> list[str]:
    """Where the ranks of all nodes meet: this host, at a port that is free now."""
    with socket.create_server(("", 0)) as free:
        port = str(free.getsockname()[1])
    host = os.environ.get("XINSTRUCT_HEAD", socket.gethostname())
    return ["--main_process_ip", host, "--main_process_port", port]


def _share(nodes: str, *line: str) -> None:
    """On each node: become its processes, which take their part of the work by `rank`."""
    os.environ["XINSTRUCT_NODE"] = f"{os.environ['SLURM_PROCID']}/{nodes}"
    os.execv(sys.executable, [sys.executable, *line])


def _node(*line: str) -> None:
    """On each node: become its launcher, which has to know which node this is."""
    at = line.index("--config_file")
    own_rank = ["--machine_rank", os.environ["SLURM_PROCID"]]
    os.execv(sys.executable, [sys.executable, *line[:at], *own_rank, *line[at:]])


def run_of(out: Path | str) -> str | None:
    """The run in whose folder a job works, None outside of the runs: a job there has no profile."""
    home = Path(out).absolute()
    if not home.is_relative_to(root()):
        return None
    run = home.relative_to(root()).parts[0]
    return run if (root() / run / "run.json").exists() else None


def key_of(module: str, settings: Settings, run: str | None = None) -> str:
    """Digest of what a heavy job depends on: its code, settings, contents of input file and model.

    A model that an earlier job of the same call will make is known by that job's own key.
    """
    files = {}
    for name in {"input", "model", "base_model"} & set(settings):
        path = Path(settings[name])
        begun = path.with_name(f".{path.name}.key")
        if begun.exists():
            files[name] = begun.read_text()
        elif path.exists():
            # Outside of the runs there is no place for notes: a model may lie in the package.
            files[name] = known_hash(path, hashes_dir(run)) if run else file_hash(path)
    # A model that is no folder is a hub id, known by its name.
    unseen = ("out", "input", "folders", *MACHINE, *({"model"} & set(files)))
    values = {name: value for name, value in settings.items() if name not in unseen}
    return digest([module, modules_digest(f"import xinstruct_utils.{module}"), values, files])


def module_name(module: ModuleType | str) -> str:
    """A job's module as it is noted: "training.sft" for `xinstruct_utils.training.sft`."""
    return module if isinstance(module, str) else module.__name__.removeprefix("xinstruct_utils.")


def placed(module: str, settings: Settings, out: Path | str,
           processes: int | None = None) -> tuple[str, Settings, Place]:
    """A job as the profile of its run has it done: (module, settings, place).

    Training and tasks have `train_processes` ranks or an accelerate configuration; inference has
    ranks of its own number, or is done by servers (`engine`). processes: another number of ranks;
    where the run has no profile, 1.
    """
    run = run_of(out)
    profile = load_run(run) if run else None
    ranks = processes or (profile.train_processes if profile else 1)
    if module == TRAINING:
        return module, settings, Place(ranks, 1, settings.get("accelerate_config", ""))
    if module != LOCAL or profile is None:
        return module, settings, Place(ranks, by_servers=module == REMOTE)
    if profile.engine == "server":
        servers = {name: getattr(profile, name) for name in SERVERS}
        return REMOTE, settings | servers, Place(by_servers=True)
    return module, settings, Place(profile.inference_processes or ranks, profile.inference_nodes)


def run(module: ModuleType | str, settings: Settings, out: Path | str,
        processes: int | None = None) -> dict[str, float]:
    """Run one heavy job, `xinstruct_utils.<module>`, into the folder `out`; see `run_all`."""
    return run_all([(module, settings, out)], processes)[0]


def run_all(jobs: list[Job], processes: int | None = None) -> list[dict[str, float]]:
    """Run heavy jobs (module, settings, folder) in one subprocess, which starts up only once.

    They run one after the other. Jobs of another place (`placed`) get a subprocess of their own:
    the one before them has then given its GPUs back.

    Shows settings and command, writes logs/<name>.log beside the first folder, shows the log's last
    line while it runs. A finished job with the same settings and inputs is not repeated; a
    half-finished one goes on. Returns a list of {"wall_s", "startup_s", "peak_rss_mib"}. Raises
    RuntimeError with the end of the log on failure, InputError where bad input was the reason.
    """
    waiting = [job for job in (_prepared(*job, processes) for job in jobs) if job]
    for place, group in itertools.groupby(waiting, lambda job: job[1]):
        paths = [path for path, _ in group]
        line = command(paths, place.processes, place.accelerate, place.nodes)
        _watch(paths, line, one_device() if place.alone else {})
    return [read_json(Path(out) / "done.json")["cost"] for _, _, out in jobs]


def _prepared(module: ModuleType | str, settings: Settings, out: Path | str,
              processes: int | None) -> tuple[Path, Place] | None:
    """Write a job's settings file and show them: (its path, where it runs).

    None where the job is done.
    """
    name, settings, place = placed(module_name(module), settings, out, processes)
    out = Path(out)
    key = key_of(name, settings, run_of(out))
    begun = out.with_name(f".{out.name}.key")
    done = out / "done.json"
    if done.exists() and read_json(done).get("key") == key:
        begun.touch()                            # still in use
        print(f"{out.name}: already done")
        return None
    if out.exists() and not (begun.exists() and begun.read_text() == key):
        shutil.rmtree(out)                       # of other settings: two kinds must not mix
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(begun, [key.encode()])
    path = out.with_name(f"{out.name}.settings.json")
    write_json(path, {"module": name, **settings, "out": str(out), "key": key})
    shown = ", ".join(f"{setting}={value}" for setting, value in settings.items()
                      if setting not in UNSHOWN)
    print(f"{out.name}: {name}, {shown}")
    return path, place


def one_device() -> dict[str, str]:
    """Environment of a process that works alone: it sees the first GPU only.

    Over several, transformers would spread the model by nn.DataParallel, which TRL refuses.
    """
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def _error_file(settings_path: Path) -> Path:
    """Where a job says why it failed."""
    return settings_path.with_name(settings_path.name.replace(".settings.json", ".error.json"))


def _watch(paths: list[Path], line: list[str], environ: dict[str, str]) -> None:
    """Run the subprocess and show its progress.

    Raises what the jobs say of their failure, or the end of the log.
    """
    home = paths[0].parent
    log = home / "logs" / paths[0].name.replace(".settings.json", ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        _error_file(path).unlink(missing_ok=True)
    shown = " ".join("python" if word == sys.executable else word for word in line)
    print("$", shown.replace(str(home) + os.sep, "").replace(str(REPO) + os.sep, ""))
    threads = {"OMP_NUM_THREADS": str(read_json(paths[0])["threads"])}
    with open(log, "ab") as stream:
        child = subprocess.Popen(line, env=os.environ | MALLOC | QUIET | environ | threads,
                                 stdout=stream, stderr=subprocess.STDOUT,
                                 preexec_fn=die_with_parent)
        try:
            progress = None
            while child.poll() is None:
                progress = _progress(log, progress)
                time.sleep(0.25)
        finally:
            child.kill()
            child.wait()
            _progress(None)
    if child.returncode:
        _fail(child.returncode, paths, log)


def _fail(code: int, paths: list[Path], log: Path) -> NoReturn:
    """Raise what failed: a job's own word, the disk, or the end of the log."""
    for path in map(_error_file, paths):
        if path.exists():
            raise InputError(read_json(path)["message"])
    if shutil.disk_usage(log.parent).free < FULL:                # then no job could write why
        raise no_space(log.parent.parent)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise RuntimeError(f"heavy job failed with exit code {code}; the whole log is {log}; its end:\n"
                       f"{tail}")


def _progress(log: Path | None, shown: str | None = None) -> str | None:
    """Show the log's last line in place, where someone is watching (None: clear it).

    A page of the book needs none.
    """
    if os.environ.get("XINSTRUCT_STEP"):
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log else [""]
    line = (lines[-1] if lines else "starting")[:100]
    if line != shown:
        print("\r" + line.ljust(100), end="" if log else "\r", flush=True)
    return line


def _note_error(path: Path, error: Exception) -> None:
    """In the subprocess: say why a job failed, where a person can mend it.

    Each rank may; they say the same.
    """
    reason: Exception | None = error
    if not isinstance(error, InputError):
        # safetensors and others say it in errors of their own
        full = os.strerror(ENOSPC) in str(error)
        reason = disk_full(OSError(ENOSPC, "") if full else error, path.parent)
    if reason:
        write_json(_error_file(path), {"message": str(reason)})


def main(paths: list[str]) -> None:
    """In the subprocess: run each settings file's module."""
    die_with_parent()                            # which may be a launcher, and be killed
    mask(sys.stdout)                             # both go into a log
    mask(sys.stderr)
    for path in map(Path, paths):
        settings = read_json(path)
        print(f"{settings['module']} -> {settings['out']}", flush=True)
        try:
            importlib.import_module(f"xinstruct_utils.{settings['module']}").main(settings)
        except Exception as error:
            _note_error(path, error)
            raise
        while rank()[0] and not (Path(settings["out"]) / "done.json").exists():
            time.sleep(0.2)                      # rank 0 still writes what the next job may read


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "--node":
        _node(*words[1:])
    elif words[0] == "--share":
        _share(*words[1:])
    else:
        main(words)
