"""One OpenAI-compatible server: is it up, does it serve the model, may it be asked now?

A server is looked at every few seconds. One that goes away is asked again when it answers and still
serves the same model; one that asks for patience gets it. Which rows it answers is the matter of
`remote`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.secrets import redact
from xinstruct_utils.inference.completions import Completions, Row
from xinstruct_utils.inference.patience import patience_of

BEAT = 3.0                                       # seconds between looks at a server
PATIENCE = 10.0                                  # seconds for its answer to a look
MISSES = 3                                       # looks in vain, then it is away
GREETING = 300.0                                 # seconds for a first answer: models load
ANSWER = 900.0                                   # seconds for an answer, from first to last byte


class Server:
    """One base URL: its client, whether it is up, and the calls under way."""

    def __init__(self, url: str, model: str) -> None:
        from openai import AsyncOpenAI

        self.url = url.rstrip("/")
        self.model = model
        self.served_name = model
        self.plain = False                       # takes text only, and few fields
        self.why = "no answer yet"
        self.up = asyncio.Event()
        self.doubt = asyncio.Event()             # something went wrong: look at it now
        self.renamed = False                     # it may serve another model: greet it again
        self.faults_in_a_row = 0
        self.paused_until = 0.0                  # of the monotonic clock
        self.refusing = False                    # asked for patience, and has not answered since
        self.calls: set[asyncio.Future] = set()
        self.answered = 0
        # The judge's key (OPENAI_API_KEY) stays with the judge.
        self.key = os.environ.get("XINSTRUCT_SERVER_KEY") or "none"
        self.api = AsyncOpenAI(api_key=self.key, base_url=os.path.expandvars(self.url),
                               max_retries=0, timeout=ANSWER)

    async def ask(self, body: dict[str, Any]) -> Any:
        """A completion, as a dict. Raises OpenAIError, ValueError or TimeoutError."""
        # The client's own limit is for each piece of an answer: one that comes drop by drop would
        # never be over it.
        async with asyncio.timeout(ANSWER):
            return await self.api.post("/completions", cast_to=object, body=body)

    async def models(self) -> list[dict[str, Any]]:
        """What the server lists: [{"id", ...}], none where it has no list.

        Raises OpenAIError or TimeoutError.
        """
        from openai import APIStatusError, OpenAIError

        try:
            async with asyncio.timeout(PATIENCE):
                reply = await self.api.get("/models", cast_to=object)
            return [card for card in reply["data"] if isinstance(card, dict)]
        except APIStatusError as error:
            # `transformers serve` fails to list a cache that is not there.
            if error.status_code in (404, 500):
                return []
            raise
        except (TypeError, KeyError, ValueError):
            raise OpenAIError("/models is no list of models") from None

    def _is_mine(self, card: dict[str, Any]) -> bool:
        root = card.get("root")
        return self.model in (card.get("id"), root, os.path.abspath(str(root)))

    def _check_loaded(self, cards: list[dict[str, Any]]) -> None:
        # vLLM and SGLang list what they have loaded, with its length; `transformers serve` what it
        # could load.
        loaded = [str(card.get("id")) for card in cards if card.get("max_model_len")]
        if loaded and not any(map(self._is_mine, cards)):
            raise InputError(f"{self.url} serves {', '.join(loaded)}, but this step asks for "
                             f"{self.model}; start there: vllm serve {self.model} --port "
                             f"{self.api.base_url.port or 8000} (or set server_command: then each "
                             "step starts the servers that it needs)")

    async def greet(self, completions: Completions, rows: Callable[[], Iterator[Row]]) -> None:
        """Make sure that the server serves the model, and see which requests it takes.

        rows: opens the job's rows, of which one is asked. Raises InputError, OpenAIError.
        """
        from openai import APIStatusError

        cards = await self.models()
        self._check_loaded(cards)
        names = [card["id"] for card in cards if self._is_mine(card)]
        name = names[0] if names else self.model
        for plain in (False, True):
            row = completions.first(rows(), plain)
            body = completions.body(row, completions.ids(row)[0], name, plain)
            body["max_tokens"] = 1
            await self.pause_over()
            try:
                async with asyncio.timeout(GREETING):
                    await self.ask(body)
            except APIStatusError as error:
                # A 404 of a server that lists the model is a fault like others.
                shape_refused = error.status_code in (400, 422)
                if not shape_refused and (error.status_code != 404 or names):
                    raise
                refusal = self.line(error)
                continue
            self.served_name = name
            self.plain = plain
            self.renamed = False
            self.refusing = False
            return
        raise InputError(f"{self.url} refuses a request to {name}: {refusal}")

    async def look_after(self, completions: Completions,
                         rows: Callable[[], Iterator[Row]]) -> None:
        """Greet the server, see that it still answers, greet it again when it was away; for ever.

        rows: as of `greet`. Raises InputError where it serves another model or refuses requests.
        """
        import httpx
        from openai import OpenAIError

        missed = 0
        while True:
            self.doubt.clear()
            try:
                if self.up.is_set() and not self.renamed:
                    await self.models()
                else:
                    await self.greet(completions, rows)
                    self.up.set()
                missed = 0
            except (OpenAIError, TimeoutError, ValueError) as error:
                missed += 1
                # Nobody there is told at once; a connection that broke may have been an old one.
                nobody = isinstance(error.__cause__, httpx.ConnectError)
                if nobody or missed >= MISSES or not self.up.is_set():
                    self.lose(self.line(error))
                if seconds := patience_of(error):
                    self.pause(seconds, error)
                    await self.pause_over()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it may swallow the cancellation that ends this
                # task.
                async with asyncio.timeout(BEAT if self.up.is_set() else 0.5):
                    await self.doubt.wait()

    def line(self, error: BaseException) -> str:
        """An error in a line, without keys."""
        return redact(f"{type(error).__name__}: {str(error) or 'no answer in time'}")[:400]

    def lose(self, why: str) -> None:
        """The server is away: its calls end, and their rows go to others."""
        if self.up.is_set():
            print(f"{self.url} is away: {why}", flush=True)
        self.why = why
        self.up.clear()
        for call in self.calls:
            call.cancel()

    def note_answer(self) -> None:
        """An answer of use came."""
        self.answered += 1
        self.faults_in_a_row = 0
        self.refusing = False

    def note_fault(self) -> None:
        """A request went wrong."""
        self.doubt.set()
        self.faults_in_a_row += 1

    def pause(self, seconds: float, error: BaseException) -> None:
        """It asked not to be asked for so long."""
        self.why = f"it asks for {seconds:,.0f} s of patience: {self.line(error)}"
        self.refusing = True
        self.paused_until = max(self.paused_until, time.monotonic() + seconds)

    def is_ready(self) -> bool:
        """Is it up, and not to be left alone?"""
        return self.up.is_set() and time.monotonic() >= self.paused_until

    async def ready(self) -> None:
        """Wait until it is."""
        while not self.is_ready():
            await self.up.wait()
            await self.pause_over()

    async def pause_over(self) -> None:
        """Wait as long as it asked to, also where it asks for more meanwhile."""
        while (left := self.paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left)
