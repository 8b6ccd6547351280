"""What TRL's trainer is given: batches, ranks, adapters, whole checkpoints, and a faster way where there is no GPU."""

import gc
import os
import shutil
import time
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.models.loading import load

SMALL = 3000                                     # rows; below them the paper's batch is 8, not 32 (Appendix A)


def attend_by_row(model):
    """Without a GPU: attention row by row inside a pack, where a mask would hide the other rows, and in float32, whose
    backward pass takes half the time of bfloat16's there (LOG.md)."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers import AttentionInterface, AttentionMaskInterface

    def by_row(module, q, k, v, mask, scaling=None, dropout=0.0, position_ids=None, **kwargs):
        starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()       # a pack is one row of the batch
        sizes = [b - a for a, b in zip(starts, [*starts[1:], q.shape[2]], strict=True)]
        with torch.autocast("cpu", enabled=False):
            parts = zip(*(x.float().split(sizes, 2) for x in (q, k, v)), strict=True)
            made = [scaled_dot_product_attention(*part, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1])
                    for part in parts]
            return torch.cat(made, 2).transpose(1, 2).to(q.dtype), None

    AttentionInterface.register("by_row", by_row)
    AttentionMaskInterface.register("by_row", lambda *args, **kwargs: None)
    if not getattr(model.config, "sliding_window", None):
        model.set_attn_implementation("by_row")


def labelled_loss(model, inputs, num_items_in_batch=None):
    """Mean cross-entropy of a pack's labels, with logits nowhere else. TRL's chunks save memory that a small model does not
    need, for more time than the rest of its step takes (LOG.md)."""
    from torch.nn.functional import cross_entropy

    labels = inputs["labels"][0, 1:]                                   # a pack is one row of the batch
    at = (labels != -100).nonzero()[:, 0]
    rest = {k: v for k, v in inputs.items() if k != "labels"}
    logits = model(**rest, use_cache=False, logits_to_keep=at).logits[0]
    total = cross_entropy(logits.float(), labels[at], reduction="sum")
    return total / (len(at) if num_items_in_batch is None else num_items_in_batch)


def batch_settings(s, n_rows, ranks):
    """How `n_rows` rows become optimiser steps on `ranks` ranks: TRL settings.

    With `batch_rows` a step has exactly that many rows (`batch_rows_under_3k` where there are fewer than 3,000), as in
    Appendix A; `device_rows` of them at a time stand on a device, one after the other without padding. Without it a step
    sees about `batch_tokens` tokens, in packed rows of `max_tokens`. Raises InputError where the rows cannot be shared out.
    """
    rows = (n_rows < SMALL and s.get("batch_rows_under_3k")) or s.get("batch_rows")
    if not rows:
        return dict(packing=True, packing_strategy="bfd", max_length=s["max_tokens"], per_device_train_batch_size=1,
                    gradient_accumulation_steps=max(1, s["batch_tokens"] // (s["max_tokens"] * ranks)))
    if rows % ranks:
        raise InputError(f"a batch of {rows} rows cannot be shared out to {ranks} processes; set batch_rows (and "
                         f"batch_rows_under_3k) to a multiple of {ranks}, or use fewer processes")
    here = max(d for d in range(1, min(s.get("device_rows", 1), rows // ranks) + 1) if rows // ranks % d == 0)
    return dict(packing=False, padding_free=here > 1, max_length=None, per_device_train_batch_size=here,
                gradient_accumulation_steps=rows // (ranks * here))


def train_config(s, folder, n_rows):
    """TRL settings from ours. Made before the model is read: DeepSpeed's ZeRO-3 splits the weights while they are read."""
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(folder), num_train_epochs=s["epochs"], learning_rate=s["learning_rate"],
        lr_scheduler_type="cosine", warmup_steps=s.get("warmup", 0.03), weight_decay=s.get("weight_decay", 0.0),
        **batch_settings(s, n_rows, int(os.environ.get("WORLD_SIZE", 1))), shuffle_dataset=True, seed=s["seed"],
        bf16=s["bf16"], use_cpu=not torch.cuda.is_available(), report_to="none", disable_tqdm=True,
        logging_steps=s.get("logging_steps", 5), dataset_num_proc=None,
        save_strategy="steps" if s.get("save_steps") else "no", save_steps=s.get("save_steps") or 500,
        activation_checkpointing=s.get("gradient_checkpointing", False))


def fit(s, encoded, folder):
    """Train on encoded rows, from the last whole checkpoint in `folder` if there is one. Returns the trainer's state.

    The weights (of the adapter, with `lora_rank`) are then in `folder`/final: gathered from all ranks, saved by one.
    """
    import torch
    from transformers import set_seed
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    config = train_config(s, folder, len(encoded))
    set_seed(s["seed"])                          # a new row for the pad token is drawn at random
    # DeepSpeed keeps float32 weights of its own beside those that it computes with; LoRA leaves the base as it is.
    light = s["bf16"] and (s.get("lora_rank") or config.deepspeed_plugin)
    model, tokenizer = load(s["base_model"], "bfloat16" if light else "float32")
    trainer = make(s, config, model, tokenizer, encoded)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder, config.world_size))
    trainer.save_model(str(folder / "final"))
    state = trainer.state
    # The next job of this process needs the memory, and must not read its model as ZeRO-3 does.
    trainer.accelerator.free_memory()
    unset_hf_deepspeed_config()
    del trainer, model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return state


def make(s, config, model, tokenizer, encoded):
    """TRL's trainer of a model, for these settings and encoded rows."""
    import torch
    from datasets import Dataset
    from trl import SFTTrainer

    class OnCpu(SFTTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return labelled_loss(model, inputs, num_items_in_batch)

    if not torch.cuda.is_available():
        attend_by_row(model)
    kind = SFTTrainer if torch.cuda.is_available() or config.world_size > 1 else OnCpu
    return kind(model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(encoded),
                peft_config=_lora(s), callbacks=[_progress(time.time())])


def _lora(s):
    """Low-rank adapters on all linear layers, scaled by 2; None for full training."""
    from peft import LoraConfig

    rank = s.get("lora_rank")
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM") if rank else None


def last_checkpoint(folder, ranks):
    """The newest checkpoint that each of `ranks` ranks finished, as a string, or None."""
    found = [p.parent for p in folder.glob("checkpoint-*/complete.json") if read_json(p) == {"ranks": ranks}]
    return str(max(found, key=lambda p: int(p.name.split("-")[1]))) if found else None


def _progress(start):
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        """One line per logged step: share done, loss and ETA, for `launch.run` to show. Marks whole checkpoints."""

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs and state.is_world_process_zero:
                left = (time.time() - start) * (state.max_steps / max(1, state.global_step) - 1)
                print(f"step {state.global_step}/{state.max_steps} loss {float(logs['loss']):.3f} ETA {left:.0f} s",
                      flush=True)

        def on_save(self, args, state, control, **kwargs):
            """Killed in the middle of writing, a checkpoint has its folder and some files; the older one is kept until now."""
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                made = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                write_json(made / "complete.json", {"ranks": args.world_size})
                for old in set(made.parent.glob("checkpoint-*")) - {made}:
                    shutil.rmtree(old)

    return Progress()
