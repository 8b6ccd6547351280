"""XNLI, XCOPA and XStoryCloze with lm-evaluation-harness (paper 5.4.3, Table 7): run by `launch.run_all` in a subprocess.

A task is named by family, language and, for XCOPA, a variant: `xnli_sw`, `xcopa_th`, `xcopa_th_cut`, `xcopa_th_harness`.
The task files are in `task_files/`; prompts are English in every language. Each finished task is one file in the job's
folder, so that a killed run goes on with the next task. The Atlas's tasks (`atlas/tasks.py`) use the same task files.
"""

import logging
import os
import re
import time
from collections import namedtuple
from pathlib import Path

from xinstruct_utils.atlas import BASE_MODEL
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash, read_json, write_json
from xinstruct_utils.core.languages import LANGUAGES
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.core.process import finish_job
from xinstruct_utils.data.readers import json_lines

FILES = Path(__file__).with_name("task_files")
Family = namedtuple("Family", "title languages choices fields files")
CONNECTORS = {"cause": "because", "effect": "therefore"}
# Fields: a text (None) or one of these values; the last one is the right answer. Files are looked for in the folder of
# the user's data, in this order; {lang} is the language.
FAMILIES = {
    "xnli": Family("XNLI", "th tr vi hi sw ur", 3, {"premise": None, "hypothesis": None, "label": [0, 1, 2]},
                   ("xnli/{lang}.jsonl", "xnli/xnli.test.jsonl", "xnli.test.jsonl")),
    "xcopa": Family("XCOPA", "id th tr vi sw ta", 2,
                    {"premise": None, "choice1": None, "choice2": None, "question": list(CONNECTORS), "label": [0, 1]},
                    ("xcopa/data/{lang}/test.{lang}.jsonl", "xcopa/{lang}.jsonl", "data/{lang}/test.{lang}.jsonl")),
    "xstorycloze": Family("XStoryCloze", "id hi sw", 2,
                          dict.fromkeys(["input_sentence_1", "input_sentence_2", "input_sentence_3", "input_sentence_4",
                                         "sentence_quiz1", "sentence_quiz2"]) | {"answer_right_ending": [1, 2]},
                          ("xstorycloze/{lang}.jsonl",)),
}


for name, like, title in (("atlas_nli", "xnli", "Atlas NLI"), ("atlas_copa", "xcopa", "Atlas causes and effects")):
    FAMILIES[name] = FAMILIES[like]._replace(title=title, languages="", files=(name + "/{lang}.jsonl",))


NAME = re.compile(rf"({'|'.join(FAMILIES)})_([a-z]{{2,3}})(?:_(cut|harness))?")
XNLI_LABELS = {"entailment": 0, "neutral": 1, "contradiction": 2}
READINGS = {"": "corrected", "cut": "cut", "harness": "harness"}  # of XCOPA, by variant
STOPS = (".", "।", "۔", "。")


def coverage():
    """Which of the ten languages each of the paper's data sets covers: a table of yes and no."""
    import pandas as pd

    return pd.DataFrame({f.title: {row.name: "yes" if code in f.languages.split() else "no" for code, row in LANGUAGES.items()}
                         for f in FAMILIES.values() if f.languages})


def covered(families, lang):
    """Names of the tasks that there are in a language. XCOPA comes in three variants, see `load_task`."""
    if unknown := [f for f in families if f not in FAMILIES]:
        raise InputError(f"unknown tasks {', '.join(unknown)}: expected some of {', '.join(FAMILIES)} (the setting `tasks`)")
    return [f"{f}_{lang}{v}" for f in families if f.startswith("atlas") or lang in FAMILIES[f].languages.split()
            for v in (("", "_cut", "_harness") if f == "xcopa" else ("",))]


def parsed(task):
    """(family, language, variant or "") of a task's name. Raises InputError."""
    if not (found := NAME.fullmatch(task)):
        raise InputError(f"no task {task!r}: expected <family>_<language>, the family one of {', '.join(FAMILIES)}")
    return found[1], found[2], found[3] or ""


def data_file(task, folder):
    """The task's local file, or None where it comes from the hub. Raises InputError if the folder has no such file."""
    if not folder:
        return None
    family, lang, _ = parsed(task)
    paths = [Path(folder) / pattern.format(lang=lang) for pattern in FAMILIES[family].files]
    if found := [path for path in paths if path.exists()]:
        return found[0]
    raise InputError(f"{task}: expected one of {', '.join(map(str, paths))}, but none is there; without task_data, the data "
                     "come from the hub")


def read_documents(task, path):
    """Rows of a local file (JSON lines), checked, with the harness's fields. Raises InputError with file and line."""
    family, lang, _ = parsed(task)
    rows, fields = [], FAMILIES[family].fields
    for number, row in json_lines(Path(path)):
        if row.get("language", lang) != lang:
            continue                             # XNLI's own file holds all its languages
        if "gold_label" in row:
            label = XNLI_LABELS.get(str(row["gold_label"]))
            row |= {"premise": row.get("sentence1"), "hypothesis": row.get("sentence2"), "label": label}
        if told := [f"{k} is {row.get(k)!r}, expected {values or 'a text'}" for k, values in fields.items()
                    if not (row.get(k) in values if values else row.get(k) and isinstance(row[k], str))]:
            raise InputError(f"{path}, line {number}: {'; '.join(told)}")
        rows.append({k: row[k] for k in fields})
    if not rows:
        raise InputError(f"{path}: it has no rows in '{lang}'")
    return rows


def xcopa_context(doc):
    """Premise and connector; of the premise only a final full stop is taken away."""
    premise = doc["premise"].strip()
    return f"{premise[:-1] if premise.endswith(STOPS) else premise} {CONNECTORS[doc['question']]}"


def xcopa_context_cut(doc):
    """As the harness's own XCOPA does it: the last character goes, also where it is no full stop (Thai, Tamil)."""
    return f"{doc['premise'].strip()[:-1]} {CONNECTORS[doc['question']]}"


def xcopa_choices(doc, small=str.lower):
    """The two alternatives, going on with a small letter."""
    return [small(doc[k][0]) + doc[k][1:] for k in ("choice1", "choice2")]


def xcopa_choices_tr(doc):
    """The same in Turkish, where İ and I have small letters of their own (`lower()` makes two characters of İ)."""
    return xcopa_choices(doc, lambda letter: {"İ": "i", "I": "ı"}.get(letter, letter.lower()))


def load_task(task, folder=None):
    """The harness's task, from its file and with its data: those of the folder, else of the hub. Raises InputError.

    XCOPA's variant `cut` has our English connectors and the harness's cut; `harness` is the harness's own task file.
    """
    import lm_eval.tasks
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)    # it warns of every local file
    family, lang, variant = parsed(task)
    path = FILES / f"{family}_{lang}.yaml"
    if family.startswith("atlas"):
        path = FILES / ("_xnli.common" if family == "atlas_nli" else "_xcopa.common")
    elif variant == "harness":
        path = Path(lm_eval.tasks.__file__).parent / "xcopa" / f"default_{lang}.yaml"
    if not path.exists():
        raise InputError(f"{task}: {family} does not cover '{lang}': expected one of {FAMILIES[family].languages}")
    config = load_yaml(path) | {"task": task} | ({"doc_to_text": xcopa_context_cut} if variant == "cut" else {})
    if file := data_file(task, folder):
        rows = Dataset.from_list(read_documents(task, file))
        config["custom_dataset"] = lambda **_: {"validation": rows, config["test_split"]: rows}
    try:
        return ConfigurableTask(config=config)
    except Exception as error:                   # of many kinds: no network, no such data set, a gate
        raise InputError(f"{task}: its data ({config['dataset_path']}) could not be loaded: {error}; give the folder that holds "
                         f"{' or '.join(FAMILIES[family].files)} as task_data") from error


def shown(task, folder=None, rows=2):
    """What a model is asked, for the first rows: a table of whole texts, one line a choice, the right ones marked."""
    import pandas as pd

    made = load_task(task, folder)
    return pd.DataFrame([{"text": "".join(asked.args), "right": "yes" if k == int(made.doc_to_target(doc)) else ""}
                         for doc in made.task_docs.select(range(min(rows, len(made.task_docs))))
                         for k, asked in enumerate(made.construct_requests(doc, made.doc_to_text(doc)))])


def job(model, folders, limit=0, **settings):
    """Settings of a heavy job that asks `model` ("atlas", a folder or hub id) each of `folders` {task: folder of its
    local data, or nothing for the hub}; `limit` items a task, 0 for all. Local data are known by their content."""
    data = digest([file_hash(data_file(n, f)) for n, f in folders.items() if f])[:16]
    return dict(model=str(BASE_MODEL if model == "atlas" else model), tasks=[*folders], limit=limit, data=data, **settings,
                folders={n: str(f or "") for n, f in folders.items()})


def main(s):
    """Ask the model the settings' tasks, one result file each: {task, n, accuracy, stderr, chance, cut} and,
    by item, {correct, log_likelihoods of the choices}; `cut` counts texts longer than the model's context."""
    begun, out = time.time(), Path(s["out"])
    if all(s["folders"].values()) and Path(s["model"]).is_dir():
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    import torch
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(s["threads"])
    gpu, startup = torch.cuda.is_available(), time.time() - begun
    # Log-likelihoods of whole sentences are sums whose differences count: the softmax is never in 16 bits.
    lm = HFLM(pretrained=s["model"], device="cuda" if gpu else "cpu", dtype="bfloat16" if gpu and s["bf16"] else "float32",
              softmax_dtype="float32", batch_size="auto" if gpu else 16, trust_remote_code=False, use_safetensors=True)
    todo = [n for n in s["tasks"] if not (out / f"{n}.json").exists()]
    if lm.world_size > 1:
        lm.barrier()                             # before the first file is written, all ranks have the same list
    for done, name in enumerate(todo, 1):
        task = load_task(name, s["folders"][name])
        # Not `simple_evaluate`: it asks pip and git about the machine at every call, which takes longer than a small task.
        got = evaluate(lm, {"tasks": {name: task}, "groups": {}}, limit=s["limit"] or None)
        if got is None:                          # another rank writes
            continue
        found, rows = got["results"][name], sorted(got["samples"][name], key=lambda r: r["doc_id"])
        correct, asked = [int(r["acc"]) for r in rows], ["".join(a[:2]) for r in rows for a in r["arguments"]]
        write_json(out / f"{name}.json", {
            "task": name, "n": len(correct), "accuracy": found["acc,none"], "stderr": found["acc_stderr,none"],
            "correct": correct, "chance": 1 / FAMILIES[parsed(name)[0]].choices,
            "cut": sum(len(lm.tok_encode(text)) > lm.max_length for text in asked),    # the harness reads their end only
            "log_likelihoods": [[round(x, 4) for x, _ in r["filtered_resps"]] for r in rows]})
        print(f"{name}: {found['acc,none']:.3f} of {len(correct)} items, task {done}/{len(todo)}", flush=True)
    if lm.rank == 0:
        finish_job(out, s, startup, begun, tasks=len(s["tasks"]))


def results(out):
    """{task: result} of a finished job's folder, with `family`, `lang` and `variant` of each task."""
    names = read_json(Path(out).with_name(f"{Path(out).name}.settings.json"))["tasks"]
    return {n: read_json(Path(out) / f"{n}.json") | dict(zip(("family", "lang", "variant"), parsed(n), strict=True))
            for n in names}


def table7(asked):
    """The layout of the paper's Table 7 for {model: results}: models down, data sets and languages across, per cent and
    standard error; XCOPA as corrected. The last column is the mean over the tasks."""
    import pandas as pd

    cells = {m: {(FAMILIES[f["family"]].title, f["lang"]): f"{100 * f['accuracy']:.1f} ± {100 * f['stderr']:.1f}"
                 for f in found.values() if not f["variant"]} for m, found in asked.items()}
    for m, found in asked.items():
        plain = [f["accuracy"] for f in found.values() if not f["variant"]]
        cells[m] |= {("Avg", ""): f"{100 * sum(plain) / len(plain):.1f}"} if plain else {}
    return pd.DataFrame.from_dict(cells, orient="index")


def paper_rows(lang):
    """What the paper's Table 7 says of a language: {model: {data set: per cent}}; what it does not say is None."""
    return {m: {f.title: by[name].get(lang) for name, f in FAMILIES.items() if f.languages}
            for m, by in paper_numbers()["table7"].items()}


def gain(tuned, base):
    """Tuned minus base on the same items: {"difference", "stderr", "n", "beyond"}, of the paired differences; `beyond` is
    1 where tuned is better by more than two standard errors, -1 where it is worse, else 0. Raises InputError."""
    if len(tuned["correct"]) != len(base["correct"]) or len(tuned["correct"]) < 2:
        raise InputError(f"{tuned['task']}: {len(tuned['correct'])} and {len(base['correct'])} answers cannot be paired")
    from statistics import fmean, stdev

    apart = [a - b for a, b in zip(tuned["correct"], base["correct"], strict=True)]
    difference, stderr = fmean(apart), stdev(apart) / len(apart) ** 0.5
    return {"difference": difference, "stderr": stderr, "n": len(apart),
            "beyond": 0 if abs(difference) <= 2 * stderr else 1 if difference > 0 else -1}


def told(title, got):
    """One sentence on a `gain`: whether tuning helped, beyond two standard errors."""
    said = {1: "beats the base model beyond", -1: "is worse than the base model beyond", 0: "does not beat the base model by"}
    return (f"{title}: the tuned model {said[got['beyond']]} two standard errors ({100 * got['difference']:+.1f} points, "
            f"standard error {100 * got['stderr']:.1f}, {got['n']} items).")
