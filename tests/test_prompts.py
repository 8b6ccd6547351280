"""Templates: one rendering for training and inference, BOS once, EOS learned."""

import pytest

from xinstruct_utils.models.loading import load
from xinstruct_utils.models.tokenization import rating_tokens, token_ids
from xinstruct_utils.prompts.requests import TAGS, response_request, templates_digest
from xinstruct_utils.training.sft import encode


@pytest.fixture(scope="module")
def tokenizer():
    return load("atlas")[1]


def test_prompt_ids_are_the_same_in_training_and_inference(tokenizer):
    prompt = response_request("What is the currency of Kenya?", "sw")
    alone, n = token_ids(tokenizer, prompt)
    trained, n_prompt = token_ids(tokenizer, prompt, "Shilingi ya Kenya")
    assert trained[:n_prompt] == alone and n == n_prompt


def test_bos_stands_once_and_eos_ends_the_completion(tokenizer):
    ids, _ = token_ids(tokenizer, "a", "b")
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id


def test_labels_are_the_completion_and_eos_only(tokenizer):
    pair = {"prompt": "Swali: sarafu?\n", "completion": "Shilingi ya Kenya"}
    rows, dropped = encode([pair], tokenizer, 64)
    learned = [i for i in rows[0]["labels"] if i != -100]
    assert tokenizer.decode(learned) == "Shilingi ya Kenya</s>" and dropped == 0


def test_rows_over_the_limit_are_counted_and_never_cut(tokenizer):
    pairs = [{"prompt": "a", "completion": "neno " * 50}, {"prompt": "a", "completion": "b"}]
    rows, dropped = encode(pairs, tokenizer, 20)
    assert dropped == 1 and len(rows) == 1


def test_a_rating_is_one_token(tokenizer):
    assert len(set(rating_tokens(tokenizer))) == 3


def test_a_tokenizer_without_the_digits_is_refused():
    class NoDigits:
        def __call__(self, text, **settings):
            return {"input_ids": [1, 2]}

    with pytest.raises(ValueError, match="one token"):
        rating_tokens(NoDigits())


def test_the_two_sources_have_tags_of_their_own():
    seed, web = (response_request("I", "sw", source) for source in ("seed", "web"))
    assert seed != web and "Swahili" in seed


def test_digest_changes_with_a_template(monkeypatch):
    before = templates_digest()
    monkeypatch.setitem(TAGS["plain"], "web", "other")
    assert templates_digest() != before
