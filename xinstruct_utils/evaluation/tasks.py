"""XNLI, XCOPA and XStoryCloze with lm-evaluation-harness (paper 5.4.3, Table 7).

`launch.run_all` runs this module in a subprocess. A task is named by family, language and, for
XCOPA, a variant: `xnli_sw`, `xcopa_th`, `xcopa_th_cut`, `xcopa_th_harness`. The task files are in
`task_files/`; prompts are English in every language. Each finished task is one file in the job's
folder, so that a killed run goes on with the next task. The Atlas's tasks (`atlas/tasks.py`) use
the same task files.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json, write_json
from xinstruct_utils.core.languages import LANGUAGES
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.data.readers import json_lines
from xinstruct_utils.evaluation.statistics import Z
from xinstruct_utils.models.loading import model_path

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask
    from pandas import DataFrame

FILES = Path(__file__).with_name("task_files")
CONNECTORS = {"cause": "because", "effect": "therefore"}


class Family(NamedTuple):
    """One task in several languages.

    fields: {name: its values, or None for a text}, the right answer last; files: where a user's
    folder may have the data, in this order, {lang} being the language.
    """

    title: str
    languages: str
    choices: int
    fields: dict[str, list | None]
    files: tuple[str, ...]


STORY = [f"input_sentence_{k}" for k in (1, 2, 3, 4)] + ["sentence_quiz1", "sentence_quiz2"]
FAMILIES = {
    "xnli": Family(
        "XNLI", "th tr vi hi sw ur", 3,
        {"premise": None, "hypothesis": None, "label": [0, 1, 2]},
        ("xnli/{lang}.jsonl", "xnli/xnli.test.jsonl", "xnli.test.jsonl")),
    "xcopa": Family(
        "XCOPA", "id th tr vi sw ta", 2,
        {"premise": None, "choice1": None, "choice2": None, "question": list(CONNECTORS),
         "label": [0, 1]},
        ("xcopa/data/{lang}/test.{lang}.jsonl", "xcopa/{lang}.jsonl",
         "data/{lang}/test.{lang}.jsonl")),
    "xstorycloze": Family(
        "XStoryCloze", "id hi sw", 2,
        {**dict.fromkeys(STORY), "answer_right_ending": [1, 2]},
        ("xstorycloze/{lang}.jsonl",)),
}
for name, like, title in (("atlas_nli", "xnli", "Atlas NLI"),
                          ("atlas_copa", "xcopa", "Atlas causes and effects")):
    FAMILIES[name] = FAMILIES[like]._replace(title=title, languages="",
                                             files=(name + "/{lang}.jsonl",))

NAME = re.compile(rf"({'|'.join(FAMILIES)})_([a-z]{{2,3}})(?:_(cut|harness))?")
XNLI_LABELS = {"entailment": 0, "neutral": 1, "contradiction": 2}
READINGS = {"": "corrected", "cut": "cut", "harness": "harness"}  # of XCOPA, by variant
STOPS = (".", "।", "۔", "。")


class Result(TypedDict):
    """A model's result on a task; the last three fields are added by `results`."""

    task: str
    n: int
    accuracy: float
    stderr: float
    correct: list[int]                                 # 1 or 0 for each item
    chance: float
    cut: int                                           # texts longer than the model's context
    log_likelihoods: list[list[float]]                 # of each item's choices
    family: NotRequired[str]
    lang: NotRequired[str]
    variant: NotRequired[str]


class Gain(TypedDict):
    """Tuned minus base on the same items.

    beyond: 1 where tuned is better by more than two standard errors, -1 where worse, else 0.
    """

    difference: float
    stderr: float
    n: int
    beyond: int


def coverage() -> "DataFrame":
    """Which of the ten languages each of the paper's data sets covers: a table of yes and no."""
    import pandas as pd

    return pd.DataFrame({
        family.title: {row.name: "yes" if code in family.languages.split() else "no"
                       for code, row in LANGUAGES.items()}
        for family in FAMILIES.values() if family.languages})


def covered(families: list[str], lang: str) -> list[str]:
    """Names of the tasks that there are in a language.

    XCOPA comes in three variants, see `load_task`. Raises InputError for an unknown family.
    """
    if unknown := [f for f in families if f not in FAMILIES]:
        raise InputError(f"unknown tasks {', '.join(unknown)}: expected some of "
                         f"{', '.join(FAMILIES)} (the setting `tasks`)")
    names = []
    for family in families:
        if family.startswith("atlas") or lang in FAMILIES[family].languages.split():
            variants = ("", "_cut", "_harness") if family == "xcopa" else ("",)
            names += [f"{family}_{lang}{variant}" for variant in variants]
    return names


def parsed(task: str) -> tuple[str, str, str]:
    """(family, language, variant or "") of a task's name. Raises InputError."""
    match = NAME.fullmatch(task)
    if not match:
        raise InputError(f"no task {task!r}: expected <family>_<language>, the family one of "
                         f"{', '.join(FAMILIES)}")
    return match[1], match[2], match[3] or ""


def data_file(task: str, folder: str | Path | None) -> Path | None:
    """The task's local file, or None where it comes from the hub.

    Raises InputError if the folder has no such file.
    """
    if not folder:
        return None
    family, lang, _ = parsed(task)
    paths = [Path(folder) / pattern.format(lang=lang) for pattern in FAMILIES[family].files]
    if there := [path for path in paths if path.exists()]:
        return there[0]
    raise InputError(f"{task}: expected one of {', '.join(map(str, paths))}, but none is there; "
                     "without task_data, the data come from the hub")


def read_documents(task: str, path: str | Path) -> list[dict]:
    """Rows of a local file (JSON lines), checked, with the harness's fields.

    Raises InputError with file and line.
    """
    family, lang, _ = parsed(task)
    rows, fields = [], FAMILIES[family].fields
    for number, row in json_lines(Path(path)):
        if row.get("language", lang) != lang:
            continue                             # XNLI's own file holds all its languages
        if "gold_label" in row:
            row |= {"premise": row.get("sentence1"), "hypothesis": row.get("sentence2"),
                    "label": XNLI_LABELS.get(str(row["gold_label"]))}
        if faults := [f"{name} is {row.get(name)!r}, expected {values or 'a text'}"
                      for name, values in fields.items() if not _fits(row.get(name), values)]:
            raise InputError(f"{path}, line {number}: {'; '.join(faults)}")
        rows.append({k: row[k] for k in fields})
    if not rows:
        raise InputError(f"{path}: it has no rows in '{lang}'")
    return rows


def _fits(value: object, values: list | None) -> bool:
    """Whether a field has one of its values, or, where it has none, a text."""
    return value in values if values else isinstance(value, str) and value != ""


def xcopa_context(doc: dict) -> str:
    """Premise and connector; of the premise only a final full stop is taken away."""
    premise = doc["premise"].strip()
    if premise.endswith(STOPS):
        premise = premise[:-1]
    return f"{premise} {CONNECTORS[doc['question']]}"


def xcopa_context_cut(doc: dict) -> str:
    """As the harness's own XCOPA: the last character goes, full stop or not (Thai, Tamil)."""
    return f"{doc['premise'].strip()[:-1]} {CONNECTORS[doc['question']]}"


def xcopa_choices(doc: dict, small: Callable[[str], str] = str.lower) -> list[str]:
    """The two alternatives, going on with a small letter."""
    return [small(doc[k][0]) + doc[k][1:] for k in ("choice1", "choice2")]


def xcopa_choices_tr(doc: dict) -> list[str]:
    """The same in Turkish: İ and I have small letters of their own (`lower()` makes two of İ)."""
    return xcopa_choices(doc, lambda letter: {"İ": "i", "I": "ı"}.get(letter, letter.lower()))


def load_task(task: str, folder: str | Path | None = None) -> "ConfigurableTask":
    """The harness's task, from its file and with its data: those of the folder, else of the hub.

    XCOPA's variant `cut` has our English connectors and the harness's cut; `harness` is the
    harness's own task file. Raises InputError.
    """
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)    # it warns of every local file
    family, _, variant = parsed(task)
    config = load_yaml(_task_file(task)) | {"task": task}
    if variant == "cut":
        config["doc_to_text"] = xcopa_context_cut
    if file := data_file(task, folder):
        rows = Dataset.from_list(read_documents(task, file))
        config["custom_dataset"] = lambda **_: {"validation": rows, config["test_split"]: rows}
    try:
        return ConfigurableTask(config=config)
    except Exception as error:                   # of many kinds: no network, no such data, a gate
        raise InputError(f"{task}: its data ({config['dataset_path']}) could not be loaded: "
                         f"{error}; give the folder that holds "
                         f"{' or '.join(FAMILIES[family].files)} as task_data") from error


def _task_file(task: str) -> Path:
    """The harness's description of a task. Raises InputError where there is none."""
    import lm_eval.tasks

    family, lang, variant = parsed(task)
    path = FILES / f"{family}_{lang}.yaml"
    if family.startswith("atlas"):
        path = FILES / ("_xnli.common" if family == "atlas_nli" else "_xcopa.common")
    elif variant == "harness":
        path = Path(lm_eval.tasks.__file__).parent / "xcopa" / f"default_{lang}.yaml"
    if not path.exists():
        raise InputError(f"{task}: {family} does not cover '{lang}': expected one of "
                         f"{FAMILIES[family].languages}")
    return path


def preview(task: str, folder: str | Path | None = None, rows: int = 2) -> "DataFrame":
    """What a model is asked, for the first rows: whole texts, one line a choice.

    A table with the columns "text" and "right".
    """
    import pandas as pd

    loaded = load_task(task, folder)
    lines = []
    for doc in loaded.task_docs.select(range(min(rows, len(loaded.task_docs)))):
        right = int(loaded.doc_to_target(doc))
        requests = loaded.construct_requests(doc, loaded.doc_to_text(doc))
        lines += [{"text": "".join(request.args), "right": "yes" if k == right else ""}
                  for k, request in enumerate(requests)]
    return pd.DataFrame(lines)


def job(model: str | Path, folders: dict[str, str | Path | None], limit: int = 0,
        **settings) -> dict:
    """Settings of a heavy job that asks a model some tasks.

    model: "atlas", a folder or a hub id; folders: {task: folder of its local data, or nothing for
    the hub}; limit: items a task, 0 for all. Local data are known by their content.
    """
    files = [data_file(name, folder) for name, folder in folders.items() if folder]
    hashes = [file_hash(file) for file in files if file]
    return dict(model=model_path(str(model)), tasks=[*folders],
                limit=limit, data=digest(hashes)[:16], **settings,
                folders={name: str(folder or "") for name, folder in folders.items()})


def main(s: dict) -> None:
    """Ask the model the tasks of `job`'s settings; writes one `Result` file for each."""
    begun, out = time.time(), Path(s["out"])
    if all(s["folders"].values()) and Path(s["model"]).is_dir():
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    import torch
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(s["threads"])
    gpu, startup = torch.cuda.is_available(), time.time() - begun
    # Log-likelihoods of whole sentences are sums whose differences count: the softmax is never in
    # 16 bits.
    lm = HFLM(pretrained=s["model"], device="cuda" if gpu else "cpu",
              dtype="bfloat16" if gpu and s["bf16"] else "float32", softmax_dtype="float32",
              batch_size="auto" if gpu else 16, trust_remote_code=False, use_safetensors=True)
    todo = [name for name in s["tasks"] if not (out / f"{name}.json").exists()]
    if lm.world_size > 1:
        lm.barrier()                             # before the first file, all ranks have one list
    for number, name in enumerate(todo, 1):
        # Not `simple_evaluate`: it asks pip and git about the machine at every call, which takes
        # longer than a small task.
        task = load_task(name, s["folders"][name])
        answers = evaluate(lm, {"tasks": {name: task}, "groups": {}}, limit=s["limit"] or None)
        if answers is None:                      # another rank writes
            continue
        result = _result(name, answers, lm)
        write_json(out / f"{name}.json", result)
        print(f"{name}: {result['accuracy']:.3f} of {result['n']} items, "
              f"task {number}/{len(todo)}", flush=True)
    if lm.rank == 0:
        finish_job(out, s, startup, begun, tasks=len(s["tasks"]))


def _result(name: str, answers: dict, lm) -> Result:
    """The result of a task from what the harness gives."""
    figures = answers["results"][name]
    rows = sorted(answers["samples"][name], key=lambda r: r["doc_id"])
    correct = [int(r["acc"]) for r in rows]
    texts = ["".join(a[:2]) for r in rows for a in r["arguments"]]
    return {"task": name, "n": len(correct), "accuracy": figures["acc,none"],
            "stderr": figures["acc_stderr,none"], "correct": correct,
            "chance": 1 / FAMILIES[parsed(name)[0]].choices,
            # Of a longer text the harness reads the end only.
            "cut": sum(len(lm.tok_encode(text)) > lm.max_length for text in texts),
            "log_likelihoods": [[round(x, 4) for x, _ in r["filtered_resps"]] for r in rows]}


def results(out: str | Path, names: Iterable[str]) -> dict[str, Result]:
    """{task: result} of these tasks in a finished job's folder, with family, language, variant."""
    rows = {}
    for name in names:
        family, lang, variant = parsed(name)
        found = read_json(Path(out) / f"{name}.json")
        rows[name] = found | {"family": family, "lang": lang, "variant": variant}
    return rows


def estimates(by_model: dict[str, dict[str, Result]]) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy with its 95% interval, {family: {model: {"value", "low", "high", "n"}}}.

    by_model: {model: results}. Of XCOPA the corrected reading counts.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for model, rows in by_model.items():
        for result in rows.values():
            if not result["variant"]:
                value, half = result["accuracy"], Z * result["stderr"]
                found.setdefault(result["family"], {})[model] = {
                    "value": value, "low": value - half, "high": value + half, "n": result["n"]}
    return found


def table7(by_model: dict[str, dict[str, Result]]) -> "DataFrame":
    """The layout of the paper's Table 7 for {model: results}, per cent and standard error.

    Models down, data sets and languages across; XCOPA as corrected. The last column is the mean
    over the tasks.
    """
    import pandas as pd

    cells = {}
    for model, rows in by_model.items():
        plain = [r for r in rows.values() if not r["variant"]]
        cells[model] = {
            (FAMILIES[r["family"]].title, r["lang"]):
                f"{100 * r['accuracy']:.1f} ± {100 * r['stderr']:.1f}" for r in plain}
        if plain:
            mean = 100 * sum(r["accuracy"] for r in plain) / len(plain)
            cells[model]["Avg", ""] = f"{mean:.1f}"
    return pd.DataFrame.from_dict(cells, orient="index")


def paper_rows(lang: str) -> dict[str, dict[str, float | None]]:
    """What the paper's Table 7 says of a language: {model: {data set: per cent or None}}."""
    families = {name: f.title for name, f in FAMILIES.items() if f.languages}
    return {model: {title: row[name].get(lang) for name, title in families.items()}
            for model, row in paper_numbers()["table7"].items()}


def gain(tuned: Result, base: Result) -> Gain:
    """Tuned minus base, item by item. Raises InputError where the items are not the same."""
    if len(tuned["correct"]) != len(base["correct"]) or len(tuned["correct"]) < 2:
        raise InputError(f"{tuned['task']}: {len(tuned['correct'])} and {len(base['correct'])} "
                         "answers cannot be paired")
    apart = [a - b for a, b in zip(tuned["correct"], base["correct"], strict=True)]
    difference, stderr = fmean(apart), stdev(apart) / len(apart) ** 0.5
    beyond = 0
    if abs(difference) > 2 * stderr:
        beyond = 1 if difference > 0 else -1
    return {"difference": difference, "stderr": stderr, "n": len(apart), "beyond": beyond}
