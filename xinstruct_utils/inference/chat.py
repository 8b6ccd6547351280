"""Requests to an OpenAI-compatible server: many at a time, retried, paid once, within a budget.

Usable replies, and no failures, are kept in one SQLite file under a hash of the whole request.
What was answered is not asked again, and reading replies anew asks nothing. Only what is under way
when a process is killed may be asked twice: at most `concurrency` requests, each with an
Idempotency-Key for servers that know it. Requests may go as batch jobs too. A reply is kept without
the thoughts of a reasoning model. The API key is written nowhere.
"""

import asyncio
import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypedDict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.core.secrets import redact
from xinstruct_utils.inference.patience import LONGEST_WAIT, retry_after
from xinstruct_utils.prompts.thoughts import without_thoughts

TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, request TEXT, text TEXT, finish_reason TEXT);
CREATE TABLE IF NOT EXISTS costs (
    key TEXT, call TEXT, tokens_in INTEGER, tokens_out INTEGER, usd REAL, PRIMARY KEY (key, call));
CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, id TEXT, open INTEGER);
"""
SPENT = ("SELECT count(*) AS requests, total(tokens_in) AS tokens_in, "
         "total(tokens_out) AS tokens_out, total(usd) AS usd FROM costs")
BATCH_PRICE = 0.5                                      # of OpenAI's Batch API, a share of the price
JOB = 5_000                    # requests in a batch job; OpenAI's limits are 50,000 and 200 MB
HOPELESS = (400, 413, 422)     # this request will never be answered; others may
REFUSING = (401, 403, 404)     # no request will: a key, a right or a model that is not there
FILTERED, UNFINISHED = "filtered", "unfinished thoughts"


class Reply(TypedDict, total=False):
    """A reply, or the error of a request that the server will never answer."""

    text: str
    finish_reason: str | None
    error: str


class Failure(NamedTuple):
    """Why a request has no reply; `final` if asking again is of no use."""

    error: str
    final: bool


class _Unusable(Exception):
    """A reply of no use, such as an empty message: asked for again, as after a server's error."""


def prompt_of(body: dict) -> str:
    """All that a request says to the model."""
    return "\n".join(str(message["content"]) for message in body["messages"])


def tokens(body: dict) -> int:
    """A high guess at a request's tokens.

    That is a third of its ASCII characters, half the UTF-8 bytes of all others.
    """
    texts = [str(m["content"]) for m in body["messages"]]
    plain = sum(c.isascii() for t in texts for c in t)
    return 10 + plain // 3 + (sum(len(t.encode()) for t in texts) - plain) // 2


class Client:
    """One model on one server, with a file of replies at `path` and a budget.

    base_url: None is OpenAI's own; price_in, price_out: USD for a million tokens; max_cost_usd:
    what all calls noted in the file may cost together; max_tokens: of a reply; timeout: seconds
    that a reply may take in all; key_name: environment variable with the key. `failures` counts
    what went wrong. Raises InputError where a key or OpenAI's prices are not given.
    """

    def __init__(self, path: str | Path, model: str, base_url: str | None = None,
                 concurrency: int = 8, price_in: float = 0.0, price_out: float = 0.0,
                 max_cost_usd: float = 0.0, max_tokens: int = 256, timeout: float = 120,
                 tries: int = 8, backoff: float = 0.5, key_name: str = "OPENAI_API_KEY"):
        if not (base_url or price_in and price_out):
            raise InputError(f"{model} at OpenAI costs money, but its prices are not given; set "
                             "judge_price_in, judge_price_out (USD for a million tokens, from the "
                             "price list) and max_cost_usd")
        if not (base_url or os.environ.get(key_name)):
            raise InputError(f"no API key: set the environment variable {key_name}, or "
                             "judge_base_url for your own server")
        self.path = Path(path)
        self.model = model
        self.base_url = base_url
        self.concurrency = concurrency
        self.prices = (price_in, price_out)
        self.max_cost_usd = max_cost_usd
        self.max_tokens = max_tokens
        self.timeout = timeout
        self.tries = tries
        self.backoff = backoff
        self.key_name = key_name
        self.failures = Counter()
        self.tried = 0
        self.held = 0.0                                # USD that requests under way may cost
        self.path.parent.mkdir(parents=True, exist_ok=True)

    # Requests and the file of replies

    def body(self, prompt: str | None, max_tokens: int | None = None, temperature: float = 0.0,
             **more) -> dict:
        """A request: one user message. With another `seed` it is another request, kept apart."""
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}],
                "temperature": temperature, "max_tokens": max_tokens or self.max_tokens, **more}

    def key(self, body: dict) -> str:
        """Hash of the whole request, the server included."""
        return digest([self.base_url, body])

    def _open(self) -> sqlite3.Connection:
        store = sqlite3.connect(self.path, timeout=60, isolation_level=None)   # commits at once
        store.row_factory = sqlite3.Row
        store.execute("PRAGMA journal_mode=WAL")
        # Outlives a killed process; a power cut may take the last replies.
        store.execute("PRAGMA synchronous=NORMAL")
        store.executescript(TABLES)
        return store

    def cost(self, bodies: Iterable[dict], share: float = 1.0) -> float:
        """The most that requests can cost in USD: guessed tokens in, all allowed tokens out."""
        price_in, price_out = self.prices
        return share * sum(tokens(b) * price_in + b["max_tokens"] * price_out for b in bodies) / 1e6

    def spent(self) -> dict:
        """What all noted calls cost: {"requests", "tokens_in", "tokens_out", "usd"}.

        Unusable replies are included.
        """
        return dict(self._open().execute(SPENT).fetchone())

    def cached(self, bodies: Iterable[dict]) -> list[Reply | None]:
        """The replies at hand, in order: {"text", "finish_reason"}, None where there is none."""
        store, find = self._open(), "SELECT text, finish_reason FROM replies WHERE key = ?"
        rows = [store.execute(find, (self.key(body),)).fetchone() for body in bodies]
        return [row and dict(row) for row in rows]

    def _keep(self, store: sqlite3.Connection, key: str, body: dict | None, reply: dict,
              call: str, share: float = 1.0) -> None:
        """Note what a reply cost, then keep its answer. Raises _Unusable for one without any.

        body is None where a batch job of an earlier process answers what is not asked any more.
        """
        if not isinstance(reply, dict):
            raise _Unusable("not a reply")
        use = reply.get("usage") or {}
        n_in, n_out = (use.get(k) or 0 for k in ("prompt_tokens", "completion_tokens"))
        usd = share * (n_in * self.prices[0] + n_out * self.prices[1]) / 1e6
        noted = store.execute("INSERT OR IGNORE INTO costs VALUES (?, ?, ?, ?, ?)",
                              (key, call, n_in, n_out, usd))
        self.usd += usd * noted.rowcount
        try:
            choice = reply["choices"][0]
            text, reason = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError):
            raise _Unusable("not a reply") from None
        if not isinstance(text, str) or not text.strip():
            raise _Unusable(FILTERED if reason == "content_filter" else "empty message")
        answer = without_thoughts(text, prompt_of(body) if body else "")
        if answer is None:
            raise _Unusable(UNFINISHED)
        if not answer.strip():
            raise _Unusable("empty message")
        store.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)",
                      (key, json.dumps(body), answer, reason))

    # Asking

    def ask(self, bodies: list[dict], batch: bool = False, poll_s: float = 60.0) -> list[Reply]:
        """Replies in order: {"text", "finish_reason"}, or {"error"} for a request that is refused.

        Says what it can cost, then what it did. Raises InputError before the first request where
        that is over `max_cost_usd`, and where requests fail after all tries; replies so far are
        kept.
        """
        at_hand = zip(bodies, self.cached(bodies), strict=True)
        todo = {self.key(body): body for body, reply in at_hand if reply is None}
        before = self._announce(bodies, todo, BATCH_PRICE if batch else 1.0)
        self.stopped, self.usd = threading.Event(), before
        failures = {}
        if todo:
            failures = self._in_thread(self._batches(todo, poll_s) if batch else self._all(todo))
        after = self.spent()["usd"]
        counted = ", ".join(f"{k} {n}" for k, n in sorted(self.failures.items())) or "none"
        print(f"cost ${after - before:,.4f} now, ${after:,.4f} in all; failed tries: {counted}",
              flush=True)
        if lost := [f.error for f in failures.values() if not f.final]:
            raise InputError(f"{len(lost):,} of {len(todo):,} requests have no reply "
                             f"({'; '.join(sorted(set(lost))[:3])}); all other replies are kept: "
                             "run again to ask for the rest")
        return [reply or {"error": failures[self.key(body)].error}
                for body, reply in zip(bodies, self.cached(bodies), strict=True)]

    def _announce(self, bodies: list[dict], todo: dict[str, dict], share: float) -> float:
        """Say what `todo` may cost; returns what was spent before. Raises InputError."""
        before, most = self.spent()["usd"], self.cost(todo.values(), share)
        print(f"{self.model}: {len(bodies):,} requests, {len(todo):,} new ones for at most "
              f"${most:,.2f}, ${before:,.2f} spent")
        if most and before + most > self.max_cost_usd:
            raise InputError(f"{self.model} may cost ${most:,.2f} more, ${before:,.2f} are spent, "
                             f"and max_cost_usd is {self.max_cost_usd:g}; nothing was sent: set "
                             "max_cost_usd higher to confirm")
        return before

    def _in_thread(self, coroutine: Coroutine) -> dict[str, Failure]:
        """Run a coroutine to its end in a thread: a notebook's kernel has a loop of its own."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(asyncio.run, coroutine)
            try:
                return running.result()
            except BaseException:
                self.stopped.set()                     # an interrupted cell sends nothing more
                raise

    def _api(self, retries: int = 0):
        from openai import AsyncOpenAI
        key = os.environ.get(self.key_name) or "none"
        url = self.base_url and os.path.expandvars(self.base_url)
        return AsyncOpenAI(api_key=key, base_url=url, max_retries=retries,
                           timeout=self.timeout)

    async def _all(self, todo: dict[str, dict]) -> dict[str, Failure]:
        """Ask for everything in `todo` {key: body}; returns what stays without a reply."""
        slots, store = asyncio.Semaphore(self.concurrency), self._open()
        async with self._api() as api:
            failures = await asyncio.gather(*(self._one(api, store, slots, key, body)
                                              for key, body in todo.items()))
        return {key: f for key, f in zip(todo, failures, strict=True) if f}

    async def _one(self, api, store: sqlite3.Connection, slots: asyncio.Semaphore, key: str,
                   body: dict) -> Failure | None:
        """Ask until there is a reply, or until asking is of no use."""
        from openai import OpenAIError

        most, failure = self.cost([body]), Failure("stopped", False)
        for k in range(self.tries):
            async with slots:
                if self.stopped.is_set():
                    break
                if most and self.usd + self.held + most > self.max_cost_usd:
                    budget = f"the budget is spent, max_cost_usd is {self.max_cost_usd:g}"
                    return Failure(budget, False)
                self._count_try()
                self.held += most
                try:
                    reply = await self._post(api, key, body)
                    self._keep(store, key, body, reply, f"{os.getpid()}-{time.time_ns()}")
                    return None
                except (OpenAIError, ValueError, TimeoutError, _Unusable) as error:
                    patience = self._patience(error)
                    failure = Failure(self._plain(error), str(error) == UNFINISHED)
                    if self._hopeless(error):
                        return failure._replace(final=True)
                finally:
                    self.held -= most
                await asyncio.sleep(patience or 0)     # who asks for it gets it from this slot
            if not patience:
                await asyncio.sleep(self.backoff * min(2**k, 64) * random.uniform(0.75, 1.0))
        return failure

    def _count_try(self) -> None:
        self.tried += 1
        if self.tried % 500 == 0:
            print(f"{self.tried:,} tries, ${self.usd:,.2f}", flush=True)

    async def _post(self, api, key: str, body: dict) -> dict:
        """Send one request. The time-out is of the whole reply, which may come in drips."""
        headers = {"Idempotency-Key": key}
        async with asyncio.timeout(self.timeout):
            return await api.post("/chat/completions", cast_to=object, body=body,
                                  options={"headers": headers})

    def _hopeless(self, error: Exception) -> bool:
        return getattr(error, "status_code", None) in HOPELESS or str(error) == FILTERED

    def _plain(self, error: Exception) -> str:
        """An error as a line without the API key, which a server might send back."""
        return redact(f"{type(error).__name__}: {error}")[:300]

    def _patience(self, error: Exception) -> float | None:
        """Count a failure; the seconds that the server asks to wait, or None.

        Raises InputError where it refuses for good.
        """
        status = getattr(error, "status_code", None)
        name = str(error) if isinstance(error, _Unusable) else str(status or type(error).__name__)
        self.failures[name] += 1
        patience = retry_after(error.response.headers) if status else None
        broke = getattr(error, "code", None) == "insufficient_quota"
        if status in REFUSING or broke or (patience or 0) > LONGEST_WAIT:
            self.stopped.set()
            until = f" for {patience:,.0f} s" if patience else ""
            raise InputError(f"{self.base_url or 'OpenAI'} refuses requests to {self.model}"
                             f"{until}: {self._plain(error)}")
        return patience

    # Batch jobs

    async def _batches(self, todo: dict[str, dict], poll_s: float) -> dict[str, Failure]:
        """As `_all`, by OpenAI's Batch API.

        A job's name is noted before it is sent and its id after, so that a killed notebook finds
        its job by one of them.
        """
        store, failures = self._open(), {}
        async with self._api(retries=8) as api:
            await self._collect(api, store, todo, failures, poll_s)    # of a killed notebook
            known = {key for key, in store.execute("SELECT key FROM replies")} | set(failures)
            left = [key for key in todo if key not in known]
            for part in (left[i:i + JOB] for i in range(0, len(left), JOB)):
                await self._send(api, store, {key: todo[key] for key in part})
            await self._collect(api, store, todo, failures, poll_s)
            known = {key for key, in store.execute("SELECT key FROM replies")}
        absent = Failure("not in the job's output", False)
        return {key: failures.get(key, absent) for key in todo if key not in known}

    async def _send(self, api, store: sqlite3.Connection, bodies: dict[str, dict]) -> None:
        """Send one batch job."""
        lines = [json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions",
                             "body": body}) for key, body in bodies.items()]
        name = f"judging-{time.time_ns()}"
        store.execute("INSERT INTO jobs VALUES (?, NULL, 1)", (name,))
        file = await api.files.create(file=(f"{name}.jsonl", "\n".join(lines).encode()),
                                      purpose="batch")
        job = await api.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions",
                                       completion_window="24h", metadata={"name": name})
        store.execute("UPDATE jobs SET id = ? WHERE name = ?", (job.id, name))

    async def _collect(self, api, store: sqlite3.Connection, todo: dict[str, dict],
                       failures: dict[str, Failure], poll_s: float) -> None:
        """Wait for all open jobs and keep their replies; failed lines go into `failures`."""
        open_jobs = store.execute("SELECT name, id FROM jobs WHERE open").fetchall()
        for name, job_id in open_jobs:
            if job := await self._finished(api, name, job_id, poll_s):
                for file in filter(None, (job.output_file_id, job.error_file_id)):
                    content = (await api.files.content(file)).content
                    for line in filter(None, content.split(b"\n")):
                        self._keep_line(store, todo, failures, json.loads(line), job.id)
                if job.errors and job.errors.data:
                    reason = redact(f"job {job.status}: {job.errors.data[0].message}")
                    self.failures[reason] += 1
            store.execute("UPDATE jobs SET open = 0 WHERE name = ?", (name,))

    async def _finished(self, api, name: str, job_id: str | None, poll_s: float):
        """The job once it has ended, None if it was never sent. Raises InputError if stopped."""
        if job_id is None:                             # killed between sending and noting the id
            ours = (job.id async for job in api.batches.list()
                    if (job.metadata or {}).get("name") == name)
            job_id = await anext(ours, None)
        job = await api.batches.retrieve(job_id) if job_id else None
        while job and job.status not in ("completed", "failed", "expired", "cancelled"):
            if self.stopped.is_set():
                raise InputError(f"stopped; run again to go on waiting for job {job_id}")
            await asyncio.sleep(poll_s)
            job = await api.batches.retrieve(job_id)
        return job

    def _keep_line(self, store: sqlite3.Connection, todo: dict[str, dict],
                   failures: dict[str, Failure], row: dict, job_id: str) -> None:
        """Keep the reply in a line of a job's output, or note its failure."""
        key, answer = row["custom_id"], row.get("response") or {}
        try:
            if answer.get("status_code") != 200:
                raise _Unusable(str(row.get("error") or answer))
            self._keep(store, key, todo.get(key), answer.get("body"), job_id, BATCH_PRICE)
        except _Unusable as error:
            self.failures["batch line"] += 1
            final = (answer.get("status_code") in HOPELESS
                     or str(error) in (FILTERED, UNFINISHED))
            failures[key] = Failure(self._plain(error), final)
