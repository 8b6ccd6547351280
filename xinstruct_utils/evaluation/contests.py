"""Who is asked how, who meets whom, and the rows that are kept of it (09_judge_evaluation).

A contestant is a model and how it decodes: two fields in every row, and one label where people
read it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from statistics import fmean
from typing import Any, Literal, NamedTuple, TypedDict

from xinstruct_utils.atlas import oracle
from xinstruct_utils.evaluation import judge
from xinstruct_utils.evaluation.benchmarks import Question
from xinstruct_utils.evaluation.judge import Answers, Comparison, Judge, Judgement
from xinstruct_utils.inference.chat import Client
from xinstruct_utils.prompts.requests import VIEWS, native_request, response_request

# Zero-shot: asked in the output language, which no training example was written in; sampled too.
Decoding = Literal["sampled", "greedy", "zero-shot"]
RIVALS = (("refined", "unrefined"), ("refined", "seed"), ("unrefined", "seed"))
# Where the run makes baselines of these names (setting `baselines`), these too.
MADE_RIVALS = (("refined", "rated"), ("rated", "unrefined"), ("refined", "translated"),
               ("refined", "distilled"), ("refined", "distilled_joint"))
# Tuned on English instructions; the last is of another base (setting `larger_model`).
OURS = ("refined", "unrefined", "seed", "rated", "refined_larger")
MEASURED = ("win", "tie", "lose", "n", "p", "win_low", "win_high")     # of a contest's summary


class Contestant(NamedTuple):
    """A model and how it decodes; what comes from a file or a server counts as sampled."""

    model: str
    decoding: Decoding = "sampled"

    @property
    def label(self) -> str:
        """As people read it: "refined", "refined (greedy)"."""
        return self.model if self.decoding == "sampled" else f"{self.model} ({self.decoding})"

    @property
    def key(self) -> str:
        """As it stands in the names of figures: "refined", "refined_zero_shot"."""
        if self.decoding == "sampled":
            return self.model
        return f"{self.model}_{self.decoding.replace('-', '_')}"


Pair = tuple[Contestant, Contestant]
TUNED, ZERO_SHOT = Contestant("refined"), Contestant("refined", "zero-shot")
LARGER, LARGER_ZERO_SHOT = Contestant("refined_larger"), Contestant("refined_larger", "zero-shot")


class Answer(TypedDict):
    """A row of answers.jsonl; `id` is the question's, in questions.jsonl."""

    id: str
    model: str
    decoding: Decoding
    text: str


class Verdict(Comparison):
    """A row of verdicts.jsonl."""

    model_a: str
    decoding_a: Decoding
    model_b: str
    decoding_b: Decoding


class View(TypedDict):
    """A row of views.jsonl: an answer seen in three ways, 0 to 10, and the judge's text."""

    id: str
    model: str
    decoding: Decoding
    helpfulness: float | None
    relevance: float | None
    accuracy: float | None
    reply: str | None


class Score(TypedDict):
    """The oracle's score of an answer, 0 to 10; hidden: the base model never read the fact."""

    id: str
    model: str
    decoding: Decoding
    hidden: bool
    score: float


# Who is asked how


def contestants(models: Iterable[str], greedy: bool, native: bool) -> list[Contestant]:
    """Each model sampled; ours greedily too, if so asked; those tuned on the data set in the
    output language too.

    native: whether all questions are there in the output language.
    """
    field = []
    for model in models:
        field.append(Contestant(model))
        if greedy and model in OURS[:3]:
            field.append(Contestant(model, "greedy"))
    if not native:
        return field
    return [*field, ZERO_SHOT, *([LARGER_ZERO_SHOT] if LARGER in field else [])]


def requests(questions: list[Question], lang: str, answer_tag: str,
             templates: str) -> dict[str, list[dict]]:
    """Three forms of the questions, {form: rows {"id", "prompt"}}; `form_for` says whose is which.

    "web" asks with `answer_tag`, "seed" with the seed data's tag, "native" in the output language
    (absent where a question has no translation).
    """
    texts = {form: [response_request(q["instruction"], lang, tag, templates) for q in questions]
             for form, tag in (("web", answer_tag), ("seed", "seed"))}
    natives = [q["native_instruction"] for q in questions if q["native_instruction"]]
    if len(natives) == len(questions):
        texts["native"] = [native_request(native, answer_tag, templates) for native in natives]
    return {form: [{"id": q["id"], "prompt": prompt}
                   for q, prompt in zip(questions, prompts, strict=True)]
            for form, prompts in texts.items()}


def form_for(contestant: Contestant, native: bool = True) -> str:
    """The form of `requests` that a contestant is asked in: by what it has learned from.

    Baselines have learned from instructions in the output language and are asked in it, where all
    questions are there in it (native), else in English like ours.
    """
    of_others = contestant.model not in (*OURS, "opponent")
    if contestant.decoding == "zero-shot" or (of_others and native):
        return "native"
    return "seed" if contestant.model in ("seed", "opponent") else "web"


def sampling(contestant: Contestant, temperature: float, top_p: float) -> dict[str, float]:
    """Temperature and nucleus of a contestant."""
    if contestant.decoding == "greedy":
        return {"temperature": 0.0, "top_p": 1.0}
    return {"temperature": temperature, "top_p": top_p}


# Who meets whom


def faced(field: Iterable[Contestant], opponent: Contestant) -> list[Contestant]:
    """Who meets the opponent: all but itself and the greedy ones, in the order of the field."""
    return [who for who in field if who.decoding != "greedy" and who != opponent]


def pairings(field: Collection[Contestant], opponent: Contestant,
             others: Iterable[str]) -> list[Pair]:
    """The pairs to be judged, the model whose wins count first.

    Our models among each other, sampled and greedy; everyone against the opponent; the tuned model
    against each of `others`; zero-shot answers against the model's own; the larger model, where
    there is one, against the tuned one.
    """
    both: tuple[Decoding, ...] = ("sampled", "greedy")
    decodings = [d for d in both if any(who.decoding == d for who in field)]
    pairs = [(Contestant(a, d), Contestant(b, d)) for a, b in RIVALS for d in decodings]
    made = [(Contestant(a), Contestant(b)) for a, b in MADE_RIVALS]
    pairs += [pair for pair in made if set(pair) <= set(field)]
    known = {frozenset(pair) for pair in pairs}
    pairs += [(who, opponent) for who in faced(field, opponent)
              if frozenset((who, opponent)) not in known]
    pairs += [(TUNED, Contestant(name)) for name in others]
    pairs += [(zero_shot, tuned)
              for zero_shot, tuned in ((ZERO_SHOT, TUNED), (LARGER_ZERO_SHOT, LARGER))
              if zero_shot in field]
    if LARGER in field:
        pairs.append((LARGER, TUNED))
    return list(dict.fromkeys(pairs))


# The judge


def open_judge(truth: dict | None, server: Client | None, lang: str, questions: list[Question],
               answers: dict[Contestant, Answers], pairs: Iterable[Pair],
               batch: bool) -> Judge | None:
    """The oracle where it knows the truth, else the judge on a server, else none.

    A judge on a server is asked about all `pairs` here.
    """
    if truth:
        return judge.scoring(oracle.judge(truth, lang))
    if server:
        duels = [(questions, answers[a], answers[b]) for a, b in pairs]
        return judge.remote(server, lang, duels, batch)
    return None


def judged(pairs: Iterable[Pair], questions: list[Question], answers: dict[Contestant, Answers],
           decide: Judge | None) -> dict[Pair, list[Comparison]]:
    """The comparisons of each pair; none without a judge."""
    if not decide:
        return {}
    return {(a, b): judge.compare(questions, answers[a], answers[b], decide) for a, b in pairs}


def views(truth: dict | None, server: Client | None, lang: str, questions: list[Question],
          answers: dict[Contestant, Answers], batch: bool) -> list[View]:
    """Each answer in three views (Table 6), by the oracle or the judge on a server."""
    rows: list[View] = []
    for who, texts in answers.items():
        if truth:
            seen = oracle.views(truth, lang, questions, texts)
            judgements = {k: Judgement(scores) for k, scores in seen.items()}
        elif server:
            judgements = judge.views(server, lang, questions, texts, batch)
        else:
            return []
        for key, (scores, reply) in judgements.items():
            helpfulness, relevance, accuracy = scores or (None, None, None)
            rows.append({"id": key, "model": who.model, "decoding": who.decoding,
                         "helpfulness": helpfulness, "relevance": relevance, "accuracy": accuracy,
                         "reply": reply})
    return rows


def oracle_scores(truth: dict | None, lang: str, questions: list[Question],
                  answers: dict[Contestant, Answers]) -> list[Score]:
    """The oracle's score of every answer; only the Atlas has a truth."""
    rows: list[Score] = []
    if not truth:
        return rows
    for who, texts in answers.items():
        for question in questions:
            known = truth[question["id"]]
            score = oracle.score(texts[question["id"]], oracle.facts_of(known), lang)
            rows.append({"id": question["id"], "model": who.model, "decoding": who.decoding,
                         "hidden": known["hidden"], "score": score})
    return rows


# Rows, and back


def answer_rows(answers: dict[Contestant, Answers]) -> list[Answer]:
    """Rows of answers.jsonl."""
    return [{"id": key, "model": who.model, "decoding": who.decoding, "text": text}
            for who, texts in answers.items() for key, text in texts.items()]


def sampled_answers(rows: Iterable[Answer]) -> dict[str, Answers]:
    """{model: {id of the question: text}} of the sampled answers in answers.jsonl."""
    answers: dict[str, Answers] = defaultdict(dict)
    for row in rows:
        if row["decoding"] == "sampled":
            answers[row["model"]][row["id"]] = row["text"]
    return dict(answers)


def verdict_rows(verdicts: dict[Pair, list[Comparison]]) -> list[Verdict]:
    """Rows of verdicts.jsonl."""
    return [{"model_a": a.model, "decoding_a": a.decoding,
             "model_b": b.model, "decoding_b": b.decoding, **row}
            for (a, b), rows in verdicts.items() for row in rows]


def sampled_verdicts(rows: Iterable[Verdict]) -> dict[tuple[str, str, str], str]:
    """{(model A, model B, id): verdict of A} of the sampled answers in verdicts.jsonl.

    Those that could not be read are left out.
    """
    return {(r["model_a"], r["model_b"], r["id"]): r["verdict"] for r in rows
            if r["decoding_a"] == r["decoding_b"] == "sampled" and r["verdict"] != "unparsed"}


# Figures, as 13_results reads them


def contest_name(a: Contestant, b: Contestant) -> str:
    """The name of a contest's figures: refined_vs_seed, refined_vs_seed_greedy."""
    if a.decoding == b.decoding == "greedy":
        return f"{a.model}_vs_{b.model}_greedy"
    return f"{a.key}_vs_{b.key}"


def contest_figures(summaries: dict[Pair, dict]) -> dict[str, dict]:
    """`outcomes.summary` of each pair, by name; "low" and "high" are of wins minus losses."""
    return {contest_name(a, b): {k: figures[k] for k in MEASURED}
            | {"low": figures["wins - losses_low"], "high": figures["wins - losses_high"]}
            for (a, b), figures in summaries.items()}


def score_figures(scores: Iterable[Score]) -> dict[str, float]:
    """Mean score of each contestant but the greedy ones, {"score_<key>": 0 to 10}."""
    values = defaultdict(list)
    for row in scores:
        if row["decoding"] != "greedy":
            values[Contestant(row["model"], row["decoding"]).key].append(row["score"])
    return {f"score_{key}": fmean(scores) for key, scores in sorted(values.items())}


def seen(views: Iterable[View]) -> dict[str, list[View]]:
    """The views that could be read, by the contestants' labels; [] where none could."""
    groups: dict[str, list[View]] = defaultdict(list)
    for row in views:
        readable = [row] if row["helpfulness"] is not None else []
        groups[Contestant(row["model"], row["decoding"]).label] += readable
    return dict(groups)


def view_figures(views: Iterable[View]) -> dict[str, dict[str, float]]:
    """Means of the three views, by the contestants' labels; {} where none could be read."""
    figures: dict[str, dict[str, float]] = {}
    for label, rows in seen(views).items():
        values: list[dict[str, Any]] = [dict(row) for row in rows]
        figures[label] = {name: fmean(v[name] for v in values) for name in VIEWS if values}
    return figures
