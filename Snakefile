# Wiring only: a rule for each chapter (and round) of the table in xinstruct_utils/workflow/chapters.py. A path is a command:
#   snakemake papermill_runs/atlas/sw/04_refinement/iter2/manifest.json     (--config run=... for another run)
# config: profile, run, langs (separated by blanks or commas), set ("key=value ..."), as `make run` passes them.
# Whether a step has to run is said by xinstruct_utils/workflow/staleness.py: a stale one reads a file of now, which is newer
# than its manifest. Snakemake orders, and asks what follows from a step that ran; the verb answers "up to date" or works.
import sys

from xinstruct_utils.config import needs
from xinstruct_utils.config.runs import open_run, resolve_call
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.paths import shown
from xinstruct_utils.workflow import chapters, staleness

RUN = str(config.get("run", "atlas"))
try:
    if not isinstance(config.get("run", ""), str):
        raise InputError(f"Snakemake reads a run's name like {RUN} as a number; give it a name with a letter")
    P = resolve_call(RUN, config.get("profile"), config.get("langs"), config.get("set"))
    planning = bool({"-n", "--dry-run", "--dryrun"} & set(sys.argv))
    open_run(RUN, P, note=not planning)  # a run made with other settings is refused before anything runs
    STALE = staleness.stale_steps(RUN, P)
    if STALE and not planning:
        needs.check(P)                   # what a later step would miss is said before the first
except InputError as error:
    sys.exit(f"error: {error}")


def manifest(step):
    return shown(step.home(RUN) / "manifest.json")


def file_of_now(name, round):
    return lambda wildcards: staleness.file_of_now(RUN) if chapters.step(name, wildcards.get("lang", "all"), round) in STALE else []


wildcard_constraints:
    lang="[a-z]+"


rule all:
    input: [manifest(step) for step in chapters.steps_of(P)]


for chapter in chapters.of_run(P):
    for round in chapter.rounds_of(P):
        step = chapters.step(chapter.name, "{lang}", round)
        rule:
            name: chapter.rule(round)
            input:
                [manifest(other) for other in chapters.read_by(step, P)],
                file_of_now(chapter.name, round)
            output: update(manifest(step))
            priority: chapters.priority(step)
            resources: heavy=int(chapter.heavy(P))
            params: line=chapters.command_line(step, RUN)
            shell: "{params.line}"
