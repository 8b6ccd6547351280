"""The lock files: every package of an installation, with its version and the hashes of its files.

    python tools/lock.py            (needs uv, which is no package of the project: pip install uv)

writes, for every platform and every Python from 3.11 on,

    requirements.lock             all packages of pyproject.toml with the extra "dev", but torch
    requirements-torch.lock       torch as the registry has it, with the libraries of CUDA on Linux
    requirements-torch-cpu.lock   torch's build for CPUs, which needs none of them

The two builds of torch have one version and different bytes, and pip would take the registry's
where both are allowed, so each has a file. What is installed beside this script keeps its version:
the lock is what was tested. `make install-locked` installs from it, and pip then refuses a file
with another hash.
"""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
TORCH = re.compile(r"(torch==|nvidia-|cuda-|triton==)")
# The registry does not carry the build for CPUs, so its hash stands here:
# of CPython 3.11 on x86-64 Linux, the one that was tested.
TORCH_CPU = """torch=={version}+cpu \\
    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
"""
HEAD = "# Written by tools/lock.py, for `make install-locked`.\n"
NAMES = ("requirements.lock", "requirements-torch.lock", "requirements-torch-cpu.lock")
OPTIONS = (
    "--universal --python-version 3.11.5 --generate-hashes --no-header --no-annotate "
    "--no-emit-index-url --no-emit-find-links --quiet"
)


def entries(text: str) -> list[str]:
    """The packages of a lock: each `name==version ; marker` with its lines of hashes."""
    return re.findall(r"^[A-Za-z0-9].*(?:\n[ \t].*)*\n", text, re.M)


def compiled() -> str:
    """A lock of everything, by uv."""
    here = {d.metadata["Name"]: d.version.partition("+")[0] for d in distributions()}
    for name in ("pip", "uv", "xinstruct-utils"):
        here.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "installed.txt"
        pins.write_text("".join(f"{name}=={version}\n" for name, version in here.items()))
        line = ["uv", "pip", "compile", "pyproject.toml", "--extra", "dev"]
        line += ["--constraint", str(pins), *OPTIONS.split()]
        return subprocess.run(line, cwd=REPO, check=True, stdout=subprocess.PIPE, text=True).stdout


def split(text: str) -> dict[str, str]:
    """A lock of everything as the files of NAMES: {name: text}."""
    packages, torch = [], []
    for entry in entries(text):
        (torch if TORCH.match(entry) else packages).append(entry)
    version = re.search(r"^torch==([^\s;+]+)", text, re.M)[1]
    parts = (packages, torch, [TORCH_CPU.format(version=version)])
    return {name: HEAD + "".join(part) for name, part in zip(NAMES, parts, strict=True)}


if __name__ == "__main__":
    for name, text in split(compiled()).items():
        (REPO / name).write_text(text)
        print(f"{name}: {len(entries(text))} packages", file=sys.stderr)
