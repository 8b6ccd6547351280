"""The rows that pass from chapter to chapter, as types: one name for one thing, and a row keeps its id."""

from typing import NotRequired, TypedDict


class SeedPair(TypedDict):
    """An English instruction and its native output (chapter 1)."""

    id: str
    source_id: str | int | None
    language: str
    instruction: str
    output: str


class Page(TypedDict):
    """A text of the corpus (chapter 2): `id` is the content id of `text`; where it comes from goes with it."""

    id: str
    source_id: NotRequired[str | int]
    url: NotRequired[str]
    language: str
    text: str


class Candidate(TypedDict):
    """A page with the instruction that was written for it (chapter 3): the page's text is the output."""

    id: str
    source_id: NotRequired[str | int]
    url: NotRequired[str]
    language: str
    instruction: str
    output: str


class Rating(TypedDict):
    """The probabilities of the ratings 0, 1, 2 of a candidate, and its most likely rating (chapter 4)."""

    id: str
    p0: float
    p1: float
    p2: float
    rating: int


class RatedCandidate(Candidate):
    """A candidate with its rating, and the round that rated it (chapter 4)."""

    p0: float
    p1: float
    p2: float
    rating: int
    round: int


class PseudoRating(TypedDict):
    """A row that an evaluator learns from (paper 3.3): kind "true", "damaged", "follower" or "mismatched"."""

    instruction: str
    output: str
    rating: int
    kind: str


class Generated(TypedDict):
    """What a model wrote: `finish_reason` is "stop", "length", or, of a text that was not read,
    "context" (too long) or "refused" (by a server of text only)."""

    id: str
    generated: str
    finish_reason: str
    tokens: int
