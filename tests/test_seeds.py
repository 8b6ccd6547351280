"""Readers of other people's seed data, what is dropped and why, and baselines as files."""

import gzip
import json

import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, read_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.data import readers
from xinstruct_utils.method import seeds

SHARED = REPO.parent / "shared" / "data"
needs_oasst = pytest.mark.skipif(
    not (SHARED / "oasst_samples").exists(), reason="no message trees at ../shared/data"
)
needs_fi = pytest.mark.skipif(
    not (SHARED / "real_text" / "fi").exists(), reason="no Finnish pairs at ../shared/data"
)


def written(path, *rows, array=False):
    text = (
        json.dumps(rows)
        if array
        else "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    )
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def got(path, seed_format):
    """(rows, {reason: n}) of a file."""
    dropped = seeds.Counter()
    return list(seeds.read(path, seed_format, dropped)), dict(dropped)


def message(text, role="assistant", lang="fi", **more):
    return {
        "text": text,
        "role": role,
        "lang": lang,
        "deleted": False,
        "review_result": True,
    } | more


def tree(prompt="Mikä?", lang="fi", replies=(), **more):
    return {"message_tree_id": "t1", "tree_state": "ready_for_export",
            "prompt": message(prompt, "prompter", lang, replies=list(replies), **more)}


def dictionary(texts, source, target):
    """A translator that marks what it was asked, and fails on what says so."""
    return (
        [f"{t} [{source}>{target}]" for t in texts],
        ["copied" if "fail" in t else None for t in texts],
    )


@needs_oasst
def test_real_trees_give_first_turns_with_their_best_reply():
    path = SHARED / "oasst_samples" / "en_100_tree.jsonl"
    rows, dropped = got(path, "oasst")
    trees = {t["message_tree_id"]: t["prompt"] for t in read_jsonl(path)}
    assert len(rows) == 99 and dropped == {"no ranked reply": 1}
    for row in rows:
        prompt = trees[row["source_id"]]
        assert row["instruction"] == prompt["text"] and row["language"] == "en"
        assert [r["rank"] for r in prompt["replies"] if r["text"] == row["output"]][0] == 0


@needs_fi
def test_trees_made_of_real_finnish_replies_give_the_known_best_ones(tmp_path):
    """The pairs of `seed.jsonl`, out of all replies with their ranks; it has none for a prompt
    whose best reply is gone."""
    replies = {}
    for r in read_jsonl(SHARED / "real_text" / "fi" / "seed_all_ranks.jsonl"):
        replies.setdefault(r["instruction"], []).append(message(r["output"], rank=r["rank"]))
    path = written(
        tmp_path / "fi.trees.jsonl.gz", *(tree(i, replies=r[::-1]) for i, r in replies.items())
    )
    rows, dropped = got(path, "oasst")
    best = {
        (r["instruction"], r["output"])
        for r in read_jsonl(SHARED / "real_text" / "fi" / "seed.jsonl")
    }
    more = {(r["instruction"], r["output"]) for r in rows} - best
    assert len(rows) == len(best) + 1 == len(best | more) and len(rows) + dropped[
        "no ranked reply"
    ] == len(replies)
    assert all(0 not in [r["rank"] for r in replies[instruction]] for instruction, _ in more)


@pytest.mark.parametrize(("made", "reason"), [
    (tree(replies=[message("a", rank=0)]) | {"tree_state": "growing"}, "tree not ready for export"),
    (tree(replies=[message("a", rank=0)], deleted=True), "prompt deleted or rejected"),
    (tree(replies=[message("a", rank=0)], review_result=False), "prompt deleted or rejected"),
    (tree(replies=[message("a", rank=0, deleted=True)]), "no ranked reply"),
    (tree(replies=[message("a"), message("b", rank=None)]), "no ranked reply"),
    (tree(replies=[message("a", "prompter", rank=0)]), "no ranked reply"),
    (tree(replies=[message("a", lang="en", rank=0)]), "reply in another language"),
    (tree(" ", replies=[message("a", rank=0)]), "empty")])
def test_a_tree_without_a_usable_pair_is_counted_by_reason(tmp_path, made, reason):
    assert got(written(tmp_path / "t.jsonl", made), "oasst") == ([], {reason: 1})


def test_a_deleted_best_reply_leaves_its_place_to_the_next(tmp_path):
    replies = [
        message("third", rank=2),
        message("gone", rank=0, deleted=True),
        message("second", rank=1),
    ]
    rows, dropped = got(written(tmp_path / "t.jsonl", tree(replies=replies)), "oasst")
    assert (
        rows == [{"instruction": "Mikä?", "output": "second", "language": "fi", "source_id": "t1"}]
        and not dropped
    )


def test_aya_names_languages_by_three_letters_and_comes_as_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "inputs": "Mji mkuu?",
            "targets": "Nairobi",
            "language": "Swahili",
            "language_code": code,
            "annotation_type": "original-annotations",
            "user_id": "u",
        }
        for code in ("swh", "swa", "eng", "zsm")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    made, _ = got(tmp_path / "train.parquet", "aya")
    assert [r["language"] for r in made] == ["sw", "sw", "en", "zsm"] and made[0][
        "source_id"
    ] == "train.parquet:1"
    assert got(written(tmp_path / "a.jsonl.gz", *rows), "aya")[0][3]["output"] == "Nairobi"


def test_alpaca_and_dolly_join_instruction_and_context(tmp_path):
    alpaca = [
        {"instruction": "Add.", "input": "1, 2", "output": "3"},
        {"instruction": "Hi", "input": "", "output": "Hello"},
        {"instruction": "No answer", "input": "", "output": ""},
    ]
    for path in (
        written(tmp_path / "a.json", *alpaca, array=True),
        written(tmp_path / "a.jsonl", *alpaca),
    ):
        rows, dropped = got(path, "alpaca")
        assert [r["instruction"] for r in rows] == ["Add.\n\n1, 2", "Hi"] and dropped == {
            "empty": 1
        }
    dolly = {
        "instruction": "When?",
        "context": "In 1963.",
        "response": "1963",
        "category": "closed_qa",
    }
    rows, _ = got(
        written(
            tmp_path / "d.jsonl", dolly, {"instruction": "A", "context": None, "response": "B"}
        ),
        "dolly",
    )
    assert rows[0] == {
        "instruction": "When?\n\nIn 1963.",
        "output": "1963",
        "language": "en",
        "source_id": "d.jsonl:1",
    }
    assert rows[1]["instruction"] == "A"


@pytest.mark.parametrize(
    ("seed_format", "content", "words"),
    [
        (
            "oasst",
            b'{"prompt": {"text": "a"}}\n',
            "line 1: expected a message tree.*trees.jsonl.gz",
        ),
        ("oasst", b'\n{"text": "a"}\n', "line 2: expected a message tree"),
        (
            "aya",
            b'{"inputs": "a", "targets": "b"}\n',
            "line 1: expected the field language_code.*has inputs, targets",
        ),
        (
            "alpaca",
            b'[{"instruction": "a", "output": "b"}, {"instruction": 3, "output": "b"}]',
            "record 2: instruction must be",
        ),
        (
            "alpaca",
            b'[{"instruction": "a",\n "output": "b"},\n {"inst',
            "line 3: expected a JSON array of objects",
        ),
        ("alpaca", b"[1]", "record 1: expected a JSON object, but int came"),
        ("alpaca", b'["\xff"]', "not UTF-8 at byte 2"),
        ("dolly", b'{"instruction": "a", "response": "\\ud800"}\n', "line 1: half a character"),
        ("dolly", b'{"instruction": "a"', "line 1: expected one JSON object"),
    ],
)
def test_bad_files_are_told_with_file_and_place(tmp_path, seed_format, content, words):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        got(path, seed_format)
    assert "bad.json" in str(error.value)


def test_an_absent_or_damaged_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        got(tmp_path / "x.json", "alpaca")
    whole = written(
        tmp_path / "a.json.gz",
        *[{"instruction": str(k), "output": "b"} for k in range(99)],
        array=True,
    )
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(InputError, match="a.json.gz: damaged or cut off"):
        got(whole, "alpaca")


def test_all_native_pairs_and_a_seeded_sample_of_english_ones_are_chosen(tmp_path):
    rows = [{"instruction": f"{code}{k}", "output": f"o{code}{k}", "language": code}
            for code, n in (("en", 30), ("fi", 4), ("de", 3)) for k in range(n)]
    path = written(tmp_path / "a.jsonl", *rows, {"instruction": "x", "output": " "})
    chosen, dropped = seeds.choose(path, "alpaca", "fi", 10, 0)
    assert [r["language"] for r in chosen] == 4 * ["fi"] + 10 * ["en"]
    assert (
        dropped == {"empty": 1, "other language": 3, "English, not sampled": 20}
        and len(chosen) + 24 == 38
    )
    assert (
        seeds.choose(path, "alpaca", "fi", 10, 0)[0]
        == chosen
        != seeds.choose(path, "alpaca", "fi", 10, 1)[0]
    )
    only_german = written(tmp_path / "de.jsonl", rows[-1])
    with pytest.raises(InputError, match="no pair is in 'fi' or English; 1 are in other"):
        seeds.choose(only_german, "alpaca", "fi", 10, 0)


def test_one_side_of_each_pair_is_translated_and_failures_are_counted(tmp_path):
    rows = [{"instruction": "Mikä?", "output": "Tämä", "language": "fi", "source_id": "1"},
            {"instruction": "What?", "output": "This", "language": "en", "source_id": "2"},
            {"instruction": "Why?", "output": "fail", "language": "en", "source_id": "3"}]
    made, dropped = seeds.cross_lingual(rows, "fi", dictionary)
    assert [(r["instruction"], r["output"]) for r in made] == [
        ("Mikä? [fi>en]", "Tämä"),
        ("What?", "This [en>fi]"),
    ]
    assert dropped == {"translation copied": 1} and made[1]["id"] == content_id(
        "fi", "This [en>fi]"
    )
    path = written(
        tmp_path / "seed.jsonl", *made
    )  # the same fields as those of one's own seed file
    assert list(made[0]) == list(readers.read_rows(path, readers.SEED_FIELDS, "fi")[0][0])


BACTRIAN = [
    {"instruction": "Toa mfano", "input": "wa rangi", "id": "alpaca-1", "output": "Nyekundu"},
    {"instruction": "Nini?", "input": "", "id": "dolly-2", "output": ""},
]


def test_bactrian_m_becomes_rows_that_a_seed_path_takes(tmp_path, capsys):
    source, out = written(tmp_path / "sw.json.gz", *BACTRIAN, array=True), tmp_path / "out.jsonl"
    main(["seeds", "bactrian-m", str(source), "--lang", "sw", "--out", str(out)])
    rows, skipped = readers.read_rows(out, readers.SEED_FIELDS, "sw")
    assert [(r["instruction"], r["output"]) for r in rows] == [
        ("Toa mfano\n\nwa rangi", "Nyekundu")
    ]
    assert not skipped["other language"]
    assert (
        list(read_jsonl(out))[0]["source_id"] == "alpaca-1"
        and "1 pairs in" in capsys.readouterr().out
    )


def test_bactrian_x_of_the_hub_is_data_files_and_no_script(tmp_path, monkeypatch):
    import huggingface_hub

    asked, source = [], written(tmp_path / "sw.json.gz", *BACTRIAN)
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "hf_hub_download",
        lambda _, *a, **more: (
            asked.append((*a, more["repo_type"], more["revision"])) or str(source)
        ),
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **more: [
        "Bactrian-X.py", "data/fi.json.gz", "data/sw.json.gz", "data/en.json.gz"])
    rows, dropped = seeds.bactrian("MBZUAI/Bactrian-X", "sw", "abc")
    assert (
        asked == [("MBZUAI/Bactrian-X", "data/sw.json.gz", "dataset", "abc")]
        and len(rows) == 1
        and dropped == {"empty": 1}
    )
    rows, dropped = seeds.bactrian("MBZUAI/Bactrian-X", None, "abc")
    assert (
        [r["language"] for r in rows] == ["fi", "sw"]
        and dropped == {"empty": 2}
        and len(asked) == 3
    )


def test_bactrian_x_reads_the_files_of_all_languages_in_a_folder_but_english(tmp_path):
    for code in ("en", "sw", "zh"):
        written(tmp_path / f"{code}.json.gz", *BACTRIAN, array=True)
    main(["seeds", "bactrian-x", str(tmp_path), "--out", str(tmp_path / "out.jsonl")])
    assert [r["language"] for r in read_jsonl(tmp_path / "out.jsonl")] == ["sw", "zh"]
    with pytest.raises(
        InputError, match="no fi.json.gz is in it; the languages there are en, sw, zh"
    ):
        seeds.bactrian(str(tmp_path), "fi")
    with pytest.raises(InputError, match="all languages need a folder"):
        seeds.bactrian(str(tmp_path / "sw.json.gz"))


def test_an_unreachable_hub_is_one_clear_error():
    """The tests run with HF_HUB_OFFLINE."""
    with pytest.raises(
        InputError, match="MBZUAI/No-Such: could not get data/sw.json.gz at main.*give their path"
    ):
        seeds.bactrian("MBZUAI/No-Such", "sw")


def test_alpaca_mt_translates_both_sides_and_drops_a_pair_with_one_bad_side(tmp_path):
    path = written(
        tmp_path / "a.json",
        {"instruction": "Add.", "input": "", "output": "3"},
        {"instruction": "fail", "input": "", "output": "ok"},
        {"instruction": "ok", "input": "", "output": "fail"},
        array=True,
    )
    rows, dropped = seeds.alpaca_mt(path, "sw", dictionary)
    assert [(r["instruction"], r["output"]) for r in rows] == [("Add. [en>sw]", "3 [en>sw]")]
    assert dropped == {"translation copied": 2}


def test_the_command_writes_nothing_where_it_fails(tmp_path, capsys):
    out, empty = (
        tmp_path / "out.jsonl",
        written(tmp_path / "a.json", {"instruction": "a", "output": ""}, array=True),
    )
    for line, words in (
        (["bactrian-m", str(empty), "--lang", "sw"], "no pair is left, dropped: {'empty': 1}"),
        (["alpaca-mt", str(empty), "--lang", "sw"], "needs --translator"),
        (["bactrian-m", str(empty), "--lang", "xx"], "unknown language code 'xx'"),
        (["bactrian-m", str(empty)], "of one language, but none came"),
        (["bactrian-x", str(empty), "--lang", "sw"], "of all languages, but sw came"),
    ):
        assert main(["seeds", *line, "--out", str(out)]) == 2 and words in capsys.readouterr().err
    assert not out.exists()


# What people bring.


def test_ranks_may_be_whole_floats_as_pandas_writes_them(tmp_path):
    replies = [message("second", rank=1.0), message("best", rank=0.0), message("none", rank=None)]
    odd = [message("half", rank=0.5), message("text", rank="0"), message("true", rank=True),
           message("nan", rank=float("nan"))]
    path = written(tmp_path / "t.jsonl", tree(replies=replies), tree(replies=odd))
    rows, dropped = got(path, "oasst")
    assert [r["output"] for r in rows] == ["best"] and dropped == {"no ranked reply": 1}


@pytest.mark.parametrize(
    "state",
    [
        "initial_prompt_review",
        "growing",
        "ranking",
        "aborted_low_grade",
        "ready_for_scoring",
        "halted_by_moderator",
        "backlog_ranking",
        "prompt_lottery_waiting",
        3,
    ],
)
@pytest.mark.parametrize("prompt", [{"text": "a", "replies": None}, {"text": "a"}, None, "a"])
def test_a_tree_that_is_not_ready_is_counted_whatever_it_lacks(tmp_path, state, prompt):
    path = written(tmp_path / "t.jsonl", {"tree_state": state, "prompt": prompt},
                   {"tree_state": state})
    assert got(path, "oasst") == ([], {"tree not ready for export": 2})


def test_null_among_replies_or_in_their_place_is_no_reply(tmp_path):
    whole = tree(replies=[None, message("a", rank=0)])
    bare = tree()
    bare["prompt"]["replies"] = None
    rows, dropped = got(written(tmp_path / "t.jsonl", whole, bare), "oasst")
    assert [r["output"] for r in rows] == ["a"] and dropped == {"no ranked reply": 1}
    for replies in (["text"], {"0": {}}, [[]]):
        with pytest.raises(InputError, match="line 1: (a reply must be an|replies must be a)"):
            whole["prompt"]["replies"] = replies
            got(written(tmp_path / "t.jsonl", whole), "oasst")


@pytest.mark.parametrize("given", ["<noinput>", "No input", "Noinput", "N/A", "n/a.", "nan", " ",
                                   "None", None, float("nan")])
def test_what_people_write_for_no_input_is_no_input(tmp_path, given):
    row = {"instruction": "Name a thing.", "input": given, "output": "A tree."}
    rows, _ = got(written(tmp_path / "a.json", row, array=True), "alpaca")
    assert rows[0]["instruction"] == "Name a thing."


def test_an_id_of_zero_is_an_id_and_nan_is_none(tmp_path):
    rows = [{"id": name, "instruction": "a", "output": "b"} for name in
            (0, 0.0, 7.0, "x", None, float("nan"), "")]
    made, _ = got(written(tmp_path / "a.json", *rows, array=True), "alpaca")
    assert [r["source_id"] for r in made] == [
        "0",
        "0",
        "7",
        "x",
        "a.json:5",
        "a.json:6",
        "a.json:7",
    ]
    trees = [tree(replies=[message("a", rank=0)]) | {"message_tree_id": None},
             tree(replies=[message("a", rank=0)]) | {"message_tree_id": 0}]
    trees[0]["prompt"]["message_id"] = "m1"
    made, _ = got(written(tmp_path / "t.jsonl", *trees), "oasst")
    assert [r["source_id"] for r in made] == ["m1", "0"]
    with pytest.raises(InputError, match="record 1: id must be a string or an integer, but list"):
        got(written(tmp_path / "a.json", rows[0] | {"id": [1]}, array=True), "alpaca")


def test_an_array_may_be_packed_with_zstandard_or_begin_with_blanks(tmp_path):
    import pyarrow as pa

    raw = b" \n" * 200 + json.dumps([{"instruction": "a", "output": "b"}] * 3).encode()
    (tmp_path / "a.json.zst").write_bytes(pa.compress(raw, codec="zstd", asbytes=True))
    (tmp_path / "b.json").write_bytes(b"\xef\xbb\xbf" + raw)
    assert [len(got(tmp_path / name, "alpaca")[0]) for name in ("a.json.zst", "b.json")] == [3, 3]


def test_hidden_files_in_a_folder_of_bactrian_are_no_languages(tmp_path):
    written(tmp_path / "sw.json.gz", *BACTRIAN, array=True)
    (tmp_path / "._sw.json.gz").write_bytes(b"\x00\x05\x16\x07")
    assert [r["language"] for r in seeds.bactrian(str(tmp_path))[0]] == ["sw"]
