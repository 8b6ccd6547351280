"""The paper's figures, as data."""

from pathlib import Path

from xinstruct_utils.core.files import read_json


def paper_numbers():
    """The paper's figures that the notebooks quote, each with its table."""
    return read_json(Path(__file__).with_name("paper.json"))


def place_of(benchmark: str | None) -> str | None:
    """The paper's benchmark that prompts stand for: its own ones, or the Atlas's in their place.

    "vicuna" of "vicuna" and of "atlas vicuna"; also of names joined by " + ".
    """
    return benchmark and benchmark.replace("atlas ", "")
