"""Inference by OpenAI-compatible servers (vLLM, SGLang): rows in, shards out, as `local` does it.

What `launch.run("inference.local", ...)` starts where a run's engine is "server".

All servers draw from one queue of at most two chunks, so that a fast one does more and memory does
not grow with the corpus. A server that goes away gives its rows back to the queue. A fault (a 500,
a time-out, a reply that cannot be read) sends its row to the end of the queue. When a server may be
asked is the matter of `connection`.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference.completions import Completions, Row, Unreadable
from xinstruct_utils.inference.connection import Server
from xinstruct_utils.inference.inputs import count_of, requests_of, rows_of
from xinstruct_utils.inference.patience import patience_of
from xinstruct_utils.inference.servers import started
from xinstruct_utils.models.batching import missing
from xinstruct_utils.models.loading import model_path
from xinstruct_utils.models.tokenization import context

TRIES = 8                                        # faults of one row
PAUSE = 0.05                                     # seconds after a fault; see `pause`
LONGEST_PAUSE = 30.0
HOPELESS = (400, 401, 403, 413, 422)             # asked again, the server would say the same


class Chunk:
    """The rows of one shard on their way: what came of each, and how many are left."""

    def __init__(self, index: int, rows: list[Row]) -> None:
        self.index = index
        self.rows = rows
        self.results: list[Row | None] = [None] * len(rows)
        self.left = len(rows)


class Job:
    """Rows of a file through all servers into shards."""

    def __init__(self, s: dict[str, Any], completions: Completions,
                 ended: Callable[[], str | None]) -> None:
        self.s = s
        self.completions = completions
        self.ended = ended
        self.shards = Shards(Path(s["out"]), s["shard_size"])
        self.queue: asyncio.Queue = asyncio.Queue()    # (chunk, place of the row, faults so far)
        self.room = asyncio.Semaphore(2)
        self.servers = [Server(url, model_path(s["model"])) for url in s["server_urls"]]
        self.rows = 0
        self.todo = 0
        self.done = 0
        self.refused = 0
        self.faults = 0
        self.begun = time.time()
        self.last_result = 0.0

    async def run(self) -> None:
        """Answer everything that has no shard yet. Raises InputError."""
        self.rows = count_of(self.s)
        self.todo = self._rows_without_shard()
        if not self.todo:
            return
        work = [self._feed(), self._report()]
        for server in self.servers:
            work.append(server.look_after(self.completions, self._requests))
            work += [self._work(server) for _ in range(self.s["server_concurrency"])]
        tasks = [asyncio.ensure_future(part) for part in work]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()                    # all but the first end by an error only
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(server.api.close() for server in self.servers))

    def _rows_without_shard(self) -> int:
        size = self.shards.size
        starts = range(0, self.rows, size)
        return sum(min(size, self.rows - start) for index, start in enumerate(starts)
                   if not self.shards.file(index).exists())

    def _requests(self) -> Iterator[Row]:
        """The requests of all rows, also of those that have a shard: a job that goes on greets
        its servers as it did when it began."""
        for row in rows_of(self.s):
            yield from requests_of([row], self.s)

    async def _feed(self) -> None:
        """Queue the rows of two chunks at a time: servers do not wait for a chunk's last rows."""
        for index, rows in self.shards.pending(rows_of(self.s)):
            requests = requests_of(rows, self.s)
            await self.room.acquire()
            chunk = Chunk(index, requests)
            for place in range(len(requests)):
                self.queue.put_nowait((chunk, place, 0))
        for _ in range(2):
            await self.room.acquire()

    async def _work(self, server: Server) -> None:
        """One request at a time to one server, for ever."""
        while True:
            await server.ready()
            item = await self.queue.get()
            if not server.is_ready():
                self.queue.put_nowait(item)
                continue
            await self._answer(server, *item)

    async def _answer(self, server: Server, chunk: Chunk, place: int, tries: int) -> None:
        """Get a row's result from a server, or give the row back to the queue."""
        row = chunk.rows[place]
        ids, n_prompt = self.completions.ids(row)
        if reason := self.completions.reason_unsent(row, ids, server.plain):
            self.refused += reason == "refused"
            self._keep(chunk, place, missing(self.s["task"], reason))
            return
        body = self.completions.body(row, ids, server.served_name, server.plain)
        call = asyncio.ensure_future(server.ask(body))
        server.calls.add(call)
        try:
            result = self.completions.read(await call, row, ids, n_prompt)
        except asyncio.CancelledError:
            call.cancel()
            if asyncio.current_task().cancelling():
                raise
            self.queue.put_nowait((chunk, place, tries))
        except Exception as error:
            tries += self._fault(server, error, row, tries)
            self.queue.put_nowait((chunk, place, tries))
            await asyncio.sleep(pause(min(tries, server.faults_in_a_row)))
        else:
            server.note_answer()
            self._keep(chunk, place, result)
        finally:
            server.calls.discard(call)

    def _fault(self, server: Server, error: Exception, row: Row, tries: int) -> int:
        """What an error says: 1 if it counts as one of the row's tries, 0 if it is the server's.

        Raises InputError where there is no hope.
        """
        from openai import APIConnectionError, APITimeoutError, OpenAIError

        if not isinstance(error, OpenAIError | Unreadable | ValueError | TimeoutError):
            raise error
        self.faults += 1
        server.note_fault()
        if isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError):
            return 0
        if seconds := patience_of(error):
            server.pause(seconds, error)
            return 0
        status = getattr(error, "status_code", None)
        if status == 404:
            server.renamed = True
        if status in HOPELESS or tries + 1 >= TRIES:
            raise InputError(f"row {row['id']}: no answer from {server.url} in {tries + 1} tries: "
                             f"{server.line(error)}{self._hint(status)}; all finished shards are "
                             "kept, run again to go on") from None
        return 1

    def _hint(self, status: int | None) -> str:
        if status in (401, 403):
            return "; set XINSTRUCT_SERVER_KEY"
        if status == 400:
            return ("; is it longer than the server's --max-model-len? The model itself reads "
                    f"{self.completions.limit} tokens")
        return ""

    def _keep(self, chunk: Chunk, place: int, result: Row) -> None:
        """Note a row's result; the last one of its chunk writes the shard."""
        chunk.results[place] = result
        chunk.left -= 1
        self.done += 1
        self.last_result = time.time()
        if not chunk.left:
            pairs = zip(chunk.rows, chunk.results, strict=True)
            self.shards.write(chunk.index, [{"id": row["id"], **one} for row, one in pairs])
            self.room.release()

    async def _report(self) -> None:
        """Show progress; end the job when no server has answered for too long."""
        alive = time.time()
        while True:
            up = [server for server in self.servers if server.up.is_set()]
            if not all(server.refusing for server in up):
                alive = time.time()
            silence = time.time() - max(alive, self.last_result)
            gone = None if up else self.ended()
            if gone or silence > self.s["server_wait_s"]:
                why = gone or "; ".join(f"{server.url}: {server.why}" for server in self.servers)
                raise InputError(f"no server answered for {silence:.0f} s ({why}); all finished "
                                 f"shards are kept: start servers of {self.servers[0].model} (or "
                                 "set server_command) and run again")
            print(self._progress(len(up)), flush=True)
            await asyncio.sleep(1 if time.time() - self.begun < 30 else 5)

    def _progress(self, up: int) -> str:
        left = "?"
        if self.done:
            left = f"{(time.time() - self.begun) * (self.todo / self.done - 1):.0f} s"
        away = "" if up else f", waiting: {self.servers[0].url}: {self.servers[0].why}"
        return (f"{self.s['task']} {self.done:,}/{self.todo:,} rows, {up} of {len(self.servers)} "
                f"servers up, {self.faults} faults, ETA {left}{away}")


def pause(faults: int) -> float:
    """Seconds that a place waits after so many faults in a row, of its row and of its server.

    Short where others get their answers, as then the fault was chance; a minute in all where
    nothing is answered, in which a server may recover.
    """
    return min(PAUSE * 4 ** max(faults - 1, 0), LONGEST_PAUSE)


def main(s: dict[str, Any]) -> None:
    """Run the settings' task over the input's rows.

    Tasks: "generate", "rate", "likelihood", "rate_by_generation". In done.json: `faults`, how many
    rows were `refused` (not asked, as the server takes text only), and `answers` by server; of
    this attempt, without what an earlier one did.
    """
    begun = time.time()
    from transformers import AutoConfig, AutoTokenizer

    model = model_path(s["model"])
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    completions = Completions(s, tokenizer, context(config))
    startup = time.time() - begun
    job = Job(s, completions, started(s, model))
    asyncio.run(job.run())
    finish_job(s["out"], s, startup, begun, rows=job.rows,
               work_s=round(time.time() - job.begun, 3), faults=job.faults, refused=job.refused,
               answers={server.url: server.answered for server in job.servers})
