"""A run as a data set and a model that others can load: Parquet and cards.

`python -m xinstruct_utils publish-dataset RUN [--langs "sw ur"] [--upload OWNER/NAME]`
`python -m xinstruct_utils publish-model RUN --langs sw [--upload OWNER/NAME]`
(`make publish-dataset`, `make publish-model`). Nothing is uploaded unless asked for.
"""

import argparse
import io
import os
import re
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xinstruct_utils.config.profile import ATLAS_MODELS, Profile
from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, file_hash, read_json, read_jsonl, write_bytes
from xinstruct_utils.core.markup import escaped, markdown_text, table_cell
from xinstruct_utils.core.paths import run_dir, step_dir
from xinstruct_utils.prompts.requests import response_request, templates_digest
from xinstruct_utils.reporting import licences
from xinstruct_utils.reporting.display import length_summary

CARDS = Path(__file__).parent / "cards"
# Words of a card that stand in code blocks or bring Markdown of their own.
FILLED = ("asked", "settings", "toy")
# About one instruction in fifty is for validation, by its hash: no instruction is in both splits.
HELD_OUT = 50
# Files of a model: weights, settings, chat template, vocabularies.
KINDS = (".safetensors", ".json", ".jinja", ".model", ".txt")
FIELDS = ("id", "language", "instruction", "output", "rating", "p2", "round", "cluster", "source",
          "source_id", "url")
# Settings that tell of the maker's machine or files, and may hold keys; and what was tried beside.
PRIVATE = re.compile(r".*_(path|urls?|command)|task_data|opponent|human_labels|benchmarks|"
                     r"(joint_)?baselines|others|experiment\w*")
# The hub's names of sizes, each for data sets of fewer rows.
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TOY_DATA = ("**A toy.** These rows are of the Atlas, a made-up world; do not tune a real model on "
            "them.\n\n")
TOY_MODEL = "**A toy** of the Atlas, for tests and teaching only.\n\n"

Splits = dict[str, dict[str, list[dict]]]     # {language: {split: rows}}


class FinishedStep(NamedTuple):
    """A step of a language; name: its notebook, and round where it has one."""

    lang: str
    name: str
    manifest: dict


def source_of(profile: Profile) -> str:
    """Where a run's texts come from: a key of `licences.TEXTS`."""
    return profile.source if profile.source == "atlas" else profile.corpus_source


def dataset_rows(run: str, lang: str, source: str) -> list[dict]:
    """The rows of one language's data set: FIELDS, and `messages`.

    These are the chat format of TRL, LLaMA-Factory and Axolotl; a message asks in English for an
    answer in the language, as in training. Raises InputError where the data set is not made yet,
    or is not what its step wrote.
    """
    home = step_dir(run, lang, "05_diversification")
    path = home / "x_instruction.jsonl"
    manifest = home / "manifest.json"
    if not manifest.exists():
        raise InputError(f"the data set in {lang!r} is not there: {manifest} is missing; make it "
                         f"with: make run RUN={run} LANGS={lang}")
    if file_hash(path) != read_json(manifest)["outputs"][path.name]:
        raise InputError(f"{path} is not what its step wrote (its hash is not the one in "
                         f"{manifest.name}); run the step again")
    wish = f"Answer in {languages.get(lang).name}."
    rows = []
    for row in read_jsonl(path):
        messages = [{"role": "user", "content": f"{row['instruction']} {wish}"},
                    {"role": "assistant", "content": row["output"]}]
        rows.append({k: row.get(k) for k in FIELDS} | {"source": source, "messages": messages})
    return rows


def _parquet(rows: Sequence[dict]) -> bytes:
    """Rows as the bytes of a Parquet file; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    message = pa.struct([("role", text), ("content", text)])
    kinds = {"rating": pa.int64(), "round": pa.int64(), "cluster": pa.int64(),
             "p2": pa.float64(), "messages": pa.list_(message)}
    schema = pa.schema([(k, kinds.get(k, text)) for k in (*FIELDS, "messages")])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), stream, compression="zstd")
    return stream.getvalue()


def _table(rows: Sequence[dict]) -> str:
    """Rows (dicts of the same keys) as a Markdown table; everything in it is escaped."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(map(table_cell, line)) + " |" for line in lines)


def _card(name: str, front: dict, tables: Mapping[str, str], **words: object) -> str:
    """A card: front matter for the hub, then cards/NAME.md with its words and tables.

    Words come from people's files, so there is no markup in them; tables are escaped already.
    """
    import yaml

    whole = {k: escaped(v, quotes=False) for k, v in words.items() if k in FILLED}
    plain = {k: markdown_text(v) for k, v in words.items()} | whole
    template = string.Template((CARDS / f"{name}.md").read_text(encoding="utf-8"))
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n{template.substitute(plain | tables)}"


def _steps(run: str, langs: Sequence[str]) -> Iterator[FinishedStep]:
    """All finished steps up to the data set."""
    for lang in langs:
        for path in sorted((run_dir(run) / lang).glob("0[1-5]_*/**/manifest.json")):
            if path.parent.name == ".kept":
                continue
            manifest = read_json(path)
            name = manifest["notebook"]
            if manifest.get("iteration"):
                name += f", round {manifest['iteration']}"
            yield FinishedStep(lang, name, manifest)


def _measured(run: str, langs: Sequence[str], profile: Profile) -> list[dict]:
    """What is known about flaws: people's or the oracle's review, and in the Atlas the truth."""
    rows = []
    for lang in langs:
        review = _measures(step_dir(run, lang, "07_quality_review"))
        truth = _measures(step_dir(run, lang, "04_refinement", profile.iterations))
        rows.append({"language": lang,
                     "valid instructions": review.get("valid_instruction_share"),
                     "acceptable responses": review.get("acceptable_response_share"),
                     "labels": review.get("review_labels"), "by": review.get("review_by"),
                     "right pairs kept (truth known)": truth.get("kept_precision")})
    return rows


def _measures(step: Path) -> dict:
    """A step's measures; empty where it has none."""
    path = step / "measures.json"
    return read_json(path) if path.exists() else {}


def _named(value: str) -> str:
    """A name that may be a folder or a file, without where it lies on this machine.

    It may stand behind a kind, as in nllb:FOLDER.
    """
    kind, colon, place = value.rpartition(":") if "://" not in value else ("", "", "")
    local = place.startswith((".", "/", "~")) or Path(place).exists()
    return kind + colon + (Path(place).name if local else place)


def _settings(profile: Profile) -> str:
    """The settings as YAML, but those that are PRIVATE."""
    lines = []
    for key, value in profile.model_dump().items():
        shown = _named(value) if isinstance(value, str) else value
        if not PRIVATE.fullmatch(key) and shown not in (None, [], ""):
            lines.append(f"{key}: {' '.join(str(shown).split())}")
    return "\n".join(lines)


def _statistics(rows_of: Splits) -> list[dict]:
    """A line for each language: rows of its splits, mean lengths, clusters."""
    lines = []
    for lang, splits in rows_of.items():
        rows = [row for some in splits.values() for row in some]
        lengths = {f"{side}, characters": length_summary([r[side] for r in rows])["mean"]
                   for side in ("instruction", "output")}
        lines.append({"language": languages.get(lang).name,
                      **{split: len(some) for split, some in splits.items()},
                      **lengths, "clusters": len({r["cluster"] for r in rows})})
    return lines


def _census(steps: Sequence[FinishedStep]) -> list[dict]:
    """A line for each stage of each step: rows in, out and dropped."""
    lines = []
    for lang, name, manifest in steps:
        for count in manifest["counts"]:
            dropped = ", ".join(f"{why} {n}" for why, n in count["dropped"].items() if n)
            lines.append({"language": lang, "step": name, "stage": count["stage"],
                          "in": count["in"], "out": count["out"], "dropped": dropped})
    return lines


def _origin(steps: Sequence[FinishedStep]) -> list[dict]:
    """A line for each step: digests of its code and the commit."""
    return [{"language": lang, "step": name, "code": manifest.get("code_digest", "")[:12],
             "modules": manifest.get("modules_digest", "")[:12],
             "commit": (manifest.get("git_commit") or "")[:12]} for lang, name, manifest in steps]


def _dataset_front(rows_of: Splits, licence: str) -> dict:
    """What the hub reads of a data set's card."""
    size = sum(len(rows) for splits in rows_of.values() for rows in splits.values())
    configs = []
    for lang, splits in rows_of.items():
        files = [{"split": s, "path": f"data/{lang}/{s}.parquet"} for s in splits]
        configs.append({"config_name": lang, "data_files": files})
    return {"license": licence, "language": [*rows_of, "en"],
            "task_categories": ["text-generation"],
            "size_categories": [next((name for n, name in SIZES if size < n), "1M<n<10M")],
            "tags": ["instruction-tuning", "cross-lingual", "x-instruction"], "configs": configs}


def dataset_card(run: str, profile: Profile, rows_of: Splits) -> str:
    """README.md of a data set."""
    langs, source = list(rows_of), source_of(profile)
    licence = licences.of_dataset(source, profile)
    steps = list(_steps(run, langs))
    tables = {"statistics": _table(_statistics(rows_of)), "census": _table(_census(steps)),
              "origin": _table(_origin(steps)),
              "measured": _table(_measured(run, langs, profile))}
    return _card("dataset", _dataset_front(rows_of, licence.identifier), tables, run=run,
                 toy=TOY_DATA if source == "atlas" else "", first=langs[0], held_out=HELD_OUT,
                 source=source, revision=profile.corpus_revision or "none",
                 base_model=_named(profile.base_model), templates=profile.templates,
                 digest=templates_digest()[:12], licence=licence.words,
                 settings=_settings(profile))


def _split(rows: Sequence[dict]) -> dict[str, list[dict]]:
    """{split: rows}, by the hash of the instruction; empty splits are left out."""
    splits: dict[str, list[dict]] = {"train": [], "validation": []}
    for row in rows:
        held_out = int(content_id("en", row["instruction"]), 16) % HELD_OUT == 0
        splits["validation" if held_out else "train"].append(row)
    return {split: some for split, some in splits.items() if some}


def dataset(run: str, langs: Sequence[str] | None = None) -> Path:
    """Write papermill_runs/RUN/dataset: Parquet for each language and split, and a card.

    langs: by default all of the run. Returns the folder. The same run gives the same bytes. The
    folder is made whole or not at all.
    """
    profile = load_run(run)
    source = source_of(profile)
    rows_of = {lang: _split(dataset_rows(run, lang, source)) for lang in langs or profile.languages}
    home = run_dir(run) / "dataset"
    draft = run_dir(run) / ".tmp-dataset"
    shutil.rmtree(draft, ignore_errors=True)
    for lang, splits in rows_of.items():
        for split, rows in splits.items():
            write_bytes(draft / "data" / lang / f"{split}.parquet", [_parquet(rows)])
    write_bytes(draft / "README.md", [dataset_card(run, profile, rows_of).encode()])
    shutil.rmtree(home, ignore_errors=True)
    return draft.rename(home)


def model_card(run: str, lang: str, profile: Profile, manifest: dict, training: dict) -> str:
    """README.md of a tuned model; manifest: of its step, training: its train.json."""
    base_model = profile.tuned_model or profile.base_model
    name = _named(base_model)
    licence = licences.of_model(base_model, profile)
    front = {"language": [lang, "en"], "library_name": "transformers",
             "license": licence.identifier, "tags": ["x-instruction"]}
    if name == base_model not in ATLAS_MODELS:       # the hub knows no folder
        front["base_model"] = name
    figures = {"rows": training.get("rows"), "over the length limit": training.get("too_long"),
               "steps": training.get("steps"), "tokens": training.get("tokens"),
               "epochs": profile.follower_epochs, "learning rate": str(profile.learning_rate),
               "last loss": (training.get("losses") or [None])[-1]}
    request = response_request("Name three rivers.", lang, profile.answer_tag, profile.templates)
    return _card("model", front, {"training": _table([figures])}, run=run, base_model=name,
                 language=languages.get(lang).name, licence=licence.words, asked=request,
                 toy=TOY_MODEL if profile.source == "atlas" else "",
                 code=manifest.get("code_digest", "")[:12],
                 commit=(manifest.get("git_commit") or "")[:12])


def model(run: str, lang: str, name: str = "refined") -> Path:
    """Write papermill_runs/RUN/model-LANG: the tuned model's files and a card.

    Files are linked, not copied, where that works. Returns the folder. Raises InputError where
    there is no such model.
    """
    profile, step = load_run(run), step_dir(run, lang, "08_instruction_tuning")
    source, home = step / "models" / name, run_dir(run) / f"model-{lang}"
    if not (step / "manifest.json").exists() or not list(source.glob("*.safetensors")):
        raise InputError(f"there is no tuned model in {source}; make it with: make run RUN={run} "
                         f"LANGS={lang}")
    draft = home.with_name(f".tmp-{home.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file in source.iterdir():
        if file.suffix not in KINDS or file.name in ("done.json", "train.json"):
            continue
        try:
            os.link(file, draft / file.name)
        except OSError:                                # another file system
            shutil.copy2(file, draft / file.name)
    manifest = read_json(step / "manifest.json")
    card = model_card(run, lang, profile, manifest, read_json(source / "train.json"))
    write_bytes(draft / "README.md", [card.encode()])
    shutil.rmtree(home, ignore_errors=True)
    return draft.rename(home)


def upload(folder: Path, name: str, kind: str) -> None:
    """Upload a folder to the hub as OWNER/NAME, private until its owner opens it.

    kind: "dataset" or "model". The token is the hub's own (HF_TOKEN).
    """
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(name, repo_type=kind, private=True, exist_ok=True)
    api.upload_folder(folder_path=str(folder), repo_id=name, repo_type=kind,
                      commit_message="X-Instruction, open reproduction")
    print(f"uploaded to {name}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `publish-dataset` and of `publish-model`."""
    parser.add_argument("run")
    parser.add_argument("--langs", default="", help="languages, separated by blanks or commas; "
                        "default: all of the run")
    parser.add_argument("--upload", metavar="OWNER/NAME", help="upload to this repository of the "
                        "hub; else nothing leaves here")


def chosen_languages(args: argparse.Namespace) -> list[str]:
    """The language codes that were given. Raises InputError for an unknown one."""
    return [languages.get(code).code for code in args.langs.replace(",", " ").split()]


def publish_dataset_command(args: argparse.Namespace) -> None:
    """Write a run's data set; the last line printed is its folder."""
    folder = dataset(args.run, chosen_languages(args))
    if args.upload:
        upload(folder, args.upload, "dataset")
    print(folder)


def publish_model_command(args: argparse.Namespace) -> None:
    """Write a run's model; the last line printed is its folder."""
    langs = chosen_languages(args)
    if len(langs) != 1:
        raise InputError(f"a model is of one language, but {len(langs)} came; for instance: make "
                         f"publish-model RUN={args.run} LANGS=sw")
    folder = model(args.run, langs[0])
    if args.upload:
        upload(folder, args.upload, "model")
    print(folder)
