"""Readers, cleaning, the split, and safe display (faulty files are in test_bad_input)."""

import gzip
import json

import pytest

from xinstruct_utils.atlas import pages, world
from xinstruct_utils.config.load import Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, read_jsonl, write_jsonl
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.core.shards import Rows
from xinstruct_utils.data import cleaning, language_id, readers, sources
from xinstruct_utils.evaluation import benchmarks
from xinstruct_utils.method import seeds
from xinstruct_utils.method.backtranslation import instruction_fault
from xinstruct_utils.reporting.display import length_summary, show_rows

SHARED = REPO.parent / "shared" / "data"
ROW = {"language": "fi", "text": "Hyvää päivää"}


def lines(path, rows):
    path.write_bytes(
        b"".join(
            r if isinstance(r, bytes) else (json.dumps(r, ensure_ascii=False) + "\n").encode()
            for r in rows
        )
    )
    return path


def cleaned(rows, min_chars, max_chars):
    """(rows, {reason: n}) of the paper's rule and of exact repeats, as chapters 1 and 2 use
    them."""
    census = cleaning.Census(["length", "duplicates"])
    return list(cleaning.stream(rows, census, "fi", min_chars, max_chars)), census.dropped


def test_jsonl_gzip_and_parquet_give_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"language": "fi", "text": f"Teksti {k} 🙂\nrivi\u00a0e\u0301"} for k in range(5)]
    plain = lines(tmp_path / "a.jsonl", rows)
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as stream:
        stream.write(plain.read_bytes())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = [
        readers.read_rows(tmp_path / name, readers.CORPUS_FIELDS, "fi")[0]
        for name in ("a.jsonl", "a.jsonl.gz", "a.parquet")
    ]
    assert read[0] == read[1] == read[2] and [r["text"] for r in read[0]] == [
        r["text"] for r in rows
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = lines(tmp_path / "a.jsonl", [b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n"])
    assert readers.read_rows(path, readers.CORPUS_FIELDS, "fi")[0][0]["text"] == ROW["text"]


def test_ids_are_of_the_content_and_given_ones_are_kept(tmp_path):
    path = lines(tmp_path / "a.jsonl", [ROW | {"id": "x1"}])
    row = readers.read_rows(path, readers.CORPUS_FIELDS, "fi")[0][0]
    assert row["id"] == content_id("fi", ROW["text"]) and row["source_id"] == "x1"


def test_rows_of_other_languages_are_skipped_and_counted(tmp_path):
    path = lines(
        tmp_path / "a.jsonl", [ROW, {"language": "sw", "text": "Habari"}, ROW | {"text": "Moi"}]
    )
    rows, skipped = readers.read_rows(path, readers.CORPUS_FIELDS, "fi")
    assert len(rows) == 2 and skipped == {"other language": 1}


def test_a_line_separator_of_unicode_ends_no_row(tmp_path):
    path = lines(tmp_path / "a.jsonl", [ROW | {"text": "a\u2028b\u0085c\x0bd"}, b"\n", ROW])
    assert [r["text"] for r in readers.read_rows(path, readers.CORPUS_FIELDS, "fi")[0]] == [
        "a\u2028b\u0085c\x0bd",
        ROW["text"],
    ]


def test_rows_of_languages_outside_the_ten_are_counted_and_told_where_nothing_else_is(tmp_path):
    rows = [ROW, *(ROW | {"language": code} for code in ("deu", "xx", "fin_Latn", "fin_Arab"))]
    read, skipped = readers.read_rows(
        lines(tmp_path / "a.jsonl", rows), readers.CORPUS_FIELDS, "fi"
    )
    assert [r["language"] for r in read] == ["fi", "fi"] and skipped == {"other language": 3}
    assert {r["id"] for r in read} == {content_id("fi", ROW["text"])}
    path = lines(tmp_path / "b.jsonl", rows[1:3])
    with pytest.raises(InputError, match="b.jsonl: no row is in 'fi'.*but 2 in 'deu', 'xx' came"):
        readers.read_rows(path, readers.CORPUS_FIELDS, "fi")


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("joined", [
    b"%s\n%s\n", b"%s,\n%s,\n", b"%s, \r\n %s\r\n", BOM + b"%s\n" + BOM + b"%s\n", b"[%s,%s]",
    b"\n \n%s\n\n%s", b"\n  [\n%s,\n%s\n]\n", BOM + b"[%s,\n%s,\n]", BOM + b"\n%s\n%s\n",
    BOM + b"\n[%s,%s]"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "a.JSONL", "a", "a.json.gz"])
def test_lines_commas_arrays_and_byte_order_marks_are_read(tmp_path, joined, name):
    rows = [json.dumps(ROW | {"text": text}, ensure_ascii=False).encode() for text in ("yksi", "ö")]
    data = joined % tuple(rows)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    read, _ = readers.read_rows(tmp_path / name, readers.CORPUS_FIELDS, "fi")
    assert [r["text"] for r in read] == ["yksi", "ö"]


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.xlsx", "a.zip"])
def test_a_file_of_another_kind_is_told_by_its_suffix(tmp_path, name):
    (tmp_path / name).write_bytes(b"language,text\nfi,Hei\n")
    with pytest.raises(
        InputError, match=rf"{name}: \.\w+ files are not read; expected JSONL.*to_json"
    ):
        readers.read_rows(tmp_path / name, readers.CORPUS_FIELDS, "fi")


# Ids.


@pytest.mark.parametrize(("given", "name"), [
    (1, "1"), ("1", "1"), (1.0, "1"), (0, "0"), (0.0, "0"), (-0.0, "0"), ("0", "0"), ("x 1", "x 1"),
    (None, None), (float("nan"), None), ("", None), (1e20, "100000000000000000000"), (1.5, "1.5")])
def test_one_rule_says_what_an_id_is(given, name):
    assert readers.row_id(given, "a.jsonl, line 1") == name


@pytest.mark.parametrize("given", [[1], {}, True, False, b"a", [], "\ud83d"])
def test_what_is_no_id_is_an_error(given):
    with pytest.raises(
        InputError, match="a.jsonl, line 1: (id must be a string or|half a character)"
    ):
        readers.row_id(given, "a.jsonl, line 1")


def test_ids_of_one_file_are_unique_in_whatever_form_they_come(tmp_path):
    for given in ("1", 1, 1.0):
        rows = [ROW | {"id": 0}, ROW | {"id": 1}, ROW | {"id": given}]
        with pytest.raises(InputError, match="line 3: duplicate id .*1.*, first in line 2"):
            readers.read_rows(lines(tmp_path / "a.jsonl", rows), readers.CORPUS_FIELDS, "fi")
    rows = [ROW | {"id": given} for given in (0, None, float("nan"), None, "", 2.0)]
    read, _ = readers.read_rows(lines(tmp_path / "a.jsonl", rows), readers.CORPUS_FIELDS, "fi")
    assert [r["source_id"] for r in read] == ["0", None, None, None, None, "2"]


def test_answers_meet_their_questions_by_id_in_any_form_then_by_instruction(tmp_path):
    prompts = [{"id": k, "instruction": f"What is {k}?"} for k in range(3)]
    questions = benchmarks.read(lines(tmp_path / "q.jsonl", prompts))
    assert [q["id"] for q in questions] == ["0", "1", "2"]
    given = [{"id": 2.0, "output": "two"}, {"id": "0", "output": "zero"},
             {"id": "x", "instruction": "What is 1?", "output": "one"}]
    found = benchmarks.read_answers(lines(tmp_path / "a.jsonl", given), questions)
    assert found == {"0": "zero", "1": "one", "2": "two"}
    with pytest.raises(InputError, match="line 2: a second answer to the question of id '2'"):
        benchmarks.read_answers(lines(tmp_path / "a.jsonl", [given[0], given[0]]), questions)


def test_a_question_that_is_asked_twice_has_two_answers_in_their_order(tmp_path):
    questions = [
        {"id": k, "instruction": text} for k, text in (("a", "A?"), ("b", "B?"), ("c", "A?"))
    ]
    given = [
        {"instruction": text, "output": f"{text} {k}"} for k, text in enumerate(["A?", "A?", "B?"])
    ]
    found = benchmarks.read_answers(lines(tmp_path / "a.jsonl", given), questions)
    assert found == {"a": "A? 0", "b": "B? 2", "c": "A? 1"}
    found = benchmarks.read_answers(lines(tmp_path / "a.jsonl", given[1:]), questions)
    assert found == {"a": "A? 1", "b": "B? 2", "c": "A? 1"}


def test_labels_meet_their_questions_or_are_an_error(tmp_path):
    label = {"id": 1, "a": "refined", "b": "seed", "verdict": "win"}
    path = lines(tmp_path / "l.jsonl", [label, label | {"id": 2.0}])
    questions = [{"id": "1", "instruction": "A?"}]
    expected = {("refined", "seed"): {"1": "win", "2": "win"}}
    assert benchmarks.read_labels(path, questions) == benchmarks.read_labels(path) == expected
    with pytest.raises(
        InputError, match="l.jsonl: none of its 2 ids is of a question .such as 'x'"
    ):
        benchmarks.read_labels(path, [{"id": "x", "instruction": "A?"}])
    for odd in ({"id": None}, {"a": ["x"]}, {"verdict": ["win"]}, {"b": None}):
        with pytest.raises(InputError, match="line 1: expected id, a, b and verdict"):
            benchmarks.read_labels(lines(tmp_path / "o.jsonl", [label | odd]))


def test_an_error_is_one_line_whatever_fields_and_models_are_called(tmp_path):
    """Both were found by mutated files (test_fuzz)."""
    path = lines(tmp_path / "a.jsonl", [{"te\nxt": "a", "x" * 9999: 1, "language": "fi"}])
    with pytest.raises(InputError, match="text is missing; the row has te xt, xxx") as error:
        readers.read_rows(path, readers.CORPUS_FIELDS, "fi")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    label = {"id": 1, "a": "a\nb", "b": "c", "verdict": "win"}
    with pytest.raises(InputError, match="a second verdict on a b and c for id '1'"):
        benchmarks.read_labels(lines(tmp_path / "l.jsonl", [label, label]))


def test_a_file_of_mt_bench_is_not_vicunas_and_fields_have_their_types(tmp_path):
    row = {"question_id": 81, "category": "writing", "turns": ["Write a post.", "Rewrite it."]}
    rows = benchmarks.read(lines(tmp_path / "q.jsonl", [row, row | {"turns": ["Write a post."]}]))
    assert [q["benchmark"] for q in rows] == ["mt_bench", "vicuna"]
    named = benchmarks.read(lines(tmp_path / "q.jsonl", [row | {"benchmark": "mine"}]))
    assert named[0]["benchmark"] == "mine" and named[0]["instruction"] == "Write a post."
    wizard = {"Instruction": "x", "Skill": "Math", "Difficulty": 3.0}
    assert benchmarks.read(lines(tmp_path / "q.jsonl", [wizard]))[0]["difficulty"] == 3
    for odd in ({"Skill": ["Math"]}, {"Difficulty": True}, {"Difficulty": [3]}):
        with pytest.raises(
            InputError, match="line 1: (Skill must be a string|Difficulty must be a)"
        ):
            benchmarks.read(lines(tmp_path / "q.jsonl", [wizard | odd]))


# Parquet.


def test_only_the_used_columns_of_a_parquet_file_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    years = pa.array([2**30, 5], pa.date32())  # no date that Python could hold
    table = pa.table(
        {"crawled": years, "language": ["fi", "fi"], "text": ["a", "b"], "note": years}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert len(readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")[0]) == 2
    record = next(readers.records(tmp_path / "a.parquet", ("text", "meta.url")))
    assert list(record.row.items()) == [
        ("crawled", None), ("language", None), ("text", "a"), ("note", None)]
    with pytest.raises(
        InputError, match="a.parquet, row group 1 of 1: not a readable Parquet file"
    ):
        list(readers.records(tmp_path / "a.parquet"))


def test_bytes_that_are_no_text_in_parquet_are_an_error_with_file_and_row_group(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = pa.array([b"a", b"b", b"\xf0\x28"], pa.binary()).view(pa.string())
    table = pa.table({"language": ["fi"] * 3, "text": cells})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(InputError, match=r"a\.parquet, row group 2 of 2: not a readable.*utf-8"):
        readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")


def test_a_used_column_that_is_there_twice_is_an_error_and_an_unused_one_is_no_matter(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, twice in (("text", True), ("note", False)):
        columns = [pa.array(["fi"]), pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
        table = pa.Table.from_arrays(columns, names=["language", "text", name, name])
        pq.write_table(table, tmp_path / "a.parquet")
        if twice:
            with pytest.raises(InputError, match="a.parquet: the column 'text' is there 3 times"):
                readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")
        else:
            rows, _ = readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")
            assert rows[0]["text"] == "a"


def test_a_parquet_file_without_a_used_column_says_what_it_has(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"sentence": ["a"], "lang": ["fi"]}), tmp_path / "a.parquet")
    message = "language, text is missing; the row has sentence, lang"
    with pytest.raises(InputError, match=message):
        readers.read_rows(tmp_path / "a.parquet", readers.CORPUS_FIELDS, "fi")


def test_seed_pairs_are_keyed_by_their_output(tmp_path):
    path = lines(
        tmp_path / "a.jsonl",
        [{"language": "fi", "instruction": "Say hello", "output": "Hei", "note": "ignored"}],
    )
    assert readers.read_rows(path, readers.SEED_FIELDS, "fi")[0] == [
        {
            "id": content_id("fi", "Hei"),
            "source_id": None,
            "language": "fi",
            "instruction": "Say hello",
            "output": "Hei",
        }
    ]


def test_only_the_language_is_filled_into_a_path():
    profile = Profile(source="files", seed_path="/a{b}/{lang}.jsonl", corpus_path="/{/c.jsonl")
    paths = sources.source_paths(profile, "r", "ur")
    assert (str(paths["seed"]), str(paths["corpus"]), paths["prompts"]) == (
        "/a{b}/ur.jsonl",
        "/{/c.jsonl",
        {},
    )


def test_cleaning_counts_every_row_once_and_changes_no_text():
    texts = ["", "  ", "short", "x" * 64, "x" * 64, "y" * 2049, "z" * 2048]
    rows = [{"id": content_id("fi", t), "text": t} for t in texts]
    kept, dropped = cleaned(rows, 64, 2048)
    assert [r["text"] for r in kept] == ["x" * 64, "z" * 2048]
    assert dropped == {"empty": 2, "too short": 1, "too long": 1, "duplicate": 1}
    assert len(rows) == len(kept) + sum(dropped.values())


@pytest.mark.parametrize(("n", "held"), [(3000, 500), (560, 200), (400, 200), (186, 62), (12, 4)])
def test_the_split_holds_back_enough_for_pseudo_ratings(n, held):
    rows = [{"id": f"{k:04d}"} for k in range(n)]
    d0x, d0r = seeds.split_seed(rows, 2500, 0)
    assert (
        len(d0r) == held
        and len(d0x) + len(d0r) == n
        and not {r["id"] for r in d0x} & {r["id"] for r in d0r}
    )
    assert seeds.split_seed(rows[::-1], 2500, 0) == (d0x, d0r)


def test_a_seed_too_small_to_split_is_refused():
    with pytest.raises(InputError, match="at least 12"):
        seeds.split_seed([{"id": str(k)} for k in range(11)], 2500, 0)


def test_instruction_faults():
    assert (
        instruction_fault(" ", "stop") == "empty"
        and instruction_fault("What", "length") == "unfinished"
    )
    assert instruction_fault("کرنسی کیا ہے", "stop") == "not English"
    assert instruction_fault("What is the currency of Côte d’Ivoire?", "stop") is None
    assert instruction_fault("12345", "stop") == "not English"


@pytest.mark.parametrize(
    "text",
    [
        "Taja sarafu ya nchi ya Kenya",
        "Sebutkan mata uang Jepang.",
        "Mika on maan valuutta?",
        "Japonya'nın para birimi nedir?",
    ],
)
def test_an_instruction_in_another_language_of_latin_letters_is_not_english(text):
    assert instruction_fault(text, "stop") == "not English"


def test_no_right_instruction_of_the_atlas_is_taken_for_another_language():
    right = {
        text for fact in world.facts() for text in pages.instructions(fact)
    }  # names from all over the world
    assert [text for text in right if instruction_fault(text, "stop")] == [] and len(right) > 1000


# By people who write these languages as they type them on a telephone; nothing here is a quotation.
ROMANISED = {
    "hi": ["Mujhe batao ke barish kyun hoti hai", "Bharat ki rajdhani kya hai?",
           "Chai banane ki vidhi batayein", "Mere dost ke liye janamdin ki shubhkamnayein likhein",
           "Computer kaise kaam karta hai samjhao", "Aaj mausam kaisa rahega",
           "Is function ka output ek list hona chahiye jo sorted ho", "Gandhi ji ke bare me likho"],
    "ur": ["Ek chhoti si nazm likho jo barsat par ho", "Pakistan ka darul hukumat kya hai",
           "Apne sheher ke bazaar ke baare mein teen jumle likhein",
           "Main ne kal payment ki thi lekin abhi tak confirm nahi hui.",
           "Mujhe achi chai banane ka tareeqa batayen", "Is jumlay ki islah karein"],
    "bn": ["Amake bolo kibhabe bhalo ranna korte hoy", "Bangladesher rajdhanir naam ki?",
           "Tomar priyo boi somporke duti bakko likho", "Gach lagano keno dorkar?",
           "Dhaka theke Chittagong jete koto shomoy lage?", "Ekti chakrir abedon potro likhun"],
    "ta": ["Mazhai yen peigirathu endru sollu", "Oru kavithai ezhuthu",
           "Tamil naattin thalainagaram enna?", "Thirukkural patri oru katturai ezhuthunga",
           "Intha vaakkiyathai thiruthi ezhuthavum", "Ungal nanbanukku oru kaditham ezhuthungal"]}


@pytest.mark.parametrize("text", [text for texts in ROMANISED.values() for text in texts])
def test_hindi_urdu_bengali_and_tamil_in_latin_letters_are_not_english(text):
    assert instruction_fault(text, "stop") == "not English"


@pytest.mark.parametrize(
    "text",
    [
        "What does 'kya hua' mean in English?",
        "Translate the sentence: Aap kaise hain?",
        "Ho Chi Minh",
        'Translate "mujhe bhook lagi hai".',
        "Isaac Newton",
        "Dhaka",
        "Write about Aadhaar and khadi.",
        "Who was Bhagat Singh?",
        "Naan bread recipe", "Ban Ki-moon biography", "Ke Huy Quan", "Kara Walker",
        "Compare Mahatma Gandhi and Zhou Enlai.",
        "Edit this: https://docs.example.org/d/1H8SOqhJQA1ySvYMOoIay8gJoLjK0Rv4/edit?usp=sharing",
    ],
)
def test_english_about_these_languages_and_their_names_stays_english(text):
    assert instruction_fault(text, "stop") is None


def english_prompts():
    """All English prompts at ../shared/data, instructions of Alpaca with and without input."""
    for row in json.loads((SHARED / "instruction_parsing" / "alpaca_5000.json").read_text()):
        yield row["instruction"]
        if row["input"]:
            yield f"{row['instruction']}\n\n{row['input']}"
    for path in (SHARED / "eval_prompts").rglob("*.jsonl"):
        if not path.stem.endswith(("_Hindi", "_Indonesian")):
            for line in path.read_text(encoding="utf-8-sig").splitlines():
                row = json.loads(line)
                fields = ("Instruction", "conversations", "turns", "text", "prompt", "instruction")
                prompt = next((row[name] for name in fields if name in row), [])
                yield from prompt if isinstance(prompt, list) else [prompt]
    for row in read_jsonl(SHARED / "oasst_samples" / "en_100_tree.jsonl"):
        yield row["prompt"]["text"]
    yield from read_jsonl(SHARED / "oasst_samples" / "prompt_lottery_en_250_text.jsonl")


@pytest.mark.skipif(not SHARED.exists(), reason=f"English prompts are not at {SHARED}")
def test_no_english_prompt_of_others_is_taken_for_another_language():
    prompts = [p for p in english_prompts() if isinstance(p, str)]
    lost = [p for p in prompts if not language_id.is_english(p)]
    assert lost == [] and len(prompts) > 8000


def test_hostile_text_is_shown_as_text_and_urdu_right_to_left():
    rows = [
        {"output": "<script>alert(1)</script>"},
        {"output": "<img src=x onerror=alert(1)>"},
        {"output": "ملک کینیا"},
    ]
    shown = show_rows(rows, 3, 0, ["output"], "ur").data
    assert "<script>" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
    assert 'dir="rtl" lang="ur"' in shown


def test_length_is_counted_in_characters_and_not_in_bytes_or_words():
    thai = "ภาษาไทยไม่มีช่องว่าง" * 4                     # 80 code points, 240 bytes, one "word"
    assert len(thai) == 80 and not cleaned([{"id": "a", "text": thai}], 80, 80)[1]["too long"]
    message = "no text is left of 1 rows.*'too short': 1.*81 to 2048 characters"
    with pytest.raises(InputError, match=message):
        cleaned([{"id": "a", "text": thai}], 81, 2048)


def test_an_english_cell_with_an_urdu_word_stays_left_to_right_and_urdu_with_a_url_does_not():
    cells = [
        "Say 'سلام' in English please",
        "https://a.b/c پر اردو زبان کا ایک متن موجود ہے",
        "12.5 ؟",
    ]
    shown = [show_rows([{"a": c}], 1, 0, ["a"], "ur").data for c in cells]
    assert 'dir="rtl"' not in shown[0] and 'dir="rtl"' in shown[1] and 'dir="rtl"' in shown[2]
    assert 'dir="rtl"' not in show_rows([{"a": cells[1]}], 1, 0, ["a"], "fi").data


def test_dollar_signs_are_no_mathematics_in_jupyterlab():
    assert (
        'class="samples mathjax_ignore"'
        in show_rows([{"a": "from $5 to $6"}], 1, 0, ["a"], "fi").data
    )


def test_a_sample_is_seeded_and_in_reading_order():
    rows = [{"k": k} for k in range(50)]
    one, two, other = (show_rows(rows, 5, seed, ["k"], "fi").data for seed in (3, 3, 4))
    assert one == two != other and show_rows(rows[:2], 9, 0, ["k"], "fi").data.count("<tr>") == 3


def test_lengths_may_be_counted_already():
    assert length_summary(["ab", "abcd"]) == length_summary([2, 4]) == {
        "mean": 3,
        "sd": 1,
        "n": 2,
    } and length_summary([]) == {"n": 0}


def test_rows_on_disk_are_a_sequence(tmp_path):
    rows = [{"id": i, "text": f"riivi {i} – é 🌍\u2028" * (i % 3)} for i in range(50)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    read = Rows(tmp_path / "rows.jsonl")
    assert len(read) == 50 and list(read) == rows and read[7] == rows[7] and read[-1] == rows[-1]
    assert read[3:9:2] == rows[3:9:2] and read[48:] == rows[48:]
    with pytest.raises(IndexError):
        read[50]
    write_jsonl(tmp_path / "none.jsonl", [])
    assert list(Rows(tmp_path / "none.jsonl")) == []
