"""Snakemake on a real Slurm, started here: a controller, and a node on loopback that dies.

Debian's packages slurm-wlm and munge, and root, which the daemons need; skipped where they are
missing.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO, run_dir
from xinstruct_utils.workflow.chapters import CHAPTERS

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol",
         "sacct", "sinfo")
missing = [tool for tool in TOOLS if not shutil.which(tool)]
slurm = pytest.mark.skipif(bool(missing) or os.geteuid() != 0,
                           reason="needs root and Debian's slurm-wlm and munge (missing: "
                                  f"{', '.join(missing) or 'root'})")

CONF = """
ClusterName=xinstruct
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmdTimeout=10
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """A Slurm in a folder of its own; `env` is what its users need."""

    def __init__(self, home):
        self.home, self.children, ports = home, [], []
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                ports.append(probe.getsockname()[1])
        for name in ("state", "spool", "bin"):
            (home / name).mkdir()
        (home / "slurm.conf").write_text(
            CONF.format(host=socket.gethostname().split(".")[0], home=home, ports=ports))
        # The executor plugin takes SLURM_* out of a job's environment; real clusters have their
        # configuration in /etc.
        for tool in TOOLS[3:]:
            (home / "bin" / tool).write_text(
                f'#!/bin/sh\nSLURM_CONF={home}/slurm.conf exec {shutil.which(tool)} "$@"\n')
            (home / "bin" / tool).chmod(0o755)
        self.env = {"PATH": f"{home}/bin:{os.environ['PATH']}"}
        key = home / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.start("munged", "--force", "--foreground", f"--key-file={key}",
                   f"--socket={home}/munge.socket",
                   f"--pid-file={home}/munge.pid", f"--log-file={home}/munge.log",
                   f"--seed-file={home}/munge.seed")
        self.until(lambda: (home / "munge.socket").exists(), "munge")
        self.start("slurmctld", "-D", "-f", home / "slurm.conf")
        self.node = self.start("slurmd", "-D", "-f", home / "slurm.conf")
        self.until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "the node")

    def start(self, *line):
        """Start a daemon in the foreground; it is gone with `stop`."""
        with open(self.home / f"{line[0]}.out", "ab") as out:
            child = subprocess.Popen(list(map(str, line)), stdout=out, stderr=out,
                                     start_new_session=True)
        self.children.append(child)
        return child

    def ask(self, *line):
        """What a Slurm command prints."""
        return subprocess.run(line, env=os.environ | self.env, capture_output=True,
                              text=True).stdout

    def until(self, there, what, seconds=60):
        """Wait for something to be so."""
        end = time.time() + seconds
        while not there():
            logs = "\n".join(p.read_text(errors="replace")[-1500:] for p in self.home.glob("*.log"))
            assert time.time() < end, f"{what} is not there after {seconds} s\n{logs}"
            time.sleep(0.2)

    def lose_node(self, root):
        """The node dies with everything on it: its daemon, and the jobs in the folder `root`."""
        steps = [p for p in psutil.process_iter(["cmdline"])
                 if "slurmstepd" in (p.info["cmdline"] or [""])[0]]
        mine = [p for p in steps if str(self.home) in Path(f"/proc/{p.pid}/environ").read_bytes(
            ).decode(errors="replace")]
        self.node.kill()
        self.node.wait()
        for process in [*mine, *working(root)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def revive_node(self):
        """The node comes back."""
        self.node = self.start("slurmd", "-D", "-f", self.home / "slurm.conf")

    def begin_again(self):
        """Wait for Slurm to queue a lost job again, which it would let rest for two minutes."""
        self.until(lambda: self.ask("squeue", "-h", "-t", "PD", "-o", "%i"), "the lost job", 120)
        for job in self.ask("squeue", "-h", "-t", "PD", "-o", "%i").split():
            self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def stop(self):
        """End all daemons."""
        for child in reversed(self.children):
            child.terminate()
        for child in reversed(self.children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()


def working(root):
    """Processes of jobs in this folder of runs: those of the verb and of what it starts."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("XINSTRUCT_RUNS") == str(root) and process.environ().get(
                "SLURM_JOB_ID"):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def cluster():
    """A Slurm for the tests of this file."""
    home = Path(tempfile.mkdtemp(prefix="slurm-"))
    made = Cluster(home)
    yield made
    made.stop()
    shutil.rmtree(home, ignore_errors=True)


def submit(cluster, root, *targets, **rules):
    """Start Snakemake with the project's profile for Slurm, with this cluster's names.

    As `make run CLUSTER=...` does. Without targets it is `rule all`. Of the profile's resources
    only those that grow with the attempt fit this small node; `rules`, {rule: resources}, has
    others.
    """
    profile = yaml.safe_load((REPO / "profiles" / "cluster" / "slurm" / "config.yaml").read_text())
    profile |= {"jobs": 2, "latency-wait": 20, "slurm-init-seconds-before-status-checks": 2,
                "slurm-no-account": True,
                "slurm-status-command": "squeue", "seconds-between-status-checks": 1,
                "slurm-logdir": str(root / "logs"),
                "default-resources": {"slurm_partition": "'cpu'", "runtime": 30,
                                      "mem_mb": "1900 * attempt", "heavy": 0}}
    del profile["set-resources"]
    profile |= {"set-resources": rules} if rules else {}
    (root / "profile").mkdir(parents=True, exist_ok=True)
    (root / "profile" / "config.yaml").write_text(yaml.safe_dump(profile))
    env = os.environ | cluster.env | {"XINSTRUCT_RUNS": str(root), "PYTHONPATH": str(REPO)}
    line = [sys.executable, "-m", "snakemake", "--nolock", "--profile", str(root / "profile"),
            "--config", "profile=smoke",
            "run=smoke", "--", *(str(root / "smoke" / "sw" / t / "manifest.json") for t in targets)]
    with open(root / "out", "ab") as out:
        return subprocess.Popen(line, cwd=REPO, env=env, stdout=out, stderr=out,
                                start_new_session=True)


@slurm
@pytest.mark.slow
def test_a_job_that_needs_more_memory_than_it_asked_for_is_begun_again_with_more(cluster, tmp_path):
    """The node kills it for its memory; `mem_mb: ... * attempt` gives the next attempt more."""
    root = tmp_path / "runs"
    child = submit(cluster, root, "01_seed_data", seed_data={"mem_mb": "350 * attempt"})
    try:
        assert child.wait(400) == 0, (root / "out").read_text()[-3000:]
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    asked = [int(mb) for mb in re.findall(r"^    resources: .*?mem_mb=(\d+)",
                                          (root / "out").read_text(), re.M)]
    assert asked[:2] == [350, 700] and set(asked) <= {350, 700, 1050}, asked
    assert read_json(root / "smoke" / "sw" / "01_seed_data" / "manifest.json")["outputs"]


@slurm
@pytest.mark.slow
def test_rule_all_of_the_smoke_profile_runs_as_jobs(cluster, tmp_path, smoke):
    root = tmp_path / "runs"
    child = submit(cluster, root)
    try:
        assert child.wait(1800) == 0, (root / "out").read_text()[-3000:]
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    made, same = (
        {str(p.relative_to(home)): read_json(p)["outputs"] for p in home.rglob("manifest.json")}
                  for home in (root / "smoke", smoke.root / "smoke"))
    assert set(made) == set(same) and len(made) >= 14
    # later ones hold clocks and costs
    early = [name for name in made if re.match(r"sw/0[1-5]", name)]
    assert {n: made[n] for n in early} == {n: same[n] for n in early}


@slurm
@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_of_a_job_changes_no_byte(cluster, tmp_path, smoke):
    root = tmp_path / "runs"
    step = root / "smoke" / "sw" / "03_backtranslation"
    child = submit(cluster, root, "03_backtranslation")
    try:
        cluster.until(lambda: any(step.rglob("*.log")) or child.poll() is not None,
                      "the third step", 180)
        assert child.poll() is None, (root / "out").read_text()[-3000:]
        before = {p.name: p.read_bytes()
                  for p in (root / "smoke" / "sw").glob("0[12]*/manifest.json")}
        cluster.lose_node(root)
        assert not (step / "manifest.json").exists()
        cluster.revive_node()
        cluster.begin_again()
        assert child.wait(300) == 0, (root / "out").read_text()[-3000:]
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    told = read_json(step / "manifest.json")
    same = read_json(smoke.root / "smoke" / "sw" / "03_backtranslation" / "manifest.json")
    assert told["outputs"] == same["outputs"] and told["counts"] == same["counts"]
    assert before == {p.name: p.read_bytes()
                      for p in (root / "smoke" / "sw").glob("0[12]*/manifest.json")}
    assert not working(root)


def test_with_the_profile_for_slurm_heavy_rules_and_no_others_get_gpus(tmp_path):
    """As shipped, read by Snakemake: a round that is not in it would run for hours on no GPU."""
    line = [sys.executable, "-m", "snakemake", "--profile", "profiles/cluster/slurm", "--nolock",
            "--dry-run", "--config",
            "profile=smoke", "run=smoke", "set=iterations=6 "]
    told = subprocess.run(line, cwd=REPO, env=os.environ | {"XINSTRUCT_RUNS": str(tmp_path)},
                          capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    found = dict(re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$",
                            told.stdout + told.stderr, re.M))
    heavy = {rule for rule, resources in found.items() if "heavy=1" in resources}
    assert {"backtranslation", "refinement_6", "ablations"} <= heavy
    assert {"seed_data", "results"} <= set(found) - heavy
    assert heavy == {rule for rule, resources in found.items() if "gres=gpu:8" in resources}
    assert {rule for rule, resources in found.items()
            if "gres=gpu:1" in resources} == {"seed_data", "diversification"}
    told = dict(pair.split("=") for pair in found["corpus"].split(", "))
    assert told["cpus_per_task"] == "16" and int(told["mem_mb"]) >= 64000
    assert int(told["runtime"]) >= 720


def test_the_profile_for_slurm_names_rules_that_exist():
    profile = yaml.safe_load((REPO / "profiles" / "cluster" / "slurm" / "config.yaml").read_text())
    rules = {chapter.rule(k) for chapter in CHAPTERS for k in chapter.rounds_of(Profile())}
    for rule in profile["set-resources"]:
        assert rule in rules or rule.startswith("refinement_"), rule
    assert profile["executor"] == "slurm" and profile["slurm-requeue"]
    assert "attempt" in profile["default-resources"]["mem_mb"]


def test_the_example_for_kubernetes_is_one_job_that_can_be_begun_again():
    text = (REPO / "profiles" / "cluster" / "kubernetes" / "job.yaml").read_text()
    job = yaml.safe_load(text.replace("LANGUAGE", "sw"))
    assert job["kind"] == "Job" and job["metadata"]["name"] == "xinstruct-sw"
    spec = job["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "OnFailure" and "LANGS=sw" in spec["containers"][0]["command"]
    mounts = spec["containers"][0]["volumeMounts"]
    assert {volume["name"] for volume in spec["volumes"]} == {mount["name"] for mount in mounts}
    assert run_dir("modern-sw").name == "modern-sw"
