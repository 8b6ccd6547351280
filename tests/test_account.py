"""The account of all rows: one that is lost between two chapters, or out of a file, is noticed."""

import shutil

import pytest

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json, write_jsonl
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.workflow import account
from xinstruct_utils.workflow.step import Step


def step(name, stage, rows_in, dropped=0, iteration=None, **files):
    """A chapter as its notebook leaves it: `files` with so many rows, counts, and a manifest."""
    made = Step(name, "r", "sw", iteration)
    for file, n in files.items():
        if file == "corpus":
            shards = Shards(made.path("corpus"), 3)
            for index, chunk in shards.pending(range(n)):
                shards.write(index, chunk)
        else:
            write_jsonl(made.path(f"{file}.jsonl"), range(n))
    made.count(stage, rows_in, rows_in - dropped, {"bad": dropped})
    made.finish([f.name for f in made.dir.iterdir()])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Chapters 01 to 05 of a small run; tests work on copies."""
    home = tmp_path_factory.mktemp("account")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINSTRUCT_RUNS", str(home))
        step("01_seed_data", "split", 12, d0x=8, d0r=4)
        step("02_corpus", "cleaning", 10, 2, corpus=8)
        step("03_backtranslation", "candidates", 8, 1, candidates=7)
        step("04_refinement", "kept candidates", 7, 2, 1, kept=5)
        step("04_refinement", "kept candidates", 7, 3, 2, kept=4)
        step("05_diversification", "sampled", 4, 1, x_instruction=3)
    return home


@pytest.fixture
def chain(built, runs):
    shutil.copytree(built, runs)
    return runs / "r" / "sw"


def whole():
    return account.whole(Step("06_statistics", "r", "sw"), 2)


def test_a_whole_account_lists_every_stage_of_every_chapter(chain):
    told = whole()
    assert [(c["chapter"][:2], c["round"], c["in"], c["out"]) for c in told] == [
        ("01", "", 12, 12), ("02", "", 10, 8), ("03", "", 8, 7), ("04", 1, 7, 5), ("04", 2, 7, 4),
        ("05", "", 4, 3)]


@pytest.mark.parametrize("file", [
    "01_seed_data/d0x.jsonl", "01_seed_data/d0r.jsonl", "02_corpus/corpus/shard-00001.jsonl",
    "03_backtranslation/candidates.jsonl", "04_refinement/iter1/kept.jsonl",
    "04_refinement/iter2/kept.jsonl",
    "05_diversification/x_instruction.jsonl"])
def test_a_row_that_is_gone_from_a_file_is_noticed(chain, file):
    path = chain / file
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    message = r"\d+ rows left the stage .*, but \d+ are in .*; run that"
    with pytest.raises(InputError, match=f"{file.split('/')[0]}: {message}"):
        whole()


@pytest.mark.parametrize(("home", "before"), [
    ("03_backtranslation", "02_corpus"), ("04_refinement/iter1", "03_backtranslation"),
    ("04_refinement/iter2", "03_backtranslation"), ("05_diversification", "04_refinement")])
def test_a_row_that_is_lost_between_two_chapters_is_noticed(chain, home, before):
    told = read_json(chain / home / "manifest.json")
    told["counts"][0]["in"] -= 1  # balanced in itself, as every chapter's own count is
    told["counts"][0]["dropped"]["bad"] -= 1
    write_json(chain / home / "manifest.json", told)
    message = rf"\d+ rows came in, but \d+ left {before}; run both again"
    with pytest.raises(InputError, match=f"{home.split('/')[0]}: {message}"):
        whole()
