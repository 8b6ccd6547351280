"""Requests to an OpenAI-compatible server: many at a time, retried, paid once, within a budget; or as batch jobs.

Usable replies, and no failures, are kept in one SQLite file under a hash of the whole request. What was answered is not
asked again, and reading replies anew asks nothing. Only what is under way when a process is killed may be asked twice: at most
`concurrency` requests, each with an Idempotency-Key for servers that know it. The API key is written nowhere.
"""

import asyncio
import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.core.secrets import redact

TABLES = """
CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, request TEXT, text TEXT, finish_reason TEXT);
CREATE TABLE IF NOT EXISTS costs (key TEXT, call TEXT, tokens_in INTEGER, tokens_out INTEGER, usd REAL, PRIMARY KEY (key, call));
CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, id TEXT, open INTEGER);
"""
JOB = 5_000                                            # requests in a batch job; OpenAI's limits are 50,000 and 200 MB
LONGEST_WAIT = 600.0                                   # seconds; a server that asks for more is told of, not waited for
HOPELESS = (400, 413, 422)                             # this request will never be answered; others may


class _Unusable(Exception):
    """A reply of no use, such as an empty message: asked for again, as after an error of the server."""


def tokens(body):
    """A high guess at a request's tokens: a third of its ASCII characters, half the UTF-8 bytes of all others."""
    texts = [str(m["content"]) for m in body["messages"]]
    plain = sum(c.isascii() for t in texts for c in t)
    return 10 + plain // 3 + (sum(len(t.encode()) for t in texts) - plain) // 2


class Client:
    """One model on one server (`base_url`, None is OpenAI's own), with a file of replies at `path` and a budget.

    price_in, price_out: USD for a million tokens; max_cost_usd: what all calls noted in the file may cost together;
    max_tokens: of a reply; key_name: environment variable with the key; `failures` counts what went wrong."""

    def __init__(self, path, model, base_url=None, concurrency=8, price_in=0.0, price_out=0.0, max_cost_usd=0.0,
                 max_tokens=256, timeout=120, tries=8, backoff=0.5, key_name="OPENAI_API_KEY"):
        if not (base_url or price_in and price_out):
            raise InputError(f"{model} at OpenAI costs money, but its prices are not given; set judge_price_in, judge_price_out "
                             "(USD for a million tokens, from the price list) and max_cost_usd")
        if not (base_url or os.environ.get(key_name)):
            raise InputError(f"no API key: set the environment variable {key_name}, or judge_base_url for your own server")
        self.path, self.model, self.base_url, self.concurrency = Path(path), model, base_url, concurrency
        self.prices, self.max_cost_usd, self.max_tokens = (price_in, price_out), max_cost_usd, max_tokens
        self.timeout, self.tries, self.backoff, self.key_name = timeout, tries, backoff, key_name
        self.failures, self.tried, self.held = Counter(), 0, 0.0
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def body(self, prompt, max_tokens=None, temperature=0.0, **more):
        """A request: one user message. With another `seed` it is another request, kept apart from the first."""
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": temperature,
                "max_tokens": max_tokens or self.max_tokens, **more}

    def key(self, body):
        """Hash of the whole request, the server included."""
        return digest([self.base_url, body])

    def _open(self):
        made = sqlite3.connect(self.path, timeout=60, isolation_level=None)     # each statement is committed at once
        made.row_factory = sqlite3.Row
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("PRAGMA synchronous=NORMAL")       # outlives a killed process; a power cut may take the last replies
        made.executescript(TABLES)
        return made

    def cost(self, bodies, share=1.0):
        """The most that requests can cost in USD: guessed tokens in, and as many tokens out as they allow."""
        return share * sum(tokens(b) * self.prices[0] + b["max_tokens"] * self.prices[1] for b in bodies) / 1e6

    def spent(self):
        """What all noted calls cost: {"requests", "tokens_in", "tokens_out", "usd"}, unusable replies included."""
        return dict(self._open().execute("SELECT count(*) AS requests, total(tokens_in) AS tokens_in, total(tokens_out) AS "
                                         "tokens_out, total(usd) AS usd FROM costs").fetchone())

    def cached(self, bodies):
        """The replies at hand, in order: {"text", "finish_reason"}, None where there is none."""
        store, find = self._open(), "SELECT text, finish_reason FROM replies WHERE key = ?"
        return [row and dict(row) for row in (store.execute(find, (self.key(body),)).fetchone() for body in bodies)]

    def ask(self, bodies, batch=False, poll_s=60.0):
        """Replies in order: {"text", "finish_reason"}, or {"error"} for a request that the server will never answer.

        Says what it can cost, then what it did. Raises InputError before the first request where that is over `max_cost_usd`,
        and where requests fail after all tries; replies so far are kept.
        """
        todo = {self.key(b): b for b, reply in zip(bodies, self.cached(bodies), strict=True) if reply is None}
        before, most = self.spent()["usd"], self.cost(todo.values(), 0.5 if batch else 1.0)
        print(f"{self.model}: {len(bodies):,} requests, {len(todo):,} new ones for at most ${most:,.2f}, ${before:,.2f} spent")
        if most and before + most > self.max_cost_usd:
            raise InputError(f"{self.model} may cost ${most:,.2f} more, ${before:,.2f} are spent, and max_cost_usd is "
                             f"{self.max_cost_usd:g}; nothing was sent: set max_cost_usd higher to confirm")
        self.stopped, self.usd = threading.Event(), before
        errors = self._in_thread(self._batches(todo, poll_s) if batch else self._all(todo)) if todo else {}
        after, failed = self.spent()["usd"], ", ".join(f"{k} {n}" for k, n in sorted(self.failures.items()))
        print(f"cost ${after - before:,.4f} now, ${after:,.4f} in all; failed tries: {failed or 'none'}", flush=True)
        lost = [e for e, hopeless in errors.values() if not hopeless]
        if lost:
            raise InputError(f"{len(lost):,} of {len(todo):,} requests have no reply ({'; '.join(sorted(set(lost))[:3])}); all "
                             "other replies are kept: run again to ask for the rest")
        return [reply or {"error": errors[self.key(b)][0]} for b, reply in zip(bodies, self.cached(bodies), strict=True)]

    def _in_thread(self, coroutine):
        """Run a coroutine to its end; a notebook's kernel has a loop of its own, so it runs in a thread beside it."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(asyncio.run, coroutine)
            try:
                return running.result()
            except BaseException:
                self.stopped.set()                     # an interrupted cell sends nothing more
                raise

    def _api(self, retries=0):
        from openai import AsyncOpenAI
        key = os.environ.get(self.key_name) or "none"
        url = self.base_url and os.path.expandvars(self.base_url)
        return AsyncOpenAI(api_key=key, base_url=url, max_retries=retries, timeout=self.timeout)

    def _plain(self, error):
        """An error as a line without the API key, which a server might send back."""
        return redact(f"{type(error).__name__}: {error}")[:300]

    def _keep(self, store, key, body, reply, call, share=1.0):
        """Note what a reply cost, then keep it. Raises _Unusable for one without a text."""
        if not isinstance(reply, dict):
            raise _Unusable("not a reply")
        use = reply.get("usage") or {}
        n, m = (use.get(k) or 0 for k in ("prompt_tokens", "completion_tokens"))
        usd = share * (n * self.prices[0] + m * self.prices[1]) / 1e6
        self.usd += usd * store.execute("INSERT OR IGNORE INTO costs VALUES (?, ?, ?, ?, ?)", (key, call, n, m, usd)).rowcount
        try:
            choice = reply["choices"][0]
            text, reason = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError):
            raise _Unusable("not a reply") from None
        if not isinstance(text, str) or not text.strip():
            raise _Unusable("filtered" if reason == "content_filter" else "empty message")
        store.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", (key, json.dumps(body), text, reason))

    async def _all(self, todo):
        """Ask for everything in `todo` {key: body}. Returns {key: (error, is it hopeless)} of what stays without a reply."""
        slots, store = asyncio.Semaphore(self.concurrency), self._open()
        async with self._api() as api:
            failed = await asyncio.gather(*(self._one(api, store, slots, k, b) for k, b in todo.items()))
        return {key: error for key, error in zip(todo, failed, strict=True) if error}

    async def _one(self, api, store, slots, key, body):
        """Ask until there is a reply. Returns None, or (error, is it hopeless)."""
        from openai import OpenAIError
        most, told, once = self.cost([body]), "stopped", {"Idempotency-Key": key}
        for k in range(self.tries):
            async with slots:
                if self.stopped.is_set():
                    break
                if most and self.usd + self.held + most > self.max_cost_usd:
                    return f"the budget is spent, max_cost_usd is {self.max_cost_usd:g}", False
                self.held, self.tried = self.held + most, self.tried + 1
                if self.tried % 500 == 0:
                    print(f"{self.tried:,} tries, ${self.usd:,.2f}", flush=True)
                try:
                    reply = await api.post("/chat/completions", cast_to=object, body=body, options={"headers": once})
                    return self._keep(store, key, body, reply, f"{os.getpid()}-{time.time_ns()}")
                except (OpenAIError, ValueError, _Unusable) as error:
                    told, asked_for = self._plain(error), self._after(error)
                    if getattr(error, "status_code", None) in HOPELESS or str(error) == "filtered":
                        return told, True
                finally:
                    self.held -= most
                wait = asked_for or self.backoff * min(2**k, 64) * random.uniform(0.75, 1.0)
                await asyncio.sleep(asked_for or 0)     # a server that asks for patience gets it from this slot
            await asyncio.sleep(0 if asked_for else wait)
        return told, False

    def _after(self, error):
        """Count a failure; the seconds the server asks to wait, or None. Raises InputError where it refuses for good."""
        status = getattr(error, "status_code", None)
        self.failures[str(error) if isinstance(error, _Unusable) else str(status or type(error).__name__)] += 1
        asked_for = retry_after(error.response.headers) if status else None
        if status in (401, 403, 404) or getattr(error, "code", None) == "insufficient_quota" or (asked_for or 0) > LONGEST_WAIT:
            self.stopped.set()
            until = f" for {asked_for:,.0f} s" if asked_for else ""
            raise InputError(f"{self.base_url or 'OpenAI'} refuses requests to {self.model}{until}: {self._plain(error)}")
        return asked_for

    async def _batches(self, todo, poll_s):
        """As `_all`, by OpenAI's Batch API: a job's name is noted before it is sent and its id after, so that a killed notebook
        finds its job by one of them."""
        store, errors = self._open(), {}
        async with self._api(retries=8) as api:
            await self._collect(api, store, todo, errors, poll_s)               # jobs of a notebook that was killed
            known = {key for key, in store.execute("SELECT key FROM replies")} | set(errors)
            left = [key for key in todo if key not in known]
            for part in (left[i:i + JOB] for i in range(0, len(left), JOB)):
                lines = [{"custom_id": k, "method": "POST", "url": "/v1/chat/completions", "body": todo[k]} for k in part]
                name = f"judging-{time.time_ns()}"
                store.execute("INSERT INTO jobs VALUES (?, NULL, 1)", (name,))
                file = await api.files.create(file=(f"{name}.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
                job = await api.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                                               metadata={"name": name})
                store.execute("UPDATE jobs SET id = ? WHERE name = ?", (job.id, name))
            await self._collect(api, store, todo, errors, poll_s)
            known = {key for key, in store.execute("SELECT key FROM replies")}
        return {k: errors.get(k, ("not in the job's output", False)) for k in todo if k not in known}

    async def _collect(self, api, store, todo, errors, poll_s):
        """Wait for all open jobs and keep their replies; failed lines go into `errors`."""
        for name, job_id in store.execute("SELECT name, id FROM jobs WHERE open").fetchall():
            if job_id is None:                          # killed between sending and noting the id
                job_id = await anext((b.id async for b in api.batches.list() if (b.metadata or {}).get("name") == name), None)
            job = await api.batches.retrieve(job_id) if job_id else None
            while job and job.status not in ("completed", "failed", "expired", "cancelled"):
                if self.stopped.is_set():
                    raise InputError(f"stopped; run again to go on waiting for job {job_id}")
                await asyncio.sleep(poll_s)
                job = await api.batches.retrieve(job_id)
            for file in filter(None, (job.output_file_id, job.error_file_id) if job else ()):
                for line in filter(None, (await api.files.content(file)).content.split(b"\n")):
                    row = json.loads(line)
                    key, answer = row["custom_id"], row.get("response") or {}
                    try:
                        if answer.get("status_code") != 200:
                            raise _Unusable(str(row.get("error") or answer))
                        self._keep(store, key, todo.get(key), answer.get("body"), job_id, 0.5)
                    except _Unusable as error:
                        self.failures["batch line"] += 1
                        errors[key] = self._plain(error), answer.get("status_code") in HOPELESS
            if job and job.errors and job.errors.data:
                self.failures[redact(f"job {job.status}: {job.errors.data[0].message}")] += 1
            store.execute("UPDATE jobs SET open = 0 WHERE name = ?", (name,))


def retry_after(headers):
    """Seconds of a Retry-After header (a number or a date), or None."""
    given = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(given)) if given[:1].isdigit() else max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None
