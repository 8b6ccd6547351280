"""Files for a run on real text: `python tools/real_text.py DATA LANG OUT [--longest N]`.

LANG is fi or sw. DATA is a folder with real_text/<language>/corpus.jsonl, ntrex_documents.jsonl
and, for Finnish, seed.jsonl, and with pages under web_pages/test_data. Writes into OUT seed.jsonl,
corpus.jsonl and planted.jsonl, for `make run PROFILE=small`. Nothing of it belongs into the
repository: the texts are other people's.

Finnish has real seed pairs (Open Assistant, translated replies). Swahili has none at hand: there
the beginnings of parallel news documents (NTREX) are outputs, and sw_instructions.jsonl, beside
this file, has an English instruction for each that was written for this project by a language model
which read them.
"""

import argparse
import json
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_jsonl, write_jsonl

BEGINNING = 700          # characters of a news document that make an output, in whole lines
PIECE = 300              # characters of a planted navigation bar
FOREIGN = 600            # characters of a planted text in another language
# Pages whose menus are planted, and the language of the planted texts.
PAGES = {"fi": ("my", "ind"), "sw": ("tz",)}
OTHER_LANGUAGE = {"fi": "tr", "sw": "id"}
MENUS = ("nav", "header", "footer", "ul")
# What servers send in place of a page; their own words.
ERRORS = ("404 Not Found\nnginx",
          "403 Forbidden\nYou don't have permission to access this resource.",
          "500 Internal Server Error\nThe server encountered an internal error or "
          "misconfiguration and was unable to complete your request.",
          "503 Service Temporarily Unavailable\nnginx")


class Menus(HTMLParser):
    """The text lines inside of a page's menus, header and footer."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.lines: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """A menu begins, or something that is no text."""
        if tag in (*MENUS, "script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """What began ends."""
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Keep a line of a menu."""
        line = " ".join(data.split())
        if line and set(self.open) & set(MENUS) and not set(self.open) & {"script", "style"}:
            self.lines.append(line)


def bars(pages: list[Path]) -> list[str]:
    """Navigation bars of pages, in pieces of about `PIECE` characters."""
    found = []
    for page in pages:
        menus = Menus()
        menus.feed(page.read_text(encoding="utf-8", errors="replace"))
        piece: list[str] = []
        for line in menus.lines:
            piece.append(line)
            if sum(map(len, piece)) >= PIECE:
                found.append("\n".join(piece))
                piece = []
    return found


def beginning(text: str, most: int) -> str:
    """The first whole lines of a text, joined, up to `most` characters; one line at least."""
    kept: list[str] = []
    for line in text.split("\n"):
        if kept and len(" ".join([*kept, line])) > most:
            break
        kept.append(line)
    return " ".join(kept)


def seed_pairs(data: Path, lang: str, longest: int | None) -> list[dict[str, str]]:
    """Rows of seed.jsonl; pairs whose output has more than `longest` characters are left out."""
    given = data / "real_text" / lang / "seed.jsonl"
    pairs = list(read_jsonl(given)) if given.exists() else news_pairs(data, lang, longest)
    return [row for row in pairs if longest is None or len(row["output"]) <= longest]


def news_pairs(data: Path, lang: str, longest: int | None) -> list[dict[str, str]]:
    """Beginnings of news documents with the instructions that were written for them."""
    most = min(BEGINNING, longest or BEGINNING)
    documents = read_jsonl(data / "real_text" / lang / "ntrex_documents.jsonl")
    texts = {row["id"]: beginning(row["text"], most) for row in documents}
    instructions = read_jsonl(Path(__file__).with_name(f"{lang}_instructions.jsonl"))
    return [{"id": row["id"], "language": lang, "instruction": row["instruction"],
             "output": texts[row["id"]]} for row in instructions]


def planted(data: Path, lang: str, out: Path) -> dict[str, int]:
    """Write planted.jsonl; returns the number of texts by kind."""
    html = [path for place in PAGES[lang]
            for path in sorted((data / "web_pages" / "test_data" / place).glob("*.html"))]
    other = OTHER_LANGUAGE[lang]
    documents = read_jsonl(data / "real_text" / other / "ntrex_documents.jsonl")
    texts = {"navigation": ("before", bars(html)), "error page": ("instead", list(ERRORS)),
             "another language": ("instead", [beginning(row["text"], FOREIGN)
                                              for row in documents])}
    write_jsonl(out, [{"kind": kind, "place": place, "text": text}
                      for kind, (place, own) in texts.items() for text in own])
    return {kind: len(own) for kind, (_, own) in texts.items()}


def main() -> None:
    """Write the three files and say what they hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of public data")
    parser.add_argument("lang", choices=sorted(PAGES))
    parser.add_argument("out", type=Path, help="folder to write to, outside of the repository")
    parser.add_argument("--longest", type=int, help="characters of a seed pair's output at most")
    args = parser.parse_args()
    corpus = args.data / "real_text" / args.lang / "corpus.jsonl"
    if not corpus.exists():
        raise InputError(f"{corpus} is not there: expected the folder of public data")
    args.out.mkdir(parents=True, exist_ok=True)
    write_jsonl(args.out / "seed.jsonl", seed_pairs(args.data, args.lang, args.longest))
    shutil.copyfile(corpus, args.out / "corpus.jsonl")
    kinds = planted(args.data, args.lang, args.out / "planted.jsonl")
    print(json.dumps({"seed pairs": sum(1 for _ in read_jsonl(args.out / "seed.jsonl")),
                      "texts": sum(1 for _ in read_jsonl(args.out / "corpus.jsonl")), **kinds}))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
