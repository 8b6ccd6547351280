"""Pairwise judging: both orders, the paper's win rule, a judge on a server (paper 5.2).

A judge is a function (question, answer 1, answer 2) -> `Judgement`. In the Atlas the oracle is the
judge; `remote` makes one of a model on a server. What cannot be read without a guess is None: it
is counted as unparsed and never becomes a number. What verdicts add up to is in `outcomes`.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypedDict

from xinstruct_utils.evaluation.benchmarks import Question
from xinstruct_utils.inference.chat import Client
from xinstruct_utils.prompts import replies
from xinstruct_utils.prompts.requests import VIEWS, judge_request, views_request

VERDICTS = ("win", "tie", "lose", "unparsed")
Answers = dict[str, str]                               # {id of the question: text}


class Judgement(NamedTuple):
    """Scores, 0 to 10, in the order of what was shown, None where they could not be read.

    `reply` is the judge's text that they were read from; the oracle writes none.
    """

    scores: tuple[float, ...] | None
    reply: str | None = None


Judge = Callable[[Question, str, str], Judgement]


class Comparison(TypedDict):
    """Model A's answer to a question against model B's, and all that the verdict rests on."""

    id: str
    benchmark: str | None
    category: str | None
    difficulty: int | None
    verdict: str                                       # one of VERDICTS, of A
    score_a: float | None                              # averaged over both orders
    score_b: float | None
    orders: list[tuple[float, ...] | None]             # [A's, B's score] as A stood first, second
    replies: list[str | None]                          # the judge's texts in these two orders
    chars_a: int
    chars_b: int


def scoring(scores: Callable[[Question, str, str], tuple[float, float] | None]) -> Judge:
    """A judge made of a function that gives scores and writes no text, such as the oracle."""
    return lambda question, first, second: Judgement(scores(question, first, second))


def verdict(first: tuple | None, second: tuple | None) -> str:
    """The paper's win rule for model A from two orders, each (A's score, B's score) or None.

    A wins when it wins both orders, or wins one and draws one; the mirror case is a loss; all
    else is a tie. An unread judgement is "unparsed", never a number.
    """
    if first is None or second is None:
        return "unparsed"
    balance = sum((a > b) - (a < b) for a, b in (first, second))
    if balance > 0:
        return "win"
    return "lose" if balance < 0 else "tie"


def compare(questions: Iterable[Question], answers_a: Answers, answers_b: Answers,
            judge: Judge) -> list[Comparison]:
    """Judge two models' answers to each question in both orders."""
    return [_compared(q, answers_a[q["id"]], answers_b[q["id"]], judge) for q in questions]


def _compared(question: Question, a: str, b: str, judge: Judge) -> Comparison:
    first, swapped = judge(question, a, b), judge(question, b, a)
    orders = [first.scores, swapped.scores and swapped.scores[::-1]]
    score_a = score_b = None
    if None not in orders:
        score_a, score_b = (sum(scores) / 2 for scores in zip(*orders, strict=True))
    return {"id": question["id"], "benchmark": question.get("benchmark"),
            "category": question.get("category"), "difficulty": question.get("difficulty"),
            "verdict": verdict(*orders), "score_a": score_a, "score_b": score_b,
            "orders": orders, "replies": [first.reply, swapped.reply],
            "chars_a": len(a), "chars_b": len(b)}


def _read(client: Client, wanted: dict, batch: bool, names: tuple[str, ...],
          retries: int = 1) -> dict:
    """A judgement of each request by the tags `names`; wanted: {key: (prompt, judged answers)}.

    A reply that cannot be read is asked for again, `retries` times, with sampling: at temperature
    0 it would come back the same. The last reply is the one that is kept.
    """
    judged = dict.fromkeys(wanted, Judgement(None))
    for attempt in range(retries + 1):
        todo = [key for key, judgement in judged.items() if judgement.scores is None]
        if not todo:
            break
        again: dict[str, Any] = {"temperature": 0.7, "seed": attempt} if attempt else {}
        bodies = [client.body(wanted[key][0], **again) for key in todo]
        for key, reply in zip(todo, client.ask(bodies, batch), strict=True):
            text = reply.get("text")
            judged[key] = Judgement(replies.tagged(text or "", names, wanted[key][1]), text)
    return judged


def remote(client: Client, lang: str, duels: Iterable[tuple[list[Question], Answers, Answers]],
           batch: bool = False) -> Judge:
    """A judge made of a model on a server, by Figure 13's prompt.

    duels: (questions, answers A, answers B) as `compare` takes them. All requests are sent here;
    judging is then a look-up. Where the second reply is unreadable too, it has no scores.
    """
    wanted = {}
    for questions, answers_a, answers_b in duels:
        for question in questions:
            shown, key = shown_question(question), question["id"]
            a, b = answers_a[key], answers_b[key]
            for one, other in ((a, b), (b, a)):
                wanted[shown, one, other] = judge_request(shown, one, other, lang), (one, other)
    judged = _read(client, wanted, batch, ("score1", "score2"))
    return lambda question, first, second: judged[shown_question(question), first, second]


def shown_question(question: Question) -> str:
    """The question as the judge sees it: in the output language where it was translated."""
    return question.get("native_instruction") or question["instruction"]


def views(client: Client, lang: str, questions: Iterable[Question], answers: Answers,
          batch: bool = False) -> dict[str, Judgement]:
    """Helpfulness, relevance and accuracy of each answer by a model on a server (Table 6)."""
    wanted = {}
    for question in questions:
        answer = answers[question["id"]]
        prompt = views_request(shown_question(question), answer, lang)
        wanted[question["id"]] = prompt, (answer,)
    return _read(client, wanted, batch, VIEWS)
