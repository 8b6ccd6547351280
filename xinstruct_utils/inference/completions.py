"""Requests to a completions server and what its replies say, for `server`: token ids in, results of `inference` out.

Checked against the sources of vLLM and SGLang: both take token ids as `prompt`, and both would otherwise take sampling settings
from the model's generation_config.json.
"""

import math

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest
from xinstruct_utils.models.tokenization import rating_tokens, token_ids

FIXED = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
PLAIN = ("max_tokens", "temperature", "top_p", "seed", "logprobs", "logit_bias")  # all that servers of fewer fields know


class Unreadable(Exception):
    """A reply in another shape than that of completions."""


class Asked:
    """The requests of one job: how a row becomes a request, and a reply the row's result."""

    def __init__(self, s, tokenizer, limit=None):
        self.s, self.task, self.tokenizer, self.limit = s, s["task"], tokenizer, limit
        self.three = rating_tokens(tokenizer) if self.task == "rate" else []

    def ids(self, row):
        """Token ids of what is sent for a row, and how many of them are the prompt's."""
        return token_ids(self.tokenizer, row["prompt"], row["completion"] if self.task == "likelihood" else None)

    def body(self, row, ids, model, plain=False):
        """A row's request; `plain` is for servers that take text only and few fields (`transformers serve`)."""
        s, once = self.s, {"temperature": 1.0, "top_p": 1.0, "max_tokens": 1}
        if self.task == "rate":
            # All three tokens must be among the log-probabilities: vLLM's logprob_token_ids says so; without it
            # allowed_token_ids does under --logprobs-mode processed_logprobs; SGLang's come after logit_bias.
            more = once | {"logprobs": 3, "logprob_token_ids": self.three, "allowed_token_ids": self.three,
                           "logit_bias": {str(i): 100 for i in self.three}, "return_tokens_as_token_ids": True}
        elif self.task == "likelihood":
            more = once | {"prompt_logprobs": 1}
        elif self.task == "rate_by_generation":
            more = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4}
        else:
            more = {"temperature": s["temperature"], "top_p": s["top_p"], "max_tokens": s["max_new_tokens"],
                    "seed": int(digest([s["seed"], row["id"]])[:8], 16)}
        if not plain:
            return {"model": model, "prompt": ids, **more, **FIXED}
        sampled = {"generation_config": '{"do_sample": true, "top_k": 0}'} if more["temperature"] else {}
        return {"model": model, "prompt": self._text(row, ids), **{k: v for k, v in more.items() if k in PLAIN}, **sampled}

    def _text(self, row, ids):
        """The text of which a server's tokenizer makes these ids. Raises InputError where there is none."""
        text = row["prompt"] + (row["completion"] if self.task == "likelihood" else "")
        for given in (text, (self.tokenizer.bos_token or "") + text):
            if self.tokenizer(given)["input_ids"] == ids:
                return given
        raise InputError(f"row {row['id']}: this server takes text only, and no text gives the token ids that the model was "
                         "trained with; use vLLM or SGLang, which take token ids, or engine: local")

    def read(self, reply, row, ids, n_prompt):
        """The row's result from a server's reply. Raises Unreadable, or InputError where the server cannot do the task."""
        try:
            choice, use = reply["choices"][0], reply.get("usage") or {}
            seen, made, reason, text = (use.get("prompt_tokens", len(ids)), use.get("completion_tokens"), choice["finish_reason"],
                                        choice["text"].strip())
        except (KeyError, IndexError, TypeError, AttributeError):
            raise Unreadable(f"no completion: {str(reply)[:200]}") from None
        if seen != len(ids):
            raise InputError(f"row {row['id']}: {len(ids)} prompt tokens were sent, but the server counts {seen}: it adds or "
                             "cuts some (a template, a second BOS?); serve the model as it is, without a completion template")
        if self.task == "rate":
            return self._rating(choice)
        if self.task == "likelihood":
            return self._likelihood(choice, ids, n_prompt)
        # The servers count EOS among the completion's tokens, the local engine does not.
        return {"generated": text, "finish_reason": reason, "tokens": made - (reason == "stop") if made else 0}

    def _rating(self, choice):
        top = ((choice.get("logprobs") or {}).get("top_logprobs") or [None])[0]
        if not top:
            raise InputError("the server gives no logprobs, of which ratings are made; use vLLM or SGLang, or engine: local")
        found = [top.get(f"token_id:{i}", top.get(self.tokenizer.decode([i]))) for i in self.three]
        if None in found:
            raise InputError(f"the log-probabilities lack one of the rating tokens ({', '.join(top)} came), and a guess in its "
                             "place would be no rating; start vLLM with: --logprobs-mode processed_logprobs")
        weights = [math.exp(x - max(found)) for x in found]
        return {f"p{k}": round(w / sum(weights), 6) for k, w in enumerate(weights)}

    def _likelihood(self, choice, ids, n_prompt):
        scores = choice.get("prompt_logprobs")
        if not scores or len(scores) != len(ids):
            raise InputError("the server gives no prompt_logprobs, of which likelihoods are made; vLLM does, and engine: local")
        own = [row[str(i)]["logprob"] for row, i in zip(scores[n_prompt:], ids[n_prompt:], strict=True)]
        return {"log_likelihood": round(sum(own) / len(own), 5)}
