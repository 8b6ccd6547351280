"""Requests to a completions server and what its replies say: token ids in, results of `local` out.

For `remote`. Checked against the sources of vLLM and SGLang: both take token ids as `prompt`, and
both would otherwise take sampling settings from the model's generation_config.json.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.models.batching import unread
from xinstruct_utils.models.tokenization import rating_tokens, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIXED = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
# All that servers of fewer fields know.
PLAIN = ("max_tokens", "temperature", "top_p", "seed", "logprobs", "logit_bias")
# A row that says nothing: asked where no other can be.
HARMLESS = {"id": "none", "prompt": "0", "completion": "0"}

Row = dict[str, Any]


class Unreadable(Exception):
    """A reply in another shape than that of completions."""


class Completions:
    """The requests of one job: how a row becomes a request, and a reply the row's result."""

    def __init__(self, s: dict[str, Any], tokenizer: "PreTrainedTokenizerBase",
                 limit: int | None = None) -> None:
        self.s = s
        self.task = s["task"]
        self.tokenizer = tokenizer
        self.limit = limit
        self.three = rating_tokens(tokenizer) if self.task == "rate" else []

    def ids(self, row: Row) -> tuple[list[int], int]:
        """Token ids of what is sent for a row, and how many of them are the prompt's."""
        completion = row["completion"] if self.task == "likelihood" else None
        return token_ids(self.tokenizer, row["prompt"], completion)

    def reason_unsent(self, row: Row, ids: list[int], plain: bool) -> str | None:
        """Why a row is not sent, or None: "context" (too long for the model) or "refused".

        Refused are rows that a server of text only would read as something else: they spell a
        control token, "</s>" for one, that the server's tokenizer would take for that.
        """
        if unread(self.s, ids, self.limit):
            return "context"
        if plain and self.text(row, ids) is None:
            return "refused"
        return None

    def first(self, rows: Iterable[Row], plain: bool) -> Row:
        """The first row that can be sent. Raises InputError where a server of text only can be
        sent none: then it is not the rows, but the server that does not suit the model."""
        if plain and self.text(HARMLESS, self.ids(HARMLESS)[0]) is None:
            raise self.inexpressible(next(iter(rows), HARMLESS))
        refused = None
        for row in rows:
            reason = self.reason_unsent(row, self.ids(row)[0], plain)
            if reason is None:
                return row
            if reason == "refused" and refused is None:
                refused = row
        if refused is not None:
            raise self.inexpressible(refused)
        return HARMLESS

    def body(self, row: Row, ids: list[int], model: str, plain: bool = False) -> dict[str, Any]:
        """A row's request; `plain` is for servers that take text only and few fields
        (`transformers serve`). Raises InputError where no text says the row."""
        sampling = self._sampling(row)
        if not plain:
            return {"model": model, "prompt": ids, **sampling, **FIXED}
        text = self.text(row, ids)
        if text is None:
            raise self.inexpressible(row)
        known = {name: value for name, value in sampling.items() if name in PLAIN}
        if sampling["temperature"]:
            known["generation_config"] = '{"do_sample": true, "top_k": 0}'
        return {"model": model, "prompt": text, **known}

    def _sampling(self, row: Row) -> dict[str, Any]:
        s = self.s
        once = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 1}
        if self.task == "rate":
            # All three tokens must be among the log-probabilities: vLLM's logprob_token_ids says
            # so; without it allowed_token_ids does under --logprobs-mode processed_logprobs;
            # SGLang's come after logit_bias.
            bias = {str(i): 100 for i in self.three}
            return once | {"logprobs": 3, "logprob_token_ids": self.three,
                           "allowed_token_ids": self.three, "logit_bias": bias,
                           "return_tokens_as_token_ids": True}
        if self.task == "likelihood":
            return once | {"prompt_logprobs": 1}
        if self.task == "rate_by_generation":
            return {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4}
        seed = int(digest([s["seed"], row["id"]])[:8], 16)
        return {"temperature": s["temperature"], "top_p": s["top_p"],
                "max_tokens": s["max_new_tokens"], "seed": seed}

    def text(self, row: Row, ids: list[int]) -> str | None:
        """The text of which a server's tokenizer makes these ids; None where there is none."""
        text = row["prompt"] + (row["completion"] if self.task == "likelihood" else "")
        for variant in (text, (self.tokenizer.bos_token or "") + text):
            if self.tokenizer(variant)["input_ids"] == ids:
                return variant
        return None

    def inexpressible(self, row: Row) -> InputError:
        """What to say where a server of text only cannot be asked."""
        return InputError(f"row {row['id']}: this server takes text only, and no text gives the "
                          "token ids that the model was trained with; use vLLM or SGLang, which "
                          "take token ids, or engine: local")

    def read(self, reply: Any, row: Row, ids: list[int], n_prompt: int) -> Row:
        """The row's result from a server's reply.

        Raises Unreadable, or InputError where the server cannot do the task.
        """
        try:
            return self._read(reply, row, ids, n_prompt)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise Unreadable(f"no completion: {str(reply)[:200]}") from None

    def _read(self, reply: Any, row: Row, ids: list[int], n_prompt: int) -> Row:
        choice = reply["choices"][0]
        usage = reply.get("usage") or {}
        reason = choice["finish_reason"]
        text = choice["text"].strip()
        counted = usage.get("prompt_tokens", len(ids))
        if counted != len(ids):
            raise InputError(f"row {row['id']}: {len(ids)} prompt tokens were sent, but the server "
                             f"counts {counted}: it adds or cuts some (a template, a second BOS?); "
                             "serve the model as it is, without a completion template")
        if self.task == "rate":
            return self._rating(choice)
        if self.task == "likelihood":
            return self._likelihood(choice, ids, n_prompt)
        # The servers count EOS among the completion's tokens, the local engine does not.
        tokens = usage.get("completion_tokens") or 0
        if tokens and reason == "stop":
            tokens -= 1
        return {"generated": text, "finish_reason": reason, "tokens": tokens}

    def _rating(self, choice: Row) -> Row:
        top = ((choice.get("logprobs") or {}).get("top_logprobs") or [None])[0]
        if not top:
            raise InputError("the server gives no logprobs, of which ratings are made; use vLLM or "
                             "SGLang, or engine: local")
        scores = [top.get(f"token_id:{i}", top.get(self.tokenizer.decode([i])))
                  for i in self.three]
        if None in scores:
            raise InputError("the log-probabilities lack one of the rating tokens "
                             f"({', '.join(top)} came), and a guess in its place would be no "
                             "rating; start vLLM with: --logprobs-mode processed_logprobs")
        weights = [math.exp(x - max(scores)) for x in scores]
        return {f"p{k}": round(w / sum(weights), 6) for k, w in enumerate(weights)}

    def _likelihood(self, choice: Row, ids: list[int], n_prompt: int) -> Row:
        scores = choice.get("prompt_logprobs")
        if not scores or len(scores) != len(ids):
            raise InputError("the server gives no prompt_logprobs, of which likelihoods are made; "
                             "vLLM does, and engine: local")
        first = max(n_prompt, 1)                 # the first token of all is not predicted
        own = [score[str(i)]["logprob"]
               for score, i in zip(scores[first:], ids[first:], strict=True)]
        return {"log_likelihood": round(sum(own) / len(own), 5), "tokens": len(own)}
