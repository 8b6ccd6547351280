"""Token ids of prompts and completions: the one place where BOS and EOS are put."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xinstruct_utils.core import languages

if TYPE_CHECKING:
    from transformers import PretrainedConfig
    from transformers import PreTrainedTokenizerBase as Tokenizer


def plain_ids(tokenizer: "Tokenizer", text: str) -> list[int]:
    """Token ids of a text that somebody wrote.

    "</s>" in it is four characters, not the end of the sequence.
    """
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def continued(tokenizer: "Tokenizer", text: str) -> list[int]:
    """Token ids of a text that goes on after a line break.

    SentencePiece tokenizers (LLaMA-2) put a blank before the first word of all they are given: "0"
    would be two tokens.
    """
    before = plain_ids(tokenizer, "\n")
    both = plain_ids(tokenizer, "\n" + text)
    if both[:len(before)] == before:
        return both[len(before):]
    return plain_ids(tokenizer, text)


def token_ids(tokenizer: "Tokenizer", prompt: str, completion: str | None = None,
              ) -> tuple[list[int], int]:
    """Token ids of a prompt, and of its completion with EOS; BOS once where there is one.

    Prompt and completion are tokenised apart, so that the prompt's ids are the same in training
    and inference. Returns (ids, number of prompt tokens).
    """
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = bos + plain_ids(tokenizer, prompt)
    if completion is None:
        return ids, len(ids)
    return ids + continued(tokenizer, completion) + [tokenizer.eos_token_id], len(ids)


def rating_tokens(tokenizer: "Tokenizer") -> list[int]:
    """The three token ids of the ratings 0, 1, 2.

    Raises ValueError if one of them is not a single token.
    """
    ids = [continued(tokenizer, str(rating)) for rating in (0, 1, 2)]
    if any(len(i) != 1 for i in ids):
        raise ValueError(f"each rating must be one token, but this tokenizer makes {ids} of '0', "
                         "'1', '2'; use a tokenizer that has the digits as tokens")
    return [i[0] for i in ids]


def context(config: "PretrainedConfig") -> int | None:
    """Tokens that a model reads at most, as its configuration says; None where it says nothing."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def token_counts(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[int]:
    """How many tokens each text is, without BOS and EOS."""
    if not texts:
        return []
    ids = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True,
                    verbose=False)["input_ids"]
    return [len(row) for row in ids]


def fertility(texts: Sequence[str], counts: Sequence[int], lang: str) -> dict[str, float]:
    """{"tokens a word", "tokens a character"} of texts with these token counts.

    No tokens a word in a language that sets no blanks between its words.
    """
    rates = {"tokens a character": sum(counts) / sum(map(len, texts))}
    if languages.named(lang).spaced:
        rates["tokens a word"] = sum(counts) / sum(len(text.split()) for text in texts)
    return rates
