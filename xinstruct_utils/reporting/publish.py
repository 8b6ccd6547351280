"""A run as a data set and a model that others can load: Parquet and cards. Nothing is uploaded unless asked for.

`python -m xinstruct_utils publish-dataset RUN [--langs "sw ur"] [--upload OWNER/NAME]` (make publish-dataset)
`python -m xinstruct_utils publish-model RUN --langs sw [--upload OWNER/NAME]` (make publish-model)
"""

import html
import io
import os
import re
import shutil
import string
from pathlib import Path

from xinstruct_utils.config.runs import load_run
from xinstruct_utils.core import languages
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import content_id, file_hash, read_json, read_jsonl, write_bytes
from xinstruct_utils.core.paths import run_dir, step_dir
from xinstruct_utils.prompts.requests import response_request, templates_digest
from xinstruct_utils.reporting import licences
from xinstruct_utils.reporting.display import length_summary

CARDS = Path(__file__).parent / "cards"
HELD_OUT = 50      # about one instruction in fifty is for validation, by its hash: no instruction is in both splits
KINDS = (".safetensors", ".json", ".jinja", ".model", ".txt")     # of a model: weights, settings, chat template, vocabularies
FIELDS = ("id", "language", "instruction", "output", "rating", "p2", "round", "cluster", "source", "source_id", "url")
# Settings that tell of the maker's machine or files, and may hold keys:
PRIVATE = re.compile(r".*_(path|urls?|command)|task_data|opponent|human_labels|benchmarks|baselines|others")


def source_of(profile):
    """Where a run's texts come from: a key of `licences.TEXTS`."""
    return profile.source if profile.source == "atlas" else profile.corpus_source


def dataset_rows(run, lang, source):
    """The rows of one language's data set: FIELDS, and `messages` in the chat format of TRL, LLaMA-Factory and Axolotl.

    A message asks in English for an answer in the language, as in training. Raises InputError where the data set is not made
    yet, or is not what its step wrote.
    """
    home = step_dir(run, lang, "05_diversification")
    path, manifest = home / "x_instruction.jsonl", home / "manifest.json"
    if not manifest.exists():
        raise InputError(f"the data set in {lang!r} is not there: {manifest} is missing; make it with: make run RUN={run} "
                         f"LANGS={lang}")
    if file_hash(path) != read_json(manifest)["outputs"][path.name]:
        raise InputError(f"{path} is not what its step wrote (its hash is not the one in {manifest.name}); run the step again")
    asked = f"Answer in {languages.get(lang).name}."
    return [{**{k: row.get(k) for k in FIELDS}, "source": source,
             "messages": [{"role": "user", "content": f"{row['instruction']} {asked}"},
                          {"role": "assistant", "content": row["output"]}]} for row in read_jsonl(path)]


def _parquet(rows):
    """Rows as the bytes of a Parquet file; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, stream = pa.string(), io.BytesIO()
    kinds = {"rating": pa.int64(), "round": pa.int64(), "cluster": pa.int64(), "p2": pa.float64(),
             "messages": pa.list_(pa.struct([("role", text), ("content", text)]))}
    schema = pa.schema([(k, kinds.get(k, text)) for k in (*FIELDS, "messages")])
    pq.write_table(pa.Table.from_pylist(rows, schema), stream, compression="zstd")
    return stream.getvalue()


def _plain(text):
    """A text of others as Markdown that shows it as it is: no link, no code, no emphasis, no formula."""
    shown = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[\[\]`*_|$~\\]", lambda m: f"&#{ord(m[0])};", shown)


def _table(rows):
    """Rows (dicts of the same keys) as a Markdown table; everything in it is escaped."""
    def cell(value):
        shown = f"{value:,.3g}" if isinstance(value, float) else "" if value is None else str(value)
        return _plain(shown)

    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def _card(name, front, **words):
    """A card: front matter for the hub, then cards/NAME.md with its words. They come from people's files: no markup in them."""
    import yaml

    tables = {k: v for k, v in words.items() if str(v).startswith("| ")}       # escaped cell by cell
    whole = {k: html.escape(str(v), quote=False) for k, v in words.items() if k in ("asked", "settings", "toy")}
    plain = {k: _plain(str(v)) for k, v in words.items() if k not in tables} | whole
    text = string.Template((CARDS / f"{name}.md").read_text(encoding="utf-8")).substitute(plain | tables)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def _manifests(run, langs):
    """(language, step, manifest) of all steps up to the data set."""
    for lang in langs:
        for path in sorted((run_dir(run) / lang).glob("0[1-5]_*/**/manifest.json")):
            if path.parent.name != ".kept":
                found = read_json(path)
                yield lang, found["notebook"] + (f", round {found['iteration']}" if found.get("iteration") else ""), found


def _measured(run, langs, profile):
    """What is known about flaws: people's or the oracle's review, and in the Atlas the truth."""
    rows = []
    for lang in langs:
        known = step_dir(run, lang, "07_quality_review") / "measures.json"
        review = read_json(known) if known.exists() else {}
        chosen = step_dir(run, lang, "04_refinement", profile.iterations) / "measures.json"
        truth = read_json(chosen) if chosen.exists() else {}
        rows.append({"language": lang, "valid instructions": review.get("valid_instruction_share"),
                     "acceptable responses": review.get("acceptable_response_share"), "labels": review.get("review_labels"),
                     "by": review.get("review_by"), "right pairs kept (truth known)": truth.get("kept_precision")})
    return rows


def _named(value):
    """A name that may be a folder or a file (NAME, KIND:NAME), without where it lies on this machine."""
    kind, colon, place = value.rpartition(":") if "://" not in value else ("", "", "")
    local = place.startswith((".", "/", "~")) or Path(place).exists()
    return kind + colon + (Path(place).name if local else place)


def _settings(profile):
    """The settings as YAML, but those that are PRIVATE."""
    values = {k: _named(v) if isinstance(v, str) else v for k, v in profile.model_dump().items() if not PRIVATE.fullmatch(k)}
    return "\n".join(f"{k}: {' '.join(str(v).split())}" for k, v in values.items() if v not in (None, [], ""))


def dataset_card(run, profile, made):
    """README.md of a data set; `made` is {language: {split: rows}}."""
    langs, source = list(made), source_of(profile)
    licence, terms = licences.of_dataset(source, profile)
    everything = {lang: [r for rows in splits.values() for r in rows] for lang, splits in made.items()}
    size = sum(map(len, everything.values()))
    bins = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    front = {"license": licence, "language": [*langs, "en"], "task_categories": ["text-generation"],
             "size_categories": [next((b for n, b in bins if size < n), "1M<n<10M")],
             "tags": ["instruction-tuning", "cross-lingual", "x-instruction"],
             "configs": [{"config_name": lang, "data_files": [{"split": s, "path": f"data/{lang}/{s}.parquet"}
                                                              for s in splits]} for lang, splits in made.items()]}
    statistics = [{"language": languages.get(lang).name, **{s: len(rows) for s, rows in made[lang].items()},
                   "instruction, characters": length_summary([r["instruction"] for r in rows])["mean"],
                   "output, characters": length_summary([r["output"] for r in rows])["mean"],
                   "clusters": len({r["cluster"] for r in rows})} for lang, rows in everything.items()]
    steps = list(_manifests(run, langs))
    census = [{"language": lang, "step": name, "stage": c["stage"], "in": c["in"], "out": c["out"],
               "dropped": ", ".join(f"{why} {n}" for why, n in c["dropped"].items() if n)}
              for lang, name, m in steps for c in m["counts"]]
    origin = [{"language": lang, "step": name, "code": m.get("code_digest", "")[:12], "modules": m.get("modules_digest", "")[:12],
               "commit": (m.get("git_commit") or "")[:12]} for lang, name, m in steps]
    toy = "**A toy.** These rows are of the Atlas, a made-up world; do not tune a real model on them.\n\n"
    return _card("dataset", front, run=run, toy=toy * (source == "atlas"), first=langs[0], held_out=HELD_OUT, source=source,
                 revision=profile.corpus_revision or "none", base_model=_named(profile.base_model), templates=profile.templates,
                 digest=templates_digest()[:12], licence=terms, statistics=_table(statistics),
                 census=_table(census), origin=_table(origin), settings=_settings(profile),
                 measured=_table(_measured(run, langs, profile)))


def dataset(run, langs=None):
    """Write papermill_runs/RUN/dataset: Parquet for each language and split, and a card. Returns the folder.

    The same run gives the same bytes. The folder is made whole or not at all.
    """
    profile = load_run(run)
    made, source = {}, source_of(profile)
    for lang in langs or profile.languages:
        rows = dataset_rows(run, lang, source)
        held = {r["id"] for r in rows if int(content_id("en", r["instruction"]), 16) % HELD_OUT == 0}
        made[lang] = {"train": [r for r in rows if r["id"] not in held],
                      "validation": [r for r in rows if r["id"] in held]}
        made[lang] = {split: some for split, some in made[lang].items() if some}
    home, draft = run_dir(run) / "dataset", run_dir(run) / ".tmp-dataset"
    shutil.rmtree(draft, ignore_errors=True)
    for lang, split, rows in ((lang, *pair) for lang, splits in made.items() for pair in splits.items()):
        write_bytes(draft / "data" / lang / f"{split}.parquet", [_parquet(rows)])
    write_bytes(draft / "README.md", [dataset_card(run, profile, made).encode()])
    shutil.rmtree(home, ignore_errors=True)
    draft.rename(home)
    return home


def model_card(run, lang, profile, manifest, training):
    """README.md of a tuned model."""
    chosen = profile.tuned_model or profile.base_model
    (licence, terms), base = licences.of_model(chosen, profile), _named(chosen)
    front = {"language": [lang, "en"], "library_name": "transformers", "license": licence, "tags": ["x-instruction"],
             **({"base_model": base} if base == chosen != "atlas" else {})}       # the hub knows no folder
    told = {"rows": training.get("rows"), "over the length limit": training.get("too_long"), "steps": training.get("steps"),
            "tokens": training.get("tokens"), "epochs": profile.follower_epochs,
            "learning rate": str(profile.learning_rate), "last loss": (training.get("losses") or [None])[-1]}
    return _card("model", front, language=languages.get(lang).name, run=run, base_model=base, licence=terms,
                 toy="**A toy** of the Atlas, for tests and teaching only.\n\n" * (profile.source == "atlas"),
                 code=manifest.get("code_digest", "")[:12], commit=(manifest.get("git_commit") or "")[:12],
                 asked=response_request("Name three rivers.", lang, profile.answer_tag, profile.templates),
                 training=_table([told]))


def model(run, lang, name="refined"):
    """Write papermill_runs/RUN/model-LANG: the tuned model's files (linked, not copied, where that works) and a card."""
    profile, step = load_run(run), step_dir(run, lang, "08_instruction_tuning")
    source, home = step / "models" / name, run_dir(run) / f"model-{lang}"
    if not (step / "manifest.json").exists() or not list(source.glob("*.safetensors")):
        raise InputError(f"there is no tuned model in {source}; make it with: make run RUN={run} LANGS={lang}")
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
    card = model_card(run, lang, profile, read_json(step / "manifest.json"), read_json(source / "train.json"))
    write_bytes(draft / "README.md", [card.encode()])
    shutil.rmtree(home, ignore_errors=True)
    draft.rename(home)
    return home


def upload(folder, name, kind):
    """Upload a folder to the hub as OWNER/NAME, private until its owner opens it. The token is the hub's own (HF_TOKEN)."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(name, repo_type=kind, private=True, exist_ok=True)
    api.upload_folder(folder_path=str(folder), repo_id=name, repo_type=kind, commit_message="X-Instruction, open reproduction")
    print(f"uploaded to {name}")


def arguments(parser):
    """Arguments of `publish-dataset` and of `publish-model`."""
    parser.add_argument("run")
    parser.add_argument("--langs", default="", help="languages, separated by blanks or commas; default: all of the run")
    parser.add_argument("--upload", metavar="OWNER/NAME", help="upload to this repository of the hub; else nothing leaves here")


def chosen_languages(args):
    """The language codes that were given. Raises InputError for an unknown one."""
    return [languages.get(code).code for code in args.langs.replace(",", " ").split()]


def publish_dataset_command(args):
    """Write a run's data set; the last line printed is its folder."""
    folder = dataset(args.run, chosen_languages(args))
    if args.upload:
        upload(folder, args.upload, "dataset")
    print(folder)


def publish_model_command(args):
    """Write a run's model; the last line printed is its folder."""
    langs = chosen_languages(args)
    if len(langs) != 1:
        raise InputError(f"a model is of one language, but {len(langs)} came; for instance: make publish-model "
                         f"RUN={args.run} LANGS=sw")
    folder = model(args.run, langs[0])
    if args.upload:
        upload(folder, args.upload, "model")
    print(folder)
