"""Rows and lengths as a notebook shows them; web text is hostile, so all of it is escaped."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

from xinstruct_utils.core.markup import escaped, is_right_to_left, letters_by_direction, spelled_out
from xinstruct_utils.evaluation.findings import Finding, stored

if TYPE_CHECKING:
    from IPython.display import HTML

    from xinstruct_utils.workflow.step import Step


class LengthSummary(TypedDict):
    """Mean and standard deviation of lengths in characters; absent where there is no text."""

    mean: NotRequired[float]
    sd: NotRequired[float]
    n: int


def length_summary(texts: Sequence[str | int]) -> LengthSummary:
    """Mean, standard deviation and number of texts' lengths in characters, or of given lengths."""
    import statistics

    sizes = [t if isinstance(t, int) else len(t) for t in texts]
    if not sizes:
        return {"n": 0}
    return {"mean": statistics.fmean(sizes), "sd": statistics.pstdev(sizes), "n": len(sizes)}


def _cell(value: object, lang: str, column: str) -> str:
    """A cell of `show_rows`: it gets the language's direction where most of it is in its script.

    column: its name, which a narrow screen shows above it (book.css).
    """
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    right, left = letters_by_direction(text) if is_right_to_left(lang) else (0, 0)
    native = right > left    # a quoted word or a URL turns nothing round
    attributes = f' data-label="{escaped(column)}"'
    attributes += f' dir="rtl" lang="{lang}"' if native else ' dir="auto"'
    align = "right" if native else "left"
    style = f"text-align:{align};white-space:normal;overflow-wrap:anywhere"
    body = spelled_out(text.replace("\r\n", "\n")).replace("\n", "<br>")
    return f'<td{attributes} style="{style}">{body}</td>'


def show_rows(
        rows: Sequence[dict], n: int, seed: int, columns: Sequence[str],
        lang: str | Sequence[str]) -> "HTML":
    """A seeded sample of `n` rows as an HTML table, in reading order and wrapped.

    lang: of all rows, or one for each. Web text is hostile: all is escaped. Cells mostly in the
    language's own script get its direction; English ones stay left to right.
    """
    from IPython.display import HTML

    picked = sorted(random.Random(seed).sample(range(len(rows)), min(n, len(rows))))
    head = "".join(f'<th style="text-align:left">{escaped(c)}</th>' for c in columns)
    codes = [lang] * len(rows) if isinstance(lang, str) else lang
    lines = ["".join(_cell(rows[i][c], codes[i], c) for c in columns) for i in picked]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return HTML('<table class="samples mathjax_ignore">'
                f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def conclude(step: "Step", *found: Finding) -> "HTML":
    """A chapter's verdict: its findings in words. They are kept among the step's measures.

    Where nothing could be measured (no truth, no labels), it says so.
    """
    from IPython.display import HTML

    step.measure(verdicts=stored(found))
    lines = [verdict_line(one.answer, one.question, one.sentence) for one in found]
    nothing = '<p class="verdict undecided">Nothing could be measured here.</p>'
    return HTML('<div class="verdicts mathjax_ignore">' + ("".join(lines) or nothing) + "</div>")


def verdict_line(answer: str, question: str, sentence: str) -> str:
    """HTML of one finding: its answer, the question, and the figure in words."""
    answer = escaped(answer)
    return (f'<p class="verdict {answer}"><span class="answer">{answer}</span> '
            f"{escaped(question)} {escaped(sentence)}.</p>")
