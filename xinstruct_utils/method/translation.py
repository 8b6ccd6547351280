"""Translation of one side of the seed pairs (paper 4.1): NLLB, any OpenAI-compatible endpoint, or
Google Cloud Translation.

Raw translations are kept in a SQLite file, batch by batch: what is there is not translated or paid
for again, and a killed run goes on to the same texts. They are checked after that, so that a failed
one is dropped by its reason.
"""

import functools
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.core.secrets import redact
from xinstruct_utils.data import language_id
from xinstruct_utils.data.romanised import is_romanised
from xinstruct_utils.inference.chat import Client
from xinstruct_utils.inference.patience import LONGEST_WAIT, retry_after
from xinstruct_utils.models.batching import batches
from xinstruct_utils.prompts.prefaces import has_preface
from xinstruct_utils.prompts.requests import translation_request

# Environment variable: the translator is seldom on the judge's server.
KEY = "XINSTRUCT_TRANSLATOR_KEY"
GOOGLE = "https://translation.googleapis.com"
GOOGLE_USD = 20.0              # a million characters (price list of Translation Basic)
GOOGLE_TEXTS = 128             # in a request: the limit
GOOGLE_CHARS = 5_000           # in a request: the advice
GOOGLE_LONGEST = 30_000        # characters of a text: the limit
BATCH = 16                     # texts that NLLB translates before they are kept
# Blanks after the sentence ends of the ten languages and English, and line ends; "e.g. this" is no
# end. Thai has no full stop.
PIECES = re.compile(r"(\s*\n\s*|(?<=[.!?…।۔؟])[^\S\n]+(?![a-z]))")
FENCED = re.compile(r"(```.*?(?:```|\Z))", re.S)       # code stays as it is
FEW_LETTERS = 20               # too few to tell the language of a translation

Translations = list[str | None]
Faults = list[str | None]
Translator = Callable[[list[str], str, str], tuple[Translations, Faults]]


class Backend(Protocol):
    """What translates: `batches` says which texts go together, a call translates one batch."""

    name: str
    key: Any          # what its translations depend on

    def begin(self, texts: list[str], source: str, target: str) -> None:
        """Called once before the first batch, with all texts that are left."""

    def batches(self, texts: list[str]) -> list[list[str]]:
        """The texts in batches, which depend on all texts and not on what is done."""

    def __call__(self, texts: list[str], source: str, target: str) -> Translations:
        """The translations of one batch, in order; None: refused or too long."""


def open_translator(name: str, path: str | Path, base_url: str | None = None,
                    max_cost_usd: float = 0.0, prices: tuple[float, float] = (0.0, 0.0),
                    threads: int = 1, key_name: str | None = None, **more: Any) -> Translator:
    """A function (texts, source, target) -> (translations, faults), both in order; a fault is a
    reason or None.

    name: "nllb:HUB_ID_OR_FOLDER" (a revision after @), "openai:MODEL" at `base_url`, "google" (or
    "google:URL"); path: the file of kept translations; prices: of openai, USD for a million tokens;
    threads: of nllb; more: of the backend. The key of openai is in the variable `key_name`, else in
    XINSTRUCT_TRANSLATOR_KEY; only OpenAI gets the judge's. Raises InputError.
    """
    backend: Backend
    kind, _, model = name.partition(":")
    if kind == "nllb" and model:
        backend = Nllb(model, threads, **more)
    elif kind == "openai" and model:
        own_key = KEY if base_url or os.environ.get(KEY) else "OPENAI_API_KEY"
        backend = Endpoint(Client(path, model, base_url, price_in=prices[0], price_out=prices[1],
                                  max_cost_usd=max_cost_usd, key_name=key_name or own_key, **more))
    elif kind == "google":
        backend = Google(model or GOOGLE, max_cost_usd, **more)
    else:
        raise InputError("expected a translator google, openai:MODEL or nllb:HUB_ID_OR_FOLDER, "
                         f"but {name!r} came")
    return functools.partial(translate, backend=backend, path=path)


class _Kept:
    """The raw translations of one backend, from one language into another, in a SQLite file."""

    def __init__(self, store, *of):
        self.store, self.of = store, of
        store.execute(
            "CREATE TABLE IF NOT EXISTS translations (key TEXT PRIMARY KEY, text TEXT)")

    def _key(self, text):
        return digest([*self.of, text])

    def get(self, text):
        """The kept translation of a text, or None."""
        query = "SELECT text FROM translations WHERE key = ?"
        row = self.store.execute(query, (self._key(text),)).fetchone()
        return row[0] if row else None

    def add(self, texts, translations):
        """Keep a batch; a refused text is not kept, so that it is tried again."""
        pairs = zip(texts, translations, strict=True)
        rows = [(self._key(text), made) for text, made in pairs if made is not None]
        self.store.executemany("INSERT OR IGNORE INTO translations VALUES (?, ?)", rows)
        self.store.commit()


def translate(texts: list[str], source: str, target: str, backend: Backend,
              path: str | Path) -> tuple[Translations, Faults]:
    """Translate `texts` from language code `source` into `target`, each text once.

    Returns (translations, faults) in order. Batches depend on all texts and not on what is done, so
    that a resumed run gives the same bytes.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(text for text in texts if text.strip()))
    with sqlite3.connect(path, timeout=60) as store:
        kept = _Kept(store, backend.key, source, target)
        done = {text for text in wanted if kept.get(text) is not None}
        left = [[t for t in batch if t not in done] for batch in backend.batches(wanted)]
        left = [batch for batch in left if batch]
        print(f"{backend.name}, {source} to {target}: {len(wanted):,} texts, "
              f"{sum(map(len, left)):,} to translate", flush=True)
        backend.begin([text for batch in left for text in batch], source, target)
        started = time.time()
        for n, batch in enumerate(left, 1):
            kept.add(batch, backend(batch, source, target))
            if n % 50 == 0 or n == len(left):
                seconds = (time.time() - started) * (len(left) / n - 1)
                print(f"batch {n}/{len(left)} ETA {seconds:.0f} s", flush=True)
        known = {text: kept.get(text) for text in wanted}
    store.close()
    translations = [known.get(text) for text in texts]
    pairs = zip(texts, translations, strict=True)
    return translations, [fault(text, made, target) for text, made in pairs]


def fault(text: str, translation: str | None, target: str) -> str | None:
    """Why a translation is of no use: "refused or too long", "empty", "copied", "preface",
    "absurd length", "in another language", or None.

    Lengths are in characters; the same text has 0.8 to 1.4 times as many in the ten languages as in
    English, so a third or three times is absurd, and short texts have room. Copied: the same
    letters. The language is told of 20 letters or more.
    """
    if translation is None:
        return "refused or too long"
    if not translation.strip():
        return "empty"
    one, two = (re.sub(r"\W+", " ", t).strip().casefold() for t in (text, translation))
    if one == two and any(c.isalpha() for c in one):
        return "copied"
    if has_preface(text, translation):
        return "preface"
    if not (len(text) - 20) / 3 <= len(translation) <= 3 * len(text) + 20:
        return "absurd length"
    return "in another language" if _in_another_language(translation, target) else None


def _in_another_language(translation, target):
    prose = FENCED.sub(" ", translation)
    if target not in language_id.known(language_id.OURS):
        return False
    if sum(c.isalpha() for c in prose) < FEW_LETTERS:
        return False
    if target == "en" and is_romanised(prose):         # which the detector takes for English
        return True
    return language_id.detected(prose) not in (None, target)


class Nllb:
    """facebook/nllb-200-* through transformers (licence: CC-BY-NC 4.0), for instance
    facebook/nllb-200-distilled-600M@refs/pr/45, the revision that has safetensors.

    It learned from single sentences, so texts are cut into them and put together again with their
    own blanks and line ends; code stays. A sentence over `longest` tokens, or one without an end,
    is a refusal.
    """

    def __init__(self, model: str, threads: int = 1, token_budget: int = 4096, longest: int = 512,
                 beams: int = 4):
        self.name = f"nllb:{model}"
        self.model, _, self.revision = model.partition("@")
        self.key = [self.name, beams]
        self.threads = threads
        self.budget = token_budget
        self.longest = longest
        self.beams = beams
        self.loaded: Any = None          # (tokenizer, model)

    def begin(self, texts: list[str], source: str, target: str) -> None:
        """Load the model where there is something to translate. Raises InputError for one that
        lacks a language."""
        if not texts or self.loaded:
            return
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        torch.set_num_threads(self.threads)
        more: dict[str, Any] = {"trust_remote_code": False}
        if self.revision:
            more["revision"] = self.revision
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model, **more)
            model = AutoModelForSeq2SeqLM.from_pretrained(self.model, use_safetensors=True, **more)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.model}: expected an NLLB model with safetensors, in a folder or on the "
                f"hub, but: {str(error).splitlines()[0]}") from None
        device, precision = "cpu", torch.float32
        if torch.cuda.is_available():
            device, precision = "cuda", torch.bfloat16
        self.loaded = tokenizer, model.to(device, precision).eval()

    def batches(self, texts: list[str]) -> list[list[str]]:
        """Sixteen texts of like length each, the longest first, so that the first batch shows
        whether memory is enough."""
        order = sorted(texts, key=lambda t: (-len(t), t))
        return [order[i:i + BATCH] for i in range(0, len(order), BATCH)]

    def __call__(self, texts: list[str], source: str, target: str) -> Translations:
        """Translate texts sentence by sentence; None for one with a refused sentence."""
        cut = [_pieces(text) for text in texts]
        sentences = {part for parts in cut for part in parts
                     if not part.startswith("```") and _has_letters(part)}
        prose = sorted(sentences, key=lambda p: (len(p), p))
        made = dict(zip(prose, self._translated(prose, source, target), strict=True))
        whole = [[made.get(part, part) for part in parts] for parts in cut]
        return [None if None in parts else "".join(parts) for parts in whole]

    def _translated(self, pieces, source, target):
        """Translate sentences, sorted by length and batched by a token budget; None for one too
        long or without an end."""
        import torch

        tokenizer, model = self.loaded
        tokenizer.src_lang = self._code(source)
        first = tokenizer.convert_tokens_to_ids(self._code(target))
        ids = [tokenizer(p)["input_ids"] for p in pieces]
        out = [None] * len(pieces)
        short = [i for i, tokens in enumerate(ids) if len(tokens) <= self.longest]
        for batch in batches([len(ids[i]) for i in short], self.budget // self.beams):
            batch = [short[k] for k in batch]
            padded = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt")
            room = 16 + 3 * max(len(ids[i]) for i in batch)
            with torch.inference_mode():
                made = model.generate(**padded.to(model.device), forced_bos_token_id=first,
                                      num_beams=self.beams, do_sample=False, max_new_tokens=room)
            # The first token is where decoding starts.
            for i, row in zip(batch, made[:, 1:].tolist(), strict=True):
                if tokenizer.eos_token_id in row:
                    out[i] = tokenizer.decode(row, skip_special_tokens=True).strip()
        return out

    def _code(self, code):
        flores, tokenizer = languages.named(code).flores, self.loaded[0]
        if tokenizer.convert_tokens_to_ids(flores) in (None, tokenizer.unk_token_id):
            raise InputError(f"{self.model} does not know {flores}: expected an NLLB model, which "
                             "knows the FLORES-200 codes")
        return flores


def _pieces(text):
    """A text in its sentences, the blanks between them, and its blocks of code, in order."""
    pieces = []
    for k, block in enumerate(FENCED.split(text)):
        pieces += [block] if k % 2 else PIECES.split(block)
    return pieces


def _has_letters(text):
    return any(c.isalpha() for c in text)


class Endpoint:
    """A model on an OpenAI-compatible server; `client` keeps its replies and the budget."""

    def __init__(self, client: Client):
        self.client = client
        self.name = f"openai:{client.model}"
        self.key = client.key(client.body(translation_request("", "sw")))

    def begin(self, texts: list[str], source: str, target: str) -> None:
        """Nothing to prepare."""

    def batches(self, texts: list[str]) -> list[list[str]]:
        """All at once: the client sends many requests side by side and keeps each reply."""
        return [texts]

    def __call__(self, texts: list[str], source: str, target: str) -> Translations:
        """Ask for each text; a reply that is cut off at the limit is no translation."""
        bodies = [self.client.body(translation_request(t, target), min(4096, 64 + 3 * len(t)))
                  for t in texts]
        return [_whole_reply(reply) for reply in self.client.ask(bodies)]


def _whole_reply(reply):
    if "text" not in reply or reply["finish_reason"] == "length":
        return None
    return reply["text"].strip()


class Google:
    """Google Cloud Translation, REST v2.

    The key comes from GOOGLE_API_KEY and travels in a header, which no log shows.
    """

    name = key = "google"

    def __init__(self, base_url: str = GOOGLE, max_cost_usd: float = 0.0, tries: int = 8,
                 backoff: float = 0.5, timeout: float = 60):
        self.url = f"{base_url.rstrip('/')}/language/translate/v2"
        self.max_cost_usd = max_cost_usd
        self.tries = tries
        self.backoff = backoff
        self.timeout = timeout
        self.secret = os.environ.get("GOOGLE_API_KEY", "")
        if not self.secret:
            raise InputError("no API key: set the environment variable GOOGLE_API_KEY to a key of "
                             "Cloud Translation")

    def begin(self, texts: list[str], source: str, target: str) -> None:
        """Say what it costs. Raises InputError before the first request where that is over
        `max_cost_usd`."""
        chars = sum(map(len, texts))
        usd = chars * GOOGLE_USD / 1e6
        print(f"google: {chars:,} characters, ${usd:,.2f} at ${GOOGLE_USD:g} a million")
        if usd > self.max_cost_usd:
            raise InputError(
                f"Google may cost ${usd:,.2f}, and max_cost_usd is {self.max_cost_usd:g}; nothing "
                "was sent: set max_cost_usd higher to confirm")

    def batches(self, texts: list[str]) -> list[list[str]]:
        """In order, as many texts as a request may hold; a longer text goes alone."""
        groups: list[list[str]] = []
        size = 0
        for text in texts:
            full = not groups or len(groups[-1]) == GOOGLE_TEXTS
            if full or size + len(text) > GOOGLE_CHARS:
                groups.append([])
                size = 0
            groups[-1].append(text)
            size += len(text)
        return groups

    def __call__(self, texts: list[str], source: str, target: str) -> Translations:
        """Send one batch, again after a while where the server is busy. Raises InputError."""
        import httpx

        if len(texts[0]) > GOOGLE_LONGEST:             # such a text is alone in its batch
            return [None]
        body = {"q": texts, "source": source, "target": target, "format": "text"}
        problem = ""
        for k in range(self.tries):
            wait = self.backoff * 2**k
            try:
                reply = httpx.post(self.url, json=body, headers={"X-Goog-Api-Key": self.secret},
                                   timeout=self.timeout)
                if reply.status_code == 200:
                    return _texts(reply.json(), len(texts))
                problem = f"status {reply.status_code}: {redact(reply.text)[:200]}"
                wait = retry_after(reply.headers) or wait
                if not _again(reply) or wait > LONGEST_WAIT:
                    break
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                problem = f"{type(error).__name__}: {error}"
            time.sleep(wait if k + 1 < self.tries else 0)
        raise InputError(
            f"{self.url} gave no translation ({problem}); what is translated so far is kept: run "
            "again to go on")


def _again(reply):
    """Whether Google may answer the same request later."""
    busy = reply.status_code in (408, 429) or reply.status_code >= 500
    return busy or "ateLimitExceeded" in reply.text


def _texts(reply, n):
    """The n texts of Google's reply. Raises ValueError where there are more or fewer."""
    texts = [t["translatedText"] for t in reply["data"]["translations"]]
    if len(texts) != n:
        raise ValueError(f"{n} texts were sent, {len(texts)} came back")
    return texts
