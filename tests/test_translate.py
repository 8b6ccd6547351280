"""Translation: a tiny NLLB trained here, real HTTP servers on loopback, kept translations, checks
of what comes back."""

import json
import os
import sqlite3
from contextlib import contextmanager

import http_servers
import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.method import translation

SHARED = REPO.parent / "shared" / "data"
KEY = "AIza-loopback-0123456789"
LESSON = {"Good morning.": {"sw": "Habari ya asubuhi.", "fi": "Hyvää huomenta."},
          "Where is the river?": {"sw": "Mto uko wapi?", "fi": "Missä joki on?"},
          "I read a book.": {"sw": "Ninasoma kitabu.", "fi": "Luen kirjaa."}}
CODES = {"en": "eng_Latn", "sw": "swh_Latn", "fi": "fin_Latn"}


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    """A folder with a tiny NLLB that knows LESSON by heart: learned in the test, from random
    weights."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    torch.manual_seed(0)
    pairs = [(a, code, b) for a, made in LESSON.items() for code, b in made.items()]
    letters = sorted({c for a, _, b in pairs for c in a + b if c != " "} | {"▁"})
    vocab = {t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    tokenizer = NllbTokenizer(vocab=vocab, merges=[], src_lang="eng_Latn")
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=64, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, dropout=0.0, attention_dropout=0.0, encoder_layerdrop=0.0,
        decoder_layerdrop=0.0, max_position_embeddings=600, init_std=0.1)
    model = M2M100ForConditionalGeneration(config)
    source = tokenizer([a for a, _, _ in pairs], return_tensors="pt", padding=True)
    rows = []
    for _, code, b in pairs:
        tokenizer.src_lang = CODES[code]  # a target begins with its code as a source does
        rows.append(tokenizer(b)["input_ids"])
    width = max(map(len, rows))
    # </s> code tokens, then padding; the code is forced, not learned
    given = torch.tensor([[2] + r[:-1] + (width - len(r)) * [1] for r in rows])
    labels = torch.tensor([[-100] + r[1:] + (width - len(r)) * [-100] for r in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        loss = model(**source, decoder_input_ids=given, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.01, f"the tiny NLLB has not learned its lesson: loss {loss.item():.3f}"
    folder = tmp_path_factory.mktemp("nllb")
    tokenizer.src_lang = "eng_Latn"
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def test_nllb_translates_into_the_language_of_the_forced_first_token(nllb, tmp_path):
    for code in ("sw", "fi"):
        made, faults = translation.open_translator(f"nllb:{nllb}", tmp_path / "t.sqlite", beams=2)(
            list(LESSON), "en", code
        )
        assert made == [LESSON[t][code] for t in LESSON] and faults == [None, None, None]


def test_nllb_works_with_as_many_threads_as_the_profile_says(nllb, tmp_path, monkeypatch):
    import torch

    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    translation.open_translator(f"nllb:{nllb}", tmp_path / "t.sqlite", threads=3)(
        list(LESSON), "en", "sw"
    )
    assert told == [3]


def test_nllb_keeps_paragraphs_numbers_and_code(nllb, tmp_path):
    text = "I read a book. Good morning.\n\n1. Where is the river?\n```\nGood morning.\n```\n"
    made, _ = translation.open_translator(f"nllb:{nllb}", tmp_path / "t.sqlite")(
        [text, "", "12 + 3"], "en", "sw"
    )
    assert made == [
        "Ninasoma kitabu. Habari ya asubuhi.\n\n1. Mto uko wapi?\n```\nGood morning.\n```\n",
        None,
        "12 + 3",
    ]


def test_a_source_code_leads_and_the_forced_code_is_given(nllb, tmp_path, monkeypatch):
    """What the model is given: <source code> tokens </s>, and the target's code as the first token
    to come."""
    backend = translation.Nllb(str(nllb))
    backend.begin(["x"], "en", "sw")
    tokenizer, model = backend.loaded
    seen, real = [], model.generate
    monkeypatch.setattr(model, "generate", lambda **more: seen.append(more) or real(**more))
    backend(["Good morning."], "fi", "sw")
    ids = seen[0]["input_ids"][0].tolist()
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1], seen[0]["forced_bos_token_id"]]) == [
        "fin_Latn",
        "</s>",
        "swh_Latn",
    ]


def test_a_sentence_that_is_too_long_or_never_ends_is_no_translation(nllb, tmp_path):
    open_it = translation.open_translator(f"nllb:{nllb}", tmp_path / "t.sqlite", longest=20)
    made, faults = open_it(["Good morning.", "Where is the river? Good morning."], "en", "sw")
    assert made == ["Habari ya asubuhi.", None] and faults == [None, "refused or too long"]


def test_a_killed_translation_goes_on_to_the_same_texts(nllb, tmp_path, monkeypatch):
    texts = [f"{a} {b}\n{k}" for k in range(7) for a in LESSON for b in LESSON]
    whole = translation.open_translator(f"nllb:{nllb}", tmp_path / "a.sqlite", beams=1)(
        texts, "en", "sw"
    )
    calls, real = [], translation.Nllb.__call__

    def dying(self, batch, *codes):
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, batch, *codes)

    monkeypatch.setattr(translation.Nllb, "__call__", dying)
    open_it = translation.open_translator(f"nllb:{nllb}", tmp_path / "b.sqlite", beams=1)
    with pytest.raises(KeyboardInterrupt):
        open_it(texts, "en", "sw")
    kept = (
        sqlite3.connect(tmp_path / "b.sqlite")
        .execute("SELECT count(*) FROM translations")
        .fetchone()[0]
    )
    assert (
        kept == 32 and open_it(texts, "en", "sw") == whole and len(calls) == 5
    )  # 63 texts: four batches, one twice
    assert open_it(texts[::-1], "en", "sw") == tuple(x[::-1] for x in whole) and len(calls) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nllb:/no/such/folder", "expected an NLLB model with safetensors"),
        ("deepl", "expected a translator google"),
        ("nllb:", "expected a translator"),
        ("", "expected a translator"),
        ("openai:gpt-4", "costs money"),
    ],
)
def test_an_unusable_translator_is_one_clear_error(tmp_path, name, words):
    with pytest.raises(InputError, match=words):
        translation.open_translator(name, tmp_path / "t.sqlite")(["a"], "en", "sw")


def test_a_model_without_the_languages_code_is_refused(nllb, monkeypatch):
    backend = translation.Nllb(str(nllb))
    backend.begin(["x"], "en", "sw")
    with pytest.raises(InputError, match="unknown language code 'xx'"):
        backend._code("xx")
    monkeypatch.setattr(
        type(backend.loaded[0]), "convert_tokens_to_ids", lambda self, token: 3
    )  # <unk>
    with pytest.raises(InputError, match="does not know swh_Latn"):
        backend._code("sw")


class Translation(http_servers.Handler):
    """Cloud Translation v2 and chat completions in their documented shapes; every third try is
    answered 429 or 500."""

    def do_POST(self):
        body = json.loads(self.body())
        self.server.asked.append((self.path, dict(self.headers), body))
        n = len(self.server.asked)
        if self.server.broken and n % 3 == 1:
            error = {"code": 429, "message": "slow down"}
            return self.send(429 if n % 2 else 500, {"error": error}, retry_after=0.01)
        if self.path == "/v1/chat/completions":
            text = body["messages"][0]["content"].rpartition("\n\n")[2]
            choice = {
                "message": {"content": f" {text.upper()}!\n"},
                "finish_reason": "length" if "endless" in text else "stop",
            }
            return self.send(
                200, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}
            )
        if (key := self.headers.get("X-Goog-Api-Key")) != KEY:
            error = {"code": 400, "message": f"API key not valid: {key}"}
            return self.send(400, {"error": error})
        made = [{"translatedText": f"{t} ({body['source']}-{body['target']})"} for t in body["q"]]
        return self.send(200, {"data": {"translations": made[:self.server.most]}})


@contextmanager
def served(broken=False, most=None):
    server = http_servers.Server(Translation, asked=[], broken=broken, most=most)
    with http_servers.running(server):
        yield server, f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def google(tmp_path, monkeypatch):
    """A function that opens Google's translator on a server."""
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    return lambda url, **more: translation.open_translator(
        f"google:{url}", tmp_path / "g.sqlite", "http://judge", 1.0, backoff=0.001, **more
    )


TEXTS = [
    f"What is the capital of country number {k}?" + k % 7 * " Tell me more." for k in range(300)
]


def test_google_is_asked_in_its_documented_shape_and_again_after_429_and_500(
    google, tmp_path, capsys
):
    with served(broken=True) as (server, url):
        made, _ = google(url)([*TEXTS, TEXTS[0]], "en", "sw")
        assert made == [f"{t} (en-sw)" for t in [*TEXTS, TEXTS[0]]]
        answered, n = {}, len(server.asked)
        for path, _, body in server.asked:
            assert path == "/language/translate/v2" and set(body) == {
                "q",
                "source",
                "target",
                "format",
            }
            assert (
                body["format"] == "text"
                and len(body["q"]) <= 128
                and sum(map(len, body["q"])) <= 5000
            )
            answered |= dict.fromkeys(body["q"])
        assert list(answered) == TEXTS  # each once, the repeated one too
        assert google(url)(TEXTS[50:60], "en", "sw")[0] == made[50:60] and len(server.asked) == n
        assert google(url)(TEXTS[:1], "en", "fi")[0] == [f"{TEXTS[0]} (en-fi)"]
    assert (
        KEY not in capsys.readouterr().out
        and KEY.encode() not in (tmp_path / "g.sqlite").read_bytes()
    )


def test_google_goes_on_after_an_outage_and_pays_for_nothing_twice(google):
    with served(most=20) as (server, url):
        server.most = None
        real, sent = Translation.do_POST, []

        def failing(self):
            sent.append(1)
            if len(sent) > 2:
                return self.send(503, {"error": {}})
            return real(self)

        server.RequestHandlerClass.do_POST = failing
        try:
            with pytest.raises(InputError, match="status 503.*so far is kept: run again"):
                google(url, tries=2)(TEXTS, "en", "sw")
        finally:
            server.RequestHandlerClass.do_POST = real
        first = [t for _, _, body in server.asked for t in body["q"]]
        assert google(url)(TEXTS, "en", "sw")[0] == [f"{t} (en-sw)" for t in TEXTS]
        later = [t for _, _, body in server.asked for t in body["q"]][len(first):]
        assert first and first + later == TEXTS


def test_google_refusing_the_key_is_told_at_once_without_the_key(google, monkeypatch):
    with served() as (server, url):
        monkeypatch.setenv("GOOGLE_API_KEY", "AIza-wrong")
        with pytest.raises(InputError, match=r"status 400.*API key not valid: \*\*\*") as error:
            google(url)(["Good morning."], "en", "sw")
        assert "AIza-wrong" not in str(error.value) and len(server.asked) == 1
    monkeypatch.delenv("GOOGLE_API_KEY")
    with pytest.raises(InputError, match="set the environment variable GOOGLE_API_KEY"):
        google(url)


def test_google_sends_nothing_over_the_budget_and_no_endless_text(google):
    with served() as (server, url):
        with pytest.raises(InputError, match=r"may cost \$2.00.*nothing was sent"):
            google(url)(["ab cd " * 16_667], "en", "sw")
        assert not server.asked
        assert (
            google(url)(["a b " * 8_000], "en", "sw")[1] == ["refused or too long"]
            and not server.asked
        )


def test_an_answer_with_fewer_texts_than_were_sent_is_an_error_and_not_shifted(google):
    with (
        served(most=2) as (_, url),
        pytest.raises(InputError, match="3 texts were sent, 2 came back"),
    ):
        google(url, tries=2)(["One.", "Two.", "Three."], "en", "sw")


def test_any_openai_compatible_server_translates_once_and_both_ways(tmp_path):
    texts = ["Mji mkuu wa Kenya ni upi?", "endless"]
    with served(broken=True) as (server, url):
        for _ in range(2):
            open_it = translation.open_translator(
                "openai:m", tmp_path / "o.sqlite", f"{url}/v1", backoff=0.001
            )
            made, faults = open_it(texts, "sw", "en")
            assert made == ["MJI MKUU WA KENYA NI UPI?!", None] and faults == [
                "copied",
                "refused or too long",
            ]
            asked = [b["messages"][0]["content"] for _, _, b in server.asked]
        assert all(a.startswith("Translate the following text into English.") for a in asked)
        assert (
            len([a for a in asked if a.endswith("upi?")])
            + len([a for a in asked if a.endswith("less")])
            == len(asked)
            == 3
        )


def test_the_key_of_the_judge_does_not_go_to_the_translators_own_server(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-judge")
    with served() as (server, url):
        for k, own in enumerate((None, "sk-own")):
            if own:
                monkeypatch.setenv("XINSTRUCT_TRANSLATOR_KEY", own)
            translation.open_translator("openai:m", tmp_path / f"{k}.sqlite", f"{url}/v1")(
                ["Mto uko wapi?"], "sw", "en"
            )
            assert {h.get("Authorization", h.get("authorization")) for _, h, _ in server.asked} == {
                f"Bearer {own or 'none'}"
            }
            server.asked.clear()
    monkeypatch.delenv("XINSTRUCT_TRANSLATOR_KEY")
    translation.open_translator(
        "openai:gpt-4", tmp_path / "t.sqlite", prices=(1.0, 1.0)
    )  # OpenAI's own gets OpenAI's key
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        translation.open_translator("openai:gpt-4", tmp_path / "t.sqlite", prices=(1.0, 1.0))


@pytest.mark.parametrize(
    ("text", "made", "target", "reason"),
    [
        ("Name three colours of the rainbow, please.", " ", "sw", "empty"),
        ("Name three colours.", "name three  colours", "sw", "copied"),
        ("2 + 2 = 4", "2 + 2 = 4", "sw", None),
        ("Name three colours.", "Taja rangi tatu." * 9, "sw", "absurd length"),
        (
            "Name three colours of the rainbow, and say why you like them. " * 3,
            "Taja rangi tatu.",
            "sw",
            "absurd length",
        ),
        (
            "Name three colours of the rainbow, please.",
            "Nenne drei Farben des Regenbogens, of the rainbow.",
            "sw",
            "in another language",
        ),
        (
            "Name three colours of the rainbow, please.",
            "Please name the three colours of a rainbow.",
            "ur",
            "in another language",
        ),
        (
            "Name three colours of the rainbow, please.",
            "Tafadhali taja rangi tatu za upinde wa mvua.",
            "sw",
            None,
        ),
        ("Name a few colours", "رنگ", "ur", None),
        (
            "Print the words:\n```\nprint('the words that were asked for are these')\n```",
            "Andika maneno haya:\n```\nprint('the words that were asked for are these')\n```",
            "sw",
            None,
        ),
    ],
)
def test_a_failed_translation_is_told_by_its_reason(text, made, target, reason):
    assert translation.fault(text, made, target) == reason


NAMES = {
    "fi": "fin",
    "id": "ind",
    "th": "tha",
    "tr": "tur",
    "vi": "vie",
    "bn": "ben",
    "hi": "hin",
    "sw": "swh",
    "ta": "tam",
    "ur": "urd",
}


@pytest.mark.skipif(not (SHARED / "udhr").exists(), reason="no declarations at ../shared/data/udhr")
@pytest.mark.parametrize("code", NAMES)
def test_real_translations_pass_the_checks_and_swapped_languages_do_not(code):
    """The Universal Declaration, paragraph by paragraph, to and from English; into another language
    it is caught."""
    english, native = (
        [
            line.strip()
            for line in (SHARED / "udhr" / "udhr2" / f"{name}.txt").read_text().splitlines()
            if len(line) > 60
        ]
        for name in ("eng", NAMES[code])
    )
    whole, other = "\n".join(native), "\n".join(english)
    assert (
        translation.fault(other, whole, code) is None
        and translation.fault(whole, other, "en") is None
    )
    language = (
        [translation.fault(p, p + " .", code) for p in native],
        [translation.fault(p, p + " x", code) for p in english],
    )
    assert language[0].count("in another language") <= 1 and set(language[1]) == {
        "in another language"
    }


@pytest.mark.skipif(
    not (SHARED / "real_text" / "fi").exists(), reason="no Finnish pairs at ../shared/data"
)
def test_real_translated_replies_pass_the_checks(tmp_path):
    """186 English replies put into Finnish by DeepL; for lack of the English ones, their lengths
    are not compared."""
    rows = list(read_jsonl(SHARED / "real_text" / "fi" / "seed.jsonl"))
    faults = [translation.fault("x" * len(r["output"]), r["output"], "fi") for r in rows]
    assert sum(f is not None for f in faults) <= 2, [
        r["output"][:60] for r, f in zip(rows, faults, strict=True) if f
    ]


def test_alpaca_is_translated_by_the_command_and_resumed(tmp_path, nllb):
    pairs = [{"instruction": "Where is the river?", "input": "", "output": "I read a book."}]
    (tmp_path / "alpaca.json").write_text(json.dumps(pairs))
    line = [
        "alpaca-mt",
        str(tmp_path / "alpaca.json"),
        "--lang",
        "sw",
        "--out",
        str(tmp_path / "out.jsonl"),
        "--translator",
        f"nllb:{nllb}",
    ]
    main(["seeds", *line])
    first = (tmp_path / "out.jsonl").read_bytes()
    row = json.loads(first)
    assert (row["instruction"], row["output"], row["language"]) == (
        "Mto uko wapi?",
        "Ninasoma kitabu.",
        "sw",
    )
    os.remove(tmp_path / "out.jsonl")
    main(["seeds", *line])
    assert (tmp_path / "out.jsonl").read_bytes() == first
