"""The judge's client against real HTTP servers on loopback.

Faults, kills, money, batch jobs, and `transformers serve`.
"""

import asyncio
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import http_servers
import pytest
from http_servers import draw

from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.inference import chat as chat_module
from xinstruct_utils.inference.patience import retry_after
from xinstruct_utils.prompts.replies import tagged
from xinstruct_utils.prompts.requests import VIEWS

LATENCY, CONCURRENCY, PATIENCE = 0.14, 16, 0.2
FAULTS = ("429", "500", "time-out", "cut", "not JSON", "empty", "drip")
KEY = "sk-loopback-0123456789"


class Handler(http_servers.Handler):
    """Chat completions whose scores depend on the prompt; a fault hits a share of the tries."""

    def do_POST(self):
        raw = self.body()
        server, at = self.server, time.time()
        with server.lock:
            server.seen.add(self.headers.get("authorization"))
            key = hashlib.sha256(raw).hexdigest()
            server.tries[key] = server.tries.get(key, 0) + 1
            fault = server.fault(key, server.tries[key])
            server.faults.append(fault)
            server.busy.append(server.active)
            server.active += 1
        try:
            self.answer(json.loads(raw), key, fault)
        finally:
            with server.lock:
                server.active -= 1
                server.spans.append((at, time.time(), fault))

    def answer(self, body, key, fault):
        if fault == "time-out":
            time.sleep(self.server.client_timeout + 0.1)
            self.close_connection = True
            return None
        time.sleep(self.server.latency)
        if fault == "429":
            return self.refuse(429, "slow down", retry_after=PATIENCE)
        if fault in ("500", "401"):
            return self.refuse(int(fault), f"no: {self.headers['authorization']}")
        if fault == "cut":
            return self.cut()
        if fault == "not JSON":
            return self.send(200, b'{"choices": [{"message": {"cont')
        if fault == "404":
            error = {"message": "no such model", "code": "model_not_found"}
            return self.send(404, {"error": error})
        text = "" if fault == "empty" else self.server.reply(body["messages"][-1]["content"])
        made = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}
        if fault == "drip":
            return self.drip(json.dumps(made).encode(), 0.1)
        if not self.connected():
            return None
        if text:
            with self.server.lock:
                self.server.paid.setdefault(key, []).append(time.time())
        return self.send(200, made)


def scores(prompt):
    """A reply in Figure 13's form."""
    a, b = (round(10 * draw(prompt, k), 1) for k in (1, 2))
    return f"Both are answers. <score1>{a}</score1> <score2>{b}</score2>"


@contextmanager
def serving(share=0.0, latency=0.0, reply=scores, client_timeout=0.9, only=FAULTS, handler=Handler):
    """A server on loopback; `.url`, `.paid` {request: replies delivered}, `.faults` of each try."""

    server = http_servers.Server(handler, latency=latency, reply=reply,
                                 client_timeout=client_timeout, tries={}, paid={}, faults=[],
                                 seen=set(), busy=[], active=0, spans=[])

    def fault(key, n):
        return only[int(draw(key, n, "kind") * len(only))] if draw(key, n) < share else None

    server.fault = fault
    with http_servers.running(server):
        yield server


JUDGE = """
import json, sys
from xinstruct_utils.evaluation import judge
from xinstruct_utils.inference.chat import Client

path, url, out, n = *sys.argv[1:4], int(sys.argv[4])
rows = [{"id": k, "instruction": f"Question {k}?"} for k in range(n)]
a, b = ({k: f"answer {who} to {k}" for k in range(n)} for who in "AB")
server = Client(path, "judge", url, concurrency=16, price_in=1.0, price_out=1.0, max_cost_usd=9.0,
                timeout=0.9, tries=12, backoff=0.05)
verdicts = judge.compare(rows, a, b, judge.remote(server, "sw", [(rows, a, b)]))
json.dump(verdicts, open(out, "w"))
"""


def judging(tmp_path, server, n, name):
    """Start the judge in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(REPO), "OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    words = [str(tmp_path / f"{name}.sqlite"), server.url, str(tmp_path / name), str(n)]
    return subprocess.Popen([sys.executable, "-c", JUDGE, *words], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT,
                            text=True)


def finished(child):
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 0, output[-3000:]
    return output


def working(server, lives):
    """Seconds from first to last request of each process; `lives` are the times of their ends."""
    taken, begun = 0.0, 0.0
    for ended in lives:
        spans = [s for s in server.spans if begun < s[0] < ended]
        last = min(ended, max(s[1] for s in spans))
        taken, begun = taken + last - min(s[0] for s in spans), ended
    return taken


def test_a_run_with_faults_killed_twice_loses_nothing_pays_nothing_twice_and_is_hardly_slower(
        tmp_path):
    n, lives = 640, []
    with serving(latency=0.01) as calm:
        finished(judging(tmp_path, calm, n, "calm"))
    with serving(0.3, LATENCY) as rough:
        # killed after a quarter, and after six tenths
        for part in (0.25, 0.6):
            child = judging(tmp_path, rough, n, "rough")
            while len(rough.paid) < part * 2 * n:
                assert child.poll() is None, child.communicate()[0][-3000:]
                time.sleep(0.005)
            lives.append(time.time())
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
        output = finished(judging(tmp_path, rough, n, "rough"))
        lives.append(time.time())
    calm_result, result = (json.loads((tmp_path / name).read_text()) for name in ("calm", "rough"))
    with sqlite3.connect(tmp_path / "rough.sqlite") as store:
        kept = store.execute("SELECT count(*), count(DISTINCT key) FROM replies").fetchone()
    assert result == calm_result and len(result) == n
    assert kept == (2 * n, 2 * n) and len(rough.paid) == 2 * n
    # A reply on its way to a process in the moment of the kill goes with it; nothing that came
    # before is asked again.
    twice = [times for times in rough.paid.values() if len(times) > 1]
    assert len(twice) <= 2 * CONCURRENCY
    assert all(any(abs(k - times[0]) < 0.3 for k in lives) for times in twice)
    assert all(rough.faults.count(f) > 20 for f in FAULTS)
    assert KEY not in output and KEY.encode() not in (tmp_path / "rough.sqlite").read_bytes()
    # Wall time from first to last request of each process, without the time in which a fault held
    # one of the places.
    taken = working(rough, lives)
    held = sum(s[1] - s[0] for s in rough.spans if s[2]) + PATIENCE * rough.faults.count("429")
    ideal = 2 * n * LATENCY / CONCURRENCY
    faults = len(rough.faults) - rough.faults.count(None)
    print(f"{len(rough.faults)} tries, {faults} of them faults; on its way at a kill: "
          f"{len(twice)}; ideal {ideal:.1f} s, taken {taken:.1f} s, "
          f"{taken - held / CONCURRENCY:.1f} s without the faults' waits")
    assert max(rough.busy) <= CONCURRENCY + len(lives)
    # Where others hold the processor, the same requests without faults took longer than their waits
    # too: that much is theirs.
    busy = os.getloadavg()[0] > 1.2 * os.cpu_count()
    others = max(0.0, working(calm, [time.time()]) - 2 * n * 0.01 / CONCURRENCY) if busy else 0.0
    assert taken - held / CONCURRENCY - others <= 1.5 * ideal


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def ask(path, server, n=20, bodies=None, **settings):
    """Ask a client for n replies; returns it and them."""
    made = chat_module.Client(path / "c.sqlite", "judge", server.url,
                              **{"backoff": 0.01, "max_cost_usd": 1.0, **settings})
    return made, made.ask(bodies or [made.body(f"Question {k}?", 20) for k in range(n)])


def test_what_was_answered_is_not_asked_again_and_another_setting_is_another_request(tmp_path, key):
    with serving() as server:
        first = ask(tmp_path, server)[1]
        assert ask(tmp_path, server)[1] == first and len(server.faults) == 20
        made = chat_module.Client(tmp_path / "c.sqlite", "judge", server.url)
        bodies = [made.body("Question 1?", 20, **more)
                  for more in ({}, {"temperature": 1.0}, {"seed": 1}, {"model": "b"})]
        assert ask(tmp_path, server, bodies=bodies)[1][0] == first[1] and len(server.faults) == 23
        assert server.seen == {f"Bearer {KEY}"}


def test_equal_requests_are_sent_once(tmp_path, key):
    with serving() as server:
        made = chat_module.Client(tmp_path / "c.sqlite", "judge", server.url)
        replies = made.ask([made.body("Same?")] * 5)
    assert len(server.faults) == 1 and len(replies) == 5 and len({r["text"] for r in replies}) == 1


def test_nothing_is_sent_that_could_cost_more_than_the_limit(tmp_path, key):
    with serving() as server, pytest.raises(InputError,
                                            match="nothing was sent: set max_cost_usd higher"):
        ask(tmp_path, server, price_in=100.0, price_out=1000.0, max_cost_usd=0.1)
    assert server.faults == []


def test_a_cost_that_outgrows_its_estimate_stops_at_the_limit_and_keeps_what_was_paid(
        tmp_path, key):
    # the server counts 100 tokens, not 14
    with serving() as server, pytest.raises(InputError, match="the budget is spent"):
        ask(tmp_path, server, 50, price_in=100.0, price_out=1.0, max_cost_usd=0.1, concurrency=1)
    spent = chat_module.Client(tmp_path / "c.sqlite", "judge", server.url).spent()
    assert 0.09 < spent["usd"] <= 0.11 and spent["requests"] == len(server.paid) == 10


def test_the_real_cost_counts_unusable_replies_too(tmp_path, key):
    with serving(0.5, only=("empty",)) as server:
        made, _ = ask(tmp_path, server, 40, price_in=1.0, price_out=2.0, tries=12)
    tries = len(server.faults)
    assert tries > 45 and made.failures == {"empty message": tries - 40}
    assert made.spent() == pytest.approx({"requests": tries, "tokens_in": 100 * tries,
                                          "tokens_out": 10 * tries,
                                          "usd": tries * (100 * 1 + 10 * 2) / 1e6})


def test_failures_are_never_kept(tmp_path, key):
    lost = pytest.raises(InputError, match="20 of 20 requests have no reply")
    with serving(1.0, only=("500",)) as server, lost:
        ask(tmp_path, server, tries=2)
    with sqlite3.connect(tmp_path / "c.sqlite") as store:
        assert store.execute("SELECT count(*) FROM replies").fetchone() == (0,)
        assert len(server.faults) == 40


def test_a_refused_key_stops_at_once_and_shows_the_key_nowhere(tmp_path, key, capsys, caplog):
    caplog.set_level("DEBUG")
    # this server sends the key back
    with serving(1.0, only=("401",)) as server, pytest.raises(InputError) as error:
        ask(tmp_path, server, 200, concurrency=2)
    told = capsys.readouterr()
    assert "refuses requests to judge" in str(error.value)
    assert "***" in str(error.value)
    assert len(server.faults) < 10
    texts = [str(error.value), told.out, told.err, caplog.text,
             *(p.read_bytes().decode("latin-1") for p in tmp_path.iterdir())]
    assert not any(KEY in text for text in texts)


def test_openai_itself_needs_a_key_and_prices(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="set judge_price_in"):
        chat_module.Client(tmp_path / "c.sqlite", "gpt-4-0613")
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        chat_module.Client(tmp_path / "c.sqlite", "gpt-4-0613", price_in=30.0, price_out=60.0)


@pytest.mark.parametrize(("given", "seconds"), [("3", 3), ("0.5", 0.5), ("", None), ("soon", None),
                                                ("Wed, 21 Oct 2015 07:28:00 GMT", 0)])
def test_retry_after_is_a_number_or_a_date(given, seconds):
    assert retry_after({"retry-after": given}) == seconds


def test_it_works_inside_a_running_event_loop_as_in_a_notebook(tmp_path, key):
    async def cell():
        return ask(tmp_path, server)[1]

    with serving() as server:
        assert len(asyncio.run(cell())) == 20


def prompt(line):
    """What a line of a batch job asks."""
    return line["body"]["messages"][0]["content"]


class BatchHandler(Handler):
    """The Batch API: a job is done at the third look; a line of its output may be an error."""

    def do_GET(self):
        server, words = self.server, self.path.split("?")[0].split("/")
        if words[-2:] == ["v1", "batches"]:
            return self.send(200,
                             json.dumps({"object": "list", "data": list(server.jobs.values()),
                                         "has_more": False}).encode())
        if words[-1] == "content":
            return self.send(200, server.files[words[-2]], content_type="application/binary")
        job = server.jobs[words[-1]]
        job["looks"] += 1
        if job["looks"] == 3:
            lines = [json.loads(line) for line in server.files[job["input_file_id"]].split(b"\n")]
            made = [{"custom_id": x["custom_id"], "response": {"status_code": 200, "body": {
                "choices": [{"message": {"content": server.reply(prompt(x))},
                             "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10}}}} for x in lines]
            if server.bad:
                made[server.bad.pop()]["response"] = {"status_code": 500,
                                                      "body": {"error": {"message": "lost"}}}
            lines = [json.dumps(x, ensure_ascii=False) for x in made]
            server.files["out-" + job["id"]] = "\n".join(lines).encode()
            job |= {"status": "completed", "output_file_id": "out-" + job["id"]}
        return self.send(200, json.dumps(job).encode())

    def do_POST(self):
        raw, server = self.rfile.read(int(self.headers["content-length"])), self.server
        if self.path.endswith("/files"):
            boundary = self.headers["content-type"].split("boundary=")[1].encode()
            part = next(p for p in raw.split(b"--" + boundary) if b"filename=" in p)
            name = f"file-{len(server.files)}"
            server.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            return self.send(200,
                             json.dumps({"id": name, "object": "file", "bytes": 1, "created_at": 0,
                                         "filename": "x",
                                              "purpose": "batch", "status": "processed"}).encode())
        job = json.loads(raw) | {"id": f"job-{len(server.jobs)}", "object": "batch",
                                 "created_at": 0, "status": "in_progress",
                                 "looks": 0}
        server.jobs[job["id"]] = job
        return self.send(200, json.dumps(job).encode())


@contextmanager
def batches(bad=()):
    with serving(handler=BatchHandler, reply=lambda p: f"{p} \u2028 {scores(p)}") as server:
        server.files, server.jobs, server.bad = {}, {}, list(bad)
        yield server


def asked_in_batch(path, url, poll_s=0.01):
    made = chat_module.Client(path / "b.sqlite", "judge", url, price_in=100.0, price_out=100.0,
                              max_cost_usd=1.0)
    return made, made.ask([made.body(f"Question {k}?", 20) for k in range(30)], batch=True,
                          poll_s=poll_s)


def test_a_batch_job_answers_everything_at_half_the_price(tmp_path, key):
    with batches() as server:
        made, replies = asked_in_batch(tmp_path, server.url)
    assert [r["text"].split(" \u2028 ")[0]
            for r in replies] == [f"Question {k}?" for k in range(30)]
    assert len(server.jobs) == 1
    assert made.spent()["usd"] == pytest.approx(30 * 110 * 100 / 1e6 / 2)


@pytest.mark.parametrize("lose_the_id", [False, True])
def test_a_killed_notebook_finds_its_batch_job_again(tmp_path, key, lose_the_id):
    code = ("import sys; from pathlib import Path; sys.path.insert(0, 'tests'); "
            "import test_judge_client as t; "
            "t.asked_in_batch(Path(sys.argv[1]), sys.argv[2], 60)")
    with batches() as server:
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), server.url], cwd=REPO,
                                 env=os.environ | {"PYTHONPATH": str(REPO)})
        while not any(job["looks"] for job in list(server.jobs.values())):
            assert child.poll() is None
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        # as if killed between sending the job and noting its id
        if lose_the_id:
            with sqlite3.connect(tmp_path / "b.sqlite") as store:
                store.execute("UPDATE jobs SET id = NULL")
        made, replies = asked_in_batch(tmp_path, server.url)
    assert len(replies) == 30 and len(server.jobs) == 1 and made.spent()["requests"] == 30


def test_a_failed_line_of_a_batch_is_told_and_asked_for_by_the_next_job(tmp_path, key):
    with batches(bad=[7]) as server:
        with pytest.raises(InputError, match="1 of 30 requests have no reply"):
            asked_in_batch(tmp_path, server.url)
        assert len(asked_in_batch(tmp_path, server.url)[1]) == 30
    assert server.files[server.jobs["job-1"]["input_file_id"]].count(b"custom_id") == 1


def folder_with_models(runs):
    """A run whose three tuned models are the Atlas's base model: no answer of it matters here."""
    home = runs / "served" / "sw" / "08_instruction_tuning"
    names = ("refined", "unrefined", "seed")
    for name in names:
        shutil.copytree(BASE_MODEL, home / "models" / name)
    write_json(home / "manifest.json",
               {"outputs": {f"models/{name}/model.safetensors": "" for name in names}})
    return home / "models" / "seed"


def benchmark_files(home):
    """Three prompts of Vicuna, two of WizardLM in their formats, another model's answers to all."""
    vicuna = [{"question_id": k, "category": c, "turns": [f"Question {k}?"]}
              for k, c in enumerate(("math", "generic", "math"))]
    wizard = [{"idx": k, "Skill": "Math", "Difficulty": 9 - 8 * k, "Instruction": f"Task {k}."}
              for k in range(2)]
    asked = [r["turns"][0] for r in vicuna] + [r["Instruction"] for r in wizard]
    chat = [{"instruction": q, "output": "Chat."} for q in asked]
    for name, rows in (("vicuna", vicuna), ("wizardlm", wizard), ("chat", chat)):
        write_jsonl(home / f"{name}.jsonl", rows)
    return [str(home / f"{name}.jsonl") for name in ("vicuna", "wizardlm", "chat")]


def test_the_notebook_judges_benchmark_files_against_other_models_and_pools_them_as_table_5_does(
        runs, key, tmp_path):
    folder_with_models(runs)
    vicuna, wizard, chat = benchmark_files(tmp_path)

    def reply(prompt):
        """Chat wins every question of Vicuna and loses every task of WizardLM; a view is 5."""
        if "its helpfulness" in prompt:
            return "<helpfulness>5</helpfulness><relevance>6</relevance><accuracy>7</accuracy>"
        first = "<answer1> Chat. </answer1>" in prompt
        a, b = (9, 2) if first == ("Question" in prompt) else (2, 9)
        return f"<score1>{a}</score1> <score2>{b}</score2>"

    with serving(reply=reply) as server:
        settings = {"judge_by": "openai", "judge_model": "j", "judge_base_url": server.url,
                    "benchmarks": f"{vicuna},{wizard}",
                    "opponent": chat, "others": f"Bactrian-M={chat}", "max_new_tokens_output": 4}
        command = [sys.executable, "-m", "xinstruct_utils", "run", "09_judge_evaluation", "--run",
                   "served", "--profile", "smoke",
                   "--lang", "sw",
                   *(word for k, v in settings.items() for word in ("-p", f"{k}={v}"))]
        made = subprocess.run(command, cwd=REPO, env=os.environ
                              | {"PYTHONPATH": f"{REPO}:{os.environ.get('PYTHONPATH', '')}"},
                              capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    measured = read_json(runs / "served" / "sw" / "09_judge_evaluation" / "measures.json")
    table = measured["win_table"]["refined"]
    assert [table[b]["win"] for b in ("vicuna", "wizardlm", "vicuna + wizardlm")] == [0, 1, 2 / 5]
    assert [table[b]["n"] for b in ("vicuna", "wizardlm", "vicuna + wizardlm")] == [3, 2, 5]
    assert table["vicuna + wizardlm"]["score"] == (3 * 2 + 2 * 9) / 5
    assert table["vicuna + wizardlm"]["read"] == 5
    assert table["vicuna + wizardlm"]["low"] < 0.4 < table["vicuna + wizardlm"]["high"]
    assert measured["win_table"].keys() == {"refined", "unrefined", "seed", "Bactrian-M"}
    # Vicuna's math, not WizardLM's
    assert measured["won"]["refined"] == {"math": [0, 2], "generic": [0, 1], "all": [0, 3]}
    assert set(measured["views"]) == {"refined", "unrefined", "seed", "Bactrian-M", "opponent"}
    rows = list(read_jsonl(runs / "served" / "sw" / "09_judge_evaluation" / "verdicts.jsonl"))
    assert ("refined", "Bactrian-M") in {(r["model_a"], r["model_b"]) for r in rows}
    # a judge on a server is not free
    assert {r[f"decoding_{side}"] for r in rows for side in "ab"} == {"sampled"}
    # a verdict can be audited from its row
    assert all(tagged(text) == tuple(scores[::-1] if k else scores)
               for r in rows
               for k, (text, scores) in enumerate(zip(r["replies"], r["orders"], strict=True)))
    seen = list(read_jsonl(runs / "served" / "sw" / "09_judge_evaluation" / "views.jsonl"))
    assert all((r["helpfulness"], r["relevance"], r["accuracy"]) == tagged(r["reply"], VIEWS)
               for r in seen)


@pytest.mark.skipif(not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))),
                    reason="transformers serve needs fastapi and uvicorn "
                           "(pip install 'transformers[serving]')")
def test_the_notebook_runs_against_transformers_serve_and_a_judge_that_cannot_judge_is_unparsed(
        runs, key):
    model = folder_with_models(runs)
    template = "{% for m in messages %}{{ m.content }}\n\n{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--host",
            "127.0.0.1",
            "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    settings = {"prompt_count": 2, "judge_by": "openai", "judge_model": model,
                "judge_max_tokens": 8, "judge_concurrency": 1,
                "judge_base_url": f"http://127.0.0.1:{port}/v1", "max_new_tokens_output": 8}
    command = [sys.executable, "-m", "xinstruct_utils", "run", "09_judge_evaluation", "--run",
               "served", "--profile", "smoke",
               "--lang", "sw", *(word for k, v in settings.items() for word in ("-p", f"{k}={v}"))]
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        path = f"{REPO}:{os.environ.get('PYTHONPATH', '')}"
        made = subprocess.run(command, cwd=REPO, env=os.environ | {"PYTHONPATH": path},
                              capture_output=True, text=True)
    finally:
        server.kill()
        server.wait()
    assert made.returncode == 0, made.stderr[-3000:]
    home = runs / "served" / "sw" / "09_judge_evaluation"
    measured, rows = read_json(home / "measures.json"), list(read_jsonl(home / "verdicts.jsonl"))
    assert {r["verdict"] for r in rows} == {"unparsed"} and all(r["score_a"] is None for r in rows)
    # what could not be read is kept too
    assert all(isinstance(text, str) and text for r in rows for text in r["replies"])
    assert measured["unparsed"] == measured["judged"] > 0 and "score_refined" not in measured
    assert measured["refined_vs_seed"]["win"] == 0 and "order_flip_rate" not in measured
    with sqlite3.connect(runs / "served" / "requests" / "sw.sqlite") as store:
        counts = "SELECT count(*), sum(request LIKE '%\"seed\"%') FROM replies"
        replies, attempts = store.execute(counts).fetchone()
    # each unread reply was asked for once more
    assert replies > attempts > 0
    texts = [p.read_bytes() for p in (runs / "served").rglob("*") if p.is_file()
             and p.suffix != ".safetensors"]
    assert not any(KEY.encode() in text for text in texts)
