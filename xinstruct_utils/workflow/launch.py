"""Heavy work in a subprocess: shown, logged, resumable, and gone when the kernel goes (DESIGN rule 5)."""

import importlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path

from xinstruct_utils.config.load import accelerate_config
from xinstruct_utils.config.profile import MACHINE
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError, disk_full
from xinstruct_utils.core.files import digest, file_hash, read_json, write_bytes, write_json
from xinstruct_utils.core.paths import REPO, root
from xinstruct_utils.core.process import die_with_parent, rank
from xinstruct_utils.core.secrets import mask
from xinstruct_utils.workflow.notebooks import modules_digest

# Large tensors are freed and allocated at every step; without these, glibc gives the pages back to the kernel each
# time (measured: a third of the training time on two cores).
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "134217728"}
QUIET = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
         "DATASETS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
UNSHOWN = ("input", "model", "data", "folders", "server_command", "server_urls")   # paths, hashes, and what may hold a key
SERVERS = ("server_urls", "server_concurrency", "server_command", "server_wait_s")   # where a job runs, not what it makes
LAUNCHER = "accelerate.commands.launch"
# What a profile may say about training at scale; every training of a run gets these as they are.
RECIPE = ("accelerate_config", "batch_rows", "batch_rows_under_3k", "device_rows", "gradient_checkpointing", "lora_rank",
          "save_steps", "warmup", "weight_decay")


def recipe(run):
    """The settings of training at scale, from the run's profile."""
    values = load_run(run).model_dump()
    return {key: values[key] for key in RECIPE}


def command(settings_paths, processes=1, config="", nodes=1):
    """The command line of heavy jobs; one process needs no launcher and saves its start-up.

    `config` names an accelerate configuration (`config.accelerate_config`), which then says how many processes there are.
    On several nodes, `srun` starts this module once a node, which starts the node's launcher. Without `config`, the processes
    are those of a node, and know of each other by `rank` only.
    """
    ours = ["-m", "xinstruct_utils.workflow.launch", *map(str, settings_paths)]
    processes = min(processes, int(os.environ.get("SLURM_GPUS_ON_NODE", processes)))  # without `config`: of this node
    # Without --multi_gpu, accelerate would silently start one process only where there is no GPU; port 0 is any free one.
    several = ["-m", LAUNCHER, "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1",
               "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    here = [*(several if processes > 1 else []), *ours]
    path, values = accelerate_config(config) if config else ("inference_nodes", {"num_machines": nodes})
    nodes, start = values["num_machines"], [sys.executable, "-m", LAUNCHER, "--config_file", str(path)]
    if nodes == 1:
        return [*start, "--main_process_port", "0", *ours] if config else [sys.executable, *here]
    if not shutil.which("srun") or not os.environ.get("SLURM_JOB_ID"):
        raise InputError(f"{path}: {nodes} nodes are started with srun, inside a Slurm allocation (sbatch or salloc with "
                         f"--nodes={nodes}); there is none here")
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    if not config:                               # the first rank waits for shards of all: none may go missing
        return [*srun, "--kill-on-bad-exit=1", sys.executable, *ours[:2], "--share", str(nodes), *here]
    with socket.create_server(("", 0)) as free:  # the ranks of all nodes meet here
        meet = ["--main_process_ip", os.environ.get("XINSTRUCT_HEAD", socket.gethostname()), "--main_process_port",
                str(free.getsockname()[1])]
    return [*srun, sys.executable, *ours[:2], "--node", *start[1:], *meet, *ours]


def _share(nodes, *line):
    """On each node: become its processes, which take their part of the work by `rank`."""
    os.environ["XINSTRUCT_NODE"] = f"{os.environ['SLURM_PROCID']}/{nodes}"
    os.execv(sys.executable, [sys.executable, *line])


def _node(line):
    """On each node: become its launcher, which has to know which node this is."""
    at = line.index("--config_file")
    os.execv(sys.executable, [sys.executable, *line[:at], "--machine_rank", os.environ["SLURM_PROCID"], *line[at:]])


def key_of(module, settings):
    """Digest of what a heavy job depends on: its code, settings, contents of its input file and of its model.

    A model that an earlier job of the same call will make is known by that job's own key.
    """
    files = {}
    for name in {"input", "model", "base_model"} & set(settings):
        path = Path(settings[name])
        began = path.with_name(f".{path.name}.key")
        if began.exists() or path.exists():
            files[name] = began.read_text() if began.exists() else file_hash(path)
    # A model that is no folder is a hub id, known by its name.
    unseen = ("out", "input", "folders", *MACHINE, *({"model"} & set(files)))
    values = {k: v for k, v in settings.items() if k not in unseen}
    return digest([module, modules_digest(f"import xinstruct_utils.{module}"), values, files])


def module_name(module):
    """A job's module as it is noted: "training.sft" for `xinstruct_utils.training.sft`, given as module or by that name."""
    return module if isinstance(module, str) else module.__name__.removeprefix("xinstruct_utils.")


def engine(module, settings, out, processes):
    """The job as the profile of its run has it done: inference on ranks of its own number, or by servers.

    Returns (module, settings, processes, nodes). A folder outside of the runs has no profile: nothing changes there.
    """
    home = Path(out).absolute()
    run = home.relative_to(root()).parts[0] if home.is_relative_to(root()) else None
    if module != "inference.local" or not run or not (root() / run / "run.json").exists():
        return module, settings, processes, 1
    profile = load_run(run)
    if profile.engine == "server":
        return "inference.remote", settings | {k: getattr(profile, k) for k in SERVERS}, 1, 1
    return module, settings, profile.inference_processes or processes, profile.inference_nodes


def run(module, settings, out, processes=1):
    """Run one heavy job, `xinstruct_utils.<module>` with these settings, into the folder `out`; see `run_all`."""
    return run_all([(module, settings, out)], processes)[0]


def run_all(jobs, processes=1):
    """Run heavy jobs (module, settings, folder) one after the other in one subprocess, which starts up only once.

    Jobs of another number of processes, and jobs that ask servers, get a subprocess of their own: the one before them has
    then given its GPUs back. What a run's profile says of inference (`engine`) holds for the jobs in its folder.

    Shows settings and command, writes logs/<name>.log beside the first folder, shows the log's last line while it runs.
    A finished job with the same settings and inputs is not repeated; a half-finished one goes on. Returns a list
    of {"wall_s", "startup_s", "peak_rss_mib"}. Raises RuntimeError with the end of the log on failure, InputError
    where bad input was the reason.
    """
    todo = []
    for module, settings, out in jobs:
        module, settings, ranks, nodes = engine(module_name(module), settings, out, processes)
        out, key = Path(out), key_of(module, settings)
        began, done = out.with_name(f".{out.name}.key"), out / "done.json"
        if done.exists() and read_json(done).get("key") == key:
            began.touch()                        # still in use
            print(f"{out.name}: already done")
            continue
        if out.exists() and not (began.exists() and began.read_text() == key):
            shutil.rmtree(out)                   # left by other settings: shards of two kinds must not mix
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(began, [key.encode()])
        path = out.with_name(f"{out.name}.settings.json")
        write_json(path, {"module": module, **settings, "out": str(out), "key": key})
        print(f"{out.name}: {module},", ", ".join(f"{k}={v}" for k, v in settings.items() if k not in UNSHOWN))
        config = settings.get("accelerate_config", "") if module == "training.sft" else ""
        todo.append((path, (ranks, module == "inference.remote", config, nodes)))
    for (ranks, served, config, nodes), group in itertools.groupby(todo, lambda job: job[1]):
        paths = [path for path, _ in group]
        alone = not served and (accelerate_config(config)[1]["num_processes"] if config else ranks) == 1
        _watch(paths, command(paths, ranks, config, nodes), one_device() if alone else {})
    return [read_json(Path(out) / "done.json")["cost"] for _, _, out in jobs]


def one_device():
    """Environment of a process that works alone: it sees the first GPU only. Over several, transformers would spread the
    model by nn.DataParallel, which TRL refuses."""
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def _watch(todo, line, environ):
    """Run the subprocess, show its progress, and raise with the end of its log if it fails."""
    home = todo[0].parent
    log = home / "logs" / todo[0].name.replace(".settings.json", ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    shown = " ".join("python" if word == sys.executable else word for word in line)
    print("$", shown.replace(str(home) + os.sep, "").replace(str(REPO) + os.sep, ""))
    threads, before = str(read_json(todo[0])["threads"]), log.stat().st_size if log.exists() else 0
    with open(log, "ab") as stream:
        child = subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
                                 env=os.environ | MALLOC | QUIET | environ | {"OMP_NUM_THREADS": threads})
        try:
            shown = None
            while child.poll() is None:
                shown = _progress(log, shown)
                time.sleep(0.25)
        finally:
            child.kill()
            child.wait()
            _progress(None)
    if child.returncode:
        told = log.read_bytes()[before:].decode("utf-8", "replace")
        # With several processes each rank says it, with its number before it, and the launcher has the last word.
        if bad := re.search(r"^(?:\[rank\d+\]: )?xinstruct_utils\.core\.errors\.InputError: (.*)$", told, re.M):
            raise InputError(bad[1])
        # safetensors and others say it in errors of their own, and a full disk takes no log
        if os.strerror(ENOSPC) in told or not shutil.disk_usage(home).free:
            raise disk_full(OSError(ENOSPC, ""), home)
        tail = "\n".join(told.splitlines()[-15:])
        raise RuntimeError(f"heavy job failed with exit code {child.returncode}; the whole log is {log}; its end:\n{tail}")


def _progress(log, shown=None):
    """Show the log's last line in place, where someone is watching (None: clear it); a page of the book needs none."""
    if os.environ.get("XINSTRUCT_STEP"):
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log else [""]
    line = (lines[-1] if lines else "starting")[:100]
    if line != shown:
        print("\r" + line.ljust(100), end="" if log else "\r", flush=True)
    return line


def main(paths):
    """In the subprocess: run each settings file's module."""
    die_with_parent()                            # with several processes, the parent is a launcher that may be killed
    mask(sys.stdout)                             # both go into a log
    mask(sys.stderr)
    for path in paths:
        settings = read_json(path)
        print(f"{settings['module']} -> {settings['out']}", flush=True)
        importlib.import_module(f"xinstruct_utils.{settings['module']}").main(settings)
        while rank()[0] and not (Path(settings["out"]) / "done.json").exists():
            time.sleep(0.2)                      # rank 0 still writes what the next job may read


if __name__ == "__main__":
    {"--node": lambda line: _node(line[1:]), "--share": lambda line: _share(*line[1:])}.get(sys.argv[1], main)(sys.argv[1:])
