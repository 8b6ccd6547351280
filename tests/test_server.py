"""Inference by servers: real HTTP servers on loopback that are killed and stopped, `transformers
serve`, and what is refused."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
from conftest import job_settings

from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import open_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference import completions, connection, remote, servers
from xinstruct_utils.inference import local as local_engine
from xinstruct_utils.models.loading import load
from xinstruct_utils.prompts.requests import rating_request, response_request
from xinstruct_utils.workflow import launch

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))),
    reason="the loopback servers need fastapi and uvicorn (pip install '.[dev]')",
)
PLACES = ("Kenya", "Japan", "Fiji", "Chad", "Peru", "Iran", "Cuba", "Norway", "Turkey")
ROWS = [
    {
        "id": f"r{k:03d}",
        "prompt": response_request(f"Name the currency of {PLACES[k % 9]}. {k}", "sw"),
        "completion": f"Sarafu ni {k}.",
    }
    for k in range(36)
]
PAIRS = [
    {
        "id": f"r{k}",
        "prompt": rating_request("What is the currency of Kenya?", "Shilingi ya Kenya. " * k),
    }
    for k in range(1, 10)
]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def loopback(count, model=BASE_MODEL):
    """`count` servers of the Atlas model: their ports and processes."""
    ports = [free_port() for _ in range(count)]
    made = [
        subprocess.Popen(
            [sys.executable, str(REPO / "tests" / "loopback.py"), str(model), "--port", str(port)]
        )
        for port in ports
    ]
    try:
        for port, child in zip(ports, made, strict=True):
            wait_for(lambda port=port: answers(port) is not None, 120, child)
        yield ports, made
    finally:
        for child in made:
            child.kill()
            child.wait()


def answers(port, path="/keys"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return json.load(reply)
    except OSError:
        return None


def wait_for(ready, seconds=60, child=None):
    until = time.time() + seconds
    while not (found := ready()):
        assert time.time() < until and (child is None or child.poll() is None), (
            "what was waited for did not come"
        )
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def port():
    with loopback(1) as (ports, _):
        yield ports[0]


@pytest.fixture(scope="module")
def atlas():
    model, tokenizer = load("atlas")
    return model.eval(), tokenizer


@pytest.fixture
def job(tmp_path, runs):
    """A function that runs a job of servers in this process, and returns its rows."""

    def go(urls, rows=ROWS, task="generate", name="out", **more):
        write_jsonl(tmp_path / "in.jsonl", rows)
        servers = dict(server_urls=urls, server_concurrency=4, server_wait_s=60,
                       server_command=None)
        remote.main(job_settings(tmp_path / "in.jsonl", task=task, out=str(tmp_path / name),
                                 **servers) | more)
        return list(Shards(tmp_path / name, 8).read())

    return go


def url(port, kind="vllm"):
    return f"http://127.0.0.1:{port}/{kind}/v1"


def local(atlas, rows=ROWS):
    made = local_engine.generate(*atlas, [r["prompt"] for r in rows], 1, 8)
    return [{"id": r["id"], **m} for r, m in zip(rows, made, strict=True)]


def test_greedy_answers_are_those_of_the_local_engine_and_in_its_order(port, job, atlas):
    assert job([url(port)]) == local(atlas)


def test_a_sampled_answer_depends_on_its_row_only(port, job):
    one = job([url(port)], temperature=1.3, name="one", server_concurrency=1)
    assert job([url(port)], temperature=1.3, name="other", server_concurrency=9) == one
    assert job([url(port)], temperature=1.3, seed=1, name="reseeded") != one


@pytest.mark.parametrize("kind", ["vllm", "processed", "sglang"])
def test_ratings_from_log_probabilities_equal_the_local_engines(port, job, atlas, kind):
    made = job([url(port, kind)], PAIRS, "rate")
    for row, p in zip(
        made, local_engine.rate(*atlas, [r["prompt"] for r in PAIRS], 512), strict=True
    ):
        assert max(abs(row[f"p{k}"] - p[k]) for k in range(3)) < 1e-3  # the goal is 1e-2


def test_a_rating_token_that_is_not_told_is_an_error_and_not_a_guess(port, job):
    with pytest.raises(
        InputError, match="lack one of the rating tokens.*--logprobs-mode processed_logprobs"
    ):
        job([url(port, "old")], PAIRS, "rate")


def test_likelihoods_equal_the_local_engines(port, job, atlas):
    want = local_engine.likelihood(*atlas, [(r["prompt"], r["completion"]) for r in ROWS[:9]], 512)
    made = job([url(port)], ROWS[:9], "likelihood")
    assert all(abs(row["log_likelihood"] - x) < 1e-3 for row, x in zip(made, want, strict=True))


@pytest.mark.parametrize(
    "kind, task, told",
    [
        ("sglang", "likelihood", "no prompt_logprobs.*engine: local"),
        ("narrow", "rate", "no logprobs.*engine: local"),
        ("doubled", "generate", "the server counts .* a second BOS"),
    ],
)
def test_a_server_that_cannot_do_the_task_is_told_of(port, job, kind, task, told):
    with pytest.raises(InputError, match=told):
        job([url(port, kind)], ROWS[:2], task)


def test_a_server_of_another_model_is_refused_with_the_command_for_the_right_one(
    port, job, tmp_path
):
    shutil.copytree(BASE_MODEL, tmp_path / "other")
    with pytest.raises(
        InputError,
        match=rf"serves .*base_model, but .* asks for {tmp_path}/other; start there: vllm serve",
    ):
        job([url(port)], model=str(tmp_path / "other"))


def test_a_prompt_that_is_too_long_for_the_server_is_named(port, job):
    rows = [
        *ROWS[:3],
        {"id": "the long one", "prompt": "neno " * 300},
    ]  # not over the model's own 1,024 tokens
    with pytest.raises(
        InputError, match="row the long one: no answer .*maximum context length.*--max-model-len"
    ):
        job([url(port)], rows)


def test_a_row_that_is_over_the_models_own_context_is_not_sent_and_the_rest_goes_on(
    port, job, atlas
):
    """It would be refused for ever, and the step with it."""
    made = job([url(port)], [{"id": "long", "prompt": "neno " * 1100}, *ROWS[:9]])
    assert made[0] == {
        "id": "long",
        "generated": "",
        "finish_reason": "context",
        "tokens": 0,
    } and made[1:] == local(atlas, ROWS[:9])
    rated = job(
        [url(port)], [*PAIRS[:2], {"id": "long", "prompt": "neno " * 1100}], "rate", name="rated"
    )
    assert (
        rated[2] == {"id": "long", "p0": None, "p1": None, "p2": None}
        and rated[0]["p0"] is not None
    )


def test_errors_of_a_server_are_tried_again(port, job, atlas, tmp_path):
    assert job([url(port, "flaky")], ROWS[:12]) == local(atlas, ROWS[:12])
    assert read_json(tmp_path / "out" / "done.json")["faults"] >= 3


def test_the_key_of_the_judge_stays_with_the_judge(port, job, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-judge")
    monkeypatch.setenv("XINSTRUCT_SERVER_KEY", "of-the-server")
    job([url(port)], ROWS[:2])
    assert "Bearer of-the-server" in answers(port) and "of-the-judge" not in str(answers(port))


def test_without_any_server_one_error_says_so_after_waiting(job):
    begun = time.time()
    wanted = r"no server answered for \d+ s \(http.*\); all finished shards are kept: start servers"
    with pytest.raises(InputError, match=wanted):
        job([f"http://127.0.0.1:{free_port()}/v1"], server_wait_s=2)
    assert 2 <= time.time() - begun < 20


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_two_servers_one_killed_or_stopped_in_the_middle_nothing_is_lost(
    port, job, atlas, tmp_path, monkeypatch, capsys, how
):
    monkeypatch.setattr(connection, "PATIENCE", 1.0)
    monkeypatch.setattr(connection, "BEAT", 0.5)
    with loopback(1) as ((other,), (child,)):

        def strike():
            wait_for(lambda: (tmp_path / "out" / "shard-00000.jsonl").exists())
            child.send_signal(how)

        threading.Thread(target=strike).start()
        made = job([url(port, "slow"), url(other, "slow")])
    assert made == local(atlas)
    done = read_json(tmp_path / "out" / "done.json")
    told = capsys.readouterr().out
    assert f"{url(other, 'slow')} is away: " in told and f"{url(port, 'slow')} is away" not in told
    assert all(done["answers"].values()) and sum(done["answers"].values()) == len(ROWS)


def test_a_killed_job_goes_on_with_another_server_to_the_same_rows(
    port, job, atlas, tmp_path, runs
):
    home = tmp_path / "out"
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    s = dict(
        task="generate",
        model="atlas",
        input=str(tmp_path / "in.jsonl"),
        shard_size=8,
        threads=1,
        seed=0,
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=8,
        out=str(home),
        server_urls=[url(port, "slow")],
        server_concurrency=2,
        server_wait_s=60,
        module="inference.remote",
        key="k",
    )
    write_json(tmp_path / "s.json", s)
    child = subprocess.Popen(
        [sys.executable, "-m", "xinstruct_utils.workflow.launch", str(tmp_path / "s.json")],
        cwd=REPO,
    )
    wait_for(lambda: (home / "shard-00001.jsonl").exists(), 60, child)
    child.kill()
    child.wait()
    before = {p.name: p.stat().st_mtime_ns for p in home.glob("shard-*")}
    assert job([url(port)]) == local(atlas)
    assert 2 <= len(before) < 5 and all(
        (home / name).stat().st_mtime_ns == at for name, at in before.items()
    )


def test_two_chunks_at_a_time_are_in_memory(job, monkeypatch, tmp_path):
    open_chunks, real = [], Shards.pending

    def counted(shards, rows):
        for handed, (index, chunk) in enumerate(real(shards, rows), 1):
            open_chunks.append(handed - len(list((tmp_path / "out").glob("shard-*"))))
            yield index, chunk

    async def greet(self, completions, rows):
        pass

    async def ask(self, body):
        return {"choices": [{"text": "x", "finish_reason": "length"}]}

    monkeypatch.setattr(Shards, "pending", counted)
    monkeypatch.setattr(connection.Server, "greet", greet)
    monkeypatch.setattr(connection.Server, "ask", ask)
    rows = [{"id": str(k), "prompt": "Habari"} for k in range(800)]
    made = job(["http://127.0.0.1:9/v1"], rows)
    assert [r["id"] for r in made] == [r["id"] for r in rows]
    # The third is in hand, and waits for room.
    assert len(open_chunks) == 100 and max(open_chunks) == 3


# Through launch.run, as the notebooks call it: the run's profile decides.


@pytest.fixture
def a_run(runs, tmp_path):
    """A function that opens a run of some settings, and a job's settings; the job's folder is in
    that run."""

    def make(**settings):
        open_run("served", load_profile("smoke", **settings))
        write_jsonl(runs / "served" / "in.jsonl", ROWS[:6])
        return job_settings(runs / "served" / "in.jsonl", shard_size=3)

    return make


def test_transformers_serve_is_started_for_the_jobs_and_gone_after_them(a_run, runs, atlas, capfd):
    port, out = free_port(), runs / "served" / "sw" / "step" / "answers"
    command = (
        f"{sys.executable} -m transformers.cli.transformers serve {{model}} "
        "--host 127.0.0.1 --port {port} --device cpu"
    )
    s = a_run(
        engine="server",
        server_urls=[f"http://127.0.0.1:{port}/v1"],
        server_command=command,
        server_concurrency=2,
    )
    launch.run_all(
        [
            ("inference.local", s, out),
            ("inference.local", dict(s, max_new_tokens=4), out.with_name("short")),
        ]
    )
    assert list(Shards(out, 3).read()) == local(atlas, ROWS[:6])
    assert (out.parent / "logs" / "answers.log").read_text().count("transformers serve") == 1
    assert (out.parent / "logs" / f"answers.server-{port}.log").exists() and not answers(
        port, "/health"
    )
    assert "answers: inference.remote, task=generate" in capfd.readouterr().out


def test_a_command_that_ends_at_once_is_an_error_with_the_end_of_its_log(a_run, runs):
    s = a_run(
        engine="server",
        server_urls=[f"http://127.0.0.1:{free_port()}/v1"],
        server_command=f"{sys.executable} -c 'print(\"no such {{model}}\")'",
    )
    with pytest.raises(
        InputError, match=rf"server_command ended with exit code 0.*no such {BASE_MODEL}"
    ):
        launch.run("inference.local", s, runs / "served" / "sw" / "step" / "answers")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_job_takes_its_servers_and_their_children_with_it(tmp_path):
    (tmp_path / "go.sh").write_text("sleep 600 & echo $! > $1; wait")
    s = {
        "server_command": f"bash {tmp_path}/go.sh {tmp_path}/pid",
        "server_urls": ["http://127.0.0.1:1/v1"],
        "out": f"{tmp_path}/x/out",
    }
    code = (
        "from xinstruct_utils.inference import servers; import time; "
        f"servers.started({s!r}, 'm'); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPO,
        env=os.environ | {"XINSTRUCT_RUNS": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    pid = int(
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 60, parent)
    )
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(pid), 20)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_servers_of_the_same_model_are_kept_and_of_another_replaced(tmp_path, runs):
    seen = tmp_path / "seen"
    seen.touch()
    (tmp_path / "go.sh").write_text("echo $2 >> $1; exec sleep 600")
    s = {
        "server_command": f"bash {tmp_path}/go.sh {seen} {{model}}-{{index}}-{{port}}",
        "out": str(tmp_path / "x" / "out"),
        "server_urls": ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"],
    }
    guards = []
    for model, lines in (("a", 2), ("a", 2), ("b", 4)):
        assert servers.started(s, model)() is None
        wait_for(lambda lines=lines: len(seen.read_text().split()) >= lines)
        guards.append(servers.running["guards"])
    assert sorted(seen.read_text().split()) == ["a-0-1", "a-1-2", "b-0-1", "b-1-2"]
    assert (
        guards[0] == guards[1]
        and all(g.poll() is not None for g in guards[0])
        and None in [g.poll() for g in guards[2]]
    )
    servers.stop()
    assert all(g.poll() is not None for g in guards[2])


def test_addresses_and_engine_may_change_within_a_run(a_run, runs):
    s = a_run(engine="server", server_urls=["http://127.0.0.1:1/v1"])
    out = runs / "served" / "sw" / "step" / "answers"
    module, first, place = launch.placed("inference.local", s, out, 8)
    assert (module, place) == ("inference.remote", launch.Place(by_servers=True)) and first[
        "server_urls"
    ] == ["http://127.0.0.1:1/v1"]
    a_run(engine="server", server_urls=["http://127.0.0.1:2/v1"], server_concurrency=3)
    module, other, _ = launch.placed("inference.local", s, out, 8)
    assert other["server_urls"] == ["http://127.0.0.1:2/v1"] and launch.key_of(
        module, first
    ) == launch.key_of(module, other)
    assert launch.placed("training.sft", s, out, 8) == ("training.sft", s, launch.Place(8))
    a_run(inference_nodes=2)
    module, local_settings, place = launch.placed("inference.local", s, out, 8)
    assert (module, local_settings, place) == ("inference.local", s, launch.Place(8, 2))
    assert launch.key_of(module, s) != launch.key_of(
        "inference.remote", first
    )  # what was begun by servers is begun anew


def test_an_engine_of_servers_needs_addresses():
    with pytest.raises(InputError, match="engine is 'server', so server_urls is needed"):
        load_profile("smoke", engine="server")


def test_text_for_servers_without_token_ids_has_bos_once_or_is_refused(atlas):
    tokenizer = atlas[1]
    of_job = completions.Completions(
        {"task": "generate", "seed": 0, "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 8},
        tokenizer,
    )
    ids, _ = of_job.ids(ROWS[0])
    assert tokenizer(of_job.text(ROWS[0], ids))["input_ids"] == ids
    assert ids.count(tokenizer.bos_token_id) == 1
    assert of_job.text(ROWS[0], [0, 0, *ids]) is None
    with pytest.raises(InputError, match="no text gives the token ids"):
        of_job.body({"prompt": "</s>", "id": "r"}, [0, 0, *ids], "m", plain=True)
