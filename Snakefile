# Wiring only: one rule per notebook, over languages and rounds. A path is a command:
#   snakemake papermill_runs/atlas/sw/04_refinement/iter2/manifest.json --config run=atlas profile=atlas
# config: profile, run, langs (blank or comma separated), set ("key=value ..."), as `make run` passes them.
import json
import sys

from xinstruct_utils import artifacts, config as settings, run as verb

RUN = config.get("run", "atlas")
PROFILE = config.get("profile", RUN)
SET = str(config.get("set", "")).split()
try:
    P = settings.load_profile(PROFILE, **settings.parse_overrides(SET))
    LANGS = str(config.get("langs", "")).replace(",", " ").split() or P.languages
    P = settings._checked(P.model_dump() | {"languages": LANGS, "featured": P.featured if P.featured in LANGS else LANGS[0]}, "LANGS")
    settings.open_run(RUN, P)                  # a run made with other settings is refused before anything runs
except artifacts.InputError as error:
    sys.exit(f"error: {error}")
ROOT = str(artifacts.root())
PYTHON = sys.executable


wildcard_constraints:
    lang="[a-z]+", k="[0-9]+"


def manifest(notebook, k=None, lang="{lang}"):
    return f"{ROOT}/{RUN}/{lang}/{notebook}/" + (f"iter{k}/" if k else "") + "manifest.json"


def log_of(notebook, k=None, lang="{lang}"):
    return manifest(notebook, k, lang).replace("manifest.json", "notebook.ipynb")


def source(notebook):
    return ancient(str(verb.notebooks_dir() / f"{notebook}.ipynb"))


def code(notebook):
    return json.dumps(verb.code_key(notebook), sort_keys=True)


def go(notebook, extra=""):
    return f"{PYTHON} -m xinstruct_utils.run {notebook} --run {RUN} --lang {{wildcards.lang}} {extra} --force"


LAST = ["06_statistics"] + (["08_instruction_tuning", "09_judge_evaluation", "12_ablations"] if P.source == "atlas" else [])


rule all:
    input:
        [manifest(n, lang=lang) for n in LAST for lang in LANGS],
        [manifest("13_results", lang="all")] if P.source == "atlas" else [],


rule seed_data:
    input: nb=source("01_seed_data")
    output: manifest("01_seed_data")
    log: log_of("01_seed_data")
    params: code=code("01_seed_data")
    shell: go("01_seed_data")


rule corpus:
    input: nb=source("02_corpus")
    output: manifest("02_corpus")
    log: log_of("02_corpus")
    params: code=code("02_corpus")
    shell: go("02_corpus")


rule backtranslation:
    input: manifest("01_seed_data"), manifest("02_corpus"), nb=source("03_backtranslation")
    output: manifest("03_backtranslation")
    log: log_of("03_backtranslation")
    params: code=code("03_backtranslation")
    resources: heavy=1
    shell: go("03_backtranslation")


rule refinement:
    input:
        lambda w: manifest("03_backtranslation", lang=w.lang) if w.k == "1" else manifest("04_refinement", int(w.k) - 1, w.lang),
        nb=source("04_refinement")
    output: manifest("04_refinement", "{k}")
    log: log_of("04_refinement", "{k}")
    params: code=code("04_refinement")
    resources: heavy=1
    shell: go("04_refinement", "--iteration {wildcards.k}")


rule diversification:
    input: manifest("04_refinement", P.iterations), nb=source("05_diversification")
    output: manifest("05_diversification")
    log: log_of("05_diversification")
    params: code=code("05_diversification")
    shell: go("05_diversification")


rule statistics:
    input: manifest("05_diversification"), nb=source("06_statistics")
    output: manifest("06_statistics")
    log: log_of("06_statistics")
    params: code=code("06_statistics")
    shell: go("06_statistics")


rule instruction_tuning:
    input: manifest("05_diversification"), nb=source("08_instruction_tuning")
    output: manifest("08_instruction_tuning")
    log: log_of("08_instruction_tuning")
    params: code=code("08_instruction_tuning")
    resources: heavy=1
    shell: go("08_instruction_tuning")


rule judge_evaluation:
    input: manifest("08_instruction_tuning"), nb=source("09_judge_evaluation")
    output: manifest("09_judge_evaluation")
    log: log_of("09_judge_evaluation")
    params: code=code("09_judge_evaluation")
    resources: heavy=1
    shell: go("09_judge_evaluation")


rule ablations:
    input: manifest("04_refinement", P.iterations), nb=source("12_ablations")
    output: manifest("12_ablations")
    log: log_of("12_ablations")
    params: code=code("12_ablations")
    resources: heavy=1
    shell: go("12_ablations")


rule results:
    input:
        [manifest(n, lang=lang) for n in LAST for lang in LANGS],
        nb=source("13_results")
    output: manifest("13_results", lang="all")
    log: log_of("13_results", lang="all")
    params: code=code("13_results")
    shell: f"{PYTHON} -m xinstruct_utils.run 13_results --run {RUN} --lang all --force"
