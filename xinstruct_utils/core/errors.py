"""Bad input and full disks: the errors that a person is shown in one line."""

from errno import EDQUOT, ENOSPC
from pathlib import Path


class InputError(Exception):
    """Bad input: says what was expected, what came, where (file and line), and what to do."""


def disk_full(error: BaseException, where: Path | str) -> InputError | None:
    """The InputError to raise in place of an OSError that says so, else None."""
    if getattr(error, "errno", None) not in (ENOSPC, EDQUOT):
        return None
    return InputError(f"the disk is full: no space was left for {where}; free some and run the "
                      "same command again, finished steps are kept")
