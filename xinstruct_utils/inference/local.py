"""Generation and rating with transformers: `launch.run("inference.local", ...)` runs it.

In a subprocess, or in several (ranks). Prompts are sorted by length inside a chunk and batched by a
token budget; each chunk is one shard file, written atomically and seeded by its content, so that a
killed run resumes to the same bytes. A rating is one token at a fixed position: it is read from one
prefill pass as a softmax over the three rating tokens (paper 3.3).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xinstruct_utils.core import process
from xinstruct_utils.core.files import digest
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference.inputs import count_of, requests_of, rows_of
from xinstruct_utils.models.batching import batches, padded, unread
from xinstruct_utils.models.loading import load
from xinstruct_utils.models.tokenization import context, rating_tokens, token_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOGITS = 2**30                                   # scores at a time: 4 GiB in float32
LEAST = 1024                                     # token budget under which no smaller one is tried

Row = dict[str, Any]


def nucleus(scores: "Tensor", temperature: float, top_p: float,
            first: int = 64) -> tuple["Tensor", "Tensor"]:
    """The nucleus of each row of logits, as transformers' own, without its sort of the whole
    vocabulary: on a CPU that sort takes longer than a small model's step.

    The `first` likeliest tokens nearly always hold the nucleus; where they do not, all are sorted.
    Returns (probabilities, token ids), 0 outside of the nucleus; the rest does not sum to 1.
    """
    scores = scores / temperature
    vocabulary = scores.shape[-1]
    count = min(first, vocabulary)
    total = scores.logsumexp(-1, keepdim=True)
    while True:
        top, places = scores.topk(count, -1)
        shares = (top - total).exp()
        before = shares.cumsum(-1) - shares      # the mass of likelier tokens
        if count == vocabulary or bool((before[:, -1] >= top_p).all()):
            return shares.masked_fill(before >= top_p, 0.0), places
        count = vocabulary


def nucleus_sampler(temperature: float, top_p: float) -> Callable[["Tensor", "Tensor"], "Tensor"]:
    """Nucleus sampling for `generate`: of each row's logits, only the token drawn is left, for
    greedy search to take.

    `generate` would draw a random number for every token of the vocabulary (LOG.md).
    """
    import torch

    def warp(ids: "Tensor", scores: "Tensor") -> "Tensor":
        shares, places = nucleus(scores, temperature, top_p)
        chosen = places.gather(-1, shares.multinomial(1))
        return torch.full_like(scores, float("-inf")).scatter_(-1, chosen, 0.0)

    return warp


def rate(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[str],
         budget: int) -> list[list[float]]:
    """Probabilities of the ratings 0, 1, 2 for each prompt, from one prefill pass.

    Returns a list of [p0, p1, p2].
    """
    import torch

    three = rating_tokens(tokenizer)
    ids = [token_ids(tokenizer, prompt)[0] for prompt in prompts]
    ratings: list[list[float]] = [[] for _ in ids]
    for batch in batches([len(i) for i in ids], budget):
        tokens, mask = padded([ids[i] for i in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            output = model(tokens.to(model.device), attention_mask=mask.to(model.device),
                           logits_to_keep=1, use_cache=False)
        shares = output.logits[:, -1, three].float().softmax(-1).tolist()
        for i, row in zip(batch, shares, strict=True):
            ratings[i] = [round(share, 6) for share in row]
    return ratings


def generate(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[str],
             budget: int, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0,
             seed: int = 0) -> list[Row]:
    """Complete each prompt; temperature 0 is greedy.

    Returns a list of {"generated", "finish_reason", "tokens"}; `finish_reason` is "stop" (EOS) or
    "length" (the cap). One batch holds prompts of like length.
    """
    import torch

    torch.manual_seed(seed)
    ids = [token_ids(tokenizer, prompt)[0] for prompt in prompts]
    completions: list[Row] = [{} for _ in ids]
    processors = [nucleus_sampler(temperature, top_p)] if temperature else []
    for batch in batches([len(i) + max_new_tokens for i in ids], budget):
        tokens, mask = padded([ids[i] for i in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            sequences = model.generate(
                tokens.to(model.device), attention_mask=mask.to(model.device), do_sample=False,
                logits_processor=processors, max_new_tokens=max_new_tokens,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        new = sequences[:, tokens.shape[1]:].tolist()
        for i, row in zip(batch, new, strict=True):
            completions[i] = _completion(tokenizer, row)
    return completions


def _completion(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> Row:
    """What new token ids say, up to EOS."""
    reason = "length"
    if tokenizer.eos_token_id in ids:
        reason = "stop"
        ids = ids[:ids.index(tokenizer.eos_token_id)]
    text = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return {"generated": text, "finish_reason": reason, "tokens": len(ids)}


def likelihood(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
               pairs: list[tuple[str, str]], budget: int) -> list[float]:
    """Mean log-likelihood per token of each completion given its prompt; pairs of (prompt,
    completion).

    Scores of the whole vocabulary stand at each of a completion's tokens, so a batch holds at most
    `LOGITS` of them.
    """
    import torch

    ids = [token_ids(tokenizer, prompt, completion) for prompt, completion in pairs]
    # Of the completions; the first token of all is not predicted, where no BOS stands before it.
    lengths = [len(both) - max(n_prompt, 1) for both, n_prompt in ids]
    means = [0.0] * len(ids)
    budget = min(budget, LOGITS // model.config.get_text_config().vocab_size)
    for batch in batches([len(both) for both, _ in ids], budget):
        tokens, mask = padded([ids[i][0] for i in batch], tokenizer.pad_token_id)
        scored = min(tokens.shape[1], 1 + max(lengths[i] for i in batch))
        with torch.inference_mode():
            logits = model(tokens.to(model.device), attention_mask=mask.to(model.device),
                           use_cache=False, logits_to_keep=scored).logits
        following = tokens[:, 1 - scored:, None].to(model.device)
        scores = logits[:, :-1].float().log_softmax(-1).gather(-1, following)[..., 0]
        for row, i in enumerate(batch):
            means[i] = round(scores[row, -lengths[i]:].mean().item(), 5)
    return means


def answers(s: dict[str, Any], model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
            chunk: list[Row]) -> list[Row]:
    """The task's results for a chunk of rows."""
    limit = context(model.config)
    unread_results, scored = [], []
    for row in chunk:
        completion = row["completion"] if s["task"] == "likelihood" else None
        ids, n_prompt = token_ids(tokenizer, row["prompt"], completion)
        unread_results.append(unread(s, ids, limit))
        if unread_results[-1] is None:
            scored.append(len(ids) - max(n_prompt, 1))
    # The seed depends on the chunk's content only: a resumed run draws what an undisturbed one
    # draws, on any rank.
    seed = int(digest([s["seed"], [row["id"] for row in chunk]])[:8], 16)
    pairs = zip(chunk, unread_results, strict=True)
    readable = [row for row, result in pairs if result is None]
    answered = _answers(s, model, tokenizer, readable, seed)
    if s["task"] == "likelihood":                # of so many tokens, EOS among them, it is the mean
        answered = [row | {"tokens": n} for row, n in zip(answered, scored, strict=True)]
    results = iter(answered)
    return [next(results) if result is None else result for result in unread_results]


def _answers(s: dict[str, Any], model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
             chunk: list[Row], seed: int) -> list[Row]:
    prompts = [row["prompt"] for row in chunk]
    budget = s["token_budget"]
    if s["task"] == "rate":
        ratings = rate(model, tokenizer, prompts, budget)
        return [dict(zip(("p0", "p1", "p2"), rating, strict=True)) for rating in ratings]
    if s["task"] == "rate_by_generation":
        return generate(model, tokenizer, prompts, budget, 4)
    if s["task"] == "likelihood":
        pairs = [(row["prompt"], row["completion"]) for row in chunk]
        scores = likelihood(model, tokenizer, pairs, budget)
        return [{"log_likelihood": score} for score in scores]
    return generate(model, tokenizer, prompts, budget, s["max_new_tokens"], s["temperature"],
                    s["top_p"], seed)


def within_memory(s: dict[str, Any], model: "PreTrainedModel",
                  tokenizer: "PreTrainedTokenizerBase", chunk: list[Row]) -> list[Row]:
    """`answers`, with half the token budget from then on wherever a batch does not fit into the
    GPU's memory.

    The longest prompts come first, so that this shows at once and little is done twice.
    """
    import torch

    while True:
        try:
            return answers(s, model, tokenizer, chunk)
        except torch.OutOfMemoryError:
            if s["token_budget"] < LEAST:
                raise
            s["token_budget"] //= 2
        print(f"out of memory: token_budget is {s['token_budget']} from here on", flush=True)
        torch.cuda.empty_cache()                 # not in the handler, where the batch is still held


def _load(s: dict[str, Any]) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The job's model on its device, ready to answer, and its tokenizer."""
    import torch

    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    # As it will be: eight ranks with 7 B weights in float32 would want 224 GB of the host.
    read_as = "bfloat16" if s["bf16"] and device != "cpu" else "float32"
    model, tokenizer = load(s["model"], read_as)
    model = model.to(device, torch.bfloat16 if s["bf16"] else torch.float32).eval()
    if device == "cpu" and s["task"] == "generate":
        # One query at a time: torch's fused attention is the slower one there (LOG.md).
        model.set_attn_implementation("eager")
    return model, tokenizer


def _write_shards(s: dict[str, Any], model: "PreTrainedModel",
                  tokenizer: "PreTrainedTokenizerBase", shards: Shards,
                  files: list[Path]) -> None:
    """Answer this rank's chunks that have no shard yet."""
    rank, ranks = process.rank()
    begun = time.time()
    # By index, not by turn: what other ranks write meanwhile must not change which chunks are
    # whose.
    mine = sum(not file.exists() for file in files[rank::ranks])
    finished = 0
    of_rank = f" rank {rank}" if ranks > 1 else ""
    for index, chunk in shards.pending(rows_of(s)):
        if index % ranks == rank:
            results = within_memory(s, model, tokenizer, requests_of(chunk, s))
            pairs = zip(chunk, results, strict=True)
            shards.write(index, [{"id": row["id"], **result} for row, result in pairs])
            finished += 1
            left = (time.time() - begun) * (mine / finished - 1)
            print(f"{s['task']} shard {finished}/{mine} ETA {left:.0f} s{of_rank}", flush=True)


def main(s: dict[str, Any]) -> None:
    """Run the settings' task over the input's rows, shard by shard; each rank takes every ranks-th
    of them.

    Tasks: "generate", "rate", "likelihood" (needs a completion in each row), "rate_by_generation"
    (the slow way, to compare).
    """
    start = time.time()
    import torch

    torch.set_num_threads(s["threads"])
    startup = time.time() - start
    model, tokenizer = _load(s)
    shards = Shards(Path(s["out"]), s["shard_size"])
    rows = count_of(s)
    files = [shards.file(index) for index in range(-(-rows // s["shard_size"]))]
    begun = time.time()
    _write_shards(s, model, tokenizer, shards, files)
    rank, _ = process.rank()
    if rank > 0:
        return
    while not all(file.exists() for file in files):
        time.sleep(0.2)                          # other ranks are still writing theirs
    finish_job(s["out"], s, startup, start, rows=rows, work_s=round(time.time() - begun, 3))
