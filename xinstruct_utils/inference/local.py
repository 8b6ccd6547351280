"""Generation and rating with transformers: run by `launch.run("inference", ...)` in a subprocess, or in several (ranks).

Prompts are sorted by length inside a chunk and batched by a token budget; each chunk is one shard file, written
atomically and seeded by its content, so that a killed run resumes to the same bytes. A rating is one token at a
fixed position: it is read from one prefill pass as a softmax over the three rating tokens (paper 3.3).
"""

import os
import time
from pathlib import Path

from xinstruct_utils.core import process
from xinstruct_utils.core.files import digest
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference.inputs import count_of, requests_of, rows_of
from xinstruct_utils.models.batching import batches, padded, unread
from xinstruct_utils.models.loading import load
from xinstruct_utils.models.tokenization import context, rating_tokens, token_ids

LOGITS = 2**30                                   # scores at a time: 4 GiB in float32
LEAST = 1024                                     # token budget under which no smaller one is tried


def nucleus(scores, temperature, top_p, first=64):
    """The nucleus of each row of logits, as transformers' own, without its sort of the whole vocabulary: on a CPU that sort
    takes longer than a small model's step. The `first` likeliest tokens nearly always hold the nucleus; where they do not,
    all are sorted. Returns (probabilities, token ids), 0 outside of the nucleus; the rest does not sum to 1."""
    scores, count = scores / temperature, min(first, scores.shape[-1])
    total = scores.logsumexp(-1, keepdim=True)
    while True:
        top, places = scores.topk(count, -1)
        shares = (top - total).exp()
        before = shares.cumsum(-1) - shares                     # the mass of likelier tokens
        if count == scores.shape[-1] or bool((before[:, -1] >= top_p).all()):
            return shares.masked_fill(before >= top_p, 0.0), places
        count = scores.shape[-1]


def drawn(temperature, top_p):
    """Nucleus sampling for `generate`: of each row's logits, only the token drawn is left, for greedy search to take.
    `generate` would draw a random number for every token of the vocabulary (LOG.md)."""
    import torch

    def warp(ids, scores):
        shares, places = nucleus(scores, temperature, top_p)
        chosen = places.gather(-1, shares.multinomial(1))
        return torch.full_like(scores, float("-inf")).scatter_(-1, chosen, 0.0)

    return warp


def rate(model, tokenizer, prompts, budget):
    """Probabilities of the ratings 0, 1, 2 for each prompt, from one prefill pass. Returns a list of [p0, p1, p2]."""
    import torch

    three, ids = rating_tokens(tokenizer), [token_ids(tokenizer, p)[0] for p in prompts]
    out = [None] * len(ids)
    for batch in batches([len(i) for i in ids], budget):
        tokens, mask = padded([ids[i] for i in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            logits = model(tokens.to(model.device), attention_mask=mask.to(model.device), logits_to_keep=1,
                           use_cache=False).logits[:, -1, three]
        for i, p in zip(batch, logits.float().softmax(-1).tolist(), strict=True):
            out[i] = [round(x, 6) for x in p]
    return out


def generate(model, tokenizer, prompts, budget, max_new_tokens, temperature=0.0, top_p=1.0, seed=0):
    """Complete each prompt; temperature 0 is greedy. Returns a list of {"generated", "finish_reason", "tokens"}.

    `finish_reason` is "stop" (EOS) or "length" (the cap). One batch holds prompts of like length.
    """
    import torch

    torch.manual_seed(seed)
    ids, out = [token_ids(tokenizer, p)[0] for p in prompts], [None] * len(prompts)
    how = dict(do_sample=False, logits_processor=[drawn(temperature, top_p)] if temperature else [])
    for batch in batches([len(i) + max_new_tokens for i in ids], budget):
        tokens, mask = padded([ids[i] for i in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            made = model.generate(tokens.to(model.device), attention_mask=mask.to(model.device), **how,
                                  max_new_tokens=max_new_tokens, eos_token_id=tokenizer.eos_token_id,
                                  pad_token_id=tokenizer.pad_token_id)[:, tokens.shape[1]:].tolist()
        for i, row in zip(batch, made, strict=True):
            stop = tokenizer.eos_token_id in row
            row = row[: row.index(tokenizer.eos_token_id)] if stop else row
            out[i] = {"generated": tokenizer.decode(row, skip_special_tokens=True).strip(),
                      "finish_reason": "stop" if stop else "length", "tokens": len(row)}
    return out


def likelihood(model, tokenizer, pairs, budget):
    """Mean log-likelihood per token of each completion given its prompt; pairs of (prompt, completion).

    Scores of the whole vocabulary stand at each of a completion's tokens, so a batch holds at most `LOGITS` of them.
    """
    import torch

    ids = [token_ids(tokenizer, p, c) for p, c in pairs]
    out = [None] * len(ids)
    for batch in batches([len(i) for i, _ in ids], min(budget, LOGITS // model.config.get_text_config().vocab_size)):
        tokens, mask = padded([ids[i][0] for i in batch], tokenizer.pad_token_id)
        kept = min(tokens.shape[1], 1 + max(len(ids[i][0]) - ids[i][1] for i in batch))
        with torch.inference_mode():
            logits = model(tokens.to(model.device), attention_mask=mask.to(model.device), use_cache=False,
                           logits_to_keep=kept).logits
        scores = logits[:, :-1].float().log_softmax(-1).gather(-1, tokens[:, 1 - kept:, None].to(model.device))[..., 0]
        for row, i in enumerate(batch):
            n = len(ids[i][0]) - ids[i][1]
            out[i] = round(scores[row, -n:].mean().item(), 5)
    return out


def answers(s, model, tokenizer, chunk):
    """The task's results for a chunk of rows."""
    limit = context(model.config)
    left = [unread(s, token_ids(tokenizer, r["prompt"], r["completion"] if s["task"] == "likelihood" else None)[0], limit)
            for r in chunk]
    # The seed depends on the chunk's content only: a resumed run draws what an undisturbed one draws, on any rank.
    seed = int(digest([s["seed"], [r["id"] for r in chunk]])[:8], 16)
    made = iter(_answers(s, model, tokenizer, [r for r, out in zip(chunk, left, strict=True) if out is None], seed))
    return [next(made) if out is None else out for out in left]


def _answers(s, model, tokenizer, chunk, seed):
    prompts = [r["prompt"] for r in chunk]
    if s["task"] == "rate":
        return [dict(zip(("p0", "p1", "p2"), p, strict=True)) for p in rate(model, tokenizer, prompts, s["token_budget"])]
    if s["task"] == "rate_by_generation":
        return generate(model, tokenizer, prompts, s["token_budget"], 4)
    if s["task"] == "likelihood":
        scores = likelihood(model, tokenizer, [(r["prompt"], r["completion"]) for r in chunk], s["token_budget"])
        return [{"log_likelihood": x} for x in scores]
    return generate(model, tokenizer, prompts, s["token_budget"], s["max_new_tokens"], s["temperature"], s["top_p"], seed)


def within_memory(s, model, tokenizer, chunk):
    """`answers`, with half the token budget from then on wherever a batch does not fit into the GPU's memory.

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


def main(s):
    """Run the settings' task over the input's rows, shard by shard; each rank takes every ranks-th of them.

    Tasks: "generate", "rate", "likelihood" (needs a completion in each row), "rate_by_generation" (the slow way, to compare).
    """
    start = time.time()
    import torch

    torch.set_num_threads(s["threads"])
    startup = time.time() - start
    rank, ranks = process.rank()
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    # As it will be: eight ranks with 7 B weights in float32 would want 224 GB of the host.
    model, tokenizer = load(s["model"], "bfloat16" if s["bf16"] and device != "cpu" else "float32")
    model = model.to(device, torch.bfloat16 if s["bf16"] else torch.float32).eval()
    if device == "cpu" and s["task"] == "generate":
        model.set_attn_implementation("eager")   # one query at a time: torch's fused attention is the slower one there (LOG.md)
    shards, rows = Shards(Path(s["out"]), s["shard_size"]), count_of(s)
    begun, files = time.time(), [shards.file(i) for i in range(-(-rows // s["shard_size"]))]
    # By index, not by turn: what other ranks write meanwhile must not change which chunks are whose.
    mine, finished = sum(not f.exists() for f in files[rank::ranks]), 0
    for index, chunk in shards.pending(rows_of(s)):
        if index % ranks == rank:
            made = within_memory(s, model, tokenizer, requests_of(chunk, s))
            shards.write(index, [{"id": r["id"], **m} for r, m in zip(chunk, made, strict=True)])
            finished += 1
            left = (time.time() - begun) * (mine / finished - 1)
            print(f"{s['task']} shard {finished}/{mine} ETA {left:.0f} s" + f" rank {rank}" * (ranks > 1), flush=True)
    while rank == 0 and not all(f.exists() for f in files):
        time.sleep(0.2)                          # other ranks are still writing theirs
    if rank == 0:
        finish_job(s["out"], s, startup, start, rows=rows, work_s=round(time.time() - begun, 3))
