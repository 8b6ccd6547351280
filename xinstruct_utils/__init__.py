"""X-Instruction, the open reproduction: what the notebooks share (importing it is instant)."""

__version__ = "0.1.0"
