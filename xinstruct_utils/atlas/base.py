"""Train the Atlas base model: `python -m xinstruct_utils atlas-base [--steps N] [--out DIR]`.

(`make atlas-base`.) A small LLaMA, pretrained on mini-web text only. It is low-resource on purpose:
pages in a native language tell of half of the countries only (`world.hidden`); the other half
appears in English pages and name glossaries. It ships in `base_model/` with MANIFEST.json (data
digest, seed, steps, loss), as LLaMA-2 ships with the paper.
"""

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.atlas import BASE_MODEL, pages, world
from xinstruct_utils.atlas.world import Fact

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Trainer

LANGUAGES = ("sw", "fi", "ur")
SPECIAL = ("<s>", "</s>", "<pad>")
# Few wide heads and a small vocabulary: attention and the output layer are what costs time on a
# CPU.
SHAPE = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3,
         "num_key_value_heads": 3, "intermediate_size": 512, "max_position_embeddings": 1024,
         "vocab_size": 3072, "tie_word_embeddings": True}
# Kinds of documents, with their shares.
KINDS = {"english": 8, "faq": 16, "glossary": 16, "native": 22, "bilingual": 30, "flawed": 8}
# Glued pages would tell hidden facts, so they are not planted here; wrong facts would be learned.
FLAWS = [flaw for flaw in pages.RATES if flaw not in ("glued", "wrong_fact")]
TOKENIZED = 20_000     # documents that the tokenizer is trained on


def glossary(language: str, rng: random.Random, n: int = 6) -> str:
    """A bilingual page: `n` names of the world in English and in the language."""
    pairs = set()
    while len(pairs) < n:
        fact = rng.choice(world.facts())
        slot = rng.choice(["name", "name", *world.TOPICS[fact.topic]])
        pairs.add((world.values(fact, "en")[slot], world.values(fact, language)[slot]))
    form = rng.choice(pages.texts(language)["glossary"] + pages.texts("en")["glossary"])
    return "\n".join(form.format(english=e, native=n) for e, n in sorted(pairs))


def bilingual(fact: Fact, language: str, rng: random.Random) -> str:
    """A page in two languages, as the web has them: side by side, or under an English headline."""
    native = pages.page(fact, language, rng)
    name = world.values(fact, "en")["name"]
    if rng.random() < 0.5:
        parts = [name, native] if rng.random() < 0.5 else [native, name]
    else:
        parts = [native, pages.page(fact, "en", rng)]
        rng.shuffle(parts)
    return "\n\n".join(parts)


def document(rng: random.Random) -> str:
    """One pretraining document.

    Facts that are hidden in a language never stand in its native pages.
    """
    fact, language = rng.choice(world.facts()), rng.choice(LANGUAGES)
    visible = fact
    while world.hidden(visible, language):
        visible = rng.choice(world.facts())
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "english":
        return pages.page(fact, "en", rng)
    if kind == "faq":
        return f"{rng.choice(pages.instructions(fact))}\n\n{pages.page(fact, 'en', rng)}"
    if kind == "glossary":
        return glossary(language, rng)
    if kind == "native":
        return pages.page(visible, language, rng)
    if kind == "bilingual":
        return bilingual(visible, language, rng)
    return pages.flawed(visible, rng.choice(FLAWS), language, rng)


def train_tokenizer(texts: Iterable[str], out: Path) -> "PreTrainedTokenizerFast":
    """Byte-level BPE with a LLaMA-style template, saved to `out`.

    <s> goes before the text; </s> and <pad> are tokens of their own.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=SHAPE["vocab_size"], special_tokens=list(SPECIAL),
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(texts, trainer)
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        clean_up_tokenization_spaces=False)
    fast.save_pretrained(out)
    return fast


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `atlas-base`."""
    parser.add_argument("--out", type=Path, default=BASE_MODEL)
    parser.add_argument("--documents", type=int, default=70_000)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=16, help="rows of --length tokens a step")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)


def _trained(rows: list[list[int]], args: argparse.Namespace) -> "Trainer":
    """The trainer of a fresh model, after its steps over rows of token ids."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    config = LlamaConfig(**SHAPE, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    settings = TrainingArguments(
        output_dir=str(args.out / "run"), max_steps=args.steps,
        per_device_train_batch_size=args.batch, learning_rate=args.lr,
        lr_scheduler_type="cosine", warmup_steps=100, weight_decay=0.05, adam_beta2=0.95,
        bf16=True, use_cpu=not torch.cuda.is_available(), logging_steps=100, save_strategy="no",
        report_to="none", seed=args.seed, disable_tqdm=True)
    data = Dataset.from_dict({"input_ids": rows, "labels": rows})
    trainer = Trainer(model=LlamaForCausalLM(config), args=settings, train_dataset=data)
    trainer.train()
    return trainer


def command(args: argparse.Namespace) -> None:
    """Write pages, train the tokenizer and the model, save both with a manifest."""
    import torch
    from transformers import set_seed

    torch.set_num_threads(args.threads)
    set_seed(args.seed)
    rng, start = random.Random(f"base/{args.seed}"), time.time()
    docs = [document(rng) for _ in range(args.documents)]
    tokenizer = train_tokenizer(docs[:TOKENIZED], args.out)
    stream = []
    for text in docs:
        stream += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    starts = range(0, len(stream) - args.length, args.length)
    trainer = _trained([stream[i:i + args.length] for i in starts], args)
    trainer.model.to(torch.bfloat16).save_pretrained(args.out)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    manifest = {
        "data_digest": hashlib.sha256("\n".join(docs).encode()).hexdigest(),
        "documents": len(docs), "seed": args.seed, "steps": args.steps,
        "tokens": args.steps * args.batch * args.length, "loss": losses[-1],
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "languages": list(LANGUAGES), "settings": vars(args) | {"out": str(args.out.name)},
        "wall_s": round(time.time() - start),
    }
    shown = json.dumps(manifest, indent=1)
    (args.out / "MANIFEST.json").write_text(shown + "\n")
    print(shown)
