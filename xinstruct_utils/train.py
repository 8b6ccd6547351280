"""Supervised fine-tuning with TRL: run by `launch.run("train", ...)` in a subprocess, on one device or many ranks.

Reads rows {"prompt", "completion"}; the loss is on the completion and its EOS only; rows are packed without
cross-contamination (position ids restart, attention stays inside a row). Rows over `max_tokens` are counted and
dropped, never cut. Hyperparameters of the paper: Appendix A; a profile may set others.
"""

import os
import shutil
import time
from pathlib import Path

from . import languages


def _continued(tokenizer, text):
    """Token ids of a text that goes on after a line break.

    SentencePiece tokenizers (LLaMA-2) put a blank before the first word of all they are given: "0" would be two tokens.
    """
    before, both = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("\n", "\n" + text))
    if both[:len(before)] == before:
        return both[len(before):]
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def token_ids(tokenizer, prompt, completion=None):
    """Token ids of a prompt, and of its completion with EOS; BOS exactly once where the tokenizer has one.

    Prompt and completion are tokenised apart, so that the prompt's ids are the same in training and inference.
    Returns (ids, number of prompt tokens).
    """
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = bos + tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if completion is None:
        return ids, len(ids)
    return ids + _continued(tokenizer, completion) + [tokenizer.eos_token_id], len(ids)


def rating_tokens(tokenizer):
    """The three token ids of the ratings 0, 1, 2. Raises ValueError if one of them is not a single token."""
    ids = [_continued(tokenizer, str(rating)) for rating in (0, 1, 2)]
    if any(len(i) != 1 for i in ids):
        raise ValueError(f"each rating must be one token, but this tokenizer makes {ids} of '0', '1', '2'; "
                         "use a tokenizer that has the digits as tokens")
    return [i[0] for i in ids]


def context(config):
    """Tokens that a model reads at most, as its configuration says; None where that says nothing."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def encode(rows, tokenizer, max_tokens):
    """Token ids and labels of the rows (-100 on the prompt). Returns (list of dicts, number dropped as too long)."""
    encoded = []
    for row in rows:
        ids, n_prompt = token_ids(tokenizer, row["prompt"], row["completion"])
        if len(ids) <= max_tokens:
            encoded.append({"input_ids": ids, "labels": [-100] * n_prompt + ids[n_prompt:]})
    return encoded, len(rows) - len(encoded)


def load_tokenizer(path):
    """Tokenizer of a folder or hub id; a missing pad token gets one of its own."""
    from transformers import AutoTokenizer

    from .atlas import BASE_MODEL

    tokenizer = AutoTokenizer.from_pretrained(str(BASE_MODEL) if path == "atlas" else path, trust_remote_code=False)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # pad = EOS would hide EOS from code that masks padding by id, and the model would never learn to stop
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def token_counts(tokenizer, texts):
    """How many tokens each text is, without BOS and EOS."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]] if texts else []


def fertility(texts, counts, lang):
    """{"tokens a word", "tokens a character"} of texts with these token counts; no tokens a word in a language that sets no
    blanks between its words."""
    made = {"tokens a character": sum(counts) / sum(map(len, texts))}
    if languages.named(lang).spaced:
        made["tokens a word"] = sum(counts) / sum(len(t.split()) for t in texts)
    return made


def load(path, dtype="float32"):
    """Model and tokenizer from a folder or hub id, safetensors only; the model has a row for the pad token."""
    from transformers import AutoModelForCausalLM

    from .atlas import BASE_MODEL

    tokenizer, path = load_tokenizer(path), str(BASE_MODEL) if path == "atlas" else path
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False, use_safetensors=True, dtype=dtype)
    if len(tokenizer) > model.config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def main(s):
    """Train as the settings say; `out` gets the model, train.json and done.json, the last by rename."""
    start = time.time()
    import torch
    from datasets import disable_progress_bars

    from . import artifacts, launch, trainer

    torch.set_num_threads(s["threads"])
    disable_progress_bars()
    out, startup = Path(s["out"]), time.time() - start
    if not (out / "train.json").exists():        # it is written when the model is: killed after that, nothing is left to do
        rows = list(artifacts.read_jsonl(s["input"]))
        encoded, too_long = encode(rows, load_tokenizer(s["base_model"]), s["max_tokens"])
        if not encoded:
            raise artifacts.InputError(f"{s['input']}: expected rows of at most {s['max_tokens']} tokens, but all "
                                       f"{len(rows)} are longer; raise max_tokens")
        state = trainer.fit(s, encoded, out / "checkpoints")
        if state.is_world_process_zero:
            _save_final(s, out / "checkpoints" / "final", out)
            losses = [round(h["loss"], 4) for h in state.log_history if "loss" in h]
            labels = sum(x != -100 for e in encoded for x in e["labels"])
            artifacts.write_json(out / "train.json", dict(
                rows=len(rows), too_long=too_long, steps=state.global_step, tokens=sum(len(e["input_ids"]) for e in encoded),
                completion_tokens=labels, losses=losses))
    if int(os.environ.get("RANK", 0)) == 0:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        launch.finish_job(out, s, startup, start)


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
