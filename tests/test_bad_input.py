"""Faulty input files: one clear error that says what, where and what to do; finished steps stay as
they are.

Each fault goes through the reader, which is quick; those of files that people really bring also go
through the verb.
"""

import gzip
import json
import re

import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.shards import Shards
from xinstruct_utils.data import readers
from xinstruct_utils.workflow import notebooks

ROW = {"language": "fi", "text": "Hyvää päivää"}
TEXTS = [
    {"language": "fi", "text": f"Tämä on teksti numero {k}. " + "Se on tarpeeksi pitkä. " * 3}
    for k in range(6)
]
PAIRS = [{"language": "fi", "instruction": "Say hello", "output": f"Hei {k}"} for k in range(20)]


def write(path, rows):
    """A JSONL file of rows; what is bytes already is written as it is."""
    path.write_bytes(
        b"".join(
            r if isinstance(r, bytes) else (json.dumps(r, ensure_ascii=False) + "\n").encode()
            for r in rows
        )
    )
    return path


# name: (rows, or None for no file; what the message must say). The first seven go through the verb
# too.
FAULTS = {
    "missing file": (None, "no such file|is not there"),
    "empty file": ([], "the file is empty; expected rows"),
    "wrong field names": (
        [{"lang": "fi", "content": "x"}],
        "line 1: expected the fields language, text.*row has lang, content",
    ),
    "bad JSON line in the middle": (
        [*TEXTS[:2], b'{"language": "fi", \n', *TEXTS[2:]],
        "line 3: expected one JSON.*mend",
    ),
    "byte that is not UTF-8": (
        [*TEXTS, b'{"language": "fi", "text": "\xe4"}\n'],
        "line 7: not UTF-8 at byte 28.*iconv",
    ),
    "duplicate id": (
        [t | {"id": k % 5} for k, t in enumerate(TEXTS)],
        "line 6: duplicate id 0, first in line 1.*unique",
    ),
    "number where text belongs": (
        [ROW | {"text": 5}],
        "line 1: text must be a string, but int came",
    ),
    "nothing where text belongs": (
        [ROW | {"text": None}],
        "line 1: text must be a string, but NoneType came",
    ),
    "list where an object belongs": ([ROW, [1]], "line 2: expected a JSON object, but list came"),
    "number in an array of objects": ([[1]], "record 1: expected a JSON object, but int came"),
    "array that is cut off": (
        [b'[\n {"language": "fi",\n'],
        "line 2: expected a JSON array.*cut off: copy it",
    ),
    "two arrays": (
        [b'[{"language": "fi", "text": "a"}]\n[]\n'],
        "after its 1 records comes '\\[\\]'",
    ),
    "blank lines only": ([b"\n \n\n"], "the file is empty"),
    "only other languages": ([ROW | {"language": "sw"}], "no row is in 'fi'; expected rows with"),
    "id that is a list": (
        [ROW | {"id": [1]}],
        "line 1: id must be a string or an integer, but list came",
    ),
    "one id in two forms": (
        [ROW | {"id": 1}, ROW | {"id": 1.0}],
        "line 2: duplicate id 1.0, first in line 1",
    ),
    "number without end in an array": (
        [b'[{"id": ' + b"9" * 5000 + b"}]"],
        "record 1: expected a JSON array.*limit",
    ),
    "half a character": (
        [ROW, b'{"language": "fi", "text": "a\\ud83d"}\n'],
        r"line 2: half a character, '\\ud83d', came",
    ),
    "half a character in an id": (
        [b'{"id": "\\udc00", "language": "fi", "text": "a"}\n'],
        "line 1: half a character",
    ),
    "brackets without end": (
        [ROW, b"[" * 100_000 + b"\n"],
        "line 2: expected one JSON object a line.*recursion",
    ),
    "brackets at once": ([b"[" * 100_000 + b"\n"], "record 1: expected a JSON array.*recursion"),
    "number without end": (
        [b'{"id": ' + b"9" * 5000 + b"}\n"],
        "line 1: expected one JSON object a line",
    ),
    "UTF-16": ([json.dumps(ROW).encode("utf-16")], "line 1: not UTF-8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_reader_names_file_line_and_remedy(tmp_path, fault):
    rows, message = FAULTS[fault]
    path = tmp_path / "a.jsonl"
    if rows is not None:
        write(path, rows)
    with pytest.raises(InputError, match=message) as error:
        readers.read_rows(path, readers.CORPUS_FIELDS, "fi")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_where_a_file_belongs(tmp_path):
    with pytest.raises(InputError, match="expected a readable file, but: Is a directory"):
        readers.read_rows(tmp_path, readers.CORPUS_FIELDS, "fi")


@pytest.mark.parametrize("damage", ["not gzip", "cut off", "overwritten"])
def test_a_damaged_gzip_file(tmp_path, damage):
    plain = b"".join((json.dumps(t) + "\n").encode() for t in TEXTS)
    packed = gzip.compress(plain)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(
        {
            "not gzip": plain,
            "cut off": packed[:-20],
            "overwritten": packed[:10] + b"\xff" * 9 + packed[19:],
        }[damage]
    )
    with pytest.raises(
        InputError, match=r"a\.jsonl\.gz: damaged or cut off after line \d+, or not gzip at all"
    ):
        readers.read_rows(path, readers.CORPUS_FIELDS, "fi")


@pytest.mark.parametrize("content", [b"", b"PAR1xxxx", b'{"language": "fi"}\n'])
def test_a_file_that_is_no_parquet(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet: not a readable Parquet file"):
        readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")


def test_a_parquet_file_with_bytes_for_text_or_an_empty_cell(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for cells, message in (
        ([b"\xff"], "line 1: text must be a string, but bytes"),
        (["x", None], "line 2: text must be"),
    ):
        pq.write_table(
            pa.table({"language": ["fi"] * len(cells), "text": cells}), tmp_path / "a.parquet"
        )
        with pytest.raises(InputError, match=message):
            readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")


# Through the verb, as a user meets them.


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run on files of which 01_seed_data is finished; each test writes a corpus of its own."""
    home = tmp_path_factory.mktemp("bad")
    write(home / "seed.jsonl", PAIRS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINSTRUCT_RUNS", str(home / "runs"))
        assert verb(home, "01_seed_data") == 0
        yield home


def verb(home, notebook, run_name="r", *more):
    """Exit status of one step of a run on the files in `home`."""
    return main(
        [
            "run",
            notebook,
            "--run",
            run_name,
            "--lang",
            "fi",
            "--profile",
            "local",
            "-p",
            f"seed_path={home / 'seed.jsonl'}",
            "-p",
            f"corpus_path={home / 'corpus.jsonl'}",
            *more,
        ]
    )


def by_hand(notebook, run_name, **changed):
    """A chapter's cells run as in JupyterLab, without the verb, with some of its parameters
    changed."""
    given = notebooks.parameters_of(notebook, load_run(run_name), run_name, "fi", None) | changed
    space = {"__name__": "__main__"}
    for cell in (c for c in notebooks.read_notebook(notebook)["cells"] if c["cell_type"] == "code"):
        exec("".join(cell["source"]), space)  # noqa: S102
        space |= given if "parameters" in cell["metadata"].get("tags", ()) else {}


def finished(home):
    """All bytes of the finished step."""
    return {
        p.name: p.read_bytes()
        for p in (home / "runs" / "r" / "fi" / "01_seed_data").iterdir()
        if p.is_file()
    }


NOTHING_LEFT = (
    [ROW, {"language": "fi", "text": " "}],
    "no text is left of 2 rows.*look at the source, or set other limits",
)


@pytest.mark.parametrize("fault", [*list(FAULTS)[:7], "no text left"])
def test_the_verb_fails_with_one_message_and_leaves_finished_steps_intact(begun, capsys, fault):
    rows, message = FAULTS.get(fault, NOTHING_LEFT)
    (begun / "corpus.jsonl").unlink(missing_ok=True)
    if rows is not None:
        write(begun / "corpus.jsonl", rows)
    before = finished(begun)
    assert verb(begun, "02_corpus") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert re.search(message, told) and ("corpus.jsonl" in told or fault == "no text left")
    assert (
        not (begun / "runs" / "r" / "fi" / "02_corpus" / "manifest.json").exists()
        and finished(begun) == before
    )


def test_the_same_command_goes_on_once_the_file_is_mended(begun, capsys):
    write(begun / "corpus.jsonl", FAULTS["bad JSON line in the middle"][0])
    assert verb(begun, "02_corpus") != 0
    write(begun / "corpus.jsonl", TEXTS)
    assert verb(begun, "02_corpus") == 0
    kept = Shards(begun / "runs" / "r" / "fi" / "02_corpus" / "corpus", 250).read()
    assert [r["text"] for r in kept] == [t["text"] for t in TEXTS]


def test_no_text_of_other_settings_is_left_when_the_corpus_is_made_by_hand(begun, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    write(begun / "corpus.jsonl", TEXTS + [t | {"text": 3 * t["text"]} for t in TEXTS])
    folder, found = begun / "runs" / "r" / "fi" / "02_corpus", []
    for shortest in (180, 64, 180, None):
        by_hand("02_corpus", "r", min_chars=shortest) if shortest else verb(begun, "02_corpus")
        found.append([r["text"] for r in Shards(folder / "corpus", 250).read()])
        assert read_json(folder / "manifest.json")["counts"][-1]["out"] == len(found[-1])
    assert (
        min(map(len, found[0])) >= 180 > min(map(len, found[1]))
        and found[0] == found[2]
        and found[1] == found[3]
    )


def test_a_round_whose_predecessor_is_missing_is_one_error_that_names_the_command(begun, capsys):
    assert verb(begun, "04_refinement", "r", "--iteration", "2") == 2
    told = capsys.readouterr().err
    assert (
        told.startswith(
            "error: 04_refinement needs round 1 of 04_refinement, which is not finished"
        )
        and told.count("\n") == 1
    )
    assert told.endswith(
        "run first: python -m xinstruct_utils run 04_refinement --run r --lang fi --iteration 1\n"
    )
    assert not list((begun / "runs" / "r" / "fi" / "04_refinement").rglob("manifest.json"))


def test_a_seed_smaller_than_the_split_needs(begun, tmp_path, capsys):
    write(tmp_path / "seed.jsonl", PAIRS[:11])
    write(tmp_path / "corpus.jsonl", TEXTS)
    assert verb(tmp_path, "01_seed_data", "small") != 0
    told = capsys.readouterr().err
    assert (
        "the seed data have 11 usable pairs, but at least 12 are needed to split them" in told
        and "Traceback" not in told
    )
    assert not list((begun / "runs" / "small").rglob("manifest.json"))


def test_a_seed_with_the_fields_of_a_corpus(begun, tmp_path, capsys):
    write(tmp_path / "seed.jsonl", TEXTS)
    write(tmp_path / "corpus.jsonl", TEXTS)
    assert verb(tmp_path, "01_seed_data", "swapped") != 0
    told = capsys.readouterr().err
    assert (
        "seed.jsonl, line 1: expected the fields language, instruction, output, "
        "but instruction, output is missing" in told
    )
