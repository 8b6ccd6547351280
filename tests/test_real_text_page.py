"""The book's page "On real text": made of what published runs measured."""

import re
import shutil

import pytest

from xinstruct_utils.core.files import write_json
from xinstruct_utils.reporting import real_text

AUC = {"auc": 0.75, "low": 0.7, "high": 0.8, "n": 40}
MEASURED = {
    "verdicts": [{"answer": "yes", "question": "Does <b>it</b> see flaws?", "sentence": "75.0%"}],
    "planted_auc": {"gain": {"all": AUC, "cut short": AUC | {"low": None, "high": None}}},
    "backtranslation_chrf": {"generator": {"value": 0.3, "low": 0.2, "high": 0.4, "n": 24},
                             "base": {}},
    "bits_per_char": {"refined": {"value": 1.25, "low": 1.0, "high": 1.5, "n": 24}}}


@pytest.fixture
def published(runs):
    """A published run with the figures above."""
    home = runs / "published" / "small-fi" / "fi"
    write_json(home / "16_real_text" / "measures.json", MEASURED)
    write_json(home / "16_real_text" / "manifest.json", {
        "run": "small-fi", "lang": "fi", "git_commit": "c0ffee" * 4,
        "machine": {"processor": "A processor"},
        "settings": {"training": {"base_model": "/somewhere/of/mine/smollm2"}}})
    write_json(home / "01_seed_data" / "manifest.json", {"counts": [
        {"stage": "split", "in": 154, "out": 130, "dropped": {"set aside": 24}}]})
    return home


def test_the_page_has_a_part_for_each_published_run(published):
    text = real_text.page(real_text.published())
    assert "## Finnish: the run `small-fi`" in text
    assert "130 seed pairs to learn from, 24 set aside" in text
    assert "A processor" in text and "c0ffeec0ffee" in text
    assert "0.750 [0.700, 0.800]" in text and "1.250 [1.000, 1.500]" in text
    assert "&lt;b&gt;it&lt;/b&gt;" in text and "<b>" not in text
    assert "/somewhere" not in text
    assert text.count("<table") == text.count("<caption") == 3
    assert re.search(r"<td>0\.75</td>", text)          # of one kind, without an interval


def test_tasks_stand_there_where_the_run_asked_some(published):
    write_json(published / "10_task_evaluation" / "measures.json", {
        "task_items": {"xcopa": 250}, "task_stderr": {"xcopa_base": 0.03, "xcopa_refined": 0.03},
        "task_accuracy": {"xcopa_base": 0.5, "xcopa_refined": 0.526}})
    text = real_text.page(real_text.published())
    assert "<td>50.0 ± 3.0</td>" in text and "<td>52.6 ± 3.0</td>" in text
    assert text.count("<table") == text.count("<caption") == 4


def test_several_runs_are_compared_first(published, runs):
    second = runs / "published" / "small-sw" / "sw"
    shutil.copytree(published, second)
    other = {"all": AUC | {"auc": 0.9}, "repeated": AUC | {"auc": 0.1}}
    for home, more in ((published, 0.6), (second, 0.9)):
        length = {"all": AUC | {"auc": more}, "repeated": other["repeated"]}
        aucs = MEASURED["planted_auc"] | {"length": length}
        write_json(home / "16_real_text" / "measures.json", MEASURED | {"planted_auc": aucs})
    text = real_text.page(real_text.published())
    assert text.startswith("## All runs together") and "Of 2 runs" in text
    assert "`gain` in 1, `length` in 1" in text
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", text, re.S)]
    told = {row[0]: row for row in rows if len(row) == 5}
    assert told["length"][1] == "0.750" and told["length"][-1] == "0.10"
    assert "fi, small-fi" in text and "sw, small-sw" in text


def test_without_such_a_run_there_is_no_part(runs):
    assert real_text.published() == []
    assert real_text.page([]) == ""
