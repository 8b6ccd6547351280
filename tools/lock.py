"""The lock files: every package that an installation consists of, with its version and the hashes of its files.

    python tools/lock.py            (needs uv, which is no package of the project: pip install uv)

writes, for every platform and every Python from 3.11 on,

    requirements.lock         all packages of pyproject.toml with the extra "dev", and what they need
    requirements-cuda.lock    NVIDIA's libraries and Triton, which torch's build for CUDA needs and its build for CPUs does not

What is installed beside this script is kept at its version, so that the lock is what was tested. `make install-locked`
installs from them, and pip then refuses a file with another hash.
"""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
CUDA = re.compile(r"(nvidia-|cuda-|triton==)")
# torch's build for CPUs has the same version, a local label ("+cpu") and other bytes than the registry's build for CUDA; pip
# prefers it where it finds it. Hashes of such builds that were tested (CPython 3.11, x86-64 Linux):
TORCH_CPU = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)
HEAD = "# Written by tools/lock.py; `make install-locked` installs from it. {}\n"
KINDS = {
    "requirements.lock": "Torch: the hashes of the registry's builds, and of the build for CPUs.",
    "requirements-cuda.lock": "Only where torch is the build for CUDA (Linux).",
}


def entries(text: str) -> list[str]:
    """The packages of a lock: each `name==version ; marker` with its lines of hashes."""
    return re.findall(r"^[A-Za-z0-9].*(?:\n[ \t].*)*\n", text, re.M)


def compiled() -> str:
    """A lock of everything, by uv."""
    here = {d.metadata["Name"]: d.version.partition("+")[0] for d in distributions()}
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "installed.txt"
        pins = (
            f"{n}=={v}\n"
            for n, v in sorted(here.items())
            if n not in ("pip", "uv", "xinstruct-utils")
        )
        kept.write_text("".join(pins))
        line = [
            "uv",
            "pip",
            "compile",
            "pyproject.toml",
            "--extra",
            "dev",
            "--constraint",
            kept,
            "--universal",
            "--python-version",
            "3.11.5",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--quiet",
        ]
        return subprocess.run(line, cwd=REPO, check=True, stdout=subprocess.PIPE, text=True).stdout


def split(text: str) -> dict[str, str]:
    """A lock of everything as the two files: {name: text}."""
    parts = {name: [HEAD.format(note)] for name, note in KINDS.items()}
    for entry in entries(text):
        if entry.startswith("torch=="):
            entry = (
                entry.rstrip("\n")
                + "".join(f" \\\n    --hash=sha256:{known}" for known in TORCH_CPU)
                + "\n"
            )
        parts["requirements-cuda.lock" if CUDA.match(entry) else "requirements.lock"].append(entry)
    return {name: "".join(lines) for name, lines in parts.items()}


if __name__ == "__main__":
    for name, text in split(compiled()).items():
        (REPO / name).write_text(text)
        print(f"{name}: {len(entries(text))} packages", file=sys.stderr)
