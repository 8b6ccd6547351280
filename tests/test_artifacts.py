"""Files that are whole or absent, ids, shards, and a step's account of its rows."""

import ast
import errno
import json
import os
import subprocess
import sys

import pytest

from xinstruct_utils.__main__ import COMMANDS
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import (
    content_id,
    digest,
    file_hash,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Shards, joined
from xinstruct_utils.workflow.manifest import input_hash
from xinstruct_utils.workflow.step import Step

ODD = ["e\u0301", "a\r\nb", "line\u2028separator", "\x00\x1f", "🙂👩‍👩‍👧", "سلام ۔",
       '"quoted" \\ <b>']


# Each takes a tenth of a second to several seconds to import.
HEAVY = ("torch", "transformers", "datasets", "numpy", "pandas", "sklearn", "matplotlib",
         "pydantic",
         "yaml", "papermill", "nbformat", "psutil", "httpx", "openai", "spacy", "babel")
LOADED = f"import sys; print(sorted(set(sys.modules) & set({HEAVY!r})))"


def last_line(*words):
    """What a Python process prints last."""
    line = [sys.executable, *words]
    child = subprocess.run(line, cwd=REPO, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()[-1]


@pytest.mark.parametrize("code", [
    "import xinstruct_utils", "import xinstruct_utils.__main__, xinstruct_utils.core.shards",
    "from xinstruct_utils.__main__ import main; assert main(['--help']) == 0"])
def test_importing_the_package_and_its_help_load_nothing_heavy(code):
    assert last_line("-c", f"{code}; {LOADED}") == "[]"


def test_a_heavy_module_that_is_loaded_is_seen():
    assert last_line("-c", f"import xinstruct_utils.config.load; {LOADED}") == "['pydantic']"


# What the packages above need themselves: importing one may load it, and no more.
ALLOWED = {"pydantic"}


@pytest.mark.parametrize("module", sorted({home for home, _ in COMMANDS.values()}))
def test_the_help_of_a_command_loads_no_library_of_models_or_tables(module):
    loaded = last_line("-c", f"import xinstruct_utils.{module}; {LOADED}")
    assert set(ast.literal_eval(loaded)) <= ALLOWED


def test_text_survives_a_round_trip_unchanged(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": t} for t in ODD])
    assert [r["text"] for r in read_jsonl(tmp_path / "a.jsonl")] == ODD
    assert "سلام" in (tmp_path / "a.jsonl").read_text(encoding="utf-8")


def test_a_content_id_is_the_same_everywhere_and_depends_on_the_language():
    assert content_id("sw", "Habari") == "f5bd5a4f39daf009" != content_id("fi", "Habari")


def test_the_digest_of_an_object_does_not_depend_on_the_order_of_its_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_the_hash_of_a_folder_sees_names_and_contents(tmp_path):
    hashes = []
    for name, text in (("a", "x"), ("b", "x"), ("b", "y")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        hashes.append(file_hash(folder))
    assert len(set(hashes)) == 3


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [1])

    def rows():
        yield 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "a.jsonl", rows())
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [1] and os.listdir(tmp_path) == ["a.jsonl"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error_and_leaves_finished_files(tmp_path, monkeypatch, reason):
    write_jsonl(tmp_path / "a.jsonl", [1])

    def full(_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match="the disk is full: no space was left for .*a.jsonl; free some and run"):
        write_jsonl(tmp_path / "a.jsonl", [2, 3])
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [1] and os.listdir(tmp_path) == ["a.jsonl"]


def test_other_users_may_read_what_is_written(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_shards_go_on_where_they_stopped(tmp_path):
    shards, rows = Shards(tmp_path / "s", 3), list(range(8))
    assert [chunk for _, chunk in shards.pending(rows)] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    shards.write(1, [3, 4, 5])
    assert [index for index, _ in shards.pending(rows)] == [0, 2]
    for index, chunk in shards.pending(rows):
        shards.write(index, chunk)
    assert list(shards.read()) == rows and not list(shards.pending(rows))


def test_rows_in_are_rows_out_and_rows_dropped(runs):
    step = Step("01_x", "r", "sw")
    shown = step.count("clean", 10, 7, {"empty": 1, "too_long": 2})
    assert shown.loc["clean", "dropped: too_long"] == 2
    assert step.counts[0]["dropped"] == {"empty": 1, "too_long": 2}
    with pytest.raises(InputError,
                       match="01_x, clean: 10 rows in, but 7 out and .* dropped; a row was lost"):
        step.count("clean", 10, 7, {"empty": 2})


def test_an_unfinished_predecessor_is_named_with_the_command_that_makes_it(runs):
    with pytest.raises(InputError, match="needs round 1 of 04_refinement.*not finished.*"
                                         "python -m xinstruct_utils run 04_refinement --run r "
                                         "--lang sw --iteration 1$"):
        Step("04_refinement", "r", "sw", 2).input("04_refinement", "kept.jsonl", iteration=1)


def test_a_missing_source_is_named(runs):
    with pytest.raises(InputError, match="01_x: expected the file /nowhere/a.jsonl"):
        Step("01_x", "r", "sw").source("/nowhere/a.jsonl")


def test_a_step_cannot_write_into_another_steps_folder(runs, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_STEP", str(runs / "r" / "sw" / "02_y"))
    with pytest.raises(InputError, match="Step says .*01_x, but this step is .*02_y"):
        Step("01_x", "r", "sw")


def test_an_output_that_was_not_written_is_named(runs):
    with pytest.raises(InputError, match="step.finish names b.jsonl"):
        Step("01_x", "r", "sw").finish(["b.jsonl"])


def test_an_output_with_a_row_more_or_less_than_was_counted_is_an_error(runs):
    step, shards = Step("01_x", "r", "sw"), Shards(runs / "r" / "sw" / "01_x" / "rows", 2)
    write_jsonl(step.path("a.jsonl"), [1, 2, 3])
    for index, chunk in shards.pending([1, 2, 3]):
        shards.write(index, chunk)
    step.finish({"a.jsonl": 3, "rows": 3})
    shards.write(2, [4])                         # left by an attempt with other settings
    with pytest.raises(InputError, match="rows: 3 rows were counted, but 4 are there"):
        step.finish({"a.jsonl": 3, "rows": 3})
    with pytest.raises(InputError, match="a.jsonl: 4 rows were counted, but 3 are there"):
        step.finish({"a.jsonl": 4, "rows": 4})


def test_a_keyed_folder_is_emptied_when_parameters_inputs_or_code_are_others(runs, notebooks):
    notebooks("01_x", 'run: str = "r"  # run\nkeep: int = 3  # best', "1")
    runs.mkdir()
    (runs / "source.txt").write_text("a")

    def made(keep, unheard=0):
        step = Step("01_x", "r", "sw")
        step.source(runs / "source.txt")
        folder = step.keyed("rows", {"run": "r", "keep": keep, "unheard": unheard})
        there = list(Shards(folder, 2).read())
        Shards(folder, 2).write(0, [keep])
        return there

    assert made(3) == [] and made(3) == [3] and made(3, unheard=1) == [3]
    assert made(4) == [] and made(4) == [4]
    (runs / "source.txt").write_text("b")
    assert made(4) == [] and made(4) == [4]
    notebooks("01_x", 'run: str = "r"  # run\nkeep: int = 3  # best', "2")
    assert made(4) == []


def test_stepping_through_by_hand_leaves_a_manifest_for_the_next_notebook(runs):
    step = Step("01_x", "r", "sw")
    write_jsonl(step.path("a.jsonl"), [1])
    step.count("all", 1, 1, {})
    step.finish(["a.jsonl"])
    told = read_json(step.path("manifest.json"))
    assert told["outputs"] == {"a.jsonl": file_hash(step.path("a.jsonl"))}
    assert told["counts"][0]["in"] == 1
    assert "code_digest" not in told       # so the verb and the book know that it is nobody's proof
    assert Step("02_y", "r", "sw").input("01_x", "a.jsonl") == step.path("a.jsonl")


def test_clocks_in_a_manifest_do_not_make_it_another_input(tmp_path):
    told = {"outputs": {"a": "1"}, "counts": [], "wall_s": 1.0, "finished_at": "today"}
    write_json(tmp_path / "manifest.json", told)
    before = input_hash(tmp_path / "manifest.json", tmp_path / "notes")
    write_json(tmp_path / "manifest.json", told | {"wall_s": 2.0, "finished_at": "tomorrow"})
    assert input_hash(tmp_path / "manifest.json", tmp_path / "notes") == before
    write_json(tmp_path / "manifest.json", told | {"outputs": {"a": "2"}})
    assert input_hash(tmp_path / "manifest.json", tmp_path / "notes") != before


def test_measures_are_kept_apart_from_the_data(runs):
    step = Step("01_x", "r", "sw")
    step.measure(auc=0.9)
    step.measure(rounds=[1, 2])
    assert json.loads(step.path("measures.json").read_text()) == {"auc": 0.9, "rounds": [1, 2]}
    assert list(step.measures().index) == ["auc"]
    step.finish([])
    assert Step("02_y", "r", "sw").measures_of("01_x") == {"auc": 0.9, "rounds": [1, 2]}


def test_a_step_that_measured_nothing_says_so(runs):
    Step("01_x", "r", "sw").finish([])
    assert Step("02_y", "r", "sw").measures_of("01_x") == {}


def test_rows_and_their_results_are_joined_by_id_and_a_stranger_is_an_error_with_its_place():
    rows, results = [{"id": "a"}, {"id": "b"}], [{"id": "a", "p": 1}, {"id": "b", "p": 2}]
    wanted = [(r, [s, s]) for r, s in zip(rows, results, strict=True)]
    assert list(joined(rows, results, results)) == wanted
    for other in (results[::-1], results[:1], [*results, {"id": "c"}]):
        with pytest.raises(InputError, match=r"row [123]: the ids of rows and of their results"):
            list(joined(rows, other))
