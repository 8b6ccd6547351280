"""The forms as annotators see them: Voila on loopback, a real headless Chromium, two people at
once, a killed server.

Screenshots go to $XINSTRUCT_SHOTS, if that is set, to be looked at.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from test_annotate import HOSTILE as ANY
from test_annotate import MODELS

from xinstruct_utils.annotation import serve as form_server
from xinstruct_utils.annotation import store as label_store
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.files import write_json, write_jsonl
from xinstruct_utils.core.paths import REPO

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright here: the forms are not looked at in a browser"
)
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no chromium on this machine: the forms are not looked at in a browser"
)

HOSTILE = ANY.replace("\ud800", "")  # which no file can hold
TEXTS = {
    "ur": "کراچی پاکستان کا سب سے بڑا شہر ہے۔ کیجیے، کھجور "
    "اور 3.5 kg چاول خریدیے: Sadar بازار میں سب کچھ ملتا ہے۔ ",
    "ta": "சென்னை தமிழ்நாட்டின் தலைநகரம் ஆகும். "
    "இங்கு ஸ்ரீ, க்ஷ, கொள்கை போன்ற எழுத்துகள் சரியாகத் தெரிய வேண்டும். ",
    "th": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย "
    "น้ำที่นี่ขึ้นสูงในเดือนตุลาคม ผู้คนจึงเตรียมกระสอบทรายไว้ป้องกันบ้าน ",
}


def items_of(form):
    """20 items in Urdu, Tamil and Thai; every third is hostile."""
    made = []
    for k in range(20):
        lang, bad = list(TEXTS)[k % 3], f" {HOSTILE}" * (k % 3 == 0)
        row = {
            "id": f"q{k}",
            "instruction": f"Explain matter {k}.{bad}",
            "native_instruction": TEXTS[lang] + bad,
            "output": TEXTS[lang] * 3 + bad + f" ({k})",
        }
        said = {
            m: {row["id"]: TEXTS[lang] * (2 + (m == MODELS[0])) + bad + f" ({k}, {len(m)})"}
            for m in MODELS
        }
        made += (
            label_store.quality_items(
                [row], lang, 1, 0, {row["output"]: "Karachi is a large city. " + bad}
            )
            if form == "quality"
            else label_store.preference_items([row], said, [MODELS], lang, 1, 0, {})
        )
    return made


class Server:
    """A served form over a folder of runs; `kill` is as rude as a power cut."""

    def __init__(self, root, form, lang="ur"):
        self.root, self.form, self.lang = root, form, lang
        home = root / "forms" / lang / form_server.CHAPTERS[form]
        profile = load_profile("smoke", languages=[lang])
        write_json(root / "forms" / "run.json", profile.model_dump())
        write_jsonl(home / "items.jsonl", items_of(form))
        write_json(home / "manifest.json", {})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self):
        line = [
            sys.executable,
            "-m",
            "xinstruct_utils",
            "annotate",
            "serve",
            self.form,
            "--run",
            "forms",
            "--lang",
            self.lang,
            "--port",
            str(self.port),
        ]
        env = os.environ | {"XINSTRUCT_RUNS": str(self.root), "PYTHONPATH": str(REPO)}
        self.child = subprocess.Popen(
            line,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPO,
            start_new_session=True,
        )
        self.link = next(
            m[0] for m in map(re.compile(r"http://\S+name=").search, self.child.stdout) if m
        )
        until = time.time() + 30
        while socket.socket().connect_ex(("127.0.0.1", self.port)) and time.time() < until:
            time.sleep(0.1)

    def kill(self):
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.wait()


@pytest.fixture
def serve(tmp_path):
    """A function that serves a form over items of its own; the server is killed at the end."""
    made = []
    yield lambda form: made.append(Server(tmp_path / "runs", form)) or made[-1]
    for server in made:
        server.kill()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        made = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-quic"])
        yield made
        made.close()


class Annotator:
    """A person with a browser of their own, and everything that went over the wire to it."""

    def __init__(self, browser, name):
        self.name, self.wire, self.outside, self.dialogs, self.saw = name, [], [], [], {}
        self.page = browser.new_context(viewport={"width": 1100, "height": 1250}).new_page()
        self.page.set_default_timeout(20000)
        self.page.on("request", lambda r: self.wire.append(r.url + str(r.post_data or "")))
        self.page.on(
            "requestfinished",
            lambda r: self.outside.append(r.url) if r.url.startswith("http") else None,
        )
        self.page.on("dialog", lambda d: (self.dialogs.append(d.message), d.dismiss()))
        self.page.on(
            "websocket",
            lambda ws: [
                ws.on(
                    event,
                    lambda f: self.wire.append(
                        f if isinstance(f, str) else f.decode("utf-8", "replace")
                    ),
                )
                for event in ("framereceived", "framesent")
            ],
        )

    def open(self, server):
        self.wire.append(self.page.goto(server.link + self.name).text())
        self.at("stored for")

    def reload(self):
        self.wire.append(self.page.reload().text())
        self.at("stored for")

    def outside_of(self, server):
        """What the page got from anywhere but the server."""
        return [
            link for link in self.outside if not link.startswith(f"http://127.0.0.1:{server.port}/")
        ]

    def at(self, words):
        self.page.get_by_text(words, exact=False).first.wait_for()

    def text(self, title):
        """The text under a heading."""
        return self.page.locator(f'h4:text-is("{title}") + .xi-text').inner_text()

    def choose(self, *words):
        for word in words:
            self.page.get_by_text(word, exact=False).first.click()
        self.page.get_by_text("Save and go on").click()


CHOICES = {
    "A": "Answer A: Answer A is",
    "B": "Answer B: Answer B is",
    "neither": "Neither: Neither is",
}


def label(people, start, stop, total=20):
    """All people label items start to stop - 1 (from 1), in turn, so that their pages wait for the
    server together.
    """
    for k in range(start, stop):
        for number, person in enumerate(people):
            person.at(f"Item {k} of {total}")
            choice = list(CHOICES)[(k + number) % 3]
            told = choice, person.text("Answer A"), person.text("Answer B")
            person.saw[person.text("English instruction").split(".")[0]] = told
            person.choose(CHOICES[choice])
    for person in people:
        person.at(f"Item {stop} of {total}" if stop <= total else f"Thank you: all {total} items")


def flat(text):
    """A text without blanks and without what the form spells out."""
    return re.sub(r"\s+|U\+[0-9A-F]{4}", "", label_store.UNSEEN.sub("", text))


def test_two_people_label_at_once_through_a_reload_and_a_killed_server_and_nothing_is_lost_or_told(
    serve, browser
):
    server = serve("preference")
    people = [Annotator(browser, name) for name in ("anna", "ben")]
    [person.open(server) for person in people]
    store = label_store.Store(server.root / "forms" / "labels" / "ur" / "preference.sqlite")
    label(people, 1, 8)
    [person.reload() for person in people]  # whoever comes back goes on where they stopped
    label(people, 8, 13)
    server.kill()
    assert len(store.current()) == 24                             # what had been saved is there
    server.start()                                                # the same links hold
    [person.open(server) for person in people]
    label(people, 13, 21)

    people[0].page.get_by_role(
        "button", name="Back"
    ).click()  # a correction is one more label, not another one
    people[0].at("Item 20 of 20")
    before = next(r for r in store.current()[::-1] if r["annotator"] == "anna")
    people[0].choose(CHOICES["neither" if before["answers"]["choice"] == "A" else "A"])
    people[0].at("Thank you")
    assert len(store.current()) == 40 and len(store.history()) == 41
    assert [r["item"] for r in store.history()].count(before["item"]) == 3

    items = store.items()
    for person in people:  # what was seen as A, and chosen, is what was stored as A
        mine = [r for r in store.history()[:40] if r["annotator"] == person.name]
        assert len(mine) == 20
        for row in mine:
            choice, a, b = person.saw[items[row["item"]]["instruction"].split(".")[0]]
            assert row["answers"]["choice"] == choice and row["seconds"] > 0
            assert [flat(a), flat(b)] == [
                flat(items[row["item"]]["answers"][m]) for m in row["shown"]
            ]
    orders = [
        [r["item"] for r in store.history()[:40] if r["annotator"] == person.name]
        for person in people
    ]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])

    for person in people:
        wire = "\n".join(person.wire)  # blind: pages, requests and sockets
        assert "Explain matter" in wire and "comm_msg" in wire
        assert not [
            w for w in (*MODELS, "annotate.form", "preference_items", ".jsonl") if w in wire
        ]
        # hostile text did nothing, nobody else was asked for anything
        assert person.dialogs == [] and not person.outside_of(server)
        assert person.page.evaluate("window.hit") is None


def look(person, server, name):
    """Take a picture for people to look at; say what is wrong with the page."""
    shots = os.environ.get("XINSTRUCT_SHOTS")
    if shots and server:
        Path(shots).mkdir(parents=True, exist_ok=True)
        person.page.screenshot(path=Path(shots) / f"{server.form}-{name}.png", full_page=True)
    return person.page.evaluate("""() => ({
        wide: document.scrollingElement.scrollWidth - innerWidth, hit: window.hit ?? null,
        active: [...document.querySelectorAll('.xi script, .xi img, .xi a, .xi iframe')].length,
        handlers: [...document.querySelectorAll('.xi *')].filter(
            e => [...e.attributes].some(a => a.name.startsWith('on'))).length,
        urdu: [...document.querySelectorAll('.xi-text[lang=ur]')]
            .map(e => getComputedStyle(e).direction),
        others: [...document.querySelectorAll('.xi-text:not([lang=ur])')]
            .map(e => getComputedStyle(e).direction) })""")


def test_text_that_acts_or_runs_the_wrong_way_would_be_seen(browser):
    person = Annotator(browser, "anna")
    person.page.set_content(
        '<div class="xi"><p class="xi-text" lang="ur">x</p><img src="x:" onerror="window.hit=2">'
        '<a href="javascript:1">x</a><p style="width:3000px">wide</p></div>'
    )
    person.page.wait_for_function("window.hit == 2")
    found = look(person, None, "")
    assert (found["active"], found["handlers"], found["hit"], found["urdu"]) == (
        2,
        1,
        2,
        ["ltr"],
    ) and found["wide"] > 0


@pytest.mark.parametrize("form", form_server.CHAPTERS)
def test_urdu_tamil_and_thai_are_shown_right_and_hostile_text_is_only_text(serve, browser, form):
    server, person, seen = serve(form), Annotator(browser, "anna"), set()
    person.open(server)
    answers = (
        [CHOICES["A"]] if form == "preference" else ["YES: The instruction", "NO: The web text"]
    )
    for k in range(1, 21):
        person.at(f"Item {k} of 20")
        kinds = person.page.eval_on_selector_all(".xi-text", "all => all.map(e => e.lang)")
        lang = next(code for code in kinds if code != "en")
        bad = "<script>" in person.text("English instruction")
        if (lang, bad) not in seen:
            seen.add((lang, bad))
            found = look(person, server, f"{lang}{'-hostile' * bad}")
            assert (
                found["wide"] <= 0
                and found["active"] == found["handlers"] == 0
                and found["hit"] is None
            ), found
            assert set(found["urdu"]) <= {"rtl"} and set(found["others"]) <= {"ltr"}, found
            person.page.set_viewport_size({"width": 420, "height": 900})    # a telephone
            assert look(person, None, "")["wide"] <= 0
            person.page.set_viewport_size({"width": 1100, "height": 1250})
            if bad:
                text = person.text("English instruction")
                assert (
                    'href="javascript:window.hit=3"' in text
                    and "U+202E" in text
                    and "\u202e" not in text
                )
        if len(seen) == 3:
            break
        person.choose(*answers)
    assert {lang for lang, _ in seen} == set(TEXTS) and ("ur", True) in seen
    assert person.dialogs == [] and not person.outside_of(server)
    if form == "quality":
        row = label_store.Store(
            server.root / "forms" / "labels" / "ur" / "quality.sqlite"
        ).current()[0]
        assert row["answers"] == {"valid": "yes", "acceptable": "no"}


def test_a_hostile_name_and_feedback_are_text_and_come_back_as_they_were(serve, browser):
    name = "<img src=x onerror=window.hit=1>"
    words = "</textarea><script>window.hit=2</script> [x](javascript:window.hit=3)"
    server, person = serve("preference"), Annotator(browser, urllib.parse.quote(name))
    person.open(server)
    assert f"0 stored for {name}" in person.page.locator(".xi").inner_text()
    person.at("Item 1 of 20")
    person.page.locator(".xi textarea").fill(words)
    person.choose(CHOICES["A"])
    person.at("Item 2 of 20")
    person.page.get_by_role("button", name="Back").click()
    person.at("Item 1 of 20")
    assert person.page.locator(".xi textarea").input_value() == words
    found = look(person, None, "")
    assert found["hit"] is None and found["active"] == found["handlers"] == 0 and not person.dialogs
    store = server.root / "forms" / "labels" / "ur" / "preference.sqlite"
    row = label_store.Store(store).current()[0]
    assert (row["annotator"], row["feedback"]) == (name, words)


def test_without_the_token_there_is_no_form_and_nobody_else_can_connect(serve):
    server = serve("quality")
    plain = f"http://127.0.0.1:{server.port}/"
    for link in (
        plain,
        f"{plain}?token=wrong",
        f"{plain}voila/files/form.ipynb",
        f"{plain}api/kernels",
    ):
        try:
            with urllib.request.urlopen(link, timeout=20) as answer:
                assert (
                    "ATTENTION" not in (page := answer.read().decode())
                    and "Password or token" in page
                )
        except urllib.error.HTTPError as error:
            assert error.code in (403, 404)
    others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {
        "127.0.0.1",
        "127.0.1.1",
    }
    for address in others:
        with socket.socket() as tried:
            tried.settimeout(2)
            assert tried.connect_ex((address, server.port)) != 0
    secret = server.root / "forms" / "labels" / ".token"
    assert secret.stat().st_mode & 0o077 == 0
    ps = subprocess.run(
        ["ps", "-p", str(server.child.pid), "-o", "args="], capture_output=True, text=True
    ).stdout
    assert secret.read_text() in server.link and secret.read_text() not in ps


def test_a_page_whose_server_is_gone_says_so_and_no_longer_once_it_is_reloaded(serve, browser):
    def next_reply():
        with person.page.expect_response(lambda reply: "/api/kernels/" in reply.url) as got:
            pass
        person.page.wait_for_timeout(300)
        return got.value.status

    server = serve("quality")
    person = Annotator(browser, "dora")
    person.open(server)
    banner = person.page.locator(".xi-lost")
    assert next_reply() == 200 and banner.count() == 1 and not banner.is_visible()
    server.kill()
    banner.wait_for(state="visible")
    assert "nothing can be saved now" in banner.inner_text() and "reload" in banner.inner_text()
    server.start()  # with the same link; the kernel and the login of the page are gone
    assert next_reply() != 200 and banner.is_visible()
    person.reload()
    assert next_reply() == 200 and not banner.is_visible()
