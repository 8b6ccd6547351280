"""The table of languages: the paper's ten, each consistent with CLDR and with the data sets it
names."""

import re

import pytest
from babel import Locale

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError

ROWS = list(languages.LANGUAGES.values())


def test_the_paper_has_ten_languages_five_of_each_level():
    levels = {
        level: {row.code for row in ROWS if row.level == level} for level in ("medium", "low")
    }
    assert levels == {
        "medium": {"fi", "id", "th", "tr", "vi"},
        "low": {"bn", "hi", "sw", "ta", "ur"},
    }
    assert len(ROWS) == 10 and all(code == row.code for code, row in languages.LANGUAGES.items())


def test_english_names_are_those_of_table_13():
    assert {row.code: row.name for row in ROWS} == {
        "bn": "Bengali",
        "fi": "Finnish",
        "hi": "Hindi",
        "id": "Indonesian",
        "ta": "Tamil",
        "th": "Thai",
        "tr": "Turkish",
        "vi": "Vietnamese",
        "sw": "Swahili",
        "ur": "Urdu",
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_own_names_and_direction_are_those_of_cldr(row):
    locale = Locale.parse(row.locale)
    assert (
        locale.get_language_name(row.locale) in row.native_name
    )  # CLDR's Indonesian leaves "Bahasa" out
    assert row.direction == {"left-to-right": "ltr", "right-to-left": "rtl"}[locale.character_order]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_data_set_names_have_the_script_of_the_row(row):
    assert row.culturax == row.code
    for name in (row.fineweb2, row.flores):
        assert re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", name) and name.endswith(row.script)


def test_an_unknown_code_is_an_error_that_lists_the_known_and_says_how_to_add_one():
    with pytest.raises(
        InputError, match=r"unknown language code 'xx'.*fi, id, th.*add its row to .*languages\.py"
    ):
        languages.get("xx")


def test_a_row_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        languages.get("sw").direction = "rtl"


def test_other_peoples_codes_of_all_ten_languages_and_english_are_known():
    for row in (*ROWS, languages.ENGLISH):
        iso3 = row.flores[:3]
        for label in (row.code, row.code.upper(), iso3, row.flores, row.fineweb2, f"{row.code}-XX",
                      f"{row.code}_{row.script}", f" {iso3.upper()} "):
            assert languages.code_of(label) == row.code, label
    assert languages.code_of("swa") == languages.code_of("sw-KE") == "sw"


@pytest.mark.parametrize("label", ["de", "deu_Latn", "xx", "", "-", "msa", "hin_Latn", "urd-Latn",
                                   "ben_Latn", "zh-Hant", "Swahili", "swhx", "s w"])
def test_a_label_of_another_language_or_script_is_left_as_it_is(label):
    assert languages.code_of(label) == label


def test_blanks_stand_between_the_words_of_all_but_thai():
    assert [row.code for row in ROWS if not row.spaced] == ["th"]
    assert {row.script for row in ROWS if not row.spaced} <= languages.UNSPACED
