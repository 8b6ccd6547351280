"""A reasoning model's thoughts, which stand before its answer and are no part of it."""

import re

from xinstruct_utils.prompts.replies import plain

# As written by most models, and by Mistral's. Where the server's template writes the opening tag,
# the reply has the closing one only.
OPENING = re.compile(r"\s*(?:<think(?:ing)?>|\[THINK\])", re.I)
CLOSING = re.compile(r"</think(?:ing)?>|\[/THINK\]", re.I)


def without_thoughts(reply: str, prompt: str) -> str | None:
    """The reply after its last closing tag; None where thoughts and answer cannot be told apart.

    That is so where thoughts were begun and not ended, and where the prompt has a closing tag of
    its own, which the reply may copy: then nobody knows what ends at it.
    """
    thoughts = list(CLOSING.finditer(reply))
    if not thoughts:
        return None if OPENING.match(reply) else reply
    if CLOSING.search(plain(prompt)):
        return None
    return reply[thoughts[-1].end():].lstrip()
