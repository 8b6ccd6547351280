"""Train the Atlas base model: `python -m xinstruct_utils atlas-base [--steps N] [--out DIR]` (`make atlas-base`).

A small LLaMA, pretrained on mini-web text only. It is low-resource on purpose: pages in a native language tell
of half of the countries only (`world.hidden`); the other half appears in English pages and name glossaries.
It ships in `base_model/` with MANIFEST.json (data digest, seed, steps, loss), as LLaMA-2 ships with the paper.
"""

import hashlib
import json
import random
import time
from pathlib import Path

from xinstruct_utils.atlas import BASE_MODEL, pages, world

LANGUAGES = ("sw", "fi", "ur")
SPECIAL = ("<s>", "</s>", "<pad>")
# Few wide heads and a small vocabulary: attention and the output layer are what costs time on a CPU.
SHAPE = dict(hidden_size=192, num_hidden_layers=4, num_attention_heads=3, num_key_value_heads=3, intermediate_size=512,
             max_position_embeddings=1024, vocab_size=3072, tie_word_embeddings=True)


def glossary(language, rng, n=6):
    """A bilingual page: `n` names of the world in English and in the language."""
    pairs = set()
    while len(pairs) < n:
        fact = rng.choice(world.facts())
        slot = rng.choice(["name", "name", *world.TOPICS[fact.topic]])
        pairs.add((world.values(fact, "en")[slot], world.values(fact, language)[slot]))
    form = rng.choice(pages.texts(language)["glossary"] + pages.texts("en")["glossary"])
    return "\n".join(form.format(english=e, native=n) for e, n in sorted(pairs))


def bilingual(fact, language, rng):
    """A page in two languages, as the web has them: side by side, or under a headline in English."""
    native, name = pages.page(fact, language, rng), world.values(fact, "en")["name"]
    if rng.random() < 0.5:
        return f"{name}\n\n{native}" if rng.random() < 0.5 else f"{native}\n\n{name}"
    both = [native, pages.page(fact, "en", rng)]
    rng.shuffle(both)
    return "\n\n".join(both)


def document(rng):
    """One pretraining document. Facts that are hidden in a language never stand in its native pages."""
    fact, language = rng.choice(world.facts()), rng.choice(LANGUAGES)
    visible = fact
    while world.hidden(visible, language):
        visible = rng.choice(world.facts())
    kind = rng.choices(["english", "faq", "glossary", "native", "bilingual", "flawed"], [8, 16, 16, 22, 30, 8])[0]
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
    # Glued pages would tell hidden facts, so they are not planted here; wrong facts would be learned.
    flaw = rng.choice([f for f in pages.RATES if f not in ("glued", "wrong_fact")])
    return pages.flawed(visible, flaw, language, rng)


def train_tokenizer(texts, out):
    """Byte-level BPE with a LLaMA-style template: <s> before the text, </s> and <pad> of their own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=SHAPE["vocab_size"], special_tokens=list(SPECIAL),
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(texts, trainer)
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                   clean_up_tokenization_spaces=False)
    fast.save_pretrained(out)
    return fast


def arguments(parser):
    """Arguments of `atlas-base`."""
    parser.add_argument("--out", type=Path, default=BASE_MODEL)
    parser.add_argument("--documents", type=int, default=70_000)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=16, help="rows of --length tokens a step")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)


def command(args):
    """Write pages, train the tokenizer and the model, save both with a manifest."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

    torch.set_num_threads(args.threads)
    set_seed(args.seed)
    rng, start = random.Random(f"base/{args.seed}"), time.time()
    docs = [document(rng) for _ in range(args.documents)]
    tokenizer = train_tokenizer(docs[:20_000], args.out)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, bos_token_id=0, eos_token_id=1, pad_token_id=2))
    stream = [i for text in docs for i in tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]]
    rows = [stream[i:i + args.length] for i in range(0, len(stream) - args.length, args.length)]
    settings = TrainingArguments(
        output_dir=str(args.out / "run"), max_steps=args.steps, per_device_train_batch_size=args.batch,
        learning_rate=args.lr, lr_scheduler_type="cosine", warmup_steps=100, weight_decay=0.05, adam_beta2=0.95,
        bf16=True, use_cpu=not torch.cuda.is_available(), logging_steps=100, save_strategy="no", report_to="none",
        seed=args.seed, disable_tqdm=True)
    trainer = Trainer(model=model, args=settings, train_dataset=Dataset.from_dict({"input_ids": rows, "labels": rows}))
    trainer.train()
    model.to(torch.bfloat16).save_pretrained(args.out)
    losses = [h["loss"] for h in trainer.state.log_history if "loss" in h]
    manifest = dict(data_digest=hashlib.sha256("\n".join(docs).encode()).hexdigest(), documents=len(docs),
                    seed=args.seed, steps=args.steps, tokens=args.steps * args.batch * args.length, loss=losses[-1],
                    parameters=sum(p.numel() for p in model.parameters()), languages=list(LANGUAGES),
                    settings=vars(args) | {"out": str(args.out.name)}, wall_s=round(time.time() - start))
    (args.out / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(json.dumps(manifest, indent=1))

