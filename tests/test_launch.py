"""Heavy jobs in a subprocess, played by a toy: shown, logged, resumable, never left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from conftest import job_settings

from xinstruct_utils.config.load import accelerate_config, load_profile
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.config.runs import load_run, open_run
from xinstruct_utils.core import process
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.workflow import launch, notebooks
from xinstruct_utils.workflow.step import Step

# Python runs sitecustomize at its start, so the subprocess knows a module xinstruct_utils.toy.
TOY = '''
import sys, types

def main(s):
    import os, time
    from pathlib import Path
    from xinstruct_utils.core.errors import InputError
    from xinstruct_utils.core.process import finish_job
    out, rank = Path(s["out"]), os.environ.get("RANK", "0")
    with open(out.parent / "calls", "a") as stream:
        stream.write(f"{s['how']} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\\n")
    print("toy says", s["how"], flush=True)
    if s["how"] == "fail":
        raise ValueError("no luck")
    if s["how"] == "input":
        raise InputError("data.jsonl, line 3: not UTF-8")
    if s["how"] == "full":                       # as safetensors says it
        raise RuntimeError("Error while serializing: I/O error: "
                           "No space left on device (os error 28)")
    if s["how"] == "sleep":
        (out.parent / f"pid{rank}").write_text(str(os.getpid()))
        time.sleep(600)
    if s["how"] == "gpus":
        (out.parent / f"gpus{rank}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    (out / "result").write_text(s["how"])
    finish_job(out, s, 0.5, time.time() - 1)

toy = types.ModuleType("xinstruct_utils.toy")
toy.main = main
sys.modules["xinstruct_utils.toy"] = toy
'''


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'path'}{os.pathsep}{REPO}")
    real = launch.modules_digest
    monkeypatch.setattr(launch, "modules_digest",
                        lambda code: "toy" if code.endswith(".toy") else real(code))


def settings(how="ok", **more):
    return dict(how=how, threads=1, **more)


def calls(tmp_path):
    return [line.split() for line in (tmp_path / "calls").read_text().splitlines()]


def test_settings_and_command_are_shown_the_log_is_kept_and_the_cost_comes_back(
        tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_STEP", "headless")
    cost = launch.run("toy", settings(keep=3), tmp_path / "out")
    assert cost["startup_s"] == 0.5 and cost["wall_s"] >= 1 and cost["peak_rss_mib"] > 1
    shown = capsys.readouterr().out
    assert "out: toy, how=ok, threads=1, keep=3" in shown
    assert "$ python -m xinstruct_utils.workflow.launch out.settings.json" in shown
    assert "\r" not in shown and "toy says ok" in (tmp_path / "logs" / "out.log").read_text()


def test_someone_who_watches_sees_the_logs_last_line_and_no_debris_of_it(tmp_path, capsys):
    launch.run("toy", settings(), tmp_path / "out")
    assert capsys.readouterr().out.endswith("\r" + " " * 100 + "\r")


def test_one_process_has_the_threads_of_its_settings(tmp_path):
    launch.run("toy", settings() | {"threads": 3}, tmp_path / "out")
    assert calls(tmp_path)[0][2] == "3"


def test_a_full_disk_in_a_job_is_bad_input_and_no_tail_of_a_log(tmp_path):
    message = "the disk is full: no space was left for .*; free some and run the same command again"
    with pytest.raises(InputError, match=message):
        launch.run("toy", settings("full"), tmp_path / "out")


def test_a_full_disk_that_takes_no_log_either_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(InputError, match="the disk is full: no space was left for"):
        launch.run("toy", settings("fail"), tmp_path / "out")


def test_a_finished_job_is_not_repeated(tmp_path, capsys):
    first = launch.run("toy", settings(), tmp_path / "out")
    assert launch.run("toy", settings(), tmp_path / "out") == first and len(calls(tmp_path)) == 1
    assert "out: already done" in capsys.readouterr().out


def test_several_jobs_share_one_process_and_only_the_missing_ones_run(tmp_path):
    launch.run("toy", settings(), tmp_path / "a")
    launch.run_all([("toy", settings(), tmp_path / name) for name in "abc"])
    made = calls(tmp_path)
    assert len(made) == 3 and made[1][1] == made[2][1] != made[0][1]


@pytest.mark.parametrize("change", ["settings", "input", "model", "code"])
def test_a_job_with_other_settings_inputs_or_code_starts_from_an_empty_folder(
        tmp_path, change, monkeypatch):
    for name in ("input", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("old")
    given = settings(input=str(tmp_path / "input"), model=str(tmp_path / "model"))
    launch.run("toy", given, tmp_path / "out")
    (tmp_path / "out" / "shard-00000.jsonl").write_text("of the old kind")
    if change == "settings":
        given["keep"] = 3
    elif change == "code":
        monkeypatch.setattr(launch, "modules_digest", lambda code: "new")
    else:
        (tmp_path / change / "x").write_text("new")
    launch.run("toy", given, tmp_path / "out")
    assert len(calls(tmp_path)) == 2 and not (tmp_path / "out" / "shard-00000.jsonl").exists()


def test_a_half_finished_job_with_the_same_settings_keeps_its_shards(tmp_path):
    launch.run("toy", settings(), tmp_path / "out")
    (tmp_path / "out" / "done.json").unlink()
    (tmp_path / "out" / "shard-00000.jsonl").write_text("made before it was killed")
    launch.run("toy", settings(), tmp_path / "out")
    assert len(calls(tmp_path)) == 2 and (tmp_path / "out" / "shard-00000.jsonl").exists()


def test_a_folder_that_nobody_vouches_for_is_emptied(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "done.json").write_text('{"key": "?"}')
    (tmp_path / "out" / "junk").touch()
    launch.run("toy", settings(), tmp_path / "out")
    assert not (tmp_path / "out" / "junk").exists()


def test_a_failure_shows_the_end_of_the_log_and_leaves_no_done_marker(tmp_path):
    with pytest.raises(RuntimeError,
                       match=r"(?s)exit code 1.*logs/out.log.*toy says fail.*ValueError: no luck"):
        launch.run("toy", settings("fail"), tmp_path / "out")
    assert not (tmp_path / "out" / "done.json").exists()


def test_bad_input_found_by_a_job_stays_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="^data.jsonl, line 3: not UTF-8$"):
        launch.run("toy", settings("input"), tmp_path / "out")


def wait_for(path, seconds=60):
    until = time.time() + seconds
    while not (path.exists() and path.read_text()):
        assert time.time() < until, f"{path} did not appear"
        time.sleep(0.05)
    return int(path.read_text())


def gone(pid, seconds=5):
    until = time.time() + seconds
    while time.time() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_job_and_all_its_ranks_go_when_their_parent_is_killed(tmp_path, processes):
    job = f"'toy', {settings('sleep')!r}, {str(tmp_path / 'out')!r}, {processes}"
    code = ("from xinstruct_utils.workflow import launch; launch.modules_digest = str; "
            f"launch.run({job})")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdout=subprocess.DEVNULL)
    ranks = [wait_for(tmp_path / f"pid{rank}") for rank in range(processes)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert all(map(gone, ranks))


def test_an_interrupted_cell_takes_its_job_with_it(tmp_path, monkeypatch):
    def interrupt(log, shown=None):
        if log and (tmp_path / "pid0").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(launch, "_progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launch.run("toy", settings("sleep"), tmp_path / "out")
    assert gone(wait_for(tmp_path / "pid0"))


def test_training_runs_in_two_processes_with_the_same_call(tmp_path):
    rows = [{"prompt": f"Nchi {k}:", "completion": f"Mji wa {k} ni Nairobi"} for k in range(24)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    given = Profile().group("training") | dict(epochs=1, batch_tokens=256, max_length=128,
                                               bf16=False, input=str(tmp_path / "rows.jsonl"))
    launch.run("training.sft", given, tmp_path / "model", processes=2)
    assert read_json(tmp_path / "model" / "train.json")["rows"] == 24
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert (tmp_path / "logs" / "model.log").read_text().count("training.sft -> ") == 2


def test_a_child_whose_parent_went_before_it_could_say_so_ends_itself(tmp_path):
    code = ("import sys; from xinstruct_utils.core.process import die_with_parent; "
            "die_with_parent(int(sys.argv[1])); print('still here')")
    made = subprocess.run([sys.executable, "-c", code, "1"], cwd=REPO, capture_output=True,
                          text=True)
    assert made.returncode == 1 and made.stdout == ""


def names(code):
    return {f.stem for f in notebooks.used_modules(code)}


def test_the_modules_of_a_step_are_those_it_imports_and_those_they_import():
    code = "from xinstruct_utils.core import files\nfrom xinstruct_utils.core.paths import root"
    assert names(code) == {"files", "errors", "paths", "secrets"}
    assert {"requests", "languages"} <= names("import xinstruct_utils.prompts.requests")
    assert {"pages", "world", "sw"} <= names("from xinstruct_utils.atlas import oracle")
    assert names("import torch\nfrom pathlib import Path") == set()


def test_what_an_engine_may_start_instead_counts_as_used_though_no_import_shows_it():
    assert {"remote", "completions"} <= names("from xinstruct_utils.inference import local")
    assert "trainer" in names("from xinstruct_utils.training import sft")


@pytest.mark.parametrize("code", [
    "from xinstruct_utils import artifacts", "import xinstruct_utils.nothing",
    "from xinstruct_utils.core import nothing", "from xinstruct_utils.nothing.files import digest",
    "from .core import files"])
def test_an_import_that_does_not_resolve_is_an_error_with_its_name(code):
    with pytest.raises(InputError, match="this notebook, line 2: .*(import )"):
        names("import json\n" + code)


def test_a_model_depends_on_the_base_model_and_not_on_how_it_is_judged_or_asked():
    assert "MANIFEST" in names("from xinstruct_utils.training import sft")
    assert not {"oracle", "pages"} & names(
        "from xinstruct_utils.training import sft\nfrom xinstruct_utils.inference import local")


def test_a_figure_is_a_result_and_the_runner_is_not():
    assert "plots" in names("from xinstruct_utils.reporting import plots")
    code = ("from xinstruct_utils.workflow import execute, launch, step\n"
            "from xinstruct_utils.config import load")
    assert names(code) == set()


def test_the_settings_file_says_all_that_the_job_was_given(tmp_path):
    launch.run("toy", settings(keep=3), tmp_path / "out")
    told = read_json(tmp_path / "out.settings.json")
    assert told["keep"] == 3 and told["module"] == "toy"
    assert json.dumps(told["out"]) == json.dumps(str(tmp_path / "out"))


def config_file(path, **values):
    values = {"num_machines": 1, "num_processes": 2} | values
    path.write_text("\n".join(f"{key}: {value}" for key, value in values.items()))
    return str(path)


def test_an_accelerate_configuration_says_how_a_job_is_started(tmp_path, monkeypatch):
    made = launch.command(["a.json"], 1, config_file(tmp_path / "c.yaml"))
    assert made[1:5] == ["-m", "accelerate.commands.launch", "--config_file",
                         str(tmp_path / "c.yaml")]
    assert made[-3:] == ["-m", "xinstruct_utils.workflow.launch", "a.json"]
    assert "--multi_gpu" not in made
    nodes = config_file(tmp_path / "n.yaml", num_machines=2)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(InputError,
                       match="n.yaml: 2 nodes are started with srun, inside a Slurm allocation"):
        launch.command(["a.json"], 1, nodes)


def test_without_a_configuration_a_job_stays_on_its_node(monkeypatch):
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    assert "--num_processes 2" in " ".join(launch.command(["a.json"], 16))


@pytest.mark.parametrize("name, told", [
    ("gpu9", "expected a YAML file.*gpu1, gpu2, gpu8_zero2, gpu8_zero3, nodes_zero3"),
    ("bad.yaml", "expected num_machines and num_processes"),
    ("no.yaml", "YAML file")])
def test_a_bad_accelerate_configuration_is_one_clear_error(tmp_path, monkeypatch, name, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("num_machines: two")
    with pytest.raises(InputError, match=told):
        load_profile("smoke", accelerate_config=name)


@pytest.mark.parametrize("name",
                         sorted(p.stem for p in (REPO / "profiles" / "accelerate").glob("*.yaml")))
def test_accelerate_itself_reads_every_shipped_configuration(name):
    from accelerate.commands.config.config_args import load_config_from_file

    path, values = accelerate_config(name)
    read = load_config_from_file(str(path))
    assert read.num_processes == values["num_processes"] and read.use_cpu is False
    assert (str(read.distributed_type)
            == "DistributedType.DEEPSPEED") == (values["num_processes"] > 1)


def test_a_batch_that_the_processes_cannot_share_is_refused_with_the_profile():
    with pytest.raises(InputError,
                       match="batch_rows is 6, which cannot be shared out to 4 train_processes"):
        load_profile("smoke", batch_rows=6, train_processes=4)


def test_a_run_goes_on_on_another_machine_and_keeps_its_models(runs, tmp_path):
    open_run("r", load_profile("smoke"))
    open_run("r", load_profile("smoke", accelerate_config="gpu2", train_processes=2))
    assert load_run("r").train_processes == 2
    more = dict(accelerate_config="gpu2", device_rows=4, threads=8, token_budget=9, save_steps=5,
                gradient_checkpointing=True)
    assert launch.key_of("toy", settings()) == launch.key_of("toy", settings() | more)
    with pytest.raises(InputError, match="lora_rank was 0, now 5"):
        open_run("r", load_profile("smoke", lora_rank=5))


@pytest.mark.parametrize("seen, wanted",
                         [(None, "0"), ("3,5", "3"), ("", ""), ("GPU-1a,GPU-2b", "GPU-1a")])
def test_a_process_that_works_alone_sees_one_gpu(tmp_path, monkeypatch, seen, wanted):
    """Over all that it sees transformers would spread the model by nn.DataParallel; TRL refuses."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    launch.run("toy", settings("gpus"), tmp_path / "out")
    assert (tmp_path / "gpus0").read_text() == wanted


def test_ranks_and_jobs_of_servers_see_all_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    seen = []
    monkeypatch.setattr(launch, "_watch", lambda paths, line, environ: seen.append(environ))
    for module, ranks, how in (("training.sft", 2, ""), ("inference.remote", 1, ""),
                               ("training.sft", 1, "gpu1"), ("training.sft", 2, "gpu2")):
        with pytest.raises(FileNotFoundError):  # nothing ran, so nothing is done
            launch.run(module, settings(accelerate_config=how), tmp_path / f"{module}{ranks}{how}",
                       ranks)
    assert seen == [{}, {}, {"CUDA_VISIBLE_DEVICES": "3"}, {}]


SRUN = """#!{python}
import os, subprocess, sys
nodes = int([a for a in sys.argv if a.startswith("--nodes=")][0].split("=")[1])
line = sys.argv[1:]
while line[0].startswith("--"):
    line.pop(0)
children = [subprocess.Popen(line, env=os.environ | {{"SLURM_PROCID": str(k)}})
            for k in range(nodes)]
sys.exit(max(child.wait() for child in children))
"""


def test_inference_on_two_nodes_shares_the_shards_and_gives_the_bytes_of_one(
        tmp_path, runs, monkeypatch):
    """A stand-in for srun starts both nodes here."""
    (tmp_path / "path" / "srun").write_text(SRUN.format(python=sys.executable))
    (tmp_path / "path" / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    made = {}
    for nodes in (2, 1):
        open_run("r", load_profile("smoke", inference_nodes=nodes))
        out = runs / "r" / "sw" / f"out{nodes}"
        write_jsonl(runs / "r" / "in.jsonl",
                    [{"id": str(k), "prompt": f"Nchi {k}: "} for k in range(12)])
        given = job_settings(runs / "r" / "in.jsonl", shard_size=2, token_budget=512,
                             temperature=0.9, top_p=0.9)
        launch.run("inference.local", given, out)
        made[nodes] = {p.name: p.read_bytes() for p in out.glob("shard-*")}
    assert made[2] == made[1] and len(made[1]) == 6
    log = (runs / "r" / "sw" / "logs" / "out2.log").read_text()
    assert log.count("generate shard 3/3") == 2 and "rank 1" in log


def test_inference_on_several_nodes_needs_an_allocation(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    message = "inference_nodes: 2 nodes are started with srun, inside a Slurm allocation"
    with pytest.raises(InputError, match=message):
        launch.command(["a.json"], 8, nodes=2)


def test_each_node_starts_its_own_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(launch.shutil, "which", lambda name: name)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    line = " ".join(launch.command(["a.json"], 8, nodes=2))
    assert line.startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1 ")
    assert "--share 2 -m accelerate.commands.launch" in line
    assert "--num_processes 8 --num_machines 1" in line
    monkeypatch.setenv("XINSTRUCT_NODE", "1/2")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "3")
    assert process.rank() == (11, 16)


def test_what_a_profile_says_about_training_reaches_the_job(runs):
    open_run("r", load_profile("smoke", lora_rank=8, save_steps=50))
    step = Step("03_backtranslation", "r", "sw")
    given = step.settings("training", epochs=2)
    assert (given["lora_rank"], given["save_steps"], given["epochs"]) == (8, 50, 2)
    step.finish([])
    assert read_json(step.path("manifest.json"))["settings"]["training"] == {
        k: v for k, v in given.items() if k != "epochs"}
    with pytest.raises(InputError,
                       match="no group of settings 'trainng': expected one of training, inference"):
        step.settings("trainng")


def test_every_notebook_takes_the_settings_of_a_job_from_a_group():
    asked = {path.stem: notebooks.setting_groups(path.stem)
             for path in (REPO / "notebooks").glob("*.ipynb")}
    assert asked["04_refinement"] == ["inference", "training"] and asked["05_diversification"] == []


def test_bad_input_found_by_several_processes_stays_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="^data.jsonl, line 3: not UTF-8$"):
        launch.run("toy", settings("input"), tmp_path / "out", processes=2)


def test_the_key_of_a_job_outside_of_the_runs_leaves_nothing_beside_its_model(tmp_path):
    """The model may lie in the package: a note there was committed once."""
    model = tmp_path / "models" / "large"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(bytes(2_000_000))
    before = launch.key_of("toy", {"base_model": str(model)})
    (model / "model.safetensors").write_bytes(bytes(2_000_001))
    assert launch.key_of("toy", {"base_model": str(model)}) != before
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["large"]
