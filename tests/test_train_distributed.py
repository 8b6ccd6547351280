"""Training on two CPU processes, plain (DDP over gloo) and under DeepSpeed's ZeRO: what one process
makes, kills included.

DeepSpeed builds its CPU communication operation once (about a minute, with a C++ compiler) and
keeps it. The accelerate
configurations are the shipped ones with two processes and no GPU.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import yaml
from safetensors.torch import load_file

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.files import file_hash, read_json, read_jsonl, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.workflow import launch

HAS_DEEPSPEED = (
    find_spec("deepspeed") and shutil.which("g++") and (shutil.which("ninja") or find_spec("ninja"))
)
NEEDS = pytest.mark.skipif(
    not HAS_DEEPSPEED, reason="DeepSpeed (extra dev), a C++ compiler and ninja are needed"
)
# 26 rows are six steps of four rows and one of two; completions are of unlike length, so that the
# token weights matter.
ROWS = [
    {"prompt": f"Nchi {k}:", "completion": f"Mji wa {k} ni Nairobi" + " na Mombasa" * (k % 5)}
    for k in range(26)
]
SETTINGS = Profile().group("training") | dict(
    epochs=3,
    learning_rate=1e-3,
    batch_tokens=512,
    max_length=256,
    batch_rows=4,
    bf16=False,
    logging_steps=1,
)
KINDS = [
    "ddp",
    pytest.param("gpu8_zero2", marks=[NEEDS, pytest.mark.slow]),
    pytest.param("gpu8_zero3", marks=[NEEDS, pytest.mark.slow]),
]


@pytest.fixture(scope="module", autouse=True)
def cpu():
    os.environ["DS_ACCELERATOR"] = "cpu"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Rows, and configurations for two CPU processes made of the shipped ones."""
    home = tmp_path_factory.mktemp("distributed")
    write_jsonl(home / "rows.jsonl", ROWS)
    for name in ("gpu8_zero2", "gpu8_zero3", "nodes_zero3"):
        config = yaml.safe_load((REPO / "profiles" / "accelerate" / f"{name}.yaml").read_text())
        (home / f"{name}.yaml").write_text(
            yaml.safe_dump(config | {"num_processes": 2, "use_cpu": True})
        )
    return home


def given(home, kind="one", **more):
    """(settings, processes) of a training on two processes, or on one."""
    config = {} if kind in ("one", "ddp") else {"accelerate_config": str(home / f"{kind}.yaml")}
    return SETTINGS | {"input": str(home / "rows.jsonl")} | config | more, 1 if kind == "one" else 2


@pytest.fixture(scope="module")
def made(home):
    """A function: the folder of a finished, undisturbed training of a kind, with its train.json."""

    def train(kind):
        settings, processes = given(home, kind)
        launch.run("training.sft", settings, home / kind, processes)
        return home / kind, read_json(home / kind / "train.json")

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_what_one_does(made, kind):
    (alone, one), (together, two) = made("one"), made(kind)
    assert two["steps"] == one["steps"] == 21 and len(two["losses"]) == 21
    assert max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)) < 2e-3
    assert one["losses"][-1] < one["losses"][0] / 2
    a, b = (load_file(folder / "model.safetensors") for folder in (alone, together))
    start = load_file(REPO / "xinstruct_utils" / "atlas" / "base_model" / "model.safetensors")
    assert a.keys() == b.keys()
    moved = sum(((a[k] - start[k].float()) ** 2).sum() for k in a) ** 0.5
    apart = sum(((a[k] - b[k]) ** 2).sum() for k in a) ** 0.5
    assert apart < 0.02 * moved, f"weights are {apart / moved:.1%} of the way they went apart"
    assert sorted(p.name for p in together.iterdir()) == sorted(p.name for p in alone.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_it_ends_with_the_same_weights(home, made, kind):
    settings, processes = given(home, kind, save_steps=4)
    out = home / f"{kind}-killed"
    code = ("from xinstruct_utils.workflow import launch; "
            f"launch.run('training.sft', {settings!r}, {str(out)!r}, {processes})")
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, start_new_session=True, stdout=subprocess.DEVNULL
    )
    until = time.time() + 240
    while not list(out.glob("checkpoints/checkpoint-*/complete.json")):
        assert child.poll() is None and time.time() < until, (
            home / "logs" / f"{out.name}.log"
        ).read_text()[-3000:]
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(1)  # the ranks go with their launcher
    assert not (out / "train.json").exists()
    launch.run("training.sft", settings, out, processes)
    log = (home / "logs" / f"{out.name}.log").read_text()
    assert log.count("step 1/21 ") == 1 and log.count("step 21/21 ") == 1  # it did not begin anew
    undisturbed, told = made(kind)
    assert read_json(out / "train.json") == told
    assert file_hash(out / "model.safetensors") == file_hash(undisturbed / "model.safetensors")
    assert not (out / "checkpoints").exists()


@NEEDS
@pytest.mark.slow
def test_under_zero3_one_call_trains_twice_and_reads_the_models(home):
    """What a step does: adapters, a full model, and inference with what was just made, in the same
    processes.
    """
    write_jsonl(home / "asked.jsonl", [{"id": str(k), **row} for k, row in enumerate(ROWS)])
    settings, _ = given(home, "gpu8_zero3", bf16=True, epochs=1, gradient_checkpointing=True)
    reading = dict(
        task="likelihood",
        input=str(home / "asked.jsonl"),
        bf16=False,
        token_budget=2048,
        shard_size=8,
        seed=0,
        threads=1,
    )
    jobs = [
        ("training.sft", settings | {"lora_rank": 4, "learning_rate": 5e-3}, home / "lora"),
        ("training.sft", settings, home / "full"),
    ]
    jobs += [
        ("inference.local", reading | {"model": str(home / name)}, home / f"{name}-read")
        for name in ("lora", "full")
    ]
    jobs += [
        (
            "inference.local",
            reading | {"model": str(REPO / "xinstruct_utils" / "atlas" / "base_model")},
            home / "base-read",
        )
    ]
    launch.run_all(jobs, 2)
    mean = {}
    for name in ("lora", "full", "base"):
        rows = [r for p in (home / f"{name}-read").glob("shard-*.jsonl") for r in read_jsonl(p)]
        mean[name] = sum(r["log_likelihood"] for r in rows) / len(rows)
    assert mean["lora"] > mean["base"] + 0.5 and mean["full"] > mean["base"] + 0.5
    lora, full = (load_file(home / name / "model.safetensors") for name in ("lora", "full"))
    assert lora.keys() == full.keys() and {str(v.dtype) for v in lora.values()} == {
        "torch.bfloat16"
    }


SRUN = f"""#!{sys.executable}
import os, subprocess, sys
nodes = int(next(a for a in sys.argv if a.startswith("--nodes=")).split("=")[1])
line = [a for a in sys.argv[1:] if not a.startswith(("--nodes=", "--ntasks"))]
made = [subprocess.Popen(line, env=os.environ | {{"SLURM_PROCID": str(n)}}) for n in range(nodes)]
sys.exit(max(abs(child.wait()) for child in made))
"""


@NEEDS
@pytest.mark.slow
def test_two_nodes_meet_through_srun(home, made, tmp_path, monkeypatch):
    """Both "nodes" are this machine, started by a stand-in for srun that does what it does: one
    task a node, numbered.
    """
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("XINSTRUCT_HEAD", "127.0.0.1")
    launch.run("training.sft", given(home, "nodes_zero3")[0], home / "nodes", 2)
    assert read_json(home / "nodes" / "train.json")["losses"] == made("gpu8_zero3")[1]["losses"]
