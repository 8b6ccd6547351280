"""Corpora: formats on disk, hub data sets through the real loader, seeded samples that go on after
a kill."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.data import sampling, sources

TEXTS = [f"Teksti {k}: " + "tämä on tarpeeksi pitkä lause. " * 3 for k in range(60)]


def jsonl(rows):
    return b"".join((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows)


def texts(corpus):
    return [row["text"] for row in corpus.rows()]


def test_oscar_and_mc4_rows_need_no_language_and_keep_their_address(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        jsonl(
            [
                {"text": TEXTS[0], "timestamp": "2020", "url": "https://a.fi"},
                {"id": 7, "text": TEXTS[1], "meta": {"url": "https://b.fi"}},
                {
                    "content": TEXTS[2],
                    "warc_headers": {"warc-target-uri": "https://c.fi"},
                    "metadata": {},
                },
                {"text": TEXTS[3]},
            ]
        )
    )
    rows = list(sources.on_disk(tmp_path / "a.jsonl", "fi").rows())
    assert [r["text"] for r in rows] == TEXTS[:4] and [r["source_id"] for r in rows] == [
        None,
        "7",
        None,
        None,
    ]
    assert [r["url"] for r in rows] == ["https://a.fi", "https://b.fi", "https://c.fi", None]
    assert [r["id"] for r in rows] == [content_id("fi", t) for t in TEXTS[:4]]


def test_downloaded_fineweb_knows_languages_by_three_letters(tmp_path):
    pq.write_table(
        pa.Table.from_pylist(
            [
                {
                    "text": t,
                    "id": f"<urn:{k}>",
                    "url": "u",
                    "language": code,
                    "language_script": "Latn",
                }
                for k, (t, code) in enumerate(zip(TEXTS, ["swh", "fin", "swh"], strict=False))
            ]
        ),
        tmp_path / "a.parquet",
    )
    corpus = sources.on_disk(tmp_path / "a.parquet", "sw")
    assert (
        texts(corpus) == [TEXTS[0], TEXTS[2]]
        and corpus.skipped == {"other language": 1}
        and corpus.read == 3
    )
    assert texts(corpus) == [TEXTS[0], TEXTS[2]] and corpus.read == 3  # a second look counts afresh


def test_a_folder_may_mix_packings_and_text_files(tmp_path):
    packed = [pa.compress(jsonl([{"text": t}]), codec="zstd", asbytes=True) for t in TEXTS[:2]]
    (tmp_path / "a.jsonl.zst").write_bytes(packed[0] + packed[1])  # two frames, as zstd -T writes
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(jsonl([{"text": TEXTS[2]}])))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "d.txt").write_bytes(b"\xef\xbb\xbf" + TEXTS[3].encode())
    (tmp_path / "e.md").write_text("not read")
    assert texts(sources.on_disk(tmp_path, "fi")) == TEXTS[:4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl.zst",
            pa.compress(jsonl([{"text": t} for t in TEXTS]), codec="zstd", asbytes=True)[:-9],
            "damaged or cut off",
        ),
        ("a.jsonl.zst", b"plain\n", "not Zstandard at all"),
        ("a.txt", b"\xe4", "not UTF-8 at byte 0"),
        ("a.txt.gz", gzip.compress(b"x" * 99, mtime=0)[:-4], "expected a readable text file"),
        ("e.md", b"x", "nothing to read in it"),
        ("a.jsonl", jsonl([{"content": "x"}]), "line 1: expected the fields language, text"),
        ("a.jsonl", jsonl([{"text": "a", "language": "xx"}]), "no row is in 'fi'.*1 in 'xx' came"),
        (
            "a.jsonl",
            jsonl([{"text": "a", "id": 1}, {"text": "b", "id": 1}]),
            "line 2: duplicate id 1, first in line 1",
        ),
        ("a.jsonl", jsonl([{"text": "a", "language": "sw"}]), "no row is in 'fi'"),
        ("a.jsonl", b"", "the file is empty"),
    ],
)
def test_a_faulty_corpus_is_one_error_with_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        texts(sources.on_disk(tmp_path, "fi"))
    assert str(tmp_path) in str(error.value)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set laid out as FineWeb-2 is on the hub, three Parquet files in the config fin_Latn,
    in a local folder."""
    folder = tmp_path / "fineweb-2"
    (folder / "data").mkdir(parents=True)
    for k in range(3):
        rows = [
            {"text": t, "id": f"<urn:{k}>", "url": "u", "language": "fin"}
            for t in TEXTS[20 * k : 20 * k + 20]
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{k}.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: fin_Latn\n  data_files: data/*.parquet\n---\n"
    )
    monkeypatch.setattr(sources, "HUB", {"fineweb2": (str(folder), "fineweb2")})
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def test_a_data_set_of_the_hub_is_streamed_file_by_file(hub):
    corpus = sources.on_hub("fineweb2", "abc", "fi")
    assert len(corpus.files) == 3 and texts(corpus) == TEXTS
    assert {(r["source_id"], r["url"]) for r in corpus.rows()} == {
        ("<urn:0>", "u"),
        ("<urn:1>", "u"),
        ("<urn:2>", "u"),
    }


def test_memory_for_given_ids_is_bounded(tmp_path, monkeypatch):
    """Ids are remembered to find a field that is no id, not to prove that a million of them are
    unique."""
    (tmp_path / "a.jsonl").write_bytes(
        jsonl([{"text": t, "id": k % 3} for k, t in enumerate(TEXTS[:4])])
    )
    with pytest.raises(InputError, match="line 4: duplicate id 0, first in line 1"):
        texts(sources.on_disk(tmp_path / "a.jsonl", "fi"))
    monkeypatch.setattr(sources, "REMEMBERED", 0)
    assert texts(sources.on_disk(tmp_path / "a.jsonl", "fi")) == TEXTS[:4]


def test_a_sample_of_the_hub_goes_on_after_a_kill_with_the_next_file(hub, tmp_path):
    whole, dropped, read = sampling.sample(
        sources.on_hub("fineweb2", "abc", "fi"), 25, 0, tmp_path / "one"
    )
    assert read == 60 and dropped["not sampled"] == 35 and len(list(whole())) == 25
    broken, opened = sources.on_hub("fineweb2", "abc", "fi"), []
    for name, act in list(broken.files.items()):
        broken.files[name] = lambda name=name, act=act: (
            opened.append(name) or (dying(act()) if len(opened) == 2 else act())
        )
    with pytest.raises(KeyboardInterrupt):
        sampling.sample(broken, 25, 0, tmp_path / "two")
    again = sampling.sample(broken, 25, 0, tmp_path / "two")
    assert list(again[0]()) == list(whole()) and again[1:] == (dropped, read)
    assert len(opened) == 4 and len(set(opened)) == 3  # the finished file was not opened again


def dying(rows):
    yield next(rows)
    raise KeyboardInterrupt


def test_a_sample_depends_on_the_seed_and_not_on_order_or_repeats(tmp_path):
    for name, order in (("a", TEXTS), ("b", TEXTS[::-1] + TEXTS[:9])):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl([{"text": t} for t in order]))
    drawn = {
        (name, seed): {
            r["text"]
            for r in sampling.sample(
                sources.on_disk(tmp_path / f"{name}.jsonl", "fi"),
                20,
                seed,
                tmp_path / f"{name}{seed}",
            )[0]()
        }
        for name in "ab"
        for seed in (0, 1)
    }
    assert drawn["a", 0] == drawn["b", 0] != drawn["a", 1] == drawn["b", 1] and all(
        len(d) == 20 for d in drawn.values()
    )


def test_a_sample_looks_at_no_more_than_was_asked_and_counts_every_row(tmp_path):
    for k in range(3):
        odd = [{"text": "x"}, {"text": "y" * 999}, {"text": "z", "language": "sw"}]
        (tmp_path / f"{k}.jsonl").write_bytes(
            jsonl([{"text": t} for t in TEXTS[20 * k : 20 * k + 20]] + odd)
        )
    rows, dropped, read = sampling.sample(
        sources.on_disk(tmp_path, "fi"), 10, 0, tmp_path / "s", 9, 500, scan=30
    )
    assert read == 30 == len(list(rows())) + sum(dropped.values())
    assert dropped == {"other language": 1, "too short": 1, "too long": 1, "not sampled": 17}


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ConnectionError("Couldn't reach the Hub"), "check the network.*corpus_source=files"),
        (
            RuntimeError("Dataset 'uonlp/CulturaX' is a gated dataset on the Hub."),
            "ask for access.*HF_TOKEN",
        ),
    ],
)
def test_no_access_is_one_error_that_says_how_to_get_it(monkeypatch, error, advice):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(
        InputError, match=rf"uonlp/CulturaX \(sw, revision 6a8734bc69fe\) cannot be read.*{advice}"
    ):
        sources.on_hub("culturax", "6a8734bc69fefcbb7735f4f9250f43e4cd7a442e", "sw")


def test_the_real_loader_without_a_network_gives_that_error():
    with pytest.raises(
        InputError,
        match=r"HuggingFaceFW/fineweb-2 \(swh_Latn, revision abc\) cannot be read.*"
        "check the network",
    ):
        sources.on_hub("fineweb2", "abc", "sw")                # tests run with HF_HUB_OFFLINE


def test_a_hub_corpus_without_a_revision_is_refused():
    with pytest.raises(InputError, match="needs corpus_revision:"):
        sources.on_hub("fineweb2", "", "fi")


def test_profiles_pin_their_corpora_and_need_no_path():
    for name, source in (("paper", "culturax"), ("modern", "fineweb2")):
        profile = load_profile(name)
        assert (
            profile.corpus_source == source
            and len(profile.corpus_revision) == 40
            and profile.corpus_sample == 1_000_000
        )
    with pytest.raises(
        InputError, match="cleaning: Input should be 'encoding'.* but 'lenght' came"
    ):
        load_profile("local", cleaning=["lenght"])


@pytest.mark.parametrize(
    "name",
    ["._a.jsonl", ".hidden.jsonl", ".ipynb_checkpoints/a-checkpoint.jsonl", "__MACOSX/a.jsonl",
     "__MACOSX/b/._a.jsonl", ".git/a.txt", "_temporary/0/part.parquet", "_delta_log/0.json"],
)
def test_what_programs_leave_in_a_folder_is_no_corpus(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    (tmp_path / "part.jsonl").write_bytes(jsonl([{"text": TEXTS[0]}]))
    corpus = sources.on_disk(tmp_path, "fi")
    assert list(corpus.files) == [str(tmp_path / "part.jsonl")] and texts(corpus) == TEXTS[:1]


def test_a_corpus_may_lie_in_a_hidden_folder(tmp_path):
    (tmp_path / ".cache" / "_x").mkdir(parents=True)
    (tmp_path / ".cache" / "_x" / "a.jsonl").write_bytes(jsonl([{"text": TEXTS[0]}]))
    assert texts(sources.on_disk(tmp_path / ".cache" / "_x", "fi")) == TEXTS[:1]


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    table = tmp_path / "c.parquet"
    table.mkdir()
    (table / "_SUCCESS").touch()
    pq.write_table(pa.table({"text": TEXTS[:3]}), table / "part-0.snappy.parquet")
    for path in (tmp_path, table):
        assert texts(sources.on_disk(path, "fi")) == TEXTS[:3]


def test_suffixes_may_be_written_in_capitals_and_ndjson_is_jsonl(tmp_path):
    pq.write_table(pa.table({"text": TEXTS[:1]}), tmp_path / "a.PARQUET")
    (tmp_path / "b.NDJSON").write_bytes(jsonl([{"text": TEXTS[1]}]))
    (tmp_path / "c.ndjson.gz").write_bytes(gzip.compress(jsonl([{"text": TEXTS[2]}])))
    (tmp_path / "d.JSONL.GZ").write_bytes(gzip.compress(jsonl([{"text": TEXTS[3]}])))
    (tmp_path / "e.Txt").write_text(TEXTS[4])
    assert texts(sources.on_disk(tmp_path, "fi")) == TEXTS[:5]


@pytest.mark.parametrize("damage", ["cut off", "overwritten", "plain"])
@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.txt.zst", "a.jsonl.zst"])
def test_a_damaged_archive_is_one_error_with_its_name(tmp_path, name, damage):
    plain = jsonl([{"text": t} for t in TEXTS])
    packed = gzip.compress(plain)
    if name.endswith(".zst"):
        packed = pa.compress(plain, codec="zstd", asbytes=True)
    middle = len(packed) // 2
    data = {
        "cut off": packed[:middle],
        "overwritten": packed[:middle] + b"\xff" * 99 + packed[middle + 99 :],
        "plain": plain,
    }
    (tmp_path / name).write_bytes(data[damage])
    with pytest.raises(InputError, match=rf"{name}: damaged or cut off.*copy or compress it again"):
        texts(sources.on_disk(tmp_path, "fi"))


def test_rows_of_hplt_have_their_address_in_u_and_their_language_in_a_list(tmp_path):
    row = {"u": "https://example.org/x", "ts": "2023", "id": "0" * 32}
    rows = [row | {"text": t, "lang": names} for t, names in zip(
        TEXTS, (["fin_Latn", "eng_Latn"], ["swh_Latn", "fin_Latn"], ["fin_Latn"]), strict=False)]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    corpus = sources.on_disk(tmp_path, "fi")
    read = list(corpus.rows())
    assert [r["text"] for r in read] == [TEXTS[0], TEXTS[2]] and corpus.skipped.total() == 1
    assert {(r["url"], r["source_id"]) for r in read} == {("https://example.org/x", "0" * 32)}


def test_rows_of_languages_outside_the_ten_are_counted(tmp_path):
    rows = [{"text": t, "language": code} for t, code in zip(
        TEXTS, ("fi", "deu", "fin_Latn", "xx", "hin_Latn", ""), strict=False)]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    corpus = sources.on_disk(tmp_path, "fi")
    assert texts(corpus) == [TEXTS[0], TEXTS[2]] and corpus.skipped == {"other language": 4}
    with pytest.raises(InputError, match="no row is in 'sw'.*6 in 'fi', 'deu', 'xx', 'hin_Latn'"):
        texts(sources.on_disk(tmp_path, "sw"))
