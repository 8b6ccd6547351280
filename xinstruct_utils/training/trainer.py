"""What TRL's trainer is given: batches, adapters, whole checkpoints, a faster way on a CPU."""

import gc
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json
from xinstruct_utils.models.loading import load

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerState
    from trl import SFTConfig, SFTTrainer

SMALL = 3000         # rows; below them the paper's batch is 8, not 32 (Appendix A)
# Settings that TRL has under the same name: passed through as they are.
TRL_KEYS = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "bf16",
            "logging_steps", "seed")


def attend_by_row(model: "PreTrainedModel") -> None:
    """Without a GPU: attention row by row inside a pack, where a mask would hide the other rows.

    In float32, whose backward pass takes half the time of bfloat16's there (LOG.md).
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers import AttentionInterface, AttentionMaskInterface

    def by_row(module, q, k, v, mask, scaling=None, dropout=0.0, position_ids=None, **kwargs):
        starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()    # a pack is one row of the batch
        sizes = [b - a for a, b in zip(starts, [*starts[1:], q.shape[2]], strict=True)]
        grouped = q.shape[1] != k.shape[1]
        with torch.autocast("cpu", enabled=False):
            parts = zip(*(x.float().split(sizes, 2) for x in (q, k, v)), strict=True)
            outputs = [scaled_dot_product_attention(*part, is_causal=True, scale=scaling,
                                                    enable_gqa=grouped) for part in parts]
            return torch.cat(outputs, 2).transpose(1, 2).to(q.dtype), None

    AttentionInterface.register("by_row", by_row)
    AttentionMaskInterface.register("by_row", lambda *args, **kwargs: None)
    if not getattr(model.config, "sliding_window", None):
        model.set_attn_implementation("by_row")


def labelled_loss(model: "PreTrainedModel", inputs: dict, num_items_in_batch: int | None = None,
                  ) -> "torch.Tensor":
    """Mean cross-entropy of a pack's labels, with logits nowhere else.

    TRL's chunks save memory that a small model does not need, for more time than the rest of its
    step takes (LOG.md).
    """
    from torch.nn.functional import cross_entropy

    labels = inputs["labels"][0, 1:]                            # a pack is one row of the batch
    at = (labels != -100).nonzero()[:, 0]
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**rest, use_cache=False, logits_to_keep=at).logits[0]
    total = cross_entropy(logits.float(), labels[at], reduction="sum")
    return total / (len(at) if num_items_in_batch is None else num_items_in_batch)


def batch_settings(s: dict, n_rows: int, ranks: int) -> dict:
    """How `n_rows` rows become optimiser steps on `ranks` ranks: TRL settings.

    With `batch_rows` a step has exactly that many rows (`batch_rows_under_3k` where there are fewer
    than 3,000), as in Appendix A; `device_rows` of them at a time stand on a device, one after the
    other without padding. Without it a step sees about `batch_tokens` tokens, in packed rows of
    `max_length`. Raises InputError where the rows cannot be shared out.
    """
    rows = s["batch_rows"]
    if n_rows < SMALL and s["batch_rows_under_3k"]:
        rows = s["batch_rows_under_3k"]
    if not rows:
        packs = max(1, s["batch_tokens"] // (s["max_length"] * ranks))
        return {"packing": True, "packing_strategy": "bfd", "max_length": s["max_length"],
                "per_device_train_batch_size": 1, "gradient_accumulation_steps": packs}
    if rows % ranks:
        raise InputError(f"a batch of {rows} rows cannot be shared out to {ranks} processes; set "
                         f"batch_rows (and batch_rows_under_3k) to a multiple of {ranks}, or use "
                         "fewer processes")
    share = rows // ranks
    here = max(d for d in range(1, min(s["device_rows"], share) + 1) if share % d == 0)
    return {"packing": False, "padding_free": here > 1, "max_length": None,
            "per_device_train_batch_size": here, "gradient_accumulation_steps": share // here}


def train_config(s: dict, folder: Path, n_rows: int) -> "SFTConfig":
    """TRL settings from ours, those of `TRL_KEYS` as they are.

    Made before the model is read: DeepSpeed's ZeRO-3 splits the weights while they are read.
    """
    import torch
    from trl import SFTConfig

    ranks = int(os.environ.get("WORLD_SIZE", 1))
    return SFTConfig(
        output_dir=str(folder), num_train_epochs=s["epochs"], **{key: s[key] for key in TRL_KEYS},
        **batch_settings(s, n_rows, ranks), shuffle_dataset=True, dataset_num_proc=None,
        use_cpu=not torch.cuda.is_available(), report_to="none", disable_tqdm=True,
        save_strategy="steps" if s["save_steps"] else "no", save_steps=s["save_steps"] or 500,
        activation_checkpointing=s["gradient_checkpointing"])


def fit(s: dict, encoded: Sequence[dict], folder: Path) -> "TrainerState":
    """Train on encoded rows, from the last whole checkpoint in `folder` if there is one.

    The weights (of the adapter, with `lora_rank`) are then in `folder`/final: gathered from all
    ranks, saved by one. Returns the trainer's state.
    """
    import torch
    from transformers import set_seed
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    config = train_config(s, folder, len(encoded))
    set_seed(s["seed"])                          # a new row for the pad token is drawn at random
    # DeepSpeed keeps float32 weights of its own beside those that it computes with; LoRA leaves
    # the base as it is.
    light = s["bf16"] and (s["lora_rank"] or config.deepspeed_plugin)
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


def make(s: dict, config: "SFTConfig", model: "PreTrainedModel",
         tokenizer: "PreTrainedTokenizerBase", encoded: Sequence[dict]) -> "SFTTrainer":
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
    tokens = sum(len(row["input_ids"]) for row in encoded) * s["epochs"]
    return kind(model=model, args=config, processing_class=tokenizer,
                train_dataset=Dataset.from_list(list(encoded)), peft_config=_lora(s["lora_rank"]),
                callbacks=[_progress(tokens)])


def _lora(rank: int) -> "LoraConfig | None":
    """Low-rank adapters on all linear layers, scaled by 2; None for full training."""
    from peft import LoraConfig

    if not rank:
        return None
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear",
                      task_type="CAUSAL_LM")


def last_checkpoint(folder: Path, ranks: int) -> str | None:
    """The newest checkpoint that each of `ranks` ranks finished, or None."""
    whole = [path.parent for path in folder.glob("checkpoint-*/complete.json")
             if read_json(path) == {"ranks": ranks}]
    if not whole:
        return None
    return str(max(whole, key=lambda path: int(path.name.split("-")[1])))


def _progress(tokens: int) -> "TrainerCallback":
    """A callback that tells of a training of so many tokens, and marks whole checkpoints."""
    from accelerate import PartialState
    from transformers import TrainerCallback

    begun = time.time()

    class Progress(TrainerCallback):
        """One line per logged step: share done, loss, tokens a second and ETA."""

        def on_log(self, args, state, control, logs=None, **kwargs):
            if not (logs and "loss" in logs and state.is_world_process_zero):
                return
            spent = time.time() - begun
            done = max(1, state.global_step) / state.max_steps
            print(f"step {state.global_step}/{state.max_steps} loss {float(logs['loss']):.3f} "
                  f"{tokens * done / spent:,.0f} tokens/s ETA {spent * (1 / done - 1):.0f} s",
                  flush=True)

        def on_save(self, args, state, control, **kwargs):
            """Killed in the middle of writing, a checkpoint has its folder and some files.

            So the older one is kept until now.
            """
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                newest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                write_json(newest / "complete.json", {"ranks": args.world_size})
                for old in set(newest.parent.glob("checkpoint-*")) - {newest}:
                    shutil.rmtree(old)

    return Progress()
