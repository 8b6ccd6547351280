"""Batches of token ids: sorted by length, within a budget of padded tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of prompts, longest first, in batches of at most `budget` tokens with padding."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    batch: list[int] = []
    for i in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            groups.append(batch)
            batch = []
        batch.append(i)
    return [*groups, batch] if batch else groups


def missing(task: str, reason: str) -> dict[str, object]:
    """The result of a row that was not asked: no numbers, or no text and the reason."""
    if task == "rate":
        return dict.fromkeys(("p0", "p1", "p2"))
    if task == "likelihood":
        return {"log_likelihood": None, "tokens": 0}
    return {"generated": "", "finish_reason": reason, "tokens": 0}


def unread(s: dict, ids: Sequence[int], limit: int | None) -> dict[str, object] | None:
    """The result of a row that is too long for the model with what it has to write, else None.

    Past its context a model would answer, but with nonsense; the row is neither cut nor asked, and
    the notebooks count it.
    """
    written = {"generate": s.get("max_new_tokens"), "rate_by_generation": 4}.get(s["task"], 1)
    if not limit or len(ids) + written <= limit:
        return None
    return missing(s["task"], "context")


def padded(ids: Sequence[Sequence[int]], pad: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Token ids padded on the left, and their mask: two tensors of shape (rows, longest)."""
    import torch

    width = max(map(len, ids))
    tokens = torch.tensor([[pad] * (width - len(i)) + list(i) for i in ids])
    mask = torch.tensor([[0] * (width - len(i)) + [1] * len(i) for i in ids])
    return tokens, mask
