"""The rows that pass from chapter to chapter, as types: a row keeps its id."""

from typing import NotRequired, TypedDict


class SeedPair(TypedDict):
    """An English instruction and its native output (chapter 1)."""

    id: str
    source_id: str | int | None
    language: str
    instruction: str
    output: str


class Page(TypedDict):
    """A text of the corpus (chapter 2), with where it comes from.

    `id` is the content id of `text`.
    """

    id: str
    source_id: NotRequired[str | int]
    url: NotRequired[str]
    language: str
    text: str


class Candidate(TypedDict):
    """A page with the instruction that was written for it (chapter 3).

    The page's text is the output.
    """

    id: str
    source_id: NotRequired[str | int]
    url: NotRequired[str]
    language: str
    instruction: str
    output: str


class Rating(TypedDict):
    """The probabilities of a candidate's ratings 0, 1, 2, and the most likely one (chapter 4).

    `score` is what it is ranked by: that of the rater that `ranking` names.
    """

    id: str
    p0: float
    p1: float
    p2: float
    rating: int
    score: float


class RatedCandidate(Candidate):
    """A candidate with its rating, and the round that rated it (chapter 4)."""

    p0: float
    p1: float
    p2: float
    rating: int
    score: float
    round: int


class PseudoRating(TypedDict):
    """A row that an evaluator learns from (paper 3.3).

    Its kind is "true", "damaged", "follower" or "mismatched".
    """

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
