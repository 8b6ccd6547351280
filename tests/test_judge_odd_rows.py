"""Each of FastChat's 86 odd reviews, row by row: what is read from it does not change unnoticed."""

import re

import pytest

from xinstruct_utils.core.files import read_json, read_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.prompts import replies

REVIEWS = REPO.parent / "shared" / "data" / "judge_reviews"
# {file:line: [score of A, score of B], or null where unparsed}
LISTED = read_json(REPO / "tests" / "judge_odd_rows.json")


def odd_rows():
    """{file:line: scores or None} of the reviews that do not begin with a line of two numbers."""
    made = {}
    for path in sorted(REVIEWS.rglob("*review_*.jsonl")):
        for number, row in enumerate(read_jsonl(path), 1):
            if not re.fullmatch(r"\s*[\d.]+[\s,]+[\d.]+\s*", row["text"].split("\n")[0]):
                got = replies.paired(row["text"])
                made[f"{path.name}:{number}"] = list(got) if got else None
    return made


def test_the_list_has_86_rows_and_keys_and_numbers_only():
    assert len(LISTED) == 86 and sum(scores is None for scores in LISTED.values()) == 5
    assert all(re.fullmatch(r"[\w.-]+\.jsonl:\d+", key) for key in LISTED)
    assert all(scores is None or len(scores) == 2 and all(0 <= s <= 10 for s in scores)
               for scores in LISTED.values())


@pytest.mark.skipif(not REVIEWS.exists(),
                    reason="the judge reviews are not at ../shared/data/judge_reviews")
def test_every_odd_review_is_read_as_listed():
    assert odd_rows() == LISTED
