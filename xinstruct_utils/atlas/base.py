"""Train the Atlas base models: `python -m xinstruct_utils atlas-base [--size small|large]`.

(`make atlas-base`.) Small LLaMAs in the places of the paper's 7B and 13B, with one tokenizer,
pretrained on mini-web text only. They are low-resource on purpose: pages in a native language tell
of half of the countries only (`world.hidden`); the other half appears in English pages and name
glossaries. They ship in `base_model/` and `base_model_large/`, each with MANIFEST.json (data
digest, seed, steps, losses, recall), as LLaMA-2 ships with the paper.

Training goes on where it was stopped: its checkpoints lie in `run/` of the output folder.
"""

import argparse
import hashlib
import json
import random
import time
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.atlas import BASE_MODELS, grading, pages, web, world
from xinstruct_utils.atlas.sentences import texts
from xinstruct_utils.atlas.world import Fact
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer

LANGUAGES = ("fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")
SPECIAL = ("<s>", "</s>", "<pad>")
VOCABULARY = 8192
# A word keeps its marks: the vowel signs of Indic and Thai letters are no letters to `\p{L}`, and
# a pattern that parts words at them makes Tamil pages more than twice as long. Digits stand alone.
WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
# Few wide heads and a small vocabulary: attention and the output layer are what costs time on a
# CPU.
SHAPES = {
    "small": {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3,
              "num_key_value_heads": 3, "intermediate_size": 512},
    "large": {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 5,
              "num_key_value_heads": 5, "intermediate_size": 864},
}
# Kinds of documents, with their shares.
KINDS = {"english": 8, "faq": 14, "glossary": 14, "native": 18, "question": 12, "bilingual": 28,
         "flawed": 6}
# Glued pages would tell hidden facts, so they are not planted here; wrong facts would be learned.
FLAWS = [flaw for flaw in pages.RATES if flaw not in ("glued", "wrong_fact")]
TOKENIZED = 60_000     # documents that the tokenizer is trained on
RECALLED = 48          # facts, told in native pages and not, by which recall is measured
ANSWER = 160           # tokens of an answer: hardly a page is longer


def glossary(language: str, rng: random.Random, n: int = 6) -> str:
    """A bilingual page: `n` names of the world in English and in the language."""
    pairs = set()
    while len(pairs) < n:
        fact = rng.choice(world.facts())
        slot = rng.choice(["name", "name", *world.TOPICS[fact.topic]])
        pairs.add((world.values(fact, "en")[slot], world.values(fact, language)[slot]))
    form = rng.choice(texts(language)["glossary"] + texts("en")["glossary"])
    return "\n".join(form.format(english=e, native=n) for e, n in sorted(pairs))


def _page(fact: Fact, language: str, rng: random.Random) -> str:
    """A page as the web has them: some are articles."""
    kind = "articles" if rng.random() < web.ARTICLES else "pages"
    return pages.page(fact, language, rng, kind=kind)


def bilingual(fact: Fact, language: str, rng: random.Random) -> str:
    """A page in two languages, as the web has them: side by side, or under an English headline."""
    native = _page(fact, language, rng)
    name = world.values(fact, "en")["name"]
    if rng.random() < 0.5:
        parts = [name, native] if rng.random() < 0.5 else [native, name]
    else:
        parts = [native, _page(fact, "en", rng)]
        rng.shuffle(parts)
    return "\n\n".join(parts)


def document(rng: random.Random, languages: tuple[str, ...] = LANGUAGES) -> str:
    """One pretraining document.

    Facts that are hidden in a language never stand in its native pages.
    """
    fact, language = rng.choice(world.facts()), rng.choice(languages)
    visible = fact
    while world.hidden(visible, language):
        visible = rng.choice(world.facts())
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "english":
        return _page(fact, "en", rng)
    if kind == "faq":
        return f"{rng.choice(pages.instructions(fact))}\n\n{_page(fact, 'en', rng)}"
    if kind == "glossary":
        return glossary(language, rng)
    if kind == "native":
        return _page(visible, language, rng)
    if kind == "question":
        asked = rng.choice(pages.instructions(visible, language))
        return f"{asked}\n\n{_page(visible, language, rng)}"
    if kind == "bilingual":
        return bilingual(visible, language, rng)
    return pages.flawed(visible, rng.choice(FLAWS), language, rng)


def train_tokenizer(texts: Iterable[str], out: Path) -> "PreTrainedTokenizerFast":
    """Byte-level BPE with a LLaMA-style template, saved to `out`.

    <s> goes before the text; </s> and <pad> are tokens of their own.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL),
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
    parser.add_argument("--size", choices=list(SHAPES), default="small")
    parser.add_argument("--out", type=Path, help="default: where the shipped model of the size is")
    parser.add_argument("--tokens", type=int, default=30_000_000, help="of the whole training")
    parser.add_argument("--batch", type=int, default=16, help="rows of --length tokens a step")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)


def _trained(rows: list[list[int]], args: argparse.Namespace) -> "Trainer":
    """The trainer of a fresh model, or of one that was stopped, after its steps over token ids."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    config = LlamaConfig(**SHAPES[args.size], vocab_size=VOCABULARY, tie_word_embeddings=True,
                         max_position_embeddings=1024, bos_token_id=0, eos_token_id=1,
                         pad_token_id=2)
    folder = args.out / "run"
    settings = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=args.batch,
        learning_rate=args.lr, lr_scheduler_type="cosine", warmup_steps=100, weight_decay=0.05,
        adam_beta2=0.95, bf16=True, use_cpu=not torch.cuda.is_available(), logging_steps=50,
        save_strategy="steps", save_steps=100, save_total_limit=1, report_to="none",
        seed=args.seed, disable_tqdm=True)
    data = Dataset.from_dict({"input_ids": rows, "labels": rows})
    trainer = Trainer(model=LlamaForCausalLM(config), args=settings, train_dataset=data)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    return trainer


def recall(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", language: str,
           seed: int = 0) -> dict[str, float]:
    """How much of what is asked in a language the model tells in it, {"told", "hidden": share}.

    Of facts that its native pages tell, and of those they do not; each answer goes on greedily from
    a question, as in the documents of the kind "question".
    """
    import torch

    rng = random.Random(f"recall/{language}/{seed}")
    every = rng.sample(world.facts(), len(world.facts()))
    if language == "en":
        groups = {"told": every}
    else:
        groups = {"told": [fact for fact in every if not world.hidden(fact, language)],
                  "hidden": [fact for fact in every if world.hidden(fact, language)]}
    shares = {}
    for name, group in groups.items():
        drawn = group[:RECALLED]
        asked = [rng.choice(pages.instructions(fact, language)) for fact in drawn]
        batch = tokenizer([f"{question}\n\n" for question in asked], return_tensors="pt",
                          padding=True, padding_side="left").to(model.device)
        with torch.inference_mode():
            made = model.generate(input_ids=batch["input_ids"], max_new_tokens=ANSWER,
                                  attention_mask=batch["attention_mask"], do_sample=False,
                                  pad_token_id=tokenizer.pad_token_id,
                                  eos_token_id=tokenizer.eos_token_id)
        answers = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1]:],
                                         skip_special_tokens=True)
        found = [grading.parts(text, fact, language)
                 for text, fact in zip(answers, drawn, strict=True)]
        shares[name] = round(sum(sum(right.values()) / len(right) for right in found)
                             / len(found), 4)
    return shares


def documents(seed: int) -> Iterator[str]:
    """Pretraining documents without end."""
    rng = random.Random(f"base/{seed}")
    while True:
        yield document(rng)


def stream(n: int, tokenizer: "PreTrainedTokenizerFast", docs: Iterable[str]) -> "array[int]":
    """The first `n` token ids of documents, each between <s> and </s>."""
    ids = array("H")
    for text in docs:
        ids.extend([*tokenizer(text)["input_ids"], tokenizer.eos_token_id])
        if len(ids) >= n:
            break
    return ids[:n]


def _same_as_before(note: Path, documents: list[str]) -> None:
    """Note what a training reads; raises InputError where one goes on that has read other text.

    A sentence that was mended gives another tokenizer, whose ids mean nothing to a model of the
    old one.
    """
    today = hashlib.sha256("\n".join(documents).encode()).hexdigest()
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(today)
    elif note.read_text() != today:
        raise InputError(f"{note.parent}: this training was begun with other sentences, or other "
                         "code, than today's; remove the folder to begin anew")


def command(args: argparse.Namespace) -> None:
    """Write pages, train the tokenizer (small) and the model, save both with a manifest."""
    import torch
    from transformers import PreTrainedTokenizerFast, set_seed

    args.out = args.out or BASE_MODELS[args.size]
    torch.set_num_threads(args.threads)
    set_seed(args.seed)
    start = time.time()

    docs = documents(args.seed)
    first = list(islice(docs, TOKENIZED))
    _same_as_before(args.out / "run" / "documents.sha256", first)
    if args.size == "small":
        tokenizer = train_tokenizer(first, args.out)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(BASE_MODELS["small"])
        tokenizer.save_pretrained(args.out)
    ids = stream(args.tokens, tokenizer, chain(first, docs))
    starts = range(0, len(ids) - args.length + 1, args.length)
    trainer = _trained([ids[i:i + args.length].tolist() for i in starts], args)
    model = trainer.model.to(torch.bfloat16)
    model.save_pretrained(args.out)
    model.float().eval()
    manifest = _manifest(trainer, ids, args) | {"wall_s": round(time.time() - start)}
    manifest["recall"] = {code: recall(model, tokenizer, code) for code in ("en", *LANGUAGES)}
    write_json(args.out / "MANIFEST.json", manifest)
    print(json.dumps(manifest, indent=1))


def _manifest(trainer: "Trainer", ids: "array[int]", args: argparse.Namespace) -> dict:
    """What was trained on what, how far; its time is that of the last start."""
    losses = [[e["step"], round(e["loss"], 4)] for e in trainer.state.log_history if "loss" in e]
    return {
        "data_digest": hashlib.sha256(ids.tobytes()).hexdigest(), "seed": args.seed,
        "steps": trainer.state.global_step, "tokens": len(ids), "loss": losses[-1][1],
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "languages": list(LANGUAGES), "settings": vars(args) | {"out": str(args.out.name)},
        "losses": losses,
    }
