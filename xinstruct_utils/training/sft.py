"""Supervised fine-tuning with TRL, in a subprocess of `launch`, on one device or many ranks.

Reads rows {"prompt", "completion"}; the loss is on the completion and its EOS only; rows are packed
without cross-contamination (position ids restart, attention stays inside a row). Rows over
`max_length` tokens are counted and dropped, never cut. Hyperparameters of the paper: Appendix A; a
profile may set others.
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl, write_json
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.models.loading import load, load_tokenizer
from xinstruct_utils.models.tokenization import token_ids
from xinstruct_utils.training import trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(rows: Sequence[dict], tokenizer: "PreTrainedTokenizerBase", max_length: int,
           ) -> tuple[list[dict[str, list[int]]], int]:
    """Token ids and labels of the rows (-100 on the prompt).

    Returns ({"input_ids", "labels"} of each row, number dropped as too long).
    """
    encoded = []
    for row in rows:
        ids, n_prompt = token_ids(tokenizer, row["prompt"], row["completion"])
        if len(ids) <= max_length:
            labels = [-100] * n_prompt + ids[n_prompt:]
            encoded.append({"input_ids": ids, "labels": labels})
    return encoded, len(rows) - len(encoded)


def main(s: dict) -> None:
    """Train as the settings say; `out` gets the model, train.json and done.json, the last by
    rename.

    Raises InputError where all rows are too long.
    """
    begun = time.time()
    import torch
    from datasets import disable_progress_bars

    torch.set_num_threads(s["threads"])
    disable_progress_bars()
    out = Path(s["out"])
    startup = time.time() - begun
    speed = {}
    # train.json is written when the model is: killed after that, nothing is left to do.
    if not (out / "train.json").exists():
        speed = _train(s, out)
    if int(os.environ.get("RANK", 0)) == 0:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        finish_job(out, s, startup, begun, **speed)


def _train(s: dict, out: Path) -> dict[str, float]:
    """Train and write the model and train.json: {"tokens_per_s"} of the training itself."""
    rows = list(read_jsonl(s["input"]))
    encoded, too_long = encode(rows, load_tokenizer(s["base_model"]), s["max_length"])
    if not encoded:
        raise InputError(f"{s['input']}: expected rows of at most {s['max_length']} tokens, but "
                         f"all {len(rows)} are longer; raise max_length")
    begun = time.time()
    state = trainer.fit(s, encoded, out / "checkpoints")
    seconds = time.time() - begun
    tokens = sum(len(row["input_ids"]) for row in encoded)
    if state.is_world_process_zero:
        _save_final(s, out / "checkpoints" / "final", out)
        losses = [round(entry["loss"], 4) for entry in state.log_history if "loss" in entry]
        labels = sum(label != -100 for row in encoded for label in row["labels"])
        write_json(out / "train.json", {
            "rows": len(rows), "too_long": too_long, "steps": state.global_step, "tokens": tokens,
            "completion_tokens": labels, "losses": losses})
    return {"tokens_per_s": round(tokens * s["epochs"] / seconds, 1)}


def _save_final(s: dict, folder: Path, out: Path) -> None:
    """The model as inference loads it, without peft.

    In bfloat16 where trained so; adapters are merged in float32.
    """
    import torch
    from transformers import set_seed

    set_seed(s["seed"])
    model, tokenizer = load(s["base_model"] if s["lora_rank"] else str(folder))
    if s["lora_rank"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    model.to(torch.bfloat16 if s["bf16"] else torch.float32).save_pretrained(out)
    tokenizer.save_pretrained(out)
