"""A server of the Atlas model in the shape of vLLM's completions API: `python tests/loopback.py --port P [...]`.

What it answers follows vLLM's documentation: token ids or text (to which it adds BOS), log-probabilities of the raw
distribution or of the one after `allowed_token_ids`, -9999 for minus infinity, 400 for what is too long.
"""

import argparse
import sys
import threading
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

sys.path.insert(0, str(Path(__file__).parent.parent))
from xinstruct_utils.train import load  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", default="atlas")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--name")
parser.add_argument("--old", action="store_true", help="a vLLM that does not know logprob_token_ids")
parser.add_argument("--processed", action="store_true", help="--logprobs-mode processed_logprobs")
parser.add_argument("--biased", action="store_true", help="as SGLang: bias, and nothing of vLLM's own")
parser.add_argument("--double-bos", action="store_true", help="a server with a fault")
parser.add_argument("--errors", type=int, default=0, help="every so-many-th request gets a 500")
parser.add_argument("--log", help="a line is added for each completion")
ARGS = parser.parse_args()

torch.set_num_threads(1)
MODEL, TOKENIZER = load(ARGS.model)
MODEL.eval()
APP, LOCK, SEEN = FastAPI(), threading.Lock(), []


@APP.get("/v1/models")
def models():
    card = {"id": ARGS.name or ARGS.model, "object": "model", "owned_by": "vllm", "root": ARGS.model, "max_model_len": 512}
    return {"object": "list", "data": [card]}


def name(i, body):
    return f"token_id:{i}" if body.get("return_tokens_as_token_ids") and not ARGS.biased else TOKENIZER.decode([i])


def log_probs(body, logits):
    """top_logprobs of the one generated token."""
    own = not (ARGS.old or ARGS.biased)
    if ARGS.processed and body.get("allowed_token_ids"):
        masked = torch.full_like(logits, -torch.inf)
        masked[body["allowed_token_ids"]] = logits[body["allowed_token_ids"]]
        logits = masked
    if ARGS.biased:
        for i, x in (body.get("logit_bias") or {}).items():
            logits[int(i)] += x
    scores = logits.float().log_softmax(-1)
    ids = body["logprob_token_ids"] if own and body.get("logprob_token_ids") else scores.topk(body["logprobs"]).indices.tolist()
    return {name(i, body): max(scores[i].item(), -9999.0) for i in ids}


def complete(body):
    ids = body["prompt"] if isinstance(body["prompt"], list) else TOKENIZER(body["prompt"])["input_ids"]
    ids = [TOKENIZER.bos_token_id] * ARGS.double_bos + ids
    if len(ids) + body["max_tokens"] > 512:
        return JSONResponse({"error": {"message": "maximum context length is 512 tokens", "code": 400}}, 400)
    with LOCK, torch.inference_mode():
        SEEN.append(ids)
        if ARGS.errors and len(SEEN) % ARGS.errors == 0:
            return JSONResponse({"error": {"message": "out of luck", "code": 500}}, 500)
        torch.manual_seed(body.get("seed") or 0)
        how = {"do_sample": True, "temperature": body["temperature"], "top_p": body["top_p"], "top_k": 0}
        made = MODEL.generate(torch.tensor([ids]), max_new_tokens=body["max_tokens"], pad_token_id=TOKENIZER.pad_token_id,
                              eos_token_id=TOKENIZER.eos_token_id, return_dict_in_generate=True, output_logits=True,
                              **(how if body["temperature"] else {"do_sample": False}))
        new = made.sequences[0, len(ids):].tolist()
        choice = {"index": 0, "text": TOKENIZER.decode(new, skip_special_tokens=True), "logprobs": None,
                  "finish_reason": "stop" if TOKENIZER.eos_token_id in new else "length"}
        if body.get("logprobs"):
            choice["logprobs"] = {"top_logprobs": [log_probs(body, made.logits[0][0])]}
        if body.get("prompt_logprobs"):
            scores = MODEL(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            choice["prompt_logprobs"] = [None] + [{str(i): {"logprob": scores[k, i].item(), "rank": 1, "decoded_token": "?"}}
                                                  for k, i in enumerate(ids[1:])]
    if ARGS.log:
        with open(ARGS.log, "a") as stream:
            stream.write(f"{len(ids)}\n")
    return {"object": "text_completion", "model": body["model"], "choices": [choice],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": len(new), "total_tokens": len(ids) + len(new)}}


@APP.post("/v1/completions")
async def completions(request: Request):
    import asyncio

    body = await request.json()
    if body["model"] != (ARGS.name or ARGS.model):
        return JSONResponse({"error": {"message": f"the model {body['model']} does not exist", "code": 404}}, 404)
    return await asyncio.to_thread(complete, body)


if __name__ == "__main__":
    uvicorn.run(APP, host="127.0.0.1", port=ARGS.port, log_level="warning")
