"""Backtranslation (paper 3.2): which generated instructions are of use."""


from xinstruct_utils.data import language_id


def instruction_fault(text, finish_reason):
    """Why a generated instruction is of no use: "empty", "over the model's context", "unfinished", "not English" (see
    `rules.is_english`), or None."""
    if finish_reason == "context":
        return "over the model's context"        # the text was, and was not read
    if not text.strip():
        return "empty"
    if finish_reason != "stop":
        return "unfinished"
    return None if language_id.is_english(text) else "not English"
