"""How much there is to do in a run: tokens of each heavy step, from the profile's sizes.

Mean lengths are the paper's (Tables 2 and 8), or the Atlas's. `reporting.cost` makes hours of it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core import languages
from xinstruct_utils.core.files import count_lines
from xinstruct_utils.core.paper import paper_numbers
from xinstruct_utils.evaluation import planted, tasks
from xinstruct_utils.method import raters, seeds
from xinstruct_utils.workflow.chapters import of_run

Kind = Literal["train", "read", "write"]
Model = Literal["base", "tuned", "larger"]

CHARS = {"Latn": 2.5}                   # characters a token; 1.0 in scripts mostly spelled in bytes
INSTRUCTION = 30                        # tokens
# Items of a task's test set times the choices that are read; XCOPA is asked in three readings.
CHOICES = {"xnli": 5010 * 3, "xcopa": 500 * 2 * 3, "xstorycloze": 1511 * 2}
ITEM = 60                               # tokens of a choice with its premise
MODELS = 4                              # base, refined, unrefined and seed are asked
KINDS = len(planted.OF_TEXT) + 2        # planted flaws, mismatched, and as it is


class Lengths(NamedTuple):
    """Mean tokens of a pair's two sides."""

    output: int
    instruction: int

    @property
    def pair(self) -> int:
        """Tokens of both."""
        return self.output + self.instruction


ATLAS = Lengths(output=55, instruction=12)


class Work(TypedDict):
    """Heavy work of a step: so many tokens are trained on, read or written, so many times.

    model: whose work it is: of `base_model`, of what chapter 8 tunes, or of `larger_model`.
    """

    step: str
    model: Model
    kind: Kind
    tokens: int
    passes: int


def lengths(profile: Profile, lang: str) -> Lengths:
    """Mean tokens of an output and of an instruction."""
    if profile.source == "atlas":
        return ATLAS
    chars_per_token = CHARS.get(languages.get(lang).script, 1.0)
    return Lengths(round(output_chars(lang) / chars_per_token), INSTRUCTION)


def output_chars(lang: str) -> float:
    """Mean characters of an output (paper, Table 2); 1,000 where the paper has no figure."""
    return paper_numbers()["table2"].get(lang, {"output": [1000]})["output"][0]


def corpus_texts(profile: Profile) -> int:
    """How many texts of a language a run reads.

    Files of one's own are not opened for this: `corpus_size` stands for them.
    """
    if profile.source == "atlas":
        return profile.corpus_size
    return profile.corpus_sample or profile.corpus_size


def steps(profile: Profile, lang: str) -> list[Work]:
    """The heavy work of one language."""
    work = _backtranslation(profile, lang)
    for k in range(1, profile.iterations + 1):
        work += _refinement(profile, lang, k)
    chapters = {chapter.name[:2] for chapter in of_run(profile)}
    work += [row for row in _evaluation(profile, lang) if row["step"][:2] in chapters]
    return [row for row in work if row["tokens"]]


def _work(step: str, kind: Kind, tokens: int, passes: int = 1) -> Work:
    return {"step": step, "model": "base", "kind": kind, "tokens": tokens, "passes": passes}


def _backtranslation(profile: Profile, lang: str) -> list[Work]:
    """Chapter 3."""
    mean = lengths(profile, lang)
    texts = corpus_texts(profile)
    return [
        _work("03 train generator", "train", profile.seed_size * mean.pair,
              profile.generator_epochs),
        _work("03 write instructions", "read", texts * mean.output),
        _work("03 write instructions", "write", texts * mean.instruction),
    ]


def _refinement(profile: Profile, lang: str, k: int) -> list[Work]:
    """Chapter 4's round k: beside the evaluators, the passes of the rater that ranks."""
    mean = lengths(profile, lang)
    d0x, d0r = _split_sizes(profile)
    followed = d0x + (profile.keep if k > 1 else 0)
    outputs_of_a_pair = (profile.true_per_pair + profile.damaged_per_pair
                         + profile.follower_per_pair + profile.mismatched_per_pair)
    ratings = (d0r - min(profile.held_out_pairs, d0r // 4)) * outputs_of_a_pair
    likelihoods = len(raters.passes(profile.ranking, "", "", {}))
    return [
        _work(f"04 round {k}: train follower", "train", followed * mean.pair,
              profile.follower_epochs),
        _work(f"04 round {k}: its answers", "write",
              d0r * profile.follower_per_pair * mean.output),
        _work(f"04 round {k}: train evaluator", "train", ratings * mean.pair,
              profile.evaluator_epochs * profile.evaluators),
        _work(f"04 round {k}: rate", "read", corpus_texts(profile) * mean.pair,
              profile.evaluators + likelihoods),
    ]


def _split_sizes(profile: Profile) -> tuple[int, int]:
    """Pairs of D0x and of D0r."""
    learned = profile.seed_size - profile.test_pairs
    held = seeds.held_back(learned, profile.d0x_size)
    return learned - held, held


def _evaluation(profile: Profile, lang: str) -> list[Work]:
    """Chapters 8 to 17, those that a run may not have among them."""
    mean = lengths(profile, lang)
    asked = prompts(profile, lang)
    baselines = [named.partition("=")[2] for named in profile.baselines]
    made = sum(not file for file in baselines)      # as many rows as the refined model has
    tuned = ((3 + made) * profile.seed_size + (2 + made) * profile.final_size
             + lines([file for file in baselines if file], lang))
    # Chapter 17: rounds, two bands of four sizes, five cluster counts, two directions, translated.
    compared = profile.iterations - 1 + 2 * 4 + 5 + 3 if profile.data_experiments else 0
    chosen = compared * (profile.seed_size + profile.final_size // 2)
    larger = profile.seed_size + profile.final_size if profile.larger_model else 0
    joint = _joint_rows(profile, lang)
    answers = asked * (2 * (3 + len(baselines) + len(joint)) + 1)
    ablated = profile.iterations * asked + 4 * min(asked, 150)
    of_tuned = [
        _work("08 tune models", "train", tuned * mean.pair, profile.follower_epochs),
        _work("18 joint models", "train", sum(joint) * mean.pair, profile.follower_epochs),
        _work("09 answers", "write", answers * mean.output),
        _work("10 tasks", "read", _choices(profile, lang) * ITEM,
              MODELS + len(baselines) + len(joint)),
        _work("12 answers", "write", ablated * mean.output),
        _work("16 planted flaws", "read", profile.planted_flaws * KINDS * mean.pair,
              2 * profile.iterations + 2),
        _work("16 answers", "write", profile.test_pairs * MODELS * mean.output),
        _work("17 tune models", "train", chosen * mean.pair, profile.follower_epochs),
        _work("17 answers", "write", compared * asked * mean.output),
    ]
    of_larger = [
        _work("08 tune the larger model", "train", larger * mean.pair, profile.follower_epochs),
        _work("09 answers of the larger model", "write", 2 * asked * mean.output if larger else 0),
    ]
    return [*({**row, "model": "tuned"} for row in of_tuned),
            *({**row, "model": "larger"} for row in of_larger)]


def _joint_rows(profile: Profile, lang: str) -> list[int]:
    """A language's share of the rows of each model that learns from all languages together."""
    files = {name: file for name, _, file in (text.partition("=") for text in profile.baselines)}
    rows = []
    for _, _, source in (text.partition("=") for text in profile.joint_baselines):
        if source not in files:                  # a file of all languages
            rows.append(lines([source], lang) // len(profile.languages))
        elif file := files[source]:
            rows.append(lines([file], lang))
        else:
            rows.append(profile.seed_size + profile.final_size)
    return rows


def _choices(profile: Profile, lang: str) -> int:
    """Choices that a model reads for the tasks."""
    limit = profile.task_limit or 10**9
    covered = tasks.covered(profile.tasks, lang)
    families = [family for family in CHOICES
                if any(task.startswith(f"{family}_") for task in covered)]
    choices = sum(min(CHOICES[family], 3 * limit) for family in families)
    if profile.source == "atlas":
        choices += 3 * limit * len(profile.tasks)
    return choices


def lines(files: Iterable[str], lang: str) -> int:
    """Lines of those files that are there; {lang} in a name is the language."""
    paths = [Path(file.replace("{lang}", lang)) for file in files]
    return sum(count_lines(path) for path in paths if path.exists())


def prompts(profile: Profile, lang: str) -> int:
    """How many questions the judge gets: the Atlas's own, or those of the benchmark files.

    Of a file that is not there yet, as many as the paper's Table 9 says of its name.
    """
    if profile.source == "atlas":
        return profile.prompt_count
    table9 = paper_numbers()["table9"]
    absent = [Path(file).stem for file in profile.benchmarks
              if not Path(file.replace("{lang}", lang)).exists()]
    return lines(profile.benchmarks, lang) + sum(table9.get(name, 0) for name in absent)
