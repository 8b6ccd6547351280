"""Translation of one side of the seed pairs (paper 4.1): NLLB, any OpenAI-compatible endpoint, or Google Cloud Translation.

Raw translations are kept in a SQLite file, batch by batch: what is there is not translated or paid for again, and a killed
run goes on to the same texts. They are checked after that, so that a failed one is dropped by its reason.
"""

import functools
import os
import re
import sqlite3
import time
from pathlib import Path

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.inference.chat import LONGEST_WAIT, Client, retry_after
from xinstruct_utils.models.batching import batches
from xinstruct_utils.prompts.prefaces import has_preface
from xinstruct_utils.prompts.requests import translation_request

KEY = "XINSTRUCT_TRANSLATOR_KEY"                       # environment variable: the translator is seldom on the judge's server
GOOGLE, GOOGLE_USD = "https://translation.googleapis.com", 20.0    # a million characters (price list of Translation Basic)
GOOGLE_TEXTS, GOOGLE_CHARS, GOOGLE_LONGEST = 128, 5_000, 30_000    # in a request: limit, advice, and limit of characters
# Blanks after the sentence ends of the ten languages and English, and line ends; "e.g. this" is no end. Thai has no full stop.
PIECES = re.compile(r"(\s*\n\s*|(?<=[.!?…।۔؟])[^\S\n]+(?![a-z]))")
FENCED = re.compile(r"(```.*?(?:```|\Z))", re.S)       # code stays as it is


def open_translator(name, path, base_url=None, max_cost_usd=0.0, prices=(0.0, 0.0), threads=1, key_name=None, **more):
    """A function (texts, source, target) -> (translations, faults), both in order; a fault is a reason or None.

    name: "nllb:HUB_ID_OR_FOLDER" (a revision after @), "openai:MODEL" at `base_url`, "google" (or "google:URL"); path: the
    file of kept translations; prices: of openai, USD for a million tokens; threads: of nllb; more: of the backend. The key of
    openai is in the variable `key_name`, else in XINSTRUCT_TRANSLATOR_KEY; only OpenAI gets the judge's. Raises InputError.
    """
    kind, _, model = name.partition(":")
    if kind == "nllb" and model:
        backend = Nllb(model, threads, **more)
    elif kind == "openai" and model:
        key = key_name or (KEY if base_url or os.environ.get(KEY) else "OPENAI_API_KEY")
        backend = Endpoint(Client(path, model, base_url, price_in=prices[0], price_out=prices[1], max_cost_usd=max_cost_usd,
                                  key_name=key, **more))
    elif kind == "google":
        backend = Google(model or GOOGLE, max_cost_usd, **more)
    else:
        raise InputError(f"expected a translator google, openai:MODEL or nllb:HUB_ID_OR_FOLDER, but {name!r} came")
    return functools.partial(translate, backend=backend, path=path)


def translate(texts, source, target, backend, path):
    """Translate `texts` from language code `source` into `target`. Returns (translations, faults) in order.

    `backend.batches(texts)` says which texts go together, `backend(texts, source, target)` translates one batch (None:
    refused or too long). Batches depend on all texts and not on what is done, so that a resumed run gives the same bytes.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    wanted, started = list(dict.fromkeys(t for t in texts if t.strip())), time.time()
    keys = {t: digest([backend.key, source, target, t]) for t in wanted}
    with sqlite3.connect(path, timeout=60) as store:
        store.execute("CREATE TABLE IF NOT EXISTS translations (key TEXT PRIMARY KEY, text TEXT)")
        known = {t for t in wanted if store.execute("SELECT 1 FROM translations WHERE key = ?", (keys[t],)).fetchone()}
        left = [b for b in ([t for t in batch if t not in known] for batch in backend.batches(wanted)) if b]
        print(f"{backend.name}, {source} to {target}: {len(wanted):,} texts, {sum(map(len, left)):,} to translate", flush=True)
        backend.begin([t for b in left for t in b], source, target)
        for n, batch in enumerate(left, 1):
            made = backend(batch, source, target)
            store.executemany("INSERT OR IGNORE INTO translations VALUES (?, ?)",
                              [(keys[t], m) for t, m in zip(batch, made, strict=True) if m is not None])
            store.commit()
            if n % 50 == 0 or n == len(left):
                print(f"batch {n}/{len(left)} ETA {(time.time() - started) * (len(left) / n - 1):.0f} s", flush=True)
        found = {t: store.execute("SELECT text FROM translations WHERE key = ?", (keys[t],)).fetchone() for t in wanted}
    store.close()
    out = [found[t][0] if found.get(t) else None for t in texts]
    return out, ["refused or too long" if o is None else fault(t, o, target) for t, o in zip(texts, out, strict=True)]


def fault(text, translation, target):
    """Why a translation is of no use: "empty", "copied", "preface", "absurd length", "in another language", or None.

    Lengths are in characters; the same text has 0.8 to 1.4 times as many in the ten languages as in English, so a third or
    three times is absurd, and short texts have room. Copied: the same letters. The language is told of 20 letters or more.
    """
    if not translation.strip():
        return "empty"
    one, two = (re.sub(r"\W+", " ", t).strip().casefold() for t in (text, translation))
    if one == two and any(c.isalpha() for c in one):
        return "copied"
    if has_preface(text, translation):
        return "preface"
    if not (len(text) - 20) / 3 <= len(translation) <= 3 * len(text) + 20:
        return "absurd length"
    prose, (detector, known) = FENCED.sub(" ", translation), _detector()
    found = target in known and sum(c.isalpha() for c in prose) >= 20 and detector.detect_language_of(prose)
    return "in another language" if found and found.iso_code_639_1.name.lower() != target else None


@functools.cache
def _detector():
    """lingua's detector for English and the languages of the table that it knows, and their codes."""
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    known = [code for code in ("en", *languages.LANGUAGES) if hasattr(IsoCode639_1, code.upper())]
    codes = [getattr(IsoCode639_1, code.upper()) for code in known]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build(), known


class Nllb:
    """facebook/nllb-200-* through transformers (licence: CC-BY-NC 4.0), for instance facebook/nllb-200-distilled-600M@refs/pr/45,
    the revision that has safetensors. It learned from single sentences, so texts are cut into them and put together again with
    their own blanks and line ends; code stays. A sentence over `longest` tokens, or one without an end, is a refusal."""

    def __init__(self, model, threads=1, token_budget=4096, longest=512, beams=4):
        self.name, (self.model, _, self.revision) = f"nllb:{model}", model.partition("@")
        self.key, self.threads = [self.name, beams], threads
        self.budget, self.longest, self.beams, self.loaded = token_budget, longest, beams, None

    def begin(self, texts, source, target):
        """Load the model where there is something to translate. Raises InputError for one that lacks a language."""
        if not texts or self.loaded:
            return
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        torch.set_num_threads(self.threads)
        more = {"revision": self.revision} if self.revision else {}
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model, trust_remote_code=False, **more)
            model = AutoModelForSeq2SeqLM.from_pretrained(self.model, trust_remote_code=False, use_safetensors=True, **more)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.model}: expected an NLLB model with safetensors, in a folder or on the hub, but: "
                             f"{str(error).splitlines()[0]}") from None
        gpu = torch.cuda.is_available()
        self.loaded = tokenizer, model.to("cuda" if gpu else "cpu", torch.bfloat16 if gpu else torch.float32).eval()

    def batches(self, texts):
        """Sixteen texts of like length each, the longest first, so that the first batch shows whether memory is enough."""
        order = sorted(texts, key=lambda t: (-len(t), t))
        return [order[i:i + 16] for i in range(0, len(order), 16)]

    def __call__(self, texts, source, target):
        cut = [[part for k, block in enumerate(FENCED.split(t)) for part in ([block] if k % 2 else PIECES.split(block))]
               for t in texts]
        need = {p for parts in cut for p in parts if not p.startswith("```") and any(c.isalpha() for c in p)}
        need = sorted(need, key=lambda p: (len(p), p))
        made = dict(zip(need, self._pieces(need, source, target), strict=True))
        done = [[made.get(p, p) for p in parts] for parts in cut]
        return [None if None in parts else "".join(parts) for parts in done]

    def _pieces(self, pieces, source, target):
        """Translate sentences, sorted by length and batched by a token budget; None for one too long or without an end."""
        import torch

        tokenizer, model = self.loaded
        tokenizer.src_lang, first = self._code(source), tokenizer.convert_tokens_to_ids(self._code(target))
        ids, out = [tokenizer(p)["input_ids"] for p in pieces], [None] * len(pieces)
        short = [i for i, tokens in enumerate(ids) if len(tokens) <= self.longest]
        for batch in batches([len(ids[i]) for i in short], self.budget // self.beams):
            batch = [short[k] for k in batch]
            padded = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                made = model.generate(**padded, forced_bos_token_id=first, num_beams=self.beams, do_sample=False,
                                      max_new_tokens=16 + 3 * max(len(ids[i]) for i in batch))
            for i, row in zip(batch, made[:, 1:].tolist(), strict=True):       # the first token is where decoding starts
                if tokenizer.eos_token_id in row:
                    out[i] = tokenizer.decode(row, skip_special_tokens=True).strip()
        return out

    def _code(self, code):
        flores, tokenizer = languages.named(code).flores, self.loaded[0]
        if tokenizer.convert_tokens_to_ids(flores) in (None, tokenizer.unk_token_id):
            raise InputError(f"{self.model} does not know {flores}: expected an NLLB model, which knows the FLORES-200 codes")
        return flores


class Endpoint:
    """A model on an OpenAI-compatible server; `client` keeps its replies and the budget."""

    def __init__(self, client):
        self.client, self.name = client, f"openai:{client.model}"
        self.key = client.key(client.body(translation_request("", "sw")))

    def begin(self, texts, source, target):
        """Nothing to prepare."""

    def batches(self, texts):
        """All at once: the client sends many requests side by side and keeps each reply."""
        return [texts]

    def __call__(self, texts, source, target):
        bodies = [self.client.body(translation_request(t, target), min(4096, 64 + 3 * len(t))) for t in texts]
        replies = self.client.ask(bodies)              # one cut off at the limit is no translation
        return [r["text"].strip() if "text" in r and r["finish_reason"] != "length" else None for r in replies]


class Google:
    """Google Cloud Translation, REST v2; the key comes from GOOGLE_API_KEY and travels in a header, which no log shows."""

    name = key = "google"

    def __init__(self, base_url=GOOGLE, max_cost_usd=0.0, tries=8, backoff=0.5, timeout=60):
        self.url, self.max_cost_usd = f"{base_url.rstrip('/')}/language/translate/v2", max_cost_usd
        self.tries, self.backoff, self.timeout = tries, backoff, timeout
        self.secret = os.environ.get("GOOGLE_API_KEY")
        if not self.secret:
            raise InputError("no API key: set the environment variable GOOGLE_API_KEY to a key of Cloud Translation")

    def begin(self, texts, source, target):
        """Say what it costs. Raises InputError before the first request where that is over `max_cost_usd`."""
        chars = sum(map(len, texts))
        usd = chars * GOOGLE_USD / 1e6
        print(f"google: {chars:,} characters, ${usd:,.2f} at ${GOOGLE_USD:g} a million")
        if usd > self.max_cost_usd:
            raise InputError(f"Google may cost ${usd:,.2f}, and max_cost_usd is {self.max_cost_usd:g}; nothing was sent: set "
                             "max_cost_usd higher to confirm")

    def batches(self, texts):
        """In order, as many texts as a request may hold; a longer text goes alone."""
        made, size = [], 0
        for t in texts:
            if not made or len(made[-1]) == GOOGLE_TEXTS or size + len(t) > GOOGLE_CHARS:
                made, size = [*made, []], 0
            made[-1].append(t)
            size += len(t)
        return made

    def __call__(self, texts, source, target):
        import httpx

        if len(texts[0]) > GOOGLE_LONGEST:             # such a text is alone in its batch
            return [None]
        body, told = {"q": texts, "source": source, "target": target, "format": "text"}, ""
        for k in range(self.tries):
            wait = self.backoff * 2**k
            try:
                reply = httpx.post(self.url, json=body, headers={"X-Goog-Api-Key": self.secret}, timeout=self.timeout)
                if reply.status_code == 200:
                    return self._texts(reply.json(), len(texts))
                told, wait = f"status {reply.status_code}: {reply.text[:200]}", retry_after(reply.headers) or wait
                again = reply.status_code in (408, 429) or reply.status_code >= 500 or "ateLimitExceeded" in reply.text
                if not again or wait > LONGEST_WAIT:
                    break
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                told = f"{type(error).__name__}: {error}"
            time.sleep(wait if k + 1 < self.tries else 0)
        raise InputError(f"{self.url} gave no translation ({told.replace(self.secret, '***')}); what is translated so far is "
                         "kept: run again to go on")

    def _texts(self, reply, n):
        made = [t["translatedText"] for t in reply["data"]["translations"]]
        if len(made) != n:
            raise ValueError(f"{n} texts were sent, {len(made)} came back")
        return made
