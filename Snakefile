# Wiring only: one rule per notebook, over languages and rounds. A path is a command:
#   snakemake papermill_runs/atlas/sw/04_refinement/iter2/manifest.json     (--config run=... for another run)
# config: profile, run, langs (separated by blanks or commas), set ("key=value ..."), as `make run` passes them.
import os
import shlex
import sys

from xinstruct_utils.config.load import parse_overrides
from xinstruct_utils.config.profile import EVALUATION
from xinstruct_utils.config.runs import open_run, resolve
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import digest, file_hash
from xinstruct_utils.core.paths import root, run_dir
from xinstruct_utils.workflow import execute, notebooks as sources
from xinstruct_utils.workflow.chapters import chapters

RUN = str(config.get("run", "atlas"))
if not isinstance(config.get("run", ""), str):
    sys.exit(f"error: Snakemake reads a run's name like {RUN} as a number; give it a name with a letter")
try:
    chosen = parse_overrides(shlex.split(str(config.get("set") or "")))
    if config.get("langs"):
        chosen |= parse_overrides([f"languages={config['langs']}"])
    P = resolve(RUN, config.get("profile") or None, chosen)
    planning = {"-n", "--dry-run", "--dryrun"} & set(sys.argv)
    open_run(RUN, P, note=not planning)  # a run made with other settings is refused before anything runs
    if not planning:
        execute.drop_stale(RUN)
except (InputError, ValueError) as error:
    sys.exit(f"error: {error}")
LANGS = P.languages
ROOT = os.path.relpath(root()) if root().is_relative_to(os.getcwd()) else str(root())


wildcard_constraints:
    lang="[a-z]+"


def manifest(notebook, k=None, lang="{lang}"):
    return f"{ROOT}/{RUN}/{lang}/{notebook}/" + (f"iter{k}/" if k else "") + "manifest.json"


def executed(notebook, k=None, lang="{lang}"):
    return manifest(notebook, k, lang).replace("manifest.json", "notebook.ipynb")


def source(notebook):
    return ancient(str(sources.notebooks_dir() / f"{notebook}.ipynb"))  # its prose may change; `code` tells of the rest


def code(notebook):
    """Digest of a chapter's code, and of the settings it reads that may change within a run."""
    known, names = P.model_dump(), sources.declared(sources.read_notebook(notebook))
    return digest([sources.code_key(notebook), {n: known[n] for n in names if n in EVALUATION}])[:16]


def go(notebook, extra="", lang="{wildcards.lang}"):
    return f"{shlex.quote(sys.executable)} -m xinstruct_utils run {notebook} --run {RUN} --lang {lang} {extra} --force"


def labels(form):
    """What people have answered so far: new labels make a chapter run again."""
    def known(wildcards):
        path = run_dir(RUN) / "labels" / wildcards.lang / f"{form}.jsonl"
        return file_hash(path)[:16] if path.exists() and path.stat().st_size else ""
    return known


LAST = chapters(P)


rule all:
    input:
        [manifest(n, lang=lang) for n in LAST for lang in LANGS],
        manifest("13_results", lang="all"),


rule seed_data:
    input: nb=source("01_seed_data")
    output: manifest("01_seed_data")
    log: executed("01_seed_data")
    params: code=code("01_seed_data")
    priority: 95
    resources: heavy=int(P.seed_translator.startswith("nllb:"))
    shell: go("01_seed_data")


rule corpus:
    input: nb=source("02_corpus")
    output: manifest("02_corpus")
    log: executed("02_corpus")
    params: code=code("02_corpus")
    priority: 95
    shell: go("02_corpus")


rule backtranslation:
    input: manifest("01_seed_data"), manifest("02_corpus"), nb=source("03_backtranslation")
    output: manifest("03_backtranslation")
    log: executed("03_backtranslation")
    params: code=code("03_backtranslation")
    priority: 90
    resources: heavy=1
    shell: go("03_backtranslation")


# Languages go forward side by side, whichever is behind first: one that is left alone at the end uses one core of all.
for round in range(1, P.iterations + 1):
    rule:
        name: f"refinement_{round}"
        input:
            manifest("04_refinement", round - 1) if round > 1 else manifest("03_backtranslation"),
            nb=source("04_refinement")
        output: manifest("04_refinement", round)
        log: executed("04_refinement", round)
        params: code=code("04_refinement"), k=round
        priority: 90 - round
        resources: heavy=1
        shell: go("04_refinement", "--iteration {params.k}")


rule diversification:
    input: manifest("04_refinement", P.iterations), nb=source("05_diversification")
    output: manifest("05_diversification")
    log: executed("05_diversification")
    params: code=code("05_diversification")
    priority: 50
    resources: heavy=int(P.source != "atlas")  # a large encoder wants the GPU; the Atlas's small one takes seconds
    shell: go("05_diversification")


rule statistics:
    input: manifest("05_diversification"), nb=source("06_statistics")
    output: manifest("06_statistics")
    log: executed("06_statistics")
    params: code=code("06_statistics")
    shell: go("06_statistics")


rule quality_review:
    input: manifest("05_diversification"), nb=source("07_quality_review")
    output: manifest("07_quality_review")
    log: executed("07_quality_review")
    params: code=code("07_quality_review"), labels=labels("quality")
    shell: go("07_quality_review")


rule instruction_tuning:
    input: manifest("05_diversification"), nb=source("08_instruction_tuning")
    output: manifest("08_instruction_tuning")
    log: executed("08_instruction_tuning")
    params: code=code("08_instruction_tuning")
    priority: 20
    resources: heavy=1
    shell: go("08_instruction_tuning")


rule judge_evaluation:
    input: manifest("08_instruction_tuning"), nb=source("09_judge_evaluation")
    output: manifest("09_judge_evaluation")
    log: executed("09_judge_evaluation")
    params: code=code("09_judge_evaluation")
    priority: 10
    resources: heavy=1
    shell: go("09_judge_evaluation")


rule task_evaluation:
    input: manifest("08_instruction_tuning"), nb=source("10_task_evaluation")
    output: manifest("10_task_evaluation")
    log: executed("10_task_evaluation")
    params: code=code("10_task_evaluation")
    resources: heavy=1
    shell: go("10_task_evaluation")


rule human_evaluation:
    input: manifest("09_judge_evaluation"), nb=source("11_human_evaluation")
    output: manifest("11_human_evaluation")
    log: executed("11_human_evaluation")
    params: code=code("11_human_evaluation"), labels=labels("preference")
    shell: go("11_human_evaluation")


rule ablations:
    input: manifest("04_refinement", P.iterations), manifest("09_judge_evaluation"), nb=source("12_ablations")
    output: manifest("12_ablations")
    log: executed("12_ablations")
    params: code=code("12_ablations")
    resources: heavy=1
    shell: go("12_ablations")


rule results:
    input: [manifest(n, lang=lang) for n in LAST for lang in LANGS], nb=source("13_results")
    output: manifest("13_results", lang="all")
    log: executed("13_results", lang="all")
    params: code=code("13_results")
    shell: go("13_results", lang="all")
