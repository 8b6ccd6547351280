"""Token ids with tokenizers of three families, built here with the settings that make the families
differ.
"""

import pytest
import torch
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from xinstruct_utils.core import languages
from xinstruct_utils.models import loading
from xinstruct_utils.models.loading import load_tokenizer
from xinstruct_utils.models.tokenization import fertility, rating_tokens, token_counts, token_ids
from xinstruct_utils.prompts.requests import rating_request, response_request
from xinstruct_utils.training import sft

TEXTS = [
    "Sarafu ya Kenya ni Shilingi.",
    "What is the currency of Kenya?\n\nAnswer in Swahili.",
    "Mji mkuu ni Nairobi\n0 1 2 3",
]


def trained(tokenizer, specials, **names):
    alphabet = (
        pre_tokenizers.ByteLevel.alphabet()
        if isinstance(tokenizer.decoder, decoders.ByteLevel)
        else []
    )
    tokenizer.train_from_iterator(
        TEXTS * 3,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        ),
    )
    if "bos_token" in names:  # the tokenizer itself puts BOS before all it is given
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{names['bos_token']} $A",
            special_tokens=[(names["bos_token"], tokenizer.token_to_id(names["bos_token"]))],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def llama():
    """SentencePiece's habits: a blank before the first word of any text, bytes for what is unknown,
    no pad token.
    """
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # LLaMA's digits and line breaks are tokens of their own.
    tok.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d|\n"), "isolated")
    tok.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    return trained(tok, specials, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def gemma():
    """BOS by itself, no blank before the first word, a pad token."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d|\n"), "isolated")
    tok.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    return trained(
        tok, specials, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
    )


def qwen():
    """Byte level, no BOS, and the pad token is EOS."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    return trained(tok, ["<|endoftext|>"], eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@pytest.fixture(scope="module", params=[llama, gemma, qwen], ids=lambda f: f.__name__)
def family(request, tmp_path_factory):
    """(Name, tokenizer as `train` loads it, folder with it and a small model)."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    tokenizer = request.param()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            vocab_size=len(tokenizer),
        )
    ).save_pretrained(folder)
    return request.param.__name__, load_tokenizer(str(folder)), str(folder)


def test_bos_stands_exactly_once_where_the_family_has_one(family):
    name, tokenizer, _ = family
    prompt = response_request("What is the currency of Kenya?", "sw")
    ids, n = token_ids(tokenizer, prompt, "Shilingi ya Kenya")
    if name == "qwen":
        assert tokenizer.bos_token_id is None and ids[0] == tokenizer(prompt)["input_ids"][0]
    else:
        assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
        assert ids[:n] == tokenizer(prompt)["input_ids"]  # as its own template has it
    assert token_ids(tokenizer, prompt)[0] == ids[:n]  # inference sees the same


def test_decoded_labels_are_the_completion_and_eos_only(family):
    _, tokenizer, _ = family
    rows, dropped = sft.encode(
        [{"prompt": "Swali: sarafu?\n", "completion": "Shilingi ya Kenya"}], tokenizer, 128
    )
    learned = [i for i in rows[0]["labels"] if i != -100]
    assert (
        dropped == 0
        and learned[-1] == tokenizer.eos_token_id
        and learned.count(tokenizer.eos_token_id) == 1
    )
    assert tokenizer.decode(learned) == "Shilingi ya Kenya" + tokenizer.eos_token
    assert rows[0]["input_ids"][-len(learned) :] == learned


def test_a_rating_is_one_token_and_the_one_that_is_learned(family):
    _, tokenizer, _ = family
    three = rating_tokens(tokenizer)
    assert len(set(three)) == 3 and [tokenizer.decode([i]) for i in three] == ["0", "1", "2"]
    for rating in (0, 1, 2):
        ids, n = token_ids(tokenizer, rating_request("I", "O"), str(rating))
        assert ids[n:] == [three[rating], tokenizer.eos_token_id]


def test_the_pad_token_is_not_eos_and_the_model_has_a_row_for_it(family):
    name, tokenizer, folder = family
    model, loaded = loading.load(folder)
    assert loaded.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    rows = model.get_input_embeddings().num_embeddings
    assert (
        rows
        == len(tokenizer)
        == (len(gemma()) if name == "gemma" else len({"llama": llama, "qwen": qwen}[name]()) + 1)
    )


def test_sentencepiece_would_make_two_tokens_of_a_rating():
    """Why completions are tokenised as what follows a line break: alone, "0" comes with a blank
    before it.
    """
    assert len(llama()("0", add_special_tokens=False)["input_ids"]) == 2


def test_tokens_are_counted_without_bos_and_fertility_is_by_word_only_where_blanks_part_words():
    tokenizer, texts = gemma(), ["ab cd", "e"]
    counts = token_counts(tokenizer, texts)
    assert (
        counts == [len(tokenizer(t)["input_ids"]) - 1 for t in texts]
        and token_counts(tokenizer, []) == []
    )
    assert fertility(texts, counts, "sw") == {
        "tokens a character": sum(counts) / 6,
        "tokens a word": sum(counts) / 3,
    }
    assert set(fertility(texts, counts, "th")) == {"tokens a character"}
    assert languages.ENGLISH.spaced and not languages.get("th").spaced
