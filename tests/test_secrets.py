"""Canary keys in the environment: no file of a run, no message and nothing published holds one.

The servers are the worst: they send back every header that they got, in the body of an error.
"""

import base64
import json
import os
import shlex
import socket
import subprocess
import sys

import http_servers
import pytest
from conftest import job_settings, only, tiny

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import open_run
from xinstruct_utils.core import secrets
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, file_hash, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO, step_dir
from xinstruct_utils.data import sources
from xinstruct_utils.inference.chat import Client
from xinstruct_utils.method.translation import open_translator
from xinstruct_utils.reporting import pages, publish, publish_run
from xinstruct_utils.workflow import launch

PASSWORD = "canary-of-the-proxy-99"
CANARIES = {
    "OPENAI_API_KEY": "sk-canary-judge-0123456789",
    "XINSTRUCT_SERVER_KEY": "canary-server-0123456789",
    "XINSTRUCT_TRANSLATOR_KEY": "canary-translator-0123456789",
    "GOOGLE_API_KEY": "AIzaCanaryGoogle0123456789",
    "HF_TOKEN": "hf_CanaryOfTheHub0123456789",
    "VLLM_API_KEY": 'canary "with" quotes/0123',
    "LOOPBACK_PASSWORD": "canary-loopback-0123456789",
}
FORMS = [
    form
    for value in (*CANARIES.values(), PASSWORD)
    for form in (value, json.dumps(value)[1:-1], base64.b64encode(f"me:{value}".encode()).decode())
]


@pytest.fixture
def canaries(monkeypatch, runs):
    """The canaries in the environment, and an empty folder of runs."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    runs.mkdir()
    return runs


def leaks(folder, *texts):
    """Where a canary is: files under a folder, and texts that were shown, by their number."""
    found = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(form.encode() in path.read_bytes() for form in FORMS)
    ]
    return found + [k for k, text in enumerate(texts) if any(form in text for form in FORMS)]


class Echo(http_servers.Handler):
    """Refuses everything with 401, and tells all headers in the body."""

    def do_POST(self):
        self.body()
        self.server.headers.append(dict(self.headers))
        self.refuse(401, " ".join(f"{name}: {value}" for name, value in self.headers.items()))

    do_GET = do_POST


def echo():
    """A server that tells every header it gets; `.url`, `.headers` of each request."""
    return http_servers.running(http_servers.Server(Echo, headers=[]))


def sent(server, word):
    """Did a canary really travel to the server? Else a test would show nothing."""
    return any(word in value for headers in server.headers for value in headers.values())


def verb(*words):
    """Run the command; (exit status, all that it printed)."""
    line = [sys.executable, "-m", "xinstruct_utils", *words]
    env = os.environ | {"PYTHONPATH": str(REPO)}
    made = subprocess.run(line, cwd=REPO, env=env, capture_output=True, text=True)
    return made.returncode, made.stdout + made.stderr


# What the scanner and the redaction see


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_in_a_file_or_a_message_would_be_seen(tmp_path, form):
    (tmp_path / ".hidden").write_text(f"... {form} ...")
    assert leaks(tmp_path, "nothing", f"an error: {form}") == [".hidden", 1]


@pytest.mark.parametrize("form", FORMS[:2] + FORMS[-3:])
def test_known_keys_are_hidden_in_every_form(canaries, form):
    assert "canary" not in secrets.redact(f"x {form} y").lower()
    assert "canary" not in str(InputError(f"x {form} y")).lower()


@pytest.mark.parametrize(
    "text, shown",
    [
        ("no: Bearer abc-123-def-456", "no: Bearer ***"),
        ("authorization: Basic bWU6cHc=", "authorization: Basic ***"),
        ("http://me:pw@10.0.0.7/v1 is away", "http://me:***@10.0.0.7/v1 is away"),
        ("key sk-proj-0123456789abcdef.", "key ***."),
        ("env VLLM_API_KEY=abc vllm serve", "env VLLM_API_KEY=*** vllm serve"),
        ("serve --api-key abc --port 1", "serve --api-key *** --port 1"),
    ],
)
def test_what_is_written_as_a_key_is_hidden_though_nobody_knows_it(text, shown):
    assert secrets.redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "A bearer of letters; Basic instructions at 10:30, see http://a.example:80/x@y",
        "task-0123456789abcdefgh ask-0123456789abcdefgh /data/hf_models_of_mine_and_yours",
        "set OPENAI_API_KEY=... or --tokenizer x, key=value, --max-num-batched-tokens 8192",
        "a picture: 0P/aizaW21xPq90sdWlbSk+JHxQ==",
    ],
)
def test_other_text_stays(text):
    assert secrets.redact(text) == text


def test_short_values_and_files_that_hold_a_key_are_no_keys(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_API_KEY", "none")
    monkeypatch.setenv("TLS_KEY", str(tmp_path))
    assert secrets.redact(f"none in {tmp_path}") == f"none in {tmp_path}"


# Settings


@pytest.mark.parametrize(
    "setting",
    [
        {"server_command": "env VLLM_API_KEY=abc vllm serve {model}"},
        {"server_command": "vllm serve {model} --api-key abc"},
        {"server_command": "python -m sglang.launch_server --api-key=abc"},
        {"server_urls": ["http://me:pw@10.0.0.7:8000/v1"]},
        {"judge_base_url": "https://me:pw@judge.example/v1"},
        {"translator_base_url": "https://me:pw@t.example/v1"},
        {"judge_model": "sk-proj-0123456789abcdef"},
        {"opponent": CANARIES["HF_TOKEN"]},
    ],
)
def test_a_setting_that_holds_a_key_is_refused_and_nothing_is_written(canaries, setting):
    with pytest.raises(InputError, match="looks like a key or a password") as error:
        open_run("mine", load_profile("atlas", **setting))
    assert next(iter(setting)) in str(error.value) and not (canaries / "mine").exists()
    assert not leaks(canaries, str(error.value)) and "abc" not in str(error.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"server_command": "vllm serve {model} --port {port} --logprobs-mode processed_logprobs"},
        {"server_command": "bash -c 'exec sglang --api-key $SGLANG_KEY --port {port}'"},
        {"server_command": "env VLLM_API_KEY=$OPENAI_API_KEY vllm serve {model}"},
        {"server_urls": ["http://me:$LOOPBACK_PASSWORD@10.0.0.7:8000/v1"]},
        {"judge_base_url": "http://10.0.0.7:8000/v1"},
    ],
)
def test_a_setting_that_names_a_variable_is_taken(canaries, setting):
    open_run("mine", load_profile("atlas", **setting))
    assert not leaks(canaries)


def test_a_wrong_value_is_told_without_the_key_in_it(canaries):
    status, shown = verb(
        "run",
        "01_seed_data",
        "--run",
        "mine",
        "--profile",
        "smoke",
        "--lang",
        "sw",
        "-p",
        f"max_cost_usd={CANARIES['OPENAI_API_KEY']}",
    )
    assert status == 2 and "max_cost_usd" in shown and not leaks(canaries, shown)


# Servers that tell what they got


def one_row(path):
    """The settings of a job of one row, whose file is written."""
    write_jsonl(path, [{"id": "a", "prompt": "Kenya"}])
    return job_settings(path)


@pytest.mark.parametrize("how", ["key", "password in the address"])
def test_an_engine_of_servers_leaves_no_key_in_logs_settings_or_its_error(canaries, how):
    with echo() as server:
        url = server.url
        if how != "key":
            url = url.replace("://", "://me:$LOOPBACK_PASSWORD@")
        profile = load_profile("smoke", engine="server", server_urls=[url], server_wait_s=2)
        open_run("mine", profile)
        settings = one_row(canaries / "mine" / "in.jsonl")
        with pytest.raises(InputError, match="401") as error:
            launch.run("inference.local", settings, canaries / "mine" / "sw" / "step" / "answers")
    pair = base64.b64encode(f"me:{CANARIES['LOOPBACK_PASSWORD']}".encode()).decode()
    assert sent(server, CANARIES["XINSTRUCT_SERVER_KEY"] if how == "key" else pair)
    assert leaks(canaries, str(error.value)) == []
    log = (canaries / "mine" / "sw" / "step" / "logs" / "answers.log").read_text()
    assert "***" in log and (canaries / "mine" / "sw" / "step" / "answers.settings.json").exists()


def test_a_server_that_prints_its_key_and_environment_leaves_none_in_its_log(canaries, tmp_path):
    script = tmp_path / "serve.py"
    script.write_text(
        "import os, sys\nprint(sys.argv)\nfor k, v in os.environ.items(): print(k, v)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inner = f"exec {sys.executable} {script} --api-key $OPENAI_API_KEY"
    profile = load_profile(
        "smoke",
        engine="server",
        server_urls=[f"http://127.0.0.1:{port}/v1"],
        server_command=f"bash -c {shlex.quote(inner)}",
    )
    open_run("mine", profile)
    settings = one_row(canaries / "mine" / "in.jsonl")
    home = canaries / "mine" / "sw" / "step"
    with pytest.raises(InputError, match="server_command ended") as error:
        launch.run("inference.local", settings, home / "answers")
    log = (home / "logs" / f"answers.server-{port}.log").read_text()
    assert "--api-key" in log and "HF_TOKEN ***" in log
    assert leaks(canaries, str(error.value)) == []


def test_clients_of_judge_and_translators_tell_no_key_that_a_server_sent_back(canaries, capsys):
    with echo() as server:
        own = Client(canaries / "j.sqlite", "m", server.url, tries=1)
        basic = Client(
            canaries / "b.sqlite",
            "m",
            tries=1,
            base_url=server.url.replace("://", "://me:$LOOPBACK_PASSWORD@"),
        )
        told = []
        for client in (own, basic):
            with pytest.raises(InputError, match="401") as error:
                client.ask([client.body("Hello")])
            told.append(str(error.value))
        path, url = canaries / "t.sqlite", server.url
        for name in ("openai:m", f"google:{url.removesuffix('/v1')}"):
            translator = open_translator(name, path, url, 99.0, (1.0, 1.0))
            with pytest.raises(InputError, match="401") as error:
                translator(["Hello."], "en", "sw")
            told.append(str(error.value))
    for name in ("OPENAI_API_KEY", "XINSTRUCT_TRANSLATOR_KEY", "GOOGLE_API_KEY"):
        assert sent(server, CANARIES[name]), name
    assert leaks(canaries, *told, *capsys.readouterr()) == []


def test_a_data_set_of_the_hub_that_cannot_be_read_is_told_without_the_token(canaries):
    def act():
        raise OSError(f"403 for {CANARIES['HF_TOKEN']} through {os.environ['HTTPS_PROXY']}")

    with pytest.raises(InputError, match="cannot be read: OSError: 403") as error:
        sources._reached("hub", act)
    assert leaks(canaries, str(error.value)) == []


# A step, and what is published of it

PARAMETERS = 'run: str = "x"  # name of the run\nlang: str = "sw"  # ISO 639-1 code'
BEGIN = "from xinstruct_utils.workflow.step import Step\n\nstep = Step('01_seed_data', run, lang)"
LOUD = """import os

print(os.environ["OPENAI_API_KEY"])
step.path("rows.jsonl").write_text("{}")"""
FAILING = """import os

raise ValueError(f"the server said: {os.environ['OPENAI_API_KEY']} {os.environ['HTTPS_PROXY']}")"""


def step_of(monkeypatch, tmp_path, *cells):
    """Run a step of these cells by the command; (exit status, what was printed)."""
    monkeypatch.setenv("XINSTRUCT_NOTEBOOKS", str(tmp_path / "notebooks"))
    tiny(tmp_path / "notebooks", "01_seed_data", PARAMETERS, BEGIN, *cells, prose="# Why\n\nSo.")
    return verb("run", "01_seed_data", "--run", "mine", "--profile", "smoke", "--lang", "sw")


def test_a_step_that_prints_a_key_leaves_it_nowhere_and_can_be_published(
    canaries, monkeypatch, tmp_path
):
    status, shown = step_of(monkeypatch, tmp_path, LOUD, 'step.finish(["rows.jsonl"])')
    assert status == 0, shown
    assert leaks(canaries, shown) == []
    notebook = canaries / "mine" / "sw" / "01_seed_data" / "notebook.ipynb"
    assert '"***\\n"' in notebook.read_text()
    monkeypatch.setattr(pages, "claim", lambda *_: "")
    only(monkeypatch, "01_seed_data")
    published = publish_run.publish("mine")
    assert (published / "sw" / "01_seed_data" / "notebook.ipynb").exists()
    assert leaks(canaries) == []
    # a key that came in by hand is refused, and the refusal does not tell it
    notebook.write_text(notebook.read_text().replace("***", CANARIES["XINSTRUCT_TRANSLATOR_KEY"]))
    with pytest.raises(InputError, match="shows what looks like a key") as error:
        publish_run.publish("mine")
    assert leaks(published, str(error.value)) == []


def test_a_step_that_fails_with_a_key_in_the_errors_text_leaves_it_nowhere(
    canaries, monkeypatch, tmp_path
):
    status, shown = step_of(monkeypatch, tmp_path, FAILING, 'step.finish(["rows.jsonl"])')
    assert status == 1 and "the server said: ***" in shown
    assert leaks(canaries, shown) == []


def test_a_heavy_job_that_prints_a_key_or_dies_of_one_leaves_it_in_no_log(canaries, tmp_path):
    code = (
        "import os\n\nfrom xinstruct_utils.workflow import launch\n\n"
        "launch.mask(__import__('sys').stdout)\nlaunch.mask(__import__('sys').stderr)\n"
        "print('begun with', os.environ['OPENAI_API_KEY'], flush=True)\n"
        "raise OSError('no: Bearer ' + os.environ['XINSTRUCT_SERVER_KEY'])\n"
    )
    log = canaries / "job.log"
    with open(log, "wb") as stream:
        line = [sys.executable, "-c", code]
        env = os.environ | {"PYTHONPATH": str(REPO)}
        assert subprocess.run(line, env=env, stdout=stream, stderr=subprocess.STDOUT).returncode
    assert "begun with ***" in log.read_text() and "OSError: no: Bearer ***" in log.read_text()
    assert leaks(canaries) == []


def test_the_card_of_a_data_set_holds_no_key(canaries):
    open_run(
        "mine",
        load_profile(
            "atlas",
            languages=["sw"],
            engine="server",
            server_urls=["http://me:$LOOPBACK_PASSWORD@127.0.0.1:1/v1"],
        ),
    )
    home = step_dir("mine", "sw", "05_diversification")
    row = {"id": content_id("sw", "x"), "language": "sw", "instruction": "Ask.", "output": "Jibu."}
    write_jsonl(home / "x_instruction.jsonl", [row | {"cluster": 1}])
    outputs = {"x_instruction.jsonl": file_hash(home / "x_instruction.jsonl")}
    counts = [{"stage": "sampled", "in": 1, "out": 1, "dropped": {}}]
    write_json(
        home / "manifest.json",
        {"notebook": "05_diversification", "counts": counts, "outputs": outputs},
    )
    card = (publish.dataset("mine") / "README.md").read_text()
    assert leaks(canaries, card) == [] and "LOOPBACK_PASSWORD" not in card
