"""Cleaning: every rule keeps and drops what it says, counts each row once, and is measured on real
pages.

The figures of the last part: python -m pytest -s tests/test_clean.py -k "pages or documents"
"""

import json
from collections import Counter, defaultdict
from html.parser import HTMLParser
from typing import get_args

import pytest

from xinstruct_utils.config.profile import CleaningRule
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.data import boilerplate, cleaning, rules

DATA = REPO.parent / "shared" / "data"
PAGES, REAL = DATA / "web_pages" / "test_data", DATA / "real_text"
LONG = {
    "fi": "Helsinki on Suomen pääkaupunki, ja siellä asuu yli kuusisataatuhatta ihmistä. Kaupunki "
    "perustettiin vuonna 1550.",
    "th": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย และเป็นศูนย์กลางการปกครอง "
    "การศึกษา การคมนาคมขนส่ง และการเงินการธนาคาร",
    "ur": "اسلام آباد پاکستان کا دارالحکومت ہے۔ یہ شہر ساٹھ کی دہائی میں تعمیر کیا گیا اور یہاں "
    "بہت سے لوگ رہتے ہیں۔",
    "sw": "Dodoma ni mji mkuu wa Tanzania. Mji huu una wakazi wengi na ni makao ya serikali pamoja "
    "na bunge la nchi.",
}
MENU = ["Etusivu", "Uutiset", "Urheilu", "Kirjaudu", "Haku"]


def run(texts, names, lang="fi", **kwargs):
    rows = [{"id": content_id(lang, t), "language": lang, "text": t} for t in texts]
    census = cleaning.Census(names)
    kept = list(cleaning.stream(rows, census, lang, **kwargs))
    assert census.rows_in == len(texts) == census.rows_out + sum(
        census.dropped.values()
    ) and census.rows_out == len(kept)
    return [row["text"] for row in kept], {why: n for why, n in census.dropped.items() if n}, census


def test_the_papers_rule_drops_by_length_and_exact_repeats_are_dropped_too():
    texts = ["", "  ", "short", "x" * 64, "x" * 64, "y" * 2049, "z" * 2048]
    kept, _, census = run(texts, ["length", "duplicates"], min_chars=64, max_chars=2048)
    assert kept == ["x" * 64, "z" * 2048]
    expected = [("empty", 2), ("too short", 1), ("too long", 1), ("duplicate", 1)]
    assert list(census.dropped.items()) == expected
    assert not census.changed and list(census.lengths) == [64, 2048]


def test_an_unknown_rule_and_nothing_left_are_errors():
    with pytest.raises(InputError, match="no rule 'lenght'; expected some of encoding, control"):
        cleaning.Census(["lenght"])
    with pytest.raises(
        InputError, match="no text is left of 2 rows.*'too short': 2.*64 to any number"
    ):
        run(["a", "b"], ["length"], min_chars=64)


def test_a_rule_that_is_off_does_nothing():
    texts = ["MÃ¤kinen \x07 a@b.fi\n" + "\n".join(MENU) + "\n" + LONG["fi"]] * 2
    assert run(texts, [])[0] == texts


def test_encoding_is_repaired_and_what_is_lost_is_dropped():
    kept, dropped, census = run(
        ["Tämä on “hyvä” ﬁ Ａ", "TÃ¤mÃ¤ on hyvÃ¤ pÃ¤ivÃ¤", "a &amp; b", "Hyv\ufffd\ufffd"],
        ["encoding"],
    )
    assert kept == ["Tämä on “hyvä” ﬁ Ａ", "Tämä on hyvä päivä", "a & b"] and dropped == {
        "damaged encoding": 1
    }
    assert census.changed == {"encoding": 2}


@pytest.mark.parametrize("lang", LONG)
def test_sound_text_of_every_script_goes_through_all_rules_unchanged(lang):
    names = [n for n in cleaning.RULES if n != "length"]
    kept, dropped, census = run([LONG[lang]], names, lang, prompts=["word " * 20])
    assert kept == [LONG[lang]] and not dropped and not census.changed


def test_controls_go_and_joiners_stay():
    urdu = "می\u200cخواهم 👩\u200d👧 ক্\u200dষ"
    assert run(["a\x00b\u202ec\u2066\ufeff\u200fd\r\ne\u2028f\tg\U000e0041", urdu], ["control"])[
        0
    ] == ["abcd\ne\nf\tg", urdu]
    assert run(["\u202e\u2066", "x"], ["control"])[:2] == (["x"], {"empty": 1})


def test_a_changed_text_gets_the_id_of_what_it_became_and_keeps_where_it_came_from():
    census = cleaning.Census(["contacts"])
    rows = [
        {"id": content_id("fi", t), "text": t} | more
        for t, more in (
            ("a@b.fi", {}),
            ("c@d.fi tai", {"source_id": "page 2"}),
            ("ei mitään", {"source_id": None}),
        )
    ]
    made = list(cleaning.stream(rows, census, "fi"))
    assert [r["id"] for r in made] == [content_id("fi", r["text"]) for r in made]
    assert [r["source_id"] for r in made] == [content_id("fi", "a@b.fi"), "page 2", None]


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        (
            "fi",
            "Soita 040 123 4567 tai info.x@posti.example.fi, vuonna 1550",
            "Soita [phone] tai [email], vuonna 1550",
        ),
        (
            "sw",
            "Piga +255 712 345 678. Watu 1,234,567 mwaka 1998-2004",
            "Piga [phone]. Watu 1,234,567 mwaka 1998-2004",
        ),
        ("hi", "फ़ोन 098765 43210, ₹12,34,567, 26.01.1950", "फ़ोन [phone], ₹12,34,567, 26.01.1950"),
        (
            "tr",
            "ISBN 978-975-08-0294-2; 2024-11-23 18:00; @ad",
            "ISBN 978-975-08-0294-2; 2024-11-23 18:00; @ad",
        ),
    ],
)
def test_addresses_and_telephone_numbers_are_masked_but_not_other_numbers(lang, text, expected):
    assert rules.masked(text, lang) == expected


def test_wrong_languages_are_dropped_in_each_script():
    kept, dropped, _ = run([LONG["fi"], LONG["sw"], LONG["th"], LONG["ur"]], ["language"])
    assert kept == [LONG["fi"]] and dropped == {"wrong language": 3}
    assert run([LONG["ur"], LONG["fi"]], ["language"], "ur")[0] == [LONG["ur"]]


def test_near_duplicates_are_dropped_and_different_texts_stay():
    words = [f"sana{k}" for k in range(120)]
    near, other = " ".join([*words[:-1], "muu"]), " ".join(words[::-1])
    _, dropped, _ = run([" ".join(words), near, near, other], ["duplicates", "near_duplicates"])
    assert dropped == {"duplicate": 1, "near duplicate": 1}
    thai = LONG["th"] * 3
    assert run([thai, "ก" + thai, LONG["th"][::-1]], ["near_duplicates"], "th")[1] == {
        "near duplicate": 1
    }


def test_thirteen_shared_words_are_contamination_and_twelve_are_not():
    prompt = (
        "Explain, how one builds a small wooden boat that can carry two people safely over a lake."
    )
    words = prompt.split()
    texts = [
        "Alku " + " ".join(words[2:15]).upper() + " loppu",
        "Alku " + " ".join(words[2:14]) + " loppu",
    ]
    kept, dropped, _ = run(texts, ["contamination"], prompts=[prompt])
    assert kept == texts[1:] and dropped == {"shares 13 words with an evaluation prompt": 1}
    assert run(texts, ["contamination"])[0] == texts  # no prompts, nothing to share
    cut = LONG["th"][:60]  # no spaces: 52 characters for 13 words
    assert run(["ก" + cut, cut[:50] + "x"], ["contamination"], "th", prompts=[LONG["th"]])[0] == [
        cut[:50] + "x"
    ]


def test_a_short_prompt_is_contamination_only_where_it_is_the_whole_text():
    texts = [
        "how can i improve my time-management skills",
        "How can I improve my time management skills at work and at home?",
    ]
    kept, dropped, _ = run(
        texts, ["contamination"], prompts=["How can I improve my time management skills?", "!"]
    )
    assert kept == texts[1:] and sum(dropped.values()) == 1


def test_error_pages_are_told_from_news_with_numbers():
    texts = [
        "404 Not Found",
        "Virhe 503: palvelin ei vastaa. http://a.fi/x",
        "Hakemaasi: sivua ei löytynyt",
        "Sayfa bulunamadı.",
        "http://a.fi/1 http://a.fi/2 katso",
        "500 ihmistä osallistui tapahtumaan Helsingissä.",
        "Sivulla https://a.fi kerrotaan lisää tästä pitkästä ja hyvästä aiheesta.",
        "Talossa 404 on huoneita.",
    ]
    kept, dropped, _ = run(texts, ["error_pages"])
    assert kept == texts[5:] and dropped == {"URL or error page": 5}


def test_menus_go_and_what_only_looks_like_one_stays():
    page = "\n".join([*MENU, LONG["fi"], "Väliotsikko", LONG["fi"], *MENU])
    assert boilerplate.without_boilerplate(page) == "\n".join(
        [LONG["fi"], "Väliotsikko", LONG["fi"]]
    )
    assert (
        boilerplate.without_boilerplate("Etusivu | Uutiset | Urheilu | Haku\n" + LONG["fi"])
        == LONG["fi"]
    )
    assert boilerplate.without_boilerplate("\n".join(MENU)) == ""
    verse = "\n".join(
        ["Oi maamme, Suomi,", "synnyinmaa,", "soi, sana kultainen!", "Ei laaksoa,", "ei kukkulaa,"]
    )
    recipe = (
        LONG["fi"]
        + "\nAinekset:\n"
        + "\n".join(["2 munaa", "1 dl maitoa", "suolaa", "voita", "jauhoja"])
    )
    bullets = LONG["fi"] + "\n" + "\n".join(f"- {word}" for word in MENU)
    for text in (verse, recipe, bullets, LONG["fi"], "a | b", "\n\n" + LONG["ur"] + "\n"):
        assert boilerplate.without_boilerplate(text) == text
    assert run(["\n".join(MENU), LONG["fi"]], ["navigation"], min_chars=10)[1] == {
        "navigation or link list": 1
    }


def test_several_processes_give_the_same_rows_in_the_same_order():
    texts = [f"{LONG['fi']} Numero {k % 900} ja muuta. a{k % 900}@b.fi" for k in range(1200)]
    one, two = (
        run(texts, ["contacts", "length", "duplicates"], min_chars=9, processes=n) for n in (1, 2)
    )
    assert one[:2] == two[:2] and len(one[0]) == 900 and one[2].changed == two[2].changed


def test_the_profile_names_the_rules_in_the_order_in_which_they_work():
    assert get_args(CleaningRule) == tuple(cleaning.RULES)
    assert cleaning.chosen(["duplicates", "encoding"]) == ["encoding", "duplicates"]


def test_urdu_typed_with_arabic_letters_is_a_near_duplicate_and_no_text_is_changed():
    urdu = LONG["ur"].replace("سے", "كے")
    arabic = urdu.translate(str.maketrans("یکہ", "يكه"))
    assert arabic != urdu and rules.spans(arabic, 5) == rules.spans(urdu, 5)
    kept, dropped, _ = run([arabic, urdu], ["duplicates", "near_duplicates"], "ur")
    assert kept == [arabic] and dropped == {"near duplicate": 1}


def test_examples_are_few_and_name_their_reason():
    census = run(["x"] * 50 + [""], ["duplicates"])[2]
    assert Counter(e["reason"] for e in census.examples) == {"duplicate": 10, "empty": 1}


# Measured on real pages: all visible lines of a page go in, gold paragraphs should come out.

BLOCK_TAGS = (
    "address article aside blockquote br button dd details div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr label li main nav ol option p pre section select "
    "summary table td th title tr ul"
)
BLOCKS = set(BLOCK_TAGS.split())
HIDDEN = {"script", "style", "noscript", "template", "svg", "head", "iframe"}


class Visible(HTMLParser):
    """The visible text of a page, one line a block."""

    def __init__(self, page):
        super().__init__()
        self.parts, self.depth = [], 0
        self.feed(page)
        self.lines = [
            " ".join(line.split()) for line in "".join(self.parts).split("\n") if line.strip()
        ]

    def handle_starttag(self, tag, attrs):
        self.depth += tag in HIDDEN
        self.parts.append("\n" if tag in BLOCKS else "")

    def handle_endtag(self, tag):
        self.depth -= tag in HIDDEN and self.depth > 0
        self.parts.append("\n" if tag in BLOCKS else "")

    def handle_data(self, data):
        self.parts.append("" if self.depth else " ".join(data.split("\n")))


def solid(text):
    return "".join(text.split())


def page_figures(path):
    """Gold characters kept and in all, boilerplate lines removed and in all. The title is
    neither."""
    lines = Visible(path.read_bytes().decode("utf-8", "replace")).lines
    best = None
    for version in json.loads(
        (path.parent / f"{path.name.split('_')[0]}.json").read_text()
    ).values():
        body = version["body"]
        told = [
            *body["summary"],
            *(t for s in body["sections"] for t in (*s["headline"], *s["paragraphs"])),
        ]
        whole, parts = solid(" ".join(told)), {solid(t) for t in told}
        gold = {t for t in lines if solid(t) in parts or len(solid(t)) >= 20 and solid(t) in whole}
        if best is None or sum(map(len, gold)) > sum(map(len, best[0])):
            best = gold, version.get("title")
    gold, title = best
    kept = set(boilerplate.without_boilerplate("\n".join(lines)).split("\n"))
    rest = [line for line in lines if line not in gold and solid(line) != solid(title or "")]
    return [
        sum(len(t) for t in gold & kept),
        sum(map(len, gold)),
        sum(t not in kept for t in rest),
        len(rest),
    ]


@pytest.mark.skipif(not PAGES.exists(), reason=f"real web pages are not at {PAGES}")
def test_real_pages_keep_their_article_and_lose_their_boilerplate():
    names = {"id": "id", "Bhaskar": "hi", "tr": "tr", "HabariLeo": "sw", "vn": "vi"}
    figures = defaultdict(lambda: [0, 0, 0, 0])
    for path in sorted(PAGES.glob("*/*.html")):
        lang = names.get(path.parent.name) or names.get(path.name.split("_")[0], "en")
        figures[lang] = [a + b for a, b in zip(figures[lang], page_figures(path), strict=True)]
    for lang, (kept, gold, removed, rest) in figures.items():
        print(
            f"{lang}: {kept / gold:.1%} of {gold} gold characters kept, "
            f"{removed / rest:.1%} of {rest} other lines removed"
        )
        assert kept >= 0.97 * gold and removed >= 0.9 * rest, lang
    assert set(figures) == {"en", "id", "hi", "tr", "sw", "vi"}


@pytest.mark.skipif(not REAL.exists(), reason=f"real text is not at {REAL}")
@pytest.mark.parametrize("lang", languages.LANGUAGES)
def test_real_documents_go_through_all_rules_nearly_whole(lang):
    texts = [
        json.loads(line)["text"]
        for line in (REAL / lang / "ntrex_documents.jsonl").read_bytes().split(b"\n")
        if line
    ]
    _, dropped, census = run(texts, list(cleaning.RULES), lang, min_chars=64)
    share = sum(census.lengths) / sum(census.lengths_in)
    print(
        f"{lang}: {share:.2%} of characters kept, dropped {dropped}, changed {dict(census.changed)}"
    )
    assert share >= 0.97
