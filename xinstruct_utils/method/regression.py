"""An evaluator with a regression head: a number read from the last state, not a token.

For the experiments of 14_evaluator only; the method's evaluator answers with one of three tokens
(paper 3.3). As a job of `launch`, it learns (settings of `training.sft`) or, with the task "rate",
rates (settings of `inference.local`).
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xinstruct_utils.core.files import read_jsonl
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.inference.inputs import requests_of, rows_of
from xinstruct_utils.models.batching import batches, missing, padded
from xinstruct_utils.models.loading import load_tokenizer, model_path
from xinstruct_utils.models.tokenization import context, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEYS = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "bf16", "seed")


def load(name: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A model with a head of one number on its last state, and its tokenizer."""
    from transformers import AutoModelForSequenceClassification

    tokenizer = load_tokenizer(name)
    model = AutoModelForSequenceClassification.from_pretrained(
        model_path(name), trust_remote_code=False, use_safetensors=True, num_labels=1,
        problem_type="regression", dtype="float32")
    if len(tokenizer) > model.config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def shares(rating: float) -> dict[str, float]:
    """A rating between 0 and 2 as shares of the two whole ratings beside it.

    {"p0", "p1", "p2", "score": the rating itself, not cut}.
    """
    inside = min(2.0, max(0.0, rating))
    return {"p0": round(max(0.0, 1 - inside), 6), "p1": round(1 - abs(inside - 1), 6),
            "p2": round(max(0.0, inside - 1), 6), "score": round(rating, 6)}


def main(s: dict) -> None:
    """Learn, or with the task "rate" rate, as the settings say; done.json is written last."""
    begun = time.time()
    import torch

    torch.set_num_threads(s["threads"])
    startup = time.time() - begun
    if s.get("task") == "rate":
        _rate(s)
    else:
        _learn(s)
    finish_job(s["out"], s, startup, begun)


def _learn(s: dict) -> None:
    """Least squares on the ratings of {"prompt", "completion"}; about `batch_tokens` a step."""
    import torch
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

    set_seed(s["seed"])
    model, tokenizer = load(s["base_model"])
    rows: list[dict[str, Any]] = []
    for row in read_jsonl(s["input"]):
        ids, _ = token_ids(tokenizer, row["prompt"])
        if len(ids) <= s["max_length"]:
            rows.append({"input_ids": ids, "labels": float(row["completion"])})
    mean_length = sum(len(row["input_ids"]) for row in rows) / len(rows)
    arguments = TrainingArguments(
        output_dir=str(Path(s["out"]) / "checkpoints"), num_train_epochs=s["epochs"],
        **{key: s[key] for key in KEYS}, report_to="none", disable_tqdm=True, save_strategy="no",
        per_device_train_batch_size=max(1, round(s["batch_tokens"] / mean_length)),
        use_cpu=not torch.cuda.is_available())
    learner = Trainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows),
                      data_collator=DataCollatorWithPadding(tokenizer))
    learner.train()
    model.save_pretrained(s["out"])
    tokenizer.save_pretrained(s["out"])


def _rate(s: dict) -> None:
    """Rate the input's rows, shard by shard; a row over the model's context gets no number."""
    model, tokenizer = load(s["model"])
    model.eval()
    out = Shards(Path(s["out"]), s["shard_size"])
    for index, chunk in out.pending(rows_of(s)):
        out.write(index, _rated(s, model, tokenizer, requests_of(chunk, s)))


def _rated(s: dict, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
           chunk: list[dict]) -> Iterator[dict]:
    import torch

    ids = [token_ids(tokenizer, row["prompt"])[0] for row in chunk]
    limit = context(model.config)
    readable = [n for n, row in enumerate(ids) if not limit or len(row) < limit]
    found: dict[int, dict] = {}
    for batch in batches([len(ids[n]) for n in readable], s["token_budget"]):
        places = [readable[k] for k in batch]
        tokens, mask = padded([ids[n] for n in places], tokenizer.pad_token_id)
        with torch.inference_mode():
            ratings = model(tokens, attention_mask=mask).logits[:, 0].float().tolist()
        found |= {n: shares(rating) for n, rating in zip(places, ratings, strict=True)}
    for n, row in enumerate(chunk):
        yield {"id": row["id"], **found.get(n, missing("rate", "context"))}
