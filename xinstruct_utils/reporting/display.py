"""Rows and lengths as a notebook shows them; web text is hostile, so all of it is escaped."""

import html
import random
import unicodedata

from xinstruct_utils.annotation.store import UNSEEN
from xinstruct_utils.core import languages


def length_summary(texts):
    """Mean and standard deviation of the lengths of texts (or of lengths already counted) in characters, and n."""
    import statistics

    sizes = [t if isinstance(t, int) else len(t) for t in texts]
    return {"mean": statistics.fmean(sizes), "sd": statistics.pstdev(sizes), "n": len(sizes)} if sizes else {"n": 0}


def show_rows(rows, n, seed, columns, lang):
    """A seeded sample of rows as an HTML table, in reading order and wrapped. Web text is hostile: all is escaped.

    Cells mostly in the language's own script get its direction; English ones stay left to right.
    """
    from IPython.display import HTML

    picked = sorted(random.Random(seed).sample(range(len(rows)), min(n, len(rows))))
    rtl = lang in languages.LANGUAGES and languages.get(lang).direction == "rtl"

    def cell(value):
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        kinds = [unicodedata.bidirectional(c) for c in text] if rtl else []
        native = sum(k in ("R", "AL") for k in kinds) > kinds.count("L")    # a quoted word or a URL turns nothing round
        attributes = f' dir="rtl" lang="{lang}"' if native else ' dir="auto"'
        align = "right" if native else "left"
        body = UNSEEN.sub(lambda m: f"<small>U+{ord(m[0]):04X}</small>", html.escape(text.replace("\r\n", "\n")))
        body = body.replace("\n", "<br>")
        return f'<td{attributes} style="text-align:{align};white-space:normal;overflow-wrap:anywhere">{body}</td>'

    head = "".join(f'<th style="text-align:left">{html.escape(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(cell(rows[i][c]) for c in columns) + "</tr>" for i in picked)
    return HTML(f'<table class="samples mathjax_ignore"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
