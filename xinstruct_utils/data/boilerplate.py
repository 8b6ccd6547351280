"""Navigation bars, link lists and error pages in plain text, told by the shape of lines.

Corpora have lost their HTML, so links cannot be seen. What remains is that menus are runs of short
lines without a full stop, while an article is a block of long ones. No rule counts words: all
lengths are characters; Thai, which has no full stop, has its own.
"""

import re
from http import HTTPStatus
from itertools import groupby

STOPS = set(".!?…。।॥۔؟")
CLOSING = "\"'”’»)]›*_ "                            # may follow a full stop
GOING_ON = STOPS | set(",;:،؛")                     # a menu entry ends with none of these
NO_STOPS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")     # Thai, Lao, Burmese, Khmer
SEPARATOR = re.compile(r"\s*[|»›•·→]\s*|\s[>/]\s")
ITEM = re.compile(r"\s*(?:[-*•–·]|\(?\w{1,3}[.)])\s")  # "- item", "3. item", "b) item"
# Characters: of a sentence with a full stop, of prose without one (in Thai), and what is too long
# to have none.
SENTENCE, UNSTOPPED, UNSTOPPED_THAI, STOPLESS = 40, 120, 40, 300
# Characters of a tiny line; tiny lines of a menu; lines between prose that may go; characters of a
# block far from the article.
TINY, MENU, RUN, ISLAND = 40, 4, 3, 250
URL = re.compile(r"(?:https?://|www\.)\S+")
STATUS = "|".join(str(s.value) for s in HTTPStatus if s >= 400)
PHRASES = "|".join(re.escape(s.phrase) for s in HTTPStatus if s >= 400)
# "404", "Virhe 503", "HTTP Error 500"
OPENING = re.compile(rf"\W*(?:HTTP\W+)?(?:[^\W\d]+\W+)?(?:{STATUS})\b")
ERROR = re.compile(
    rf"\b(?:{STATUS})\W+(?:error\W+)?(?:{PHRASES})|"
    "page (?:you requested )?(?:was |could )?not (?:be )?found|access (?:is )?denied|"
    "(?:enable|requires) javascript|checking your browser|site can.t be reached|"
    "sivua ei (?:löyt|ole olemassa)|halaman (?:ini )?tidak (?:ditemukan|ada)|ไม่พบหน้า|"
    "sayfa bulunamadı|không tìm thấy trang|trang (?:này )?không tồn tại|"
    "পৃষ্ঠা(?:টি)? (?:খুঁজে )?পাওয়া যায়নি|(?:पृष्ठ|पेज) नहीं मिला|"
    "ukurasa (?:huu )?(?:haukupatikana|haupatikani|haupo)|"
    "பக்கம் (?:கிடைக்கவில்லை|காணப்படவில்லை)|"
    "صفحہ (?:نہیں ملا|موجود نہیں|دستیاب نہیں)", re.IGNORECASE)
SHORT_PAGE, URL_SHARE = 600, 0.3     # characters; share of them in addresses


def is_error_page(text: str) -> bool:
    """Whether a text is an HTTP error or a page of addresses (paper, Table 3: 3.8% of its data).

    An error page is short and names the error, or opens with a status code and shows an address; a
    page of addresses has three in ten characters in URLs. A number alone proves nothing: news begin
    with "500" too.
    """
    addresses = URL.findall(text)
    if sum(map(len, addresses)) > URL_SHARE * len(text):
        return True
    names_it = ERROR.search(text) or (addresses and OPENING.match(text))
    return len(text) < SHORT_PAGE and bool(names_it)


def _is_bar(line):
    """A navigation bar in one line: short pieces between three or more separators."""
    pieces = SEPARATOR.split(line)
    return len(pieces) > 3 and len(line) < 30 * len(pieces)


def _is_prose(line):
    """A sentence or more: ends with a full stop, or is long.

    A very long line without any full stop is a fused menu.
    """
    if _is_bar(line):
        return False
    stopped = line.rstrip(CLOSING)[-1:] in STOPS and not line.endswith("...")
    if NO_STOPS.search(line):
        return stopped or len(line) >= UNSTOPPED_THAI
    if len(line) > STOPLESS and not STOPS & set(line):
        return False
    return len(line) >= (SENTENCE if stopped else UNSTOPPED)


def _is_tiny(line):
    goes_on = line.rstrip(CLOSING)[-1:] in GOING_ON
    return len(line) < TINY and not goes_on and not ITEM.match(line)


def _runs(flags):
    """(flag, first, end) of each run of equal flags."""
    at = 0
    for flag, group in groupby(flags):
        n = len(list(group))
        yield flag, at, at + n
        at += n


def _without_menus(lines):
    """The lines of a page that has menus: its prose, with headings and lists that belong to it."""
    keep = [_is_prose(line) for line in lines]
    for prose, first, end in list(_runs(keep)):
        # A list after "Ingredients:"
        after_colon = first and any(line.endswith(":") for line in lines[first - 1:first + 1])
        listed = after_colon or all(ITEM.match(line) for line in lines[first:end])
        if not prose and any(keep) and (end - first < RUN or listed):
            keep[first:end] = [not _is_bar(line) for line in lines[first:end]]
    blocks = [(sum(map(len, lines[a:b])), a, b) for kept, a, b in _runs(keep) if kept]
    for size, a, b in blocks:      # a short block far from the article: cookies, teasers, addresses
        if size < ISLAND and size < max(blocks)[0] / 3:
            keep[a:b] = [False] * (b - a)
    return [line for line, kept in zip(lines, keep, strict=True) if kept]


def without_boilerplate(text: str) -> str:
    """The text without its navigation bars and link lists (paper, Table 3: 11.3% of its data).

    "" where it has nothing else. Lines are told by their shape only where the text has a menu, that
    is, four tiny lines in a row: elsewhere headings, verses and bullet points are safe, and only
    bars in one line go. Lists with markers, or after a colon, stay.
    """
    lines = text.split("\n")
    written = [line.strip() for line in lines if line.strip()]
    if any(tiny and b - a >= MENU for tiny, a, b in _runs([_is_tiny(line) for line in written])):
        return "\n".join(_without_menus(written))
    kept = [line for line in lines if not _is_bar(line)]
    return text if len(kept) == len(lines) else "\n".join(kept).strip()
