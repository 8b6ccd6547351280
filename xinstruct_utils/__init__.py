"""X-Instruction, the open reproduction: the thin package that the notebooks share (importing it is instant)."""

__version__ = "0.1.0"
