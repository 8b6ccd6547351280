"""Token ids of prompts and completions: the one place where BOS and EOS are put."""


from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.core import languages


def plain_ids(tokenizer, text):
    """Token ids of a text that somebody wrote: "</s>" in it is four characters, not the end of the sequence."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def continued(tokenizer, text):
    """Token ids of a text that goes on after a line break.

    SentencePiece tokenizers (LLaMA-2) put a blank before the first word of all they are given: "0" would be two tokens.
    """
    before, both = (plain_ids(tokenizer, t) for t in ("\n", "\n" + text))
    if both[:len(before)] == before:
        return both[len(before):]
    return plain_ids(tokenizer, text)


def token_ids(tokenizer, prompt, completion=None):
    """Token ids of a prompt, and of its completion with EOS; BOS exactly once where the tokenizer has one.

    Prompt and completion are tokenised apart, so that the prompt's ids are the same in training and inference.
    Returns (ids, number of prompt tokens).
    """
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = bos + plain_ids(tokenizer, prompt)
    if completion is None:
        return ids, len(ids)
    return ids + continued(tokenizer, completion) + [tokenizer.eos_token_id], len(ids)


def rating_tokens(tokenizer):
    """The three token ids of the ratings 0, 1, 2. Raises ValueError if one of them is not a single token."""
    ids = [continued(tokenizer, str(rating)) for rating in (0, 1, 2)]
    if any(len(i) != 1 for i in ids):
        raise ValueError(f"each rating must be one token, but this tokenizer makes {ids} of '0', '1', '2'; "
                         "use a tokenizer that has the digits as tokens")
    return [i[0] for i in ids]


def context(config):
    """Tokens that a model reads at most, as its configuration says; None where that says nothing."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def load_tokenizer(path):
    """Tokenizer of a folder or hub id; a missing pad token gets one of its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(BASE_MODEL) if path == "atlas" else path, trust_remote_code=False)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # pad = EOS would hide EOS from code that masks padding by id, and the model would never learn to stop
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def token_counts(tokenizer, texts):
    """How many tokens each text is, without BOS and EOS."""
    if not texts:
        return []
    ids = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return list(map(len, ids))


def fertility(texts, counts, lang):
    """{"tokens a word", "tokens a character"} of texts with these token counts; no tokens a word in a language that sets no
    blanks between its words."""
    made = {"tokens a character": sum(counts) / sum(map(len, texts))}
    if languages.named(lang).spaced:
        made["tokens a word"] = sum(counts) / sum(len(t.split()) for t in texts)
    return made
