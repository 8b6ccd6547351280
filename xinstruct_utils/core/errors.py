"""Bad input and full disks: the errors that a person is shown in one line."""

from errno import EDQUOT, ENOSPC
from pathlib import Path

from xinstruct_utils.core.secrets import redact


class InputError(Exception):
    """Bad input: says what was expected, what came, where (file and line), and what to do.

    Its text goes to screens, logs and notebooks, so keys are taken out of it.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(redact(word) if isinstance(word, str) else word for word in words))


def disk_full(error: BaseException, where: Path | str) -> InputError | None:
    """The InputError to raise in place of an OSError that says so, else None."""
    return no_space(where) if getattr(error, "errno", None) in (ENOSPC, EDQUOT) else None


def no_space(where: Path | str) -> InputError:
    """The InputError that tells of a full disk."""
    return InputError(f"the disk is full: no space was left for {where}; free some and run the "
                      "same command again, finished steps are kept")
