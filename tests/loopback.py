"""The Atlas model behind completions APIs as vLLM and SGLang document them.

`python tests/loopback.py MODEL --port P`. The first part of the path says which server it plays:
http://127.0.0.1:P/<kind>/v1 with a kind of those in KINDS.
"""

import argparse
import asyncio
import sys
import threading
import time
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from xinstruct_utils.models.loading import load

sys.path.insert(0, str(Path(__file__).parent.parent))

KINDS = {
    "vllm": "knows logprob_token_ids; log-probabilities are those before allowed_token_ids",
    "old": "does not know logprob_token_ids",
    "processed": "the same with --logprobs-mode processed_logprobs",
    "sglang": "log-probabilities after logit_bias; nothing of vLLM's own; token strings",
    "doubled": "adds a second BOS",
    "flaky": "every third request is a 500",
    "slow": "as vllm, with a tenth of a second",
    "narrow": "as vllm, and no log-probabilities",
}
parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--port", type=int, required=True)
ARGS = parser.parse_args()

torch.set_num_threads(1)
MODEL, TOKENIZER = load(ARGS.model)
MODEL.eval()
APP, LOCK, KEYS, COUNT = FastAPI(), threading.Lock(), set(), {"requests": 0}


@APP.get("/{kind}/v1/models")
def models(kind: str, request: Request):
    KEYS.add(request.headers.get("authorization"))
    owner = "sglang" if kind == "sglang" else "vllm"
    return {
        "object": "list",
        "data": [{"id": ARGS.model, "object": "model", "owned_by": owner, "max_model_len": 512}],
    }


@APP.get("/keys")
def keys():
    return sorted(map(str, KEYS))


def log_probs(kind, body, logits):
    """top_logprobs of one generated token, -9999 for minus infinity as in vLLM."""
    if kind == "processed":
        masked = torch.full_like(logits, -torch.inf)
        masked[body["allowed_token_ids"]] = logits[body["allowed_token_ids"]]
        logits = masked
    if kind == "sglang":
        for i, bias in body["logit_bias"].items():
            logits[int(i)] += bias
    scores = logits.float().log_softmax(-1)
    ids = (
        body["logprob_token_ids"]
        if kind == "vllm"
        else scores.topk(body["logprobs"]).indices.tolist()
    )
    told = [
        f"token_id:{i}"
        if body["return_tokens_as_token_ids"] and kind != "sglang"
        else TOKENIZER.decode([i])
        for i in ids
    ]
    return {token: max(scores[i].item(), -9999.0) for token, i in zip(told, ids, strict=True)}


def generate(body, ids):
    """New tokens and the logits of the first one."""
    torch.manual_seed(body.get("seed") or 0)
    how = {
        "do_sample": True,
        "temperature": body["temperature"],
        "top_p": body["top_p"],
        "top_k": 0,
    }
    made = MODEL.generate(
        torch.tensor([ids]),
        max_new_tokens=body["max_tokens"],
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        return_dict_in_generate=True,
        output_logits=True,
        **(how if body["temperature"] else {"do_sample": False}),
    )
    return made.sequences[0, len(ids) :].tolist(), made.logits[0][0].clone()


def complete(kind, body):
    ids = (
        body["prompt"]
        if isinstance(body["prompt"], list)
        else TOKENIZER(body["prompt"])["input_ids"]
    )
    ids = [TOKENIZER.bos_token_id] * (kind == "doubled") + ids
    if len(ids) + body["max_tokens"] > 512:
        return JSONResponse(
            {"error": {"message": "maximum context length is 512 tokens", "code": 400}}, 400
        )
    time.sleep(0.1 * (kind == "slow"))
    with LOCK, torch.inference_mode():
        COUNT["requests"] += 1
        if kind == "flaky" and COUNT["requests"] % 3 == 0:
            return JSONResponse({"error": {"message": "out of luck", "code": 500}}, 500)
        new, logits = generate(body, ids)
        choice = {
            "index": 0,
            "text": TOKENIZER.decode(new, skip_special_tokens=True),
            "logprobs": None,
            "finish_reason": "stop" if TOKENIZER.eos_token_id in new else "length",
        }
        if body.get("logprobs") and kind != "narrow":
            choice["logprobs"] = {"top_logprobs": [log_probs(kind, body, logits)]}
        if body.get("prompt_logprobs") and kind != "sglang":
            scores = MODEL(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            choice["prompt_logprobs"] = [None] + [
                {str(i): {"logprob": scores[k, i].item(), "rank": 1, "decoded_token": "?"}}
                for k, i in enumerate(ids[1:])
            ]
    return {
        "object": "text_completion",
        "model": body["model"],
        "choices": [choice],
        "usage": {
            "prompt_tokens": len(ids),
            "completion_tokens": len(new),
            "total_tokens": len(ids) + len(new),
        },
    }


@APP.post("/{kind}/v1/completions")
async def completions(kind: str, request: Request):
    KEYS.add(request.headers.get("authorization"))
    return await asyncio.to_thread(complete, kind, await request.json())


if __name__ == "__main__":
    uvicorn.run(APP, host="127.0.0.1", port=ARGS.port, log_level="warning")
