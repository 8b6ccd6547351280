"""Backtranslation (paper 3.2): which generated instructions are of use."""

from typing import Any, cast

from xinstruct_utils.core.rows import Candidate, Page
from xinstruct_utils.data import language_id, rules

TOO_LONG = "over the model's context"
# It spells a control token, which a server that takes text only cannot be sent.
REFUSED = "refused by the server's engine"
CONTAMINATED = "shares 13 words with an evaluation prompt"
# Why a text gets no candidate, in the order in which it is asked.
REASONS = (TOO_LONG, REFUSED, "empty", "unfinished", "not English", CONTAMINATED)


def instruction_fault(text: str, finish_reason: str) -> str | None:
    """Why a generated instruction is of no use, or None.

    "empty", "over the model's context", "refused by the server's engine", "unfinished", or
    "not English" (see `language_id.is_english`).
    """
    if finish_reason == "context":
        return TOO_LONG                          # the text was, and was not read
    if finish_reason == "refused":
        return REFUSED
    if not text.strip():
        return "empty"
    if finish_reason != "stop":
        return "unfinished"
    return None if language_id.is_english(text) else "not English"


def candidate_fault(instruction: str, finish_reason: str,
                    evaluation_spans: dict[str, set[str]]) -> str | None:
    """One of `REASONS` why an instruction makes no candidate, or None.

    evaluation_spans: `rules.prompt_spans` of the evaluation prompts, which must not be learned.
    """
    reason = instruction_fault(instruction, finish_reason)
    if reason is None and rules.contaminated(instruction, evaluation_spans):
        return CONTAMINATED
    return reason


def candidate(page: Page, instruction: str) -> Candidate:
    """A page and its instruction as a candidate.

    The page's text is the output; all else goes with it.
    """
    row: dict[str, Any] = {name: value for name, value in page.items() if name != "text"}
    return cast(Candidate, row | {"instruction": instruction, "output": page["text"]})
