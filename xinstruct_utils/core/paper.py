"""The paper's figures, as data."""

from pathlib import Path

from xinstruct_utils.core.files import read_json


def paper_numbers():
    """The paper's figures that the notebooks quote, each with its table."""
    return read_json(Path(__file__).with_name("paper.json"))
