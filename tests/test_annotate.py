"""The forms for people: what is asked, the append-only store, the form's steps, exchange with Label
Studio, the summaries.
"""

import json
import multiprocessing
import re
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.annotation import form as annotation_form
from xinstruct_utils.annotation import label_studio, serve
from xinstruct_utils.annotation import store as label_store
from xinstruct_utils.atlas import build, oracle, pages, sentences, world
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import open_run
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, read_json, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.paths import REPO, step_dir
from xinstruct_utils.evaluation import benchmarks, statistics
from xinstruct_utils.reporting import gate
from xinstruct_utils.workflow import execute, notebooks

MODELS = ["zebra-13b", "okapi-7b"]
HOSTILE = (
    '<script>window.hit=1</script><img src=x onerror="window.hit=2"> '
    '<a href="javascript:window.hit=3">x</a> '
    "</div> \u202egnp.exe\u202c \u2066a\u2069 \x00 \ud800 ${hit} {{hit}} $x^2$ 'quotes\" & more"
)


def pairs(n):
    return [
        {"id": f"page{k}", "instruction": f"Explain thing {k}.", "output": f"Jambo {k}."}
        for k in range(n)
    ]


def preferences(n=12, lang="sw"):
    questions = [
        {"id": f"q{k}", "instruction": f"What is {k}?", "native_instruction": f"Nini {k}?"}
        for k in range(n)
    ]
    answers = {m: {q["id"]: f"{m[0]} anajibu {q['id']}" for q in questions} for m in MODELS}
    return label_store.preference_items(questions, answers, [MODELS], lang, n, 0, {})


def items_of(form):
    """Twelve items of a form, in Swahili."""
    if form == "preference":
        return preferences()
    return label_store.quality_items(pairs(12), "sw", 12, 0, {})


@pytest.fixture
def store(tmp_path):
    made = label_store.Store(tmp_path / "labels" / "preference.sqlite")
    made.put(preferences())
    return made


# --- what is asked


def test_a_larger_draw_keeps_the_items_of_a_smaller_one_and_does_not_mind_the_order_of_the_rows():
    few, many = (label_store.quality_items(pairs(50), "sw", n, 0, {}) for n in (5, 20))
    assert [i["id"] for i in many[:5]] == [i["id"] for i in few] and len(
        {i["id"] for i in many}
    ) == 20
    assert label_store.quality_items(pairs(50)[::-1], "sw", 5, 0, {}) == few
    assert [i["id"] for i in label_store.quality_items(pairs(50), "sw", 5, 1, {})] != [
        i["id"] for i in few
    ]


def test_another_text_is_another_item_so_an_old_label_cannot_stand_for_it():
    rows = pairs(1)
    ids = {label_store.quality_items([row], "sw", 1, 0, {})[0]["id"] for row in
           (rows[0], rows[0] | {"output": "Jambo!"}, rows[0] | {"instruction": "Explain."})}
    assert len(ids) == 3


def test_translations_come_from_the_question_or_a_file_or_are_left_out(tmp_path):
    path = tmp_path / "sw.jsonl"
    path.write_text(
        json.dumps({"language": "sw", "text": "Jambo 3.", "translation": "Hello 3."}) + "\n"
    )
    translated = label_store.translations(str(tmp_path / "{lang}.jsonl"), "sw")
    items = label_store.quality_items(pairs(9), "sw", 9, 0, translated)
    assert {i["row"]: i["translation"] for i in items if i["translation"]} == {"page3": "Hello 3."}
    assert label_store.translations(None, "sw") == {} and preferences()[0][
        "translation"
    ].startswith("Nini")
    bare = label_store.preference_items(
        [{"id": "q", "instruction": "Why?"}],
        {m: {"q": m} for m in MODELS},
        [MODELS],
        "sw",
        1,
        0,
        {},
    )
    assert bare[0]["translation"] is None and "no Swahili translation" in annotation_form.texts(
        bare[0], MODELS
    )
    with pytest.raises(InputError, match="translation is missing"):
        path.write_text('{"language": "sw", "text": "x"}\n')
        label_store.translations(str(path), "sw")


def test_every_annotator_has_an_order_of_their_own_and_sides_are_fair():
    items = preferences(400)
    one, other = ([i["id"] for i in label_store.order(items, who, 0)] for who in ("anna", "ben"))
    assert (
        one != other
        and sorted(one) == sorted(other)
        and one == [i["id"] for i in label_store.order(items[::-1], "anna", 0)]
    )
    first = [label_store.sides(i, "anna", 0)[0] for i in items]
    assert 160 < first.count(MODELS[0]) < 240  # 4 standard deviations of a fair coin
    assert first != [label_store.sides(i, "ben", 0)[0] for i in items]
    assert first == [label_store.sides(i, "anna", 0)[0] for i in items]


# --- the store


def test_correcting_a_label_keeps_its_history_and_saying_the_same_twice_is_one_label(store):
    item = next(iter(store.items()))
    for choice in ("A", "A", "B"):
        store.add(
            {
                "item": item,
                "annotator": "anna",
                "answers": {"choice": choice},
                "shown": MODELS,
                "seconds": 2.5,
            }
        )
    assert [r["answers"]["choice"] for r in store.history()] == ["A", "B"]
    assert [r["answers"]["choice"] for r in store.current()] == ["B"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", r["at"]) for r in store.history())
    assert list(read_jsonl(store.path.with_suffix(".jsonl"))) == store.history()


@pytest.mark.parametrize("statement", ["UPDATE labels SET answers = '{}'", "DELETE FROM labels"])
def test_no_label_can_be_changed_or_deleted(store, statement):
    store.add(
        {
            "item": next(iter(store.items())),
            "annotator": "anna",
            "answers": {"choice": "A"},
            "shown": MODELS,
        }
    )
    with (
        sqlite3.connect(store.path) as db,
        pytest.raises(sqlite3.IntegrityError, match="only appended"),
    ):
        db.execute(statement)
    assert len(store.history()) == 1


def test_labels_are_stored_together_or_not_at_all_and_only_of_known_items(store):
    good = {
        "item": next(iter(store.items())),
        "annotator": "anna",
        "answers": {"choice": "A"},
        "shown": MODELS,
    }
    with pytest.raises(sqlite3.IntegrityError):
        store.add(good, good | {"item": "nobody asked this"})
    assert store.history() == []


def label_all(path, name):
    made = label_store.Store(path)
    for item in made.items():
        made.add({"item": item, "annotator": name, "answers": {"choice": "A"}, "shown": MODELS})


def test_several_processes_write_at_once_and_every_label_is_there(store):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=label_all, args=(store.path, f"person {k}")) for k in range(3)]
    [job.start() for job in jobs], [job.join() for job in jobs]
    assert [job.exitcode for job in jobs] == [0, 0, 0] and len(store.current()) == 3 * len(
        store.items()
    )
    assert list(read_jsonl(store.path.with_suffix(".jsonl"))) == store.history()


def test_a_writer_that_is_killed_loses_no_label_that_was_stored(store):
    code = (
        "import sys; from xinstruct_utils.annotation.store import Store; s = Store(sys.argv[1])\n"
        "for k, item in enumerate(s.items()):\n"
        "    answers = {'choice': 'A'}\n"
        "    s.add({'item': item, 'annotator': 'anna', 'answers': answers, 'shown': []})\n"
        "    print(k, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)], stdout=subprocess.PIPE, text=True, cwd=REPO
    )
    seen = [child.stdout.readline() for _ in range(5)]
    child.kill()
    seen += child.stdout.readlines()
    child.wait()
    assert len(label_store.Store(store.path).current()) >= len(seen) >= 5


@pytest.mark.parametrize("name", ["", "  ", "oracle", " ORACLE\u202e ", "x" * 41])
def test_names_that_cannot_be_kept_are_refused(name):
    with pytest.raises(InputError, match="1 to 40 letters"):
        label_store.person(name)


def test_one_person_has_one_name_however_it_is_typed():
    assert label_store.person(" Anna  Mäki\u202e") == label_store.person("anna mäki") == "anna mäki"


# --- the form


class Parts(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_hostile_text_is_shown_as_text_and_hidden_controls_are_spelled_out():
    made = Parts(annotation_form.shown("Text", HOSTILE, "ur"))
    assert set(made.tags) == {"h4", "div", "span"} and {k for k, _ in made.attributes} == {
        "class",
        "lang",
        "dir",
    }
    assert (
        "<script>window.hit=1</script>" in made.text
        and 'href="javascript:window.hit=3"' in made.text
    )
    assert not label_store.UNSEEN.search(made.text) and all(
        f"U+{c}" in made.text for c in ("202E", "202C", "2066", "2069", "0000")
    )


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("کراچی شہر", "rtl"),
        ("Karachi کراچی پاکستان کا شہر ہے", "rtl"),
        ("Karachi is a city", "ltr"),
        ("சென்னை", "ltr"),
        ("", "ltr"),
    ],
)
def test_text_runs_in_the_direction_of_most_of_its_letters(text, direction):
    assert f'lang="ur" dir="{direction}"' in annotation_form.shown("Text", text, "ur")


def test_joiners_and_marks_of_honest_urdu_and_bengali_stay():
    text = "می\u200cخواہم \u200fاردو\u200e ক্\u200dষ"
    assert Parts(annotation_form.shown("Text", text, "ur")).text.endswith(text)


def fill(made, **choices):
    for key, value in choices.items():
        made.choices[key].value = value
    made.save.click()


def begin(made, name):
    made.who.value = name
    made.start.click()
    return made


def test_a_label_is_stored_before_the_next_item_shows_and_an_unanswered_item_stays(store):
    made = begin(annotation_form.Form("preference", store, preferences(), 0, 3), "Anna")
    first = made.body.value
    made.save.click()
    assert (
        made.body.value == first
        and "answer every question" in made.note.value
        and store.history() == []
    )
    fill(made, choice="A")
    assert (
        made.body.value != first
        and len(store.history()) == 1
        and made.choices["choice"].value is None
    )
    label = store.history()[0]
    item = store.items()[label["item"]]
    assert label["annotator"] == "anna" and label["seconds"] >= 0
    assert (
        item["answers"][label["shown"][0]] in first.split("Answer B")[0]
    )  # what stood under A is what was stored as A


def test_going_back_shows_the_label_and_a_correction_is_added(store):
    made = begin(annotation_form.Form("preference", store, preferences(), 0, 3), "anna")
    made.feedback.value = "hm <b>"
    fill(made, choice="A")
    made.back.click()
    assert made.choices["choice"].value == "A" and made.feedback.value == "hm <b>"
    fill(made, choice="neither")
    assert [r["answers"]["choice"] for r in store.history()] == [
        "A",
        "neither",
    ] and "Item 2 of 12" in made.head.value


def test_whoever_comes_back_goes_on_where_they_stopped_and_is_thanked_at_the_end(store):
    for _ in range(3):
        made = begin(annotation_form.Form("preference", store, preferences(), 0, 3), "anna")
        [fill(made, choice="B") for _ in range(4)]
    assert "Thank you: all 12 items" in made.head.value and len(store.current()) == 12
    assert made.save.layout.display == "none" and not made.back.disabled


def test_an_item_with_enough_labels_is_not_asked_again_but_ones_own_stay(store):
    for name in ("anna", "ben"):
        made = begin(annotation_form.Form("preference", store, preferences(), 0, 2), name)
        [fill(made, choice="B") for _ in range(12)]
    assert begin(annotation_form.Form("preference", store, preferences(), 0, 2), "cleo").queue == []
    assert (
        len(begin(annotation_form.Form("preference", store, preferences(), 0, 2), "ben").queue)
        == 12
    )


def test_a_store_that_cannot_write_says_so_and_the_item_stays(store, monkeypatch):
    made = begin(annotation_form.Form("preference", store, preferences(), 0, 3), "anna")
    first = made.body.value

    def full(*labels):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "add", full)
    fill(made, choice="A")
    assert "NOT stored (database or disk is full)" in made.note.value and made.body.value == first


def states(widget, seen=None):
    """What the browser is told of a widget and of all inside it."""
    made = json.dumps(widget.get_state(), default=str)
    return made + "".join(states(child) for child in getattr(widget, "children", ()))


@pytest.mark.parametrize("form", serve.CHAPTERS)
def test_no_model_and_no_other_item_is_in_what_the_browser_gets(store, form):
    items = items_of(form)
    store.put(items)
    made = begin(annotation_form.Form(form, store, items, 0, 3), "anna")
    for item in made.queue:
        told = states(made.widget)
        assert (
            item["instruction"] in told
            and item["id"] not in told
            and not any(m in told for m in MODELS)
        )
        assert sum(i["instruction"] in told for i in items) == 1
        fill(made, **{key: next(iter(q["choices"])) for key, q in made.words["questions"].items()})


def test_the_questions_are_those_of_the_papers_figures():
    asked = [label_store.form(name)["questions"] for name in serve.CHAPTERS]
    assert [[q["words"].partition(": ")[2] for q in form.values()] for form in asked] == [
        ["Does the instruction describe a valid task?",
         "Is this web text an acceptable cross-lingual response to the instruction?"],
        ["Comparing these two answers, which answer is better?"]]
    assert [list(q["choices"]) for form in asked for q in form.values()] == [
        ["yes", "no"],
        ["yes", "no"],
        ["A", "B", "neither"],
    ]


# --- summaries


def rows(*said, question="valid"):
    """said: strings of answers, one string an annotator, one letter an item."""
    return [
        {"item": k, "annotator": f"p{a}", question: answer}
        for a, line in enumerate(said)
        for k, answer in enumerate(line)
    ]


def test_shares_count_an_item_once_and_have_wilsons_interval():
    s = statistics.share(rows("y" * 8 + "n" * 2), "valid", "y")
    assert (s["share"], s["items"], s["labels"]) == (0.8, 10, 10)
    assert (round(s["low"], 4), round(s["high"], 4)) == (0.4902, 0.9433)  # Newcombe 1998, method 3
    twice = statistics.share(rows("y" * 8 + "n" * 2, "y" * 8 + "n" * 2), "valid", "y")
    assert twice == s | {"labels": 20}  # a second opinion is no second item
    assert (
        statistics.share([], "valid", "y") == {}
        and statistics.share(rows("yyy"), "valid", "y")["high"] == 1.0
    )


def test_cohens_kappa_is_that_of_a_worked_example_and_none_where_it_is_undefined():
    told = statistics.cohen(
        rows("y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15), "valid"
    )
    assert told == [
        {"annotators": "p0, p1", "items": 50, "agreement": 0.7, "kappa": pytest.approx(0.4)}
    ]
    assert statistics.cohen(rows("yyy", "yyy"), "valid")[0]["kappa"] is None
    assert statistics.cohen(rows("yn"), "valid") == []


def test_fleiss_kappa_is_that_of_a_worked_example_of_fourteen_annotators():
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    lines = ["".join(str(c) * n for c, n in enumerate(row)) for row in counts]
    told = statistics.fleiss(
        rows(*("".join(line[r] for line in lines) for r in range(14))), "valid"
    )
    assert round(told, 3) == 0.210
    assert (
        statistics.fleiss(rows("yn"), "valid") is None
        and statistics.fleiss(rows("yy", "yy"), "valid") is None
    )


def test_a_choice_means_the_model_that_stood_there_and_labels_of_other_items_do_not_count(store):
    items = preferences()
    for k, (choice, order) in enumerate(
        [("A", MODELS), ("A", MODELS[::-1]), ("B", MODELS[::-1]), ("neither", MODELS)]
    ):
        store.add(
            {
                "item": items[k]["id"],
                "annotator": "anna",
                "answers": {"choice": choice},
                "shown": order,
            }
        )
    told = label_store.label_rows(store.current(), items)
    assert [r["verdict"] for r in told] == ["win", "lose", "win", "tie"]
    assert {r["pair"] for r in told} == {"zebra-13b vs okapi-7b"}
    assert label_store.label_rows(store.current(), items[2:]) == told[2:]


# --- Label Studio


def studio(store, tmp_path, form="preference"):
    label_studio.write(form, store, tmp_path / "tasks.json")
    return read_json(tmp_path / "tasks.json")


@pytest.mark.parametrize("form", serve.CHAPTERS)
def test_labels_go_to_label_studio_and_back_unchanged_in_meaning(tmp_path, form):
    items = items_of(form)
    here, there = (
        label_store.Store(tmp_path / "here.sqlite"),
        label_store.Store(tmp_path / "there.sqlite"),
    )
    here.put(items), there.put(items)
    for k, name in enumerate(("anna", "ben")):
        made = begin(annotation_form.Form(form, here, items, 0, 3), name)
        for j in range(12):
            made.feedback.value = f"{HOSTILE[:30]} {j}"
            fill(
                made,
                **{
                    key: list(q["choices"])[(j + k) % len(q["choices"])]
                    for key, q in made.words["questions"].items()
                },
            )
    tasks = studio(here, tmp_path, form)
    assert label_studio.read(form, there, tmp_path / "tasks.json") == 24
    assert {tuple(sorted(r.items())) for r in label_store.label_rows(here.current(), items)} == {
        tuple(sorted(r.items())) for r in label_store.label_rows(there.current(), items)}
    assert not any(m in json.dumps(tasks) for m in MODELS)
    # Label Studio wants every variable of the configuration in every task, and every result's name
    # in the configuration.
    tree = ET.parse(tmp_path / "tasks.xml").getroot()
    assert all(
        {t.get("value")[1:] for t in tree.iter("Text")} <= set(task["data"]) for task in tasks
    )
    names = {t.get("name") for t in tree.iter() if t.tag in ("Choices", "TextArea")}
    known = {c.get("value") for c in tree.iter("Choice")}
    results = [r for task in tasks for note in task["annotations"] for r in note["result"]]
    assert {r["from_name"] for r in results} == names
    assert {r["to_name"] for r in results} <= {t.get("name") for t in tree.iter("Text")}
    assert {c for r in results for c in r["value"].get("choices", [])} <= known


def test_annotations_made_in_label_studio_are_read_with_their_annotator(store, tmp_path):
    tasks = studio(store, tmp_path)
    result = [
        {
            "id": "x",
            "from_name": "choice",
            "to_name": "instruction",
            "type": "choices",
            "origin": "manual",
            "value": {"choices": ["Answer B: Answer B is significantly better."]},
        }
    ]
    tasks[0]["annotations"] = [
        {
            "id": 7,
            "completed_by": {"id": 1, "email": "Anna@x.org"},
            "result": result,
            "lead_time": 4.2,
        },
        {"completed_by": 12, "result": result},
        {"was_cancelled": True, "result": []},
    ]
    write_json(tmp_path / "back.json", tasks)
    assert label_studio.read("preference", store, tmp_path / "back.json") == 2
    assert [(r["annotator"], r["seconds"]) for r in store.current()] == [
        ("anna@x.org", 4.2),
        ("label studio 12", None),
    ]


def test_an_old_export_that_is_read_again_undoes_no_correction_and_a_later_edit_counts(
    store, tmp_path
):
    """It did: the label of the file was appended and became the one that holds."""
    item = preferences()[0]
    label = {"item": item["id"], "annotator": "anna", "shown": label_store.sides(item, "", 0)}
    store.add(label | {"answers": {"choice": "A"}})
    tasks = studio(store, tmp_path)
    store.add(label | {"answers": {"choice": "B"}, "at": "2099-01-01T00:00:00.000+00:00"})
    assert label_studio.read("preference", store, tmp_path / "tasks.json") == 0
    assert [r["answers"]["choice"] for r in store.current()] == ["B"] and len(store.history()) == 2
    [note] = next(t["annotations"] for t in tasks if t["data"]["id"] == item["id"])
    for stamp, count in (
        ("2099-01-01T01:59:00+02:00", 0),
        ("2099-01-01T00:00:01Z", 1),
        ("2099-01-01T00:00:01Z", 0),
    ):
        note["updated_at"] = stamp  # as Label Studio notes an edit; the zone counts
        write_json(tmp_path / "edited.json", tasks)
        assert label_studio.read("preference", store, tmp_path / "edited.json") == count
    assert store.current()[0]["answers"]["choice"] == "A" and len(store.history()) == 3
    del note["updated_at"], note["created_at"]       # without a time it cannot be newer
    write_json(tmp_path / "edited.json", tasks)
    assert label_studio.read("preference", store, tmp_path / "edited.json") == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[1]["data"].update(id="unknown"),
        lambda t: t[1]["annotations"][0]["result"].pop(),
        lambda t: t[1]["annotations"][0]["result"][0]["value"].update(choices=["C"]),
        lambda t: t[1].pop("annotations"),
        lambda t: t[1]["annotations"][0].update(completed_by={"email": "oracle"}),
        lambda t: t.__setitem__(1, 3),
    ],
)
def test_a_file_that_is_not_an_export_of_these_items_is_refused_whole(store, tmp_path, change):
    tasks = studio(store, tmp_path)
    for task in tasks:
        task["annotations"] = [
            {
                "completed_by": 1,
                "result": [
                    {
                        "from_name": "choice",
                        "to_name": "instruction",
                        "type": "choices",
                        "value": {"choices": ["Neither: Neither is significantly better."]},
                    }
                ],
            }
        ]
    change(tasks)
    write_json(tmp_path / "bad.json", tasks)
    with pytest.raises(InputError, match="bad.json: expected Label Studio's JSON"):
        label_studio.read("preference", store, tmp_path / "bad.json")
    assert store.history() == []


# --- the chapters


def test_questions_are_vicunas_where_they_were_asked_and_answers_have_both_translations_or_none():
    questions = [
        {"id": f"q{k}", "benchmark": "vicuna" if k % 2 else "koala", "instruction": f"What is {k}?"}
        for k in range(8)
    ]
    answers = {m: {q["id"]: f"{m} {q['id']}" for q in questions} for m in MODELS}
    translated = {f"{m} q{k}": f"said {k} of {m}" for m in MODELS for k in (1, 3)}
    del translated[f"{MODELS[1]} q3"]
    items = {
        i["row"]: i
        for i in label_store.preference_items(questions, answers, [MODELS], "sw", 8, 0, translated)
    }
    assert sorted(items) == ["q1", "q3", "q5", "q7"]
    assert {k: bool(i["answer_translations"]) for k, i in items.items()} == {
        "q1": True,
        "q3": False,
        "q5": False,
        "q7": False,
    }
    page, bare = (annotation_form.texts(items[k], MODELS[::-1]) for k in ("q1", "q3"))
    assert (
        page.index("Answer A (translated)")
        < page.index(f"said 1 of {MODELS[1]}")
        < page.index("Answer B (translated)")
    )
    assert "(translated)" not in bare and "said 3" not in bare


@pytest.fixture
def people(runs):
    """A run of the Atlas at the smallest sizes that has got as far as the answers: every other
    instruction is nonsense.
    """
    profile = load_profile("smoke")
    open_run("people", profile)
    paths = build.build_world("people", "sw", profile)
    truth = oracle.load_truth("people", "sw")
    texts = {content_id("sw", r["text"]): r["text"] for r in read_jsonl(paths["corpus"])}
    known = [key for key in texts if key in truth][:30]
    rows = [{"id": key, "language": "sw", "output": texts[key],
             "instruction": pages.instructions(oracle.fact_of(truth[key]))[0] if k % 2 else "Zzz."}
            for k, key in enumerate(known)]
    questions = [q for name, path in paths["prompts"].items()
                 for q in benchmarks.read(path, f"atlas {name}")]
    answered = []
    for q in questions:
        right = " ".join(sentences.texts("sw")["topics"][fact.topic]["pages"][0].format(
            **world.values(fact, "sw")) for fact in oracle.facts_of(truth[q["id"]]))
        answered += [{"id": q["id"], "model": model, "decoding": "sampled", "text": text}
                     for model, text in (("refined", right), ("unrefined", right), ("seed", ""))]
    sides = {"model_a": "refined", "decoding_a": "sampled", "decoding_b": "sampled"}
    judged = [{**sides, "model_b": b, "id": q["id"],
               "verdict": "win" if b == "seed" else "unparsed"}
              for q in questions for b in ("seed", "unrefined")]
    for step, name, made in (("05_diversification", "x_instruction.jsonl", rows),
                             ("09_judge_evaluation", "questions.jsonl", questions),
                             ("09_judge_evaluation", "answers.jsonl", answered),
                             ("09_judge_evaluation", "verdicts.jsonl", judged)):
        write_jsonl(step_dir("people", "sw", step) / name, made)
        write_json(step_dir("people", "sw", step) / "manifest.json", {"outputs": {}, "counts": []})
    return rows, truth


def measured(chapter):
    return read_json(step_dir("people", "sw", chapter) / "measures.json")


def test_the_review_says_what_the_oracle_knows_then_what_people_say_and_a_rerun_keeps_their_labels(
    people,
):
    rows, truth = people
    home = execute.run_step("07_quality_review", "people", "sw")
    items = list(read_jsonl(home / "items.jsonl"))
    drawn = [next(r for r in rows if r["id"] == i["row"]) for i in items]
    right = [r["instruction"] != "Zzz." for r in drawn]
    clean = [truth[r["id"]]["flaw"] == "clean" for r in drawn]
    said = measured("07_quality_review")
    assert (
        said["review_by"] == "oracle"
        and len(items) == 12
        and said["valid_instruction_share"] == sum(right) / 12
    )
    assert (
        said["acceptable_response_share"]
        == sum(r and c for r, c in zip(right, clean, strict=True)) / 12
    )
    assert (
        said["valid_instruction_interval"][0]
        < said["valid_instruction_share"]
        < said["valid_instruction_interval"][1]
    )

    store = label_store.Store.of("people", "sw", "quality")
    for who, answer in (("anna", "yes"), ("ben", "yes"), ("ben", "no")):
        store.add(
            *[
                {
                    "item": i["id"],
                    "annotator": who,
                    "answers": {"valid": answer, "acceptable": "yes"},
                    "seconds": 3.0,
                    "feedback": HOSTILE,
                }
                for i in items
            ]
        )
    execute.run_step("07_quality_review", "people", "sw")
    said = measured("07_quality_review")
    assert (said["review_by"], said["review_labels"], said["review_seconds"]) == ("people", 24, 3.0)
    assert (said["valid_instruction_share"], said["acceptable_response_share"]) == (0.5, 1.0)
    shown = json.dumps(read_json(home / "notebook.ipynb")["cells"])
    assert ">accepted<" not in shown and ">refused<" in shown
    assert said["valid_instruction_kappa"] == -1.0 and "acceptable_response_kappa" not in said
    assert len(store.history()) == 36 and len(list(read_jsonl(home / "labels.jsonl"))) == 36
    notebook = read_json(home / "notebook.ipynb")
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    assert not any(
        gate.acts({**o, "data": {k: "".join(v) for k, v in o.get("data", {}).items()}})
        for o in outputs
    )
    assert "<script>" not in json.dumps(
        [o["data"].get("text/html", "") for o in outputs if "data" in o]
    )


def test_the_comparison_finds_the_model_that_is_better_behind_a_and_b(people):
    home = execute.run_step("11_human_evaluation", "people", "sw")
    said = measured("11_human_evaluation")
    assert {k: said["human_refined_vs_seed"][k] for k in ("win", "tie", "lose", "n")} == {
        "win": 1,
        "tie": 0,
        "lose": 0,
        "n": 8,
    }
    assert said["human_refined_vs_unrefined"]["tie"] == 1 and said["preference_by"] == "oracle"
    chosen = [r["answers"]["choice"] for r in read_jsonl(home / "labels.jsonl")]
    assert {"A", "B", "neither"} == set(chosen)
    shown = json.dumps(read_json(home / "notebook.ipynb")["cells"])
    assert (
        "judge, oracle" in shown
    )  # their agreement, over the pair that the judge's replies could be read for


def test_an_opponent_from_outside_is_compared_too(people):
    path = step_dir("people", "sw", "09_judge_evaluation") / "answers.jsonl"
    rows = list(read_jsonl(path))
    write_jsonl(path, rows + [r | {"model": "opponent"} for r in rows if r["model"] == "seed"])
    home = execute.run_step("11_human_evaluation", "people", "sw")
    models = [tuple(i["models"]) for i in read_jsonl(home / "items.jsonl")]
    assert {m: models.count(m) for m in models} == dict.fromkeys(
        [("refined", "opponent"), ("refined", "seed"), ("refined", "unrefined")], 8
    )
    assert measured("11_human_evaluation")["human_refined_vs_opponent"]["win"] == 1


def test_cell_by_cell_the_form_is_a_widget_and_nothing_waits_for_it(people, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(REPO))
    notebook = nbformat.reads(
        json.dumps(notebooks.read_notebook("07_quality_review")), as_version=4
    )
    given = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    given.source += '\nrun = "people"\nreview_items = 12'
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    form = next(c for c in notebook.cells if "form.form(" in c.source)
    assert "application/vnd.jupyter.widget-view+json" in form.outputs[-1]["data"]
    assert (step_dir("people", "sw", "07_quality_review") / "manifest.json").exists()


def test_the_page_that_is_served_runs_the_cells_of_the_form_only_with_the_runs_values(people):
    with pytest.raises(InputError, match="nothing to label yet.*run first"):
        serve.page("quality", "people", "sw")
    home = step_dir("people", "sw", "07_quality_review")
    write_json(home / "manifest.json", {})
    code = [c.source for c in serve.page("quality", "people", "sw").cells]
    assert (
        len(code) == 4
        and "run = 'people'" in code[0]
        and "review_items = 12" in code[0]
        and "forms.js" in code[3]
    )
    assert not any("oracle" in c or "plots" in c or "show_rows" in c for c in code)
    assert main(["annotate", "export", "quality", "--run", "people", "--lang", "sw"]) == 2
