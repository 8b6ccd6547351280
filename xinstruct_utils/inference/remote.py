"""Inference by OpenAI-compatible servers (vLLM, SGLang): what `launch.run("inference", ...)` starts where a run's engine is
"server". Rows in, shards out and their names are those of `inference`.

All servers draw from one queue of at most two chunks, so that a fast one does more and memory does not grow with the corpus. A
server that goes away gives its rows back to the queue, and is asked again when it answers and still serves the same model.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.core.secrets import redact
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference.completions import Asked, Unreadable
from xinstruct_utils.inference.inputs import count_of, requests_of, rows_of
from xinstruct_utils.inference.servers import started
from xinstruct_utils.models.batching import unread
from xinstruct_utils.models.loading import model_path
from xinstruct_utils.models.tokenization import context

TRIES = 8                                              # faults of one row
BEAT, PATIENCE, MISSES = 3.0, 10.0, 3                  # seconds between looks at a server, and for its answer; looks in vain


class Server:
    """One base URL: its client, whether it is up, and the calls under way."""

    def __init__(self, url, model):
        from openai import AsyncOpenAI

        self.url, self.model, self.name, self.plain, self.why = url.rstrip("/"), model, model, False, "no answer yet"
        self.up, self.doubt, self.calls, self.answered = asyncio.Event(), asyncio.Event(), set(), 0
        # The judge's key (OPENAI_API_KEY) stays with the judge.
        self.key = os.environ.get("XINSTRUCT_SERVER_KEY") or "none"
        self.api = AsyncOpenAI(api_key=self.key, base_url=os.path.expandvars(self.url), max_retries=0, timeout=900)

    async def ask(self, body):
        """A completion, as a dict."""
        return await self.api.post("/completions", cast_to=object, body=body)

    async def models(self):
        """What the server lists: [{"id", ...}], none where it has no list. Raises OpenAIError or TimeoutError."""
        from openai import APIStatusError, OpenAIError

        try:
            async with asyncio.timeout(PATIENCE):
                listed = await self.api.get("/models", cast_to=object)
            return [card for card in listed["data"] if isinstance(card, dict)]
        except APIStatusError as error:
            if error.status_code in (404, 500):        # `transformers serve` fails to list a cache that is not there
                return []
            raise
        except (TypeError, KeyError, ValueError):
            raise OpenAIError("/models is no list of models") from None

    async def greet(self, asked, row):
        """Make sure that the server serves the model, and see which requests it takes. Raises InputError, OpenAIError."""
        from openai import APIStatusError

        cards = await self.models()
        mine = [c["id"] for c in cards if self.model in (c.get("id"), c.get("root"), os.path.abspath(str(c.get("root"))))]
        # vLLM and SGLang list what they have loaded, with its length; `transformers serve` what it could load.
        loaded = [c.get("id") for c in cards if c.get("max_model_len")]
        if loaded and not mine:
            raise InputError(f"{self.url} serves {', '.join(map(str, loaded))}, but this step asks for {self.model}; start "
                             f"there: vllm serve {self.model} --port {self.api.base_url.port or 8000} (or set server_command: "
                             "then each step starts the servers that it needs)")
        self.name, (ids, _) = (mine or [self.model])[0], asked.ids(row)
        for self.plain in (False, True):
            try:
                async with asyncio.timeout(300):
                    await self.ask(asked.body(row, ids, self.name, self.plain) | {"max_tokens": 1})
                return
            except APIStatusError as error:
                if error.status_code not in (400, 404, 422):
                    raise
                told = self.told(error)
        raise InputError(f"{self.url} refuses a request to {self.name}: {told}")

    def told(self, error):
        """An error in a line, without keys."""
        return redact(f"{type(error).__name__}: {str(error) or 'no answer in time'}")[:400]

    def lose(self, why):
        """The server is away: its calls end, and their rows go to others."""
        if self.up.is_set():
            print(f"{self.url} is away: {why}", flush=True)
        self.why = why
        self.up.clear()
        for call in self.calls:
            call.cancel()


class Job:
    """Rows of a file through all servers into shards."""

    def __init__(self, s, asked, ended):
        self.s, self.asked, self.ended = s, asked, ended
        self.shards, self.queue = Shards(Path(s["out"]), s["shard_size"]), asyncio.Queue()
        self.servers = [Server(url, model_path(s["model"])) for url in s["server_urls"]]
        self.done, self.todo, self.faults, self.begun = 0, 0, 0, time.time()

    async def run(self):
        """Answer everything that has no shard yet. Raises InputError."""
        self.rows, size = count_of(self.s), self.shards.size
        self.todo = sum(min(size, self.rows - i * size) for i in range(-(-self.rows // size)) if not self.shards.file(i).exists())
        if not self.todo:
            return
        waiting = (r for _, rows in self._pending() for r in rows)
        # A row that is too long is not sent, so none of them can greet; where all are, nothing is sent.
        self.first = next((r for r in waiting if not unread(self.s, self.asked.ids(r)[0], self.asked.limit)),
                          {"id": "none", "prompt": "0", "completion": "0"})
        tasks = [asyncio.ensure_future(c) for c in (
            self._feed(), self._report(), *map(self._look_after, self.servers),
            *(self._work(server) for server in self.servers for _ in range(self.s["server_concurrency"])))]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()                          # all but the first end by an error only
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(server.api.close() for server in self.servers))

    def _pending(self):
        """(index, requests) of the chunks that have no shard yet."""
        for index, chunk in self.shards.pending(rows_of(self.s)):
            yield index, requests_of(chunk, self.s)

    async def _feed(self):
        """Queue the rows of two chunks at a time, so that servers do not wait for a chunk's last rows."""
        self.room = asyncio.Semaphore(2)
        for index, rows in self._pending():
            await self.room.acquire()
            part = {"index": index, "rows": rows, "made": [None] * len(rows), "left": len(rows)}
            for k in range(len(rows)):
                self.queue.put_nowait((part, k, 0))
        for _ in range(2):
            await self.room.acquire()

    async def _work(self, server):
        """One request at a time to one server, for ever."""
        while True:
            await server.up.wait()
            part, k, tries = item = await self.queue.get()
            if not server.up.is_set():
                self.queue.put_nowait(item)
                continue
            ids, n_prompt = self.asked.ids(row := part["rows"][k])
            if out := unread(self.s, ids, self.asked.limit):
                self._keep(part, k, out)
                continue
            call = asyncio.ensure_future(server.ask(self.asked.body(row, ids, server.name, server.plain)))
            server.calls.add(call)
            try:
                self._keep(part, k, self.asked.read(await call, row, ids, n_prompt))
                server.answered += 1
            except asyncio.CancelledError:
                call.cancel()
                if asyncio.current_task().cancelling():
                    raise
                self.queue.put_nowait(item)
            except Exception as error:
                tries += self._fault(server, error, row, tries)
                self.queue.put_nowait((part, k, tries))
                await asyncio.sleep(min(0.25 * 2**tries, 30))
            finally:
                server.calls.discard(call)

    def _fault(self, server, error, row, tries):
        """What an error says about the row: 1 if it counts as one of its tries. Raises InputError where there is no hope."""
        from openai import APIConnectionError, APITimeoutError, OpenAIError

        status = getattr(error, "status_code", None)
        if not isinstance(error, OpenAIError | Unreadable | ValueError):
            raise error
        self.faults += 1
        server.doubt.set()
        if isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError):
            return 0                                   # of the server, not of the row
        if status in (400, 401, 403, 413, 422) or tries + 1 >= TRIES:
            hint = {401: "; set XINSTRUCT_SERVER_KEY", 403: "; set XINSTRUCT_SERVER_KEY", 400: "; is it longer than the server's "
                    f"--max-model-len? The model itself reads {self.asked.limit} tokens"}.get(status, "")
            raise InputError(f"row {row['id']}: no answer from {server.url} in {tries + 1} tries: {server.told(error)}{hint}; "
                             "all finished shards are kept, run again to go on") from None
        return 1

    def _keep(self, part, k, made):
        part["made"][k], part["left"], self.done = made, part["left"] - 1, self.done + 1
        if not part["left"]:
            self.shards.write(part["index"], [{"id": r["id"], **m} for r, m in zip(part["rows"], part["made"], strict=True)])
            self.room.release()

    async def _look_after(self, server):
        """Greet a server, look whether it still answers, and greet it again when it was away."""
        from openai import APIConnectionError, APITimeoutError, OpenAIError

        missed = 0
        while True:
            server.doubt.clear()
            try:
                if server.up.is_set():
                    await server.models()
                else:
                    await server.greet(self.asked, self.first)
                    server.up.set()
                missed = 0
            except (OpenAIError, TimeoutError) as error:
                missed += 1
                refused = isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError)
                if refused or missed >= MISSES or not server.up.is_set():
                    server.lose(server.told(error))
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it may swallow the cancellation that ends this task.
                async with asyncio.timeout(BEAT if server.up.is_set() else 0.5):
                    await server.doubt.wait()

    async def _report(self):
        """Show progress; end the job when no server has answered for too long."""
        alive = time.time()
        while True:
            up = sum(server.up.is_set() for server in self.servers)
            alive = time.time() if up else alive
            gone = self.ended() if not up else None
            if gone or time.time() - alive > self.s["server_wait_s"]:
                told = gone or "; ".join(f"{server.url}: {server.why}" for server in self.servers)
                raise InputError(f"no server answered for {time.time() - alive:.0f} s ({told}); all finished shards are kept: "
                                 f"start servers of {self.servers[0].model} (or set server_command) and run again")
            left = f"{(time.time() - self.begun) * (self.todo / self.done - 1):.0f} s" if self.done else "?"
            away = "" if up else f", waiting: {self.servers[0].url}: {self.servers[0].why}"
            print(f"{self.s['task']} {self.done:,}/{self.todo:,} rows, {up} of {len(self.servers)} servers up, {self.faults} "
                  f"faults, ETA {left}{away}", flush=True)
            await asyncio.sleep(1 if time.time() - self.begun < 30 else 5)


def main(s):
    """Run the settings' task over the input's rows: "generate", "rate", "likelihood", "rate_by_generation"."""
    begun = time.time()
    from transformers import AutoConfig, AutoTokenizer

    model = model_path(s["model"])
    asked = Asked(s, AutoTokenizer.from_pretrained(model, trust_remote_code=False),
                  context(AutoConfig.from_pretrained(model, trust_remote_code=False)))
    startup = time.time() - begun
    job = Job(s, asked, started(s, model))
    asyncio.run(job.run())
    finish_job(s["out"], s, startup, begun, rows=job.rows, work_s=round(time.time() - job.begun, 3),
                      faults=job.faults, answers={server.url: server.answered for server in job.servers})
