"""Inference by servers that fail: a completions server on loopback, and what a job makes of it."""

import json
import time

import http_servers
import pytest
from conftest import job_settings
from http_servers import draw
from openai import APIStatusError

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference import connection, remote
from xinstruct_utils.method.backtranslation import REASONS, instruction_fault
from xinstruct_utils.models.loading import load_tokenizer, model_path
from xinstruct_utils.models.tokenization import rating_tokens

LATENCY = 0.1
CONCURRENCY = 8
PATIENCE = 0.15
ANSWER = 0.6
FAULTS = ("429", "500", "time-out", "cut", "not JSON", "no choice", "404", "drip")
SHARD = 80
ROWS = [{"id": f"r{k:03d}", "prompt": f"Taja sarafu ya nchi ya {k}.", "completion": "Shilingi."}
        for k in range(320)]


class Handler(http_servers.Handler):
    """Completions that depend on the prompt; a share of the requests is hit by a fault."""

    def do_GET(self):
        cards = [{"id": self.server.model, "max_model_len": 512}]
        self.send(200, {"data": [] if self.server.plain else cards})

    def do_POST(self):
        body = json.loads(self.body())
        server = self.server
        key = json.dumps([body["prompt"], body["max_tokens"]])
        with server.lock:
            server.tries[key] = server.tries.get(key, 0) + 1
            fault = server.fault(key, server.tries[key])
            server.faults.append(fault)
        if fault == "time-out":
            time.sleep(ANSWER + 0.1)
            self.close_connection = True
            return
        time.sleep(server.latency)
        if fault in (None, "drip"):
            self.answer(body, key, fault)
        else:
            self.fail(fault)

    def fail(self, fault):
        if fault == "429":
            self.refuse(429, "slow down", retry_after=self.server.patience)
        elif fault in ("500", "404"):
            self.refuse(int(fault), "out of luck")
        elif fault == "cut":
            self.cut()
        elif fault == "not JSON":
            self.send(200, b'{"choices": [{"text": "Shil')
        else:
            self.send(200, b'{"choices": [{}]}')

    def answer(self, body, key, fault):
        server = self.server
        if server.plain and not isinstance(body["prompt"], str):
            return self.refuse(400, "prompt must be a string.")
        ids = body["prompt"]
        if server.plain:
            ids = server.tokenizer(ids)["input_ids"]
        usage = {"prompt_tokens": len(ids), "completion_tokens": 3}
        words = dict.fromkeys(map(server.tokenizer.decode, server.three), -1.0)
        choice = {"text": f"{draw(key)}", "finish_reason": "length",
                  "logprobs": {"top_logprobs": [words]}}
        reply = json.dumps({"choices": [choice], "usage": usage}).encode()
        if fault == "drip":
            self.drip(reply, 0.05)
        elif self.connected():
            with server.lock:
                server.answered[key] = server.answered.get(key, 0) + 1
            self.send(200, reply)


class FakeServer(http_servers.Server):
    """`.url`, `.answered` {request: answers that arrived}, `.faults` of each request."""

    def __init__(self, share, latency, plain, faults, patience):
        super().__init__(Handler, share=share, latency=latency, plain=plain, kinds=faults,
                         patience=patience, tries={}, answered={}, faults=[])
        self.model = model_path("atlas")
        self.tokenizer = load_tokenizer("atlas")
        self.three = rating_tokens(self.tokenizer)

    def fault(self, key, number):
        if draw(key, number) >= self.share:
            return None
        return self.kinds[int(draw(key, number, "kind") * len(self.kinds))]


def serving(share=0.0, latency=0.0, plain=False, faults=FAULTS, patience=PATIENCE):
    return http_servers.running(FakeServer(share, latency, plain, faults, patience))


@pytest.fixture
def job(tmp_path, runs, monkeypatch):
    """A function that runs a job in this process: the shards' bytes, by name."""
    monkeypatch.setattr(connection, "ANSWER", ANSWER)
    monkeypatch.setattr(connection, "GREETING", ANSWER)

    def go(server, name, rows=ROWS, task="generate", **more):
        write_jsonl(tmp_path / "in.jsonl", rows)
        settings = job_settings(tmp_path / "in.jsonl", task=task, shard_size=SHARD,
                                out=str(tmp_path / name), server_urls=[server.url],
                                server_concurrency=CONCURRENCY, server_wait_s=60,
                                server_command=None)
        remote.main(settings | more)
        return {path.name: path.read_bytes() for path in (tmp_path / name).glob("shard-*")}
    return go


class Log:
    """What the job asked of its servers: when, how long, and what went wrong."""

    def __init__(self, monkeypatch):
        self.starts = []                         # of all requests
        self.spans = []                          # (start, end, was it a fault), without greetings
        self.refused = 0                         # answers with a 429 that arrived in time
        self.pauses = []                         # (from, to)
        ask, pause = connection.Server.ask, connection.Server.pause

        async def timed(server, body, start):
            fault = True
            try:
                reply = await ask(server, body)
                fault = "text" not in reply["choices"][0]
                return reply
            except APIStatusError as error:
                self.refused += error.status_code == 429
                raise
            finally:
                if body["max_tokens"] > 1:
                    self.spans.append((start, time.monotonic(), fault))

        def asking(server, body):
            self.starts.append(time.monotonic())
            return timed(server, body, self.starts[-1])

        def pausing(server, seconds, error):
            self.pauses.append((time.monotonic(), time.monotonic() + seconds))
            pause(server, seconds, error)

        monkeypatch.setattr(connection.Server, "ask", asking)
        monkeypatch.setattr(connection.Server, "pause", pausing)

    def taken(self):
        return self.spans[-1][1] - min(start for start, _, _ in self.spans)

    def waits(self):
        """Seconds for which faults held the job's places, and the server asked not to be asked."""
        held = sum(end - start for start, end, fault in self.spans if fault) / CONCURRENCY
        paused, until = 0.0, 0.0
        for start, end in self.pauses:
            paused += max(0.0, end - max(start, until))
            until = max(until, end)
        return held + paused


def test_a_job_of_a_server_with_faults_ends_with_the_same_shards_and_is_hardly_slower(
        job, tmp_path, monkeypatch):
    for name in ("first", "second", "third"):    # what a machine does beside only lengthens a job
        with serving(latency=LATENCY) as calm, monkeypatch.context() as patches:
            calm_log = Log(patches)
            wanted = job(calm, f"{name}-calm")
        # The same job without faults is the ideal, on this machine with all that it does beside.
        ideal = calm_log.taken()
        with serving(0.3, LATENCY) as rough, monkeypatch.context() as patches:
            log = Log(patches)
            shards = job(rough, name)
        assert shards == wanted and len(shards) == 4
        assert all(rough.faults.count(fault) >= 3 for fault in FAULTS)
        # Each row was answered once, and not asked again after that; greetings ask for one token.
        answers = {key: n for key, n in rough.answered.items() if json.loads(key)[1] == 8}
        assert len(answers) == len(ROWS) and set(answers.values()) == {1}
        assert not [start for start in log.starts for a, b in log.pauses if a < start < b - 0.001]
        # On a busy machine a refusal may come after the client's time: that is a time-out.
        assert 3 <= len(log.pauses) == log.refused <= rough.faults.count("429")
        assert read_json(tmp_path / name / "done.json")["faults"] >= 40
        beyond = log.taken() - log.waits()
        print(f"ideal {ideal:.1f} s, taken {log.taken():.1f} s, {beyond:.1f} s without waits")
        if beyond <= 1.5 * ideal:
            break
    assert beyond <= 1.5 * ideal


def test_a_server_that_asks_for_more_patience_than_the_job_has_is_told_of(job):
    with (serving(1.0, faults=("429",), patience=3600) as server,
          pytest.raises(InputError, match=r"no server answered for .* asks for 3,600 s of pati")):
        job(server, "out", server_wait_s=1)


def test_a_server_that_loads_another_model_meanwhile_is_found_out_by_its_404(job):
    with serving(latency=0.01) as server:
        def replaced(key, number):
            if len(server.answered) < 50:
                return None
            server.model = "another"
            return "404"

        server.fault = replaced
        with pytest.raises(InputError, match="serves another, but this step asks for .*atlas"):
            job(server, "out")


@pytest.mark.parametrize("fault", ["404", "not JSON"])
def test_a_fault_at_the_greeting_does_not_make_a_server_one_of_text_only(job, fault):
    with serving() as server:
        server.fault = lambda key, number: fault if len(server.faults) < 1 else None
        job(server, "out", ROWS[:40])
        assert all(isinstance(json.loads(key)[0], list) for key in server.tries)


HOSTILE = {"id": "hostile", "prompt": "Habari </s> ya leo", "completion": "x"}


@pytest.mark.parametrize("task, result", [
    ("generate", {"generated": "", "finish_reason": "refused", "tokens": 0}),
    ("rate_by_generation", {"generated": "", "finish_reason": "refused", "tokens": 0}),
    ("rate", {"p0": None, "p1": None, "p2": None})])
def test_a_row_that_spells_a_control_token_is_left_out_by_a_server_of_text_only(
        job, tmp_path, task, result):
    with serving(plain=True) as server:
        job(server, "out", [HOSTILE, *ROWS[:39]], task)
    first, *others = Shards(tmp_path / "out", 40).read()
    assert first == {"id": "hostile", **result}
    assert len(others) == 39 and not [row for row in others if set(result.items()) & row.items()]
    assert read_json(tmp_path / "out" / "done.json")["refused"] == 1


def test_a_text_that_was_refused_is_counted_as_that():
    assert instruction_fault("", "refused") == "refused by the server's engine"
    assert instruction_fault("", "refused") in REASONS


def test_a_server_of_token_ids_is_sent_a_row_that_spells_a_control_token(job, tmp_path):
    with serving() as server:
        job(server, "out", [HOSTILE, *ROWS[:39]])
    assert next(Shards(tmp_path / "out", 40).read())["finish_reason"] == "length"
    assert read_json(tmp_path / "out" / "done.json")["refused"] == 0


def test_a_job_whose_every_row_would_be_refused_is_an_error(job):
    with (serving(plain=True) as server,
          pytest.raises(InputError, match="row hostile: .* no text gives the token ids")):
        job(server, "out", [HOSTILE] * 3)


def test_a_job_that_goes_on_with_hostile_rows_alone_is_none(job, tmp_path):
    """What is left is the second shard, in which no row can be sent."""
    rows = [*ROWS[:SHARD], HOSTILE]
    with serving(plain=True) as server:
        wanted = job(server, "out", rows)
        (tmp_path / "out" / "shard-00001.jsonl").unlink()
        assert job(server, "out", rows) == wanted
