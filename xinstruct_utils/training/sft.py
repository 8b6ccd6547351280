"""Supervised fine-tuning with TRL: run by `launch.run("train", ...)` in a subprocess, on one device or many ranks.

Reads rows {"prompt", "completion"}; the loss is on the completion and its EOS only; rows are packed without
cross-contamination (position ids restart, attention stays inside a row). Rows over `max_tokens` are counted and
dropped, never cut. Hyperparameters of the paper: Appendix A; a profile may set others.
"""

import os
import shutil
import time
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl, write_json
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.models.loading import load
from xinstruct_utils.models.tokenization import load_tokenizer, token_ids
from xinstruct_utils.training import trainer


def encode(rows, tokenizer, max_tokens):
    """Token ids and labels of the rows (-100 on the prompt). Returns (list of dicts, number dropped as too long)."""
    encoded = []
    for row in rows:
        ids, n_prompt = token_ids(tokenizer, row["prompt"], row["completion"])
        if len(ids) <= max_tokens:
            encoded.append({"input_ids": ids, "labels": [-100] * n_prompt + ids[n_prompt:]})
    return encoded, len(rows) - len(encoded)


def main(s):
    """Train as the settings say; `out` gets the model, train.json and done.json, the last by rename."""
    start = time.time()
    import torch
    from datasets import disable_progress_bars

    torch.set_num_threads(s["threads"])
    disable_progress_bars()
    out, startup = Path(s["out"]), time.time() - start
    if not (out / "train.json").exists():        # it is written when the model is: killed after that, nothing is left to do
        rows = list(read_jsonl(s["input"]))
        encoded, too_long = encode(rows, load_tokenizer(s["base_model"]), s["max_tokens"])
        if not encoded:
            raise InputError(f"{s['input']}: expected rows of at most {s['max_tokens']} tokens, but all "
                                       f"{len(rows)} are longer; raise max_tokens")
        state = trainer.fit(s, encoded, out / "checkpoints")
        if state.is_world_process_zero:
            _save_final(s, out / "checkpoints" / "final", out)
            losses = [round(h["loss"], 4) for h in state.log_history if "loss" in h]
            labels = sum(x != -100 for e in encoded for x in e["labels"])
            write_json(out / "train.json", dict(
                rows=len(rows), too_long=too_long, steps=state.global_step, tokens=sum(len(e["input_ids"]) for e in encoded),
                completion_tokens=labels, losses=losses))
    if int(os.environ.get("RANK", 0)) == 0:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        finish_job(out, s, startup, start)


def _save_final(s, folder, out):
    """The model as inference loads it, without peft: in bfloat16 where trained so, adapters merged in float32."""
    import torch
    from transformers import set_seed

    set_seed(s["seed"])
    model, tokenizer = load(s["base_model"] if s.get("lora_rank") else str(folder))
    if s.get("lora_rank"):
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    model.to(torch.bfloat16 if s["bf16"] else torch.float32).save_pretrained(out)
    tokenizer.save_pretrained(out)
