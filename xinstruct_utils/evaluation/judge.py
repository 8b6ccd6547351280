"""Pairwise judging: both orders, the paper's win rule, reading a judge's replies, rates with intervals (paper 5.2).

A judge is a function (instruction row, answer 1, answer 2) -> (score 1, score 2), or None where its verdict could not be
read. In the Atlas the oracle is the judge; `remote` makes one of a model on a server. What cannot be read without a guess
is None: it is counted as unparsed and never becomes a number.
"""

from xinstruct_utils.evaluation.statistics import interval, sign_test
from xinstruct_utils.prompts import replies
from xinstruct_utils.prompts.requests import VIEWS, judge_request, views_request

POOLED = ("vicuna", "wizardlm")                                    # the benchmarks of the paper's Table 5
VERDICTS = ("win", "tie", "lose", "unparsed")
LEVELS = {"easy": (1, 4), "medium": (5, 7), "hard": (8, 10)}      # the paper's Figure 5, after WizardLM


def verdict(first, second):
    """The paper's win rule for model A from two orders, each (A's score, B's score) or None.

    A wins when it wins both orders, or wins one and draws one; the mirror case is a loss; all else is a tie.
    An unread judgement is "unparsed", never a number.
    """
    if first is None or second is None:
        return "unparsed"
    balance = sum((a > b) - (a < b) for a, b in (first, second))
    return "win" if balance > 0 else "lose" if balance < 0 else "tie"


def compare(prompts, answers_a, answers_b, judge):
    """Judge two models' answers in both orders.

    `prompts` are rows with an id; answers map id -> text. Returns rows {id, benchmark, category, difficulty, verdict, score_a,
    score_b (averaged over both orders), orders ([A's, B's score] as A stood first, and second), chars_a, chars_b}.
    """
    rows = []
    for prompt in prompts:
        a, b = answers_a[prompt["id"]], answers_b[prompt["id"]]
        first, swapped = judge(prompt, a, b), judge(prompt, b, a)
        second = swapped and swapped[::-1]
        read = first is not None and second is not None
        rows.append({"id": prompt["id"], **{k: prompt.get(k) for k in ("benchmark", "category", "difficulty")},
                     "verdict": verdict(first, second), "score_a": (first[0] + second[0]) / 2 if read else None,
                     "score_b": (first[1] + second[1]) / 2 if read else None, "orders": [first, second],
                     "chars_a": len(a), "chars_b": len(b)})
    return rows


def _read(client, wanted, batch, retries=1, names=("score1", "score2")):
    """Scores by `names` of each request, {key: scores or None}; wanted: {key: (prompt, judged answers)}.

    A reply that cannot be read is asked for again, `retries` times, with sampling: at temperature 0 it would come back the same.
    """
    found = dict.fromkeys(wanted)
    for attempt in range(retries + 1):
        todo = [key for key, read in found.items() if read is None]
        again = {"temperature": 0.7, "seed": attempt} if attempt else {}
        bodies = [client.body(wanted[key][0], **again) for key in todo]
        for key, reply in zip(todo, client.ask(bodies, batch) if bodies else [], strict=True):
            found[key] = replies.tagged(reply.get("text", ""), names, wanted[key][1])
    return found


def remote(client, lang, duels, batch=False):
    """A judge made of a model on a server, by Figure 13's prompt. All requests are sent here; judging is then a look-up.

    duels: (prompts, answers A, answers B) as `compare` takes them. Where the second reply is unreadable too, it says None.
    """
    wanted = {}
    for rows, *sides in duels:
        for row in rows:
            texts = [side[row["id"]] for side in sides]
            for key in ((question_of(row), *texts), (question_of(row), *texts[::-1])):
                wanted[key] = judge_request(*key, lang), key[1:]
    asked = _read(client, wanted, batch)
    return lambda row, a, b: asked[question_of(row), a, b]


def question_of(row):
    """The question as the judge sees it: in the output language where the prompt was translated."""
    return row.get("native_instruction") or row["instruction"]


def views(client, lang, rows, answers, batch=False):
    """Helpfulness, relevance and accuracy of each answer by a model on a server (Table 6): {id: three scores or None}."""
    wanted = {r["id"]: (views_request(question_of(r), answers[r["id"]], lang), [answers[r["id"]]]) for r in rows}
    return _read(client, wanted, batch, names=VIEWS)


def rates(verdicts):
    """Share of each verdict, and n: {"win", "tie", "lose", "unparsed", "n"}. Unread ones stay in the denominator."""
    n = len(verdicts)
    return {v: sum(x == v for x in verdicts) / n if n else None for v in VERDICTS} | {"n": n}


def _mean(values):
    return sum(values) / len(values) if values else None


def summary(rows, seed=0):
    """A comparison in one row: rates of `rates`, "wins - losses", the mean scores, p of the sign test; rates and
    balance each with the 95% interval (`<name>_low`, `<name>_high`)."""
    kinds = [r["verdict"] for r in rows]
    marks = {v: [k == v for k in kinds] for v in VERDICTS} | {"wins - losses": [(k == "win") - (k == "lose") for k in kinds]}
    out = {name: _mean(values) for name, values in marks.items()} | {"n": len(kinds)}
    for name, values in marks.items():
        out[f"{name}_low"], out[f"{name}_high"] = interval(values, seed=seed)
    for side in ("score_a", "score_b"):
        out[side] = _mean([r[side] for r in rows if r[side] is not None])
    return out | {"p": sign_test(kinds.count("win"), kinds.count("lose"))}


def grouped(rows, key):
    """Rows by benchmark, category or difficulty ("easy", "medium", "hard" by the paper's bins); rows without it are left out."""
    groups = {}
    for row in rows:
        value = row.get(key)
        if key == "difficulty" and value is not None:
            value = next(name for name, (low, high) in LEVELS.items() if low <= value <= high)
        if value is not None:
            groups.setdefault(value, []).append(row)
    return {name: groups[name] for name in (LEVELS if key == "difficulty" else sorted(groups)) if name in groups}


def biases(rows, seed=0):
    """What a judge should not go by, {name: {"rate", "low", "high", "n"}}, each over the n cases in which it can show:

    order_flip_rate, the verdict changes with the order; first_wins_rate, the answer shown first wins an order that is no draw;
    longer_wins_rate, the longer answer wins a prompt that is won.
    """
    read = [[(a > b) - (a < b) for a, b in r["orders"]] for r in rows if None not in r["orders"]]
    won = [r for r in rows if r["verdict"] in ("win", "lose") and r["chars_a"] != r["chars_b"]]
    cases = {"order_flip_rate": [x != y for x, y in read],
             "first_wins_rate": [s > 0 for x, y in read for s in (x, -y) if s],
             "longer_wins_rate": [(r["verdict"] == "win") == (r["chars_a"] > r["chars_b"]) for r in won]}
    out = {}
    for name, values in cases.items():
        low, high = interval(values, seed=seed)
        out[name] = {"rate": _mean(values), "low": low, "high": high, "n": len(values)}
    return out


def by_benchmark(rows):
    """Rows by benchmark, and where there are several, pooled: Vicuna and WizardLM as in the paper's Table 5, else "all"."""
    groups = grouped(rows, "benchmark")
    if set(POOLED) <= set(groups):
        return groups | {" + ".join(POOLED): [row for name in POOLED for row in groups[name]]}
    return groups | ({"all": rows} if len(groups) > 1 else {})


def table(against, seed=0):
    """Layout of Tables 4, 5 and 11: {model: {benchmark: {"win", "low", "high", "n", "score", "read"}}}.

    against: {model: rows of `compare` with the opponent as B}. win: share of the prompts won, with its 95% interval; score:
    mean score, 0 to 10, over the prompts that could be read.
    """
    out = {}
    for model, judged in against.items():
        for name, rows in by_benchmark(judged).items():
            made, read = summary(rows, seed), sum(r["score_a"] is not None for r in rows)
            out.setdefault(model, {})[name] = {"win": made["win"], "low": made["win_low"], "high": made["win_high"],
                                               "n": made["n"], "score": made["score_a"], "read": read}
    return out


def categories(rows):
    """Rows by category. Only Vicuna's where it is among the benchmarks, as in the paper's Figure 4 and Table 12: others have
    categories of their own, some of like names."""
    return grouped([r for r in rows if r["benchmark"] == "vicuna"] or rows, "category")


def won(rows):
    """Prompts that A won in each category and in all, {category: (won, n)} (Table 12)."""
    groups = categories(rows)
    groups["all"] = [r for group in groups.values() for r in group]
    return {name: (sum(r["verdict"] == "win" for r in group), len(group)) for name, group in groups.items()}


def category_shares(rows, seed=0):
    """Share of each category's prompts that A and that B wins, with 95% intervals: two {category: (share, low, high)}."""
    made = {name: summary(group, seed) for name, group in categories(rows).items()}
    return [{name: tuple(s[v + end] for end in ("", "_low", "_high")) for name, s in made.items()} for v in ("win", "lose")]
