"""Refinement (paper 3.3): pseudo-rating sets made of seed pairs, and the selection of rated candidates.

A rating is 2 for the true output, 1 for a flawed one (parts deleted or duplicated, or the current follower's own
output) and 0 for another sample's output. No human labels any of them.
"""

import heapq
import random
import re
from collections import Counter

from xinstruct_utils.core.files import digest

RATINGS = {"true": 2, "damaged": 1, "follower": 1, "mismatched": 0}


def pieces(text):
    """The text cut behind sentence ends and line breaks; pieces keep their white space, so they join to the text."""
    return [p for p in re.split(r"(?<=[.!?।۔。])(?=\s)|(?<=\n)", text) if p]


def damage(text, rng):
    """A flawed copy of a text: some part of it deleted or duplicated, never the text itself.

    Texts without sentence marks (Thai has no full stop) are cut between characters.
    """
    parts = pieces(text)
    if len(parts) > 1 and rng.random() < 0.6:
        i = rng.randrange(len(parts))
        flawed = "".join(parts[:i] + parts[i + 1:] if rng.random() < 0.5 else parts[:i + 1] + parts[i:])
    else:
        ends_early = rng.random() < 0.6
        a, b = ((rng.randint(len(text) // 4, len(text) - 1), len(text)) if ends_early
                else sorted(rng.sample(range(len(text) + 1), 2)))
        flawed = text[:a] + text[b:] if rng.random() < 0.75 else text[:b] + text[a:b] + text[b:]
    flawed = flawed.strip()
    return flawed if flawed and flawed != text.strip() else text[: max(1, len(text) // 2)].rstrip()


def _trigrams(text):
    return {text[i:i + 3] for i in range(max(1, len(text) - 2))}


def near_copy(a, b, threshold=0.8):
    """Do two texts share more than `threshold` of their character trigrams (Jaccard)?

    A follower output that is nearly the true one would carry the rating 1 for what is right.
    """
    x, y = _trigrams(a), _trigrams(b)
    return len(x & y) / len(x | y) > threshold


def mismatches(rows, n, seed):
    """For each row, `n` indices of other rows whose outputs do not answer it; every second one is hard.

    A hard one has an instruction of the same wording but without a shared rare word: "currency of Kenya" against
    "currency of Ghana". Rare means in at most 3% of the instructions, so names and topics count, "what is" does not.
    """
    words = [set(re.findall(r"\w+", r["instruction"].lower())) for r in rows]
    frequency = {}
    for bag in words:
        for word in bag:
            frequency[word] = frequency.get(word, 0) + 1
    rare = [{w for w in bag if frequency[w] <= max(2, 0.03 * len(rows))} for bag in words]
    rng, out = random.Random(f"mismatch/{seed}"), []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i and not rare[i] & rare[j]
                  and rows[j]["output"] != rows[i]["output"]] or [j for j in range(len(rows)) if j != i]
        rng.shuffle(others)
        like = sorted(others[:60], key=lambda j: -len(words[i] & words[j]) / len(words[i] | words[j]))
        out.append([(like if k % 2 == 0 else others)[(k // 2) % len(others)] for k in range(n)])
    return out


def hold_out(d0r, n):
    """D0r as (pairs to learn from, up to `n` pairs to test by). Which ones depends on their ids only, so it is the same in
    every round; a quarter at the most, since few pairs are memorised rather than learned from."""
    held = {r["id"] for r in sorted(d0r, key=lambda r: digest(["held out", r["id"]]))[:min(n, len(d0r) // 4)]}
    return [r for r in d0r if r["id"] not in held], [r for r in d0r if r["id"] in held]


def pseudo_ratings(d0r, follower_outputs, damaged_per_pair, follower_per_pair, mismatched_per_pair, seed):
    """The pseudo-rating set of a round: rows {instruction, output, rating, kind}.

    `follower_outputs` maps a row's id to the current follower's answers; near copies of the true output and empty ones
    are left out. One that ran into the length cap stays: it is flawed, as its rating says. Returns (rows, {reason: n}).
    """
    rng, out, dropped = random.Random(f"pseudo/{seed}"), [], {"near_copy": 0, "empty": 0}
    wrong = mismatches(d0r, mismatched_per_pair, seed)
    for i, row in enumerate(d0r):
        outputs = [("true", row["output"])]
        outputs += [("damaged", damage(row["output"], rng)) for _ in range(damaged_per_pair)]
        outputs += [("mismatched", d0r[j]["output"]) for j in wrong[i]]
        for text in follower_outputs.get(row["id"], [])[:follower_per_pair]:
            reason = "empty" if not text else "near_copy" if near_copy(text, row["output"]) else None
            if reason:
                dropped[reason] += 1
            else:
                outputs.append(("follower", text))
        out += [{"instruction": row["instruction"], "output": text, "rating": RATINGS[kind], "kind": kind}
                for kind, text in outputs]
    return out, dropped


def average(votes):
    """The mean probabilities of several evaluators for one row, and its most likely rating: {p0, p1, p2, rating}."""
    p = {name: round(sum(v[name] for v in votes) / len(votes), 6) for name in ("p0", "p1", "p2")}
    return p | {"rating": max((0, 1, 2), key=lambda r: p[f"p{r}"])}


def quality(rows, rated, ranking="p2"):
    """How well ratings fit pseudo-ratings that taught nothing: {held_out_accuracy, held_out_auc, held_out_rows}.

    The AUC is that of rating 2 against the rest; it is absent where one side is empty.
    """
    from sklearn.metrics import roc_auc_score

    right, true = [a["rating"] == b["rating"] for a, b in zip(rows, rated, strict=True)], [r["rating"] == 2 for r in rows]
    auc = {"held_out_auc": float(roc_auc_score(true, [rank_key(r, ranking) for r in rated]))} if len(set(true)) == 2 else {}
    return {"held_out_accuracy": sum(right) / len(right), **auc, "held_out_rows": len(rows)}


def commonest_share(rows):
    """The accuracy of always guessing the commonest rating."""
    return Counter(r["rating"] for r in rows).most_common(1)[0][1] / len(rows)


def trusted(rows, votes, ranking="p2"):
    """Which evaluators to average: those that beat always guessing the commonest rating, or all where none does.

    `votes` holds each evaluator's probabilities for the held-out `rows`. Returns (numbers, {number: its `quality`}).
    """
    told = {k: quality(rows, [average([v]) for v in vote], ranking) for k, vote in enumerate(votes)}
    good = [k for k, q in told.items() if q["held_out_accuracy"] > commonest_share(rows)]
    return good or list(told), told


def rank_key(row, ranking="p2"):
    """What candidates are ranked by: p(rating = 2), or the expected rating."""
    return row["p2"] if ranking == "p2" else row["p1"] + 2 * row["p2"]


def select(rated, keep, ranking="p2", worst=False):
    """The `keep` best rated candidates of any number, best first; ties are broken by id, so that the choice is the same
    anywhere. With `worst`, the last ones of that order. Only the chosen ones are held in memory."""
    choose = heapq.nlargest if worst else heapq.nsmallest
    return sorted(choose(keep, rated, key=lambda r: (-rank_key(r, ranking), r["id"])),
                  key=lambda r: (-rank_key(r, ranking), r["id"]))
