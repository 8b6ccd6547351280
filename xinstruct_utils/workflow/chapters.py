"""The chapters: one table, of which a run's steps, their order, its account and forms are made."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.paths import step_dir

REFINEMENT = "04_refinement"
RESULTS = "13_results"


def always(profile: Profile) -> bool:
    """Of a chapter that every run has."""
    return True


def is_judged(profile: Profile) -> bool:
    """Are there questions to ask? The Atlas has its own."""
    return profile.source == "atlas" or bool(profile.benchmarks)


def has_tasks(profile: Profile) -> bool:
    """Does the run name tasks that it can ask? The Atlas's own need the Atlas."""
    in_atlas = profile.source == "atlas"
    return any(in_atlas or not task.startswith("atlas") for task in profile.tasks)


def knows_the_truth(profile: Profile) -> bool:
    """Is the truth known, so that ablations can be measured?"""
    return profile.source == "atlas"


def has_experiments(profile: Profile) -> bool:
    """Does the run ask why the evaluator rates as it does? Only with a truth."""
    return profile.experiments and knows_the_truth(profile)


def has_data_experiments(profile: Profile) -> bool:
    """Does the run ask what size, rating and variety of its data are worth? Only with a truth."""
    return profile.data_experiments and knows_the_truth(profile)


def has_joint_baselines(profile: Profile) -> bool:
    """Are there baselines that learn from all languages together?"""
    return bool(profile.joint_baselines)


def translates_with_a_model(profile: Profile) -> bool:
    """Does a model of this machine translate the seed data?"""
    return profile.seed_translator.startswith("nllb:")


def has_a_large_encoder(profile: Profile) -> bool:
    """A large encoder wants the GPU; the Atlas's small one takes seconds."""
    return profile.source != "atlas"


def reads_real_text(profile: Profile) -> bool:
    """Are the texts other people's, so that the truth about them is not known?"""
    return profile.source == "files"


def never(profile: Profile) -> bool:
    """Of a chapter that trains and asks no model."""
    return False


@dataclass(frozen=True)
class Rows:
    """How rows leave a chapter: the stage that counts them, the files that hold them.

    source: the chapter from which they came in.
    """

    stage: str
    files: tuple[str, ...]
    source: str | None = None


@dataclass(frozen=True)
class Chapter:
    """A notebook's place in a run.

    reads: chapters whose steps must be finished, of those that the run has (of the refinement, its
    last round; its first round reads what is named here, every later one the round before; what
    runs across languages reads those of all). rounds: it runs once a round. when:
    whether a run has it. heavy: whether it takes one of the machine's places for models. priority:
    of steps that could run now, the highest goes first. form: people answer it. across: it runs
    once, over all languages. last: it reads all steps that are not last themselves.
    """

    name: str
    reads: tuple[str, ...] = ()
    rounds: bool = False
    when: Callable[[Profile], bool] = always
    heavy: Callable[[Profile], bool] = never
    priority: int = 0
    form: str | None = None
    rows: Rows | None = None
    across: bool = False
    last: bool = False

    def rounds_of(self, profile: Profile) -> list[int | None]:
        """The rounds in which it runs, [None] where it has none."""
        return list(range(1, profile.iterations + 1)) if self.rounds else [None]

    def rule(self, iteration: int | None) -> str:
        """Name of its rule in Snakemake: without its number, with the round's."""
        name = self.name.partition("_")[2]
        return f"{name}_{iteration}" if iteration else name


# Languages go forward side by side, whichever is behind first (a round's priority falls with its
# number): one that is left alone at the end would use one core of all.
CHAPTERS = (
    Chapter("00_atlas", when=knows_the_truth, across=True),
    Chapter("01_seed_data", heavy=translates_with_a_model, priority=95,
            rows=Rows("split", ("d0x.jsonl", "d0r.jsonl"))),
    Chapter("02_corpus", priority=95, rows=Rows("cleaning", ("corpus",))),
    Chapter("03_backtranslation", ("01_seed_data", "02_corpus"), heavy=always, priority=90,
            rows=Rows("candidates", ("candidates.jsonl",), "02_corpus")),
    Chapter(REFINEMENT, ("03_backtranslation",), rounds=True, heavy=always, priority=90,
            rows=Rows("kept candidates", ("kept.jsonl",), "03_backtranslation")),
    Chapter("05_diversification", (REFINEMENT,), heavy=has_a_large_encoder, priority=50,
            rows=Rows("sampled", ("x_instruction.jsonl",), REFINEMENT)),
    Chapter("06_statistics", ("05_diversification",)),
    Chapter("07_quality_review", ("05_diversification",), form="quality"),
    Chapter("08_instruction_tuning", ("05_diversification",), heavy=always, priority=20),
    Chapter("18_joint_baselines", ("08_instruction_tuning",), when=has_joint_baselines,
            heavy=always, priority=15, across=True),
    Chapter("09_judge_evaluation", ("08_instruction_tuning", "18_joint_baselines"), when=is_judged,
            heavy=always, priority=10),
    Chapter("10_task_evaluation", ("08_instruction_tuning", "18_joint_baselines"), when=has_tasks,
            heavy=always),
    Chapter("11_human_evaluation", ("09_judge_evaluation",), when=is_judged, form="preference"),
    Chapter("12_ablations", (REFINEMENT, "09_judge_evaluation"), when=knows_the_truth,
            heavy=always),
    Chapter("14_evaluator", (REFINEMENT,), when=has_experiments, heavy=always),
    Chapter("17_data", (REFINEMENT, "09_judge_evaluation"), when=has_data_experiments,
            heavy=always),
    Chapter("16_real_text", (REFINEMENT, "08_instruction_tuning"), when=reads_real_text,
            heavy=always),
    Chapter(RESULTS, across=True, last=True),
    Chapter("15_paper_tables", across=True, last=True),
)
ANY_LANGUAGE = "{lang}"                          # in Snakemake's rules: a wildcard
BY_NAME = {chapter.name: chapter for chapter in CHAPTERS}
FORMS = {chapter.form: chapter.name for chapter in CHAPTERS if chapter.form}


def of_run(profile: Profile) -> list[Chapter]:
    """The chapters that a run has, in their order."""
    return [chapter for chapter in CHAPTERS if chapter.when(profile)]


@dataclass(frozen=True)
class StepId:
    """One execution of a chapter: its notebook, a language and a round (None without).

    lang: "all" across languages.
    """

    notebook: str
    lang: str
    iteration: int | None = None

    def home(self, run: str) -> Path:
        """The step's folder in a run."""
        return step_dir(run, self.lang, self.notebook, self.iteration)

    def __str__(self) -> str:
        name = f"{self.lang}/{self.notebook}"
        return f"{name}/iter{self.iteration}" if self.iteration else name


def step(name: str, lang: str, iteration: int | None = None) -> StepId:
    """The step of a chapter; one across languages has "all" in a language's place."""
    return StepId(name, "all" if BY_NAME[name].across else lang, iteration)


def steps_of(profile: Profile) -> list[StepId]:
    """All steps of a run, each after what it reads."""
    steps = []
    for chapter in of_run(profile):
        for lang in ["all"] if chapter.across else profile.languages:
            steps += [StepId(chapter.name, lang, k) for k in chapter.rounds_of(profile)]
    return steps


def read_by(reader: StepId, profile: Profile) -> list[StepId]:
    """The steps that a step reads from."""
    chapter = BY_NAME[reader.notebook]
    if chapter.last:
        return [other for other in steps_of(profile) if not BY_NAME[other.notebook].last]
    if reader.iteration and reader.iteration > 1:
        return [StepId(chapter.name, reader.lang, reader.iteration - 1)]
    langs = profile.languages if chapter.across else [reader.lang]
    reads = [BY_NAME[name] for name in chapter.reads if BY_NAME[name].when(profile)]
    return list(dict.fromkeys(step(other.name, lang, other.rounds_of(profile)[-1])
                              for other in reads for lang in langs))


def priority(step: StepId) -> int:
    """Of steps that could run now, the one with the highest priority goes first."""
    return BY_NAME[step.notebook].priority - (step.iteration or 0)


def command_line(step: StepId, run: str) -> str:
    """The verb for a step, as a shell takes it."""
    words = [sys.executable, "-m", "xinstruct_utils", "run", step.notebook, "--run", run]
    # The language is not quoted: it may be Snakemake's wildcard.
    line = f"{shlex.join(words)} --lang {step.lang}"
    return f"{line} --iteration {step.iteration}" if step.iteration else line
