"""Backtranslation (paper 3.2): which generated instructions are of use."""

from xinstruct_utils.data import language_id


def instruction_fault(text: str, finish_reason: str) -> str | None:
    """Why a generated instruction is of no use, or None.

    "empty", "over the model's context", "unfinished", or "not English" (see
    `language_id.is_english`).
    """
    if finish_reason == "context":
        return "over the model's context"        # the text was, and was not read
    if not text.strip():
        return "empty"
    if finish_reason != "stop":
        return "unfinished"
    return None if language_id.is_english(text) else "not English"
