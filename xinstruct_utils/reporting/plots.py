"""Every figure of the book, one function each.

Each takes plain Python and returns an image that shows itself in a notebook. What was not measured
(None, or absent) leaves a gap, never 0.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xinstruct_utils.method.diversification import project
from xinstruct_utils.method.syntax import top_pairs
from xinstruct_utils.reporting import house_style as style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """How an outcome's bars look."""

    fill: str
    ink: str
    hatch: str | None


OUTCOMES = {
    "win": Look(style.COLOURS[0], "white", None),
    "tie": Look(style.PALE, style.INK, None),
    "lose": Look(style.COLOURS[4], style.INK, "///"),
    "unparsed": Look("white", style.INK, "xxx"),
}


@style.figure
def lengths(groups: Mapping[str, Iterable[int]], unit: str = "characters") -> "Figure":
    """Histogram of the lengths of each group, medians marked (paper Tables 2 and 8)."""
    groups = {name: sorted(v for v in values if v > 0) for name, values in groups.items()}
    groups = {name: values for name, values in groups.items() if values}
    if not groups:
        return style.nothing("texts to measure")
    figure, axis = style.axes(2.6)
    low = math.log10(min(values[0] for values in groups.values())) - 0.02
    high = math.log10(max(values[-1] for values in groups.values())) + 0.02
    edges = [10 ** (low + (high - low) * k / 40) for k in range(41)]
    for k, (name, values) in enumerate(groups.items()):
        middle = values[len(values) // 2]
        axis.hist(values, edges, histtype="stepfilled", color=style.COLOURS[k % 7], alpha=0.18)
        label = f"{name} (n = {len(values):,}, median {middle:,})"
        axis.hist(values, edges, histtype="step", label=label, **style.look(k))
        axis.axvline(middle, linewidth=1, **style.look(k))
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if high - low < 1 else "")
    axis.set(xlabel=f"length in {unit} (logarithmic)", ylabel="texts")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@style.figure
def census(dropped: Mapping[str, int], kept: int | None = None) -> "Figure":
    """Bars of rows kept and dropped, with their shares of all rows (notebook 02).

    dropped: {reason: rows}; kept: rows, or None for no such bar.
    """
    bars = sorted(dropped.items(), key=lambda bar: -bar[1])
    if kept is not None:
        bars.insert(0, ("kept", kept))
    names = [str(name).replace("_", " ") for name, _ in bars]
    counts = [n for _, n in bars]
    total = sum(counts)
    if not total:
        return style.nothing("rows")
    colours = [style.COLOURS[0] if name == "kept" else style.COLOURS[4] for name in names]
    ends = [f"{n:,} ({n / total:.1%})" for n in counts]
    return style.bars(names, [style.Layer(counts, {"color": colours})], ends, 1.22, xlabel="rows")


@style.figure
def cluster_map(vectors: "np.ndarray", labels: Sequence[int],
                picked: Sequence[bool] | None = None, method: str = "pca", seed: int = 0,
                sample: int = 1500) -> "Figure":
    """Map of instruction embeddings: a dot for each candidate, a number on each cluster (3.4).

    vectors: (n, d); labels: n cluster numbers; picked: n booleans, true for what went into the
    final data (the rest is hollow); method: see `diversification.project`. Of more than `sample` a
    seeded sample is drawn.
    """
    import numpy as np

    vectors, labels = np.asarray(vectors, "float32"), np.asarray(labels)
    if not len(labels):
        return style.nothing("instructions")
    picked = np.ones(len(labels), bool) if picked is None else np.asarray(picked, bool)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:sample])
    points = project(vectors[chosen], method, seed)
    labels, picked = labels[chosen], picked[chosen]
    inks = np.array([style.COLOURS[k % 6] for k in labels])
    figure, axis = style.axes(4.4)
    axis.scatter(*points[~picked].T, s=10, lw=0.6, facecolors="none", edgecolors=inks[~picked],
                 alpha=0.5)
    axis.scatter(*points[picked].T, s=10, lw=0, c=inks[picked], alpha=0.85)
    numbers = sorted(set(labels.tolist()))
    box = {"pad": 0.8, "fc": "white", "ec": "none", "alpha": 0.7}
    for k in numbers if len(numbers) <= 60 else ():  # more would hide the map
        middle = np.median(points[labels == k], axis=0)
        axis.text(*middle, k, ha="center", va="center", fontsize=7, bbox=box)
    axis.set_title(f"{len(numbers)} clusters, {len(labels):,} instructions, "
                   f"{picked.sum():,} (filled) picked")
    axis.set_axis_off()
    return figure


Rounds = Mapping[str, Sequence[float | None] | None]     # {language: [value of round 1, 2, ...]}


@style.figure
def rounds(auc: Rounds, precision: Rounds,
           random: Mapping[str, float | None] | None = None) -> "Figure":
    """The evaluator over the rounds, a line for each language (paper 3.3; notebooks 12 and 13).

    auc, precision of the kept: each value in [0, 1] or None; random: {language: share of good ones
    among all candidates}, a thin line in the second panel.
    """
    languages, random = list({**auc, **precision}), random or {}
    every = [v for s in (*auc.values(), *precision.values()) for v in s or []]
    if all(v is None for v in every):
        return style.nothing("measured rounds")
    figure, (left, right) = style.axes(2.8, 2)
    for k, language in enumerate(languages):
        _round_line(left, auc.get(language), k, label=language)
        _round_line(right, precision.get(language), k)
        if random.get(language) is not None:
            right.axhline(random[language], lw=0.9, **style.look(k))
    _round_axis(left, auc, "Evaluator: AUC, good against bad")
    _round_axis(right, precision, "Kept candidates: share that is good")
    left.axhline(0.5, color=style.GREY, lw=0.9, ls=":")
    if random:
        right.plot([], [], color=style.GREY, lw=0.9, label="without marks: all candidates")
    figure.legend(loc="outside lower center", ncols=6)
    return figure


@style.figure
def losses(curves: Mapping[str, Sequence[tuple[int, float]]]) -> "Figure":
    """Training losses, {name: [(step, loss), ...]}, a line for each."""
    if not any(curves.values()):
        return style.nothing("losses")
    figure, axis = style.axes(2.6)
    for k, (name, curve) in enumerate(curves.items()):
        axis.plot(*zip(*curve, strict=True), label=name, **style.look(k))
    axis.set(xlabel="step", ylabel="loss, nats a token", ylim=(0, None))
    axis.grid(axis="y")
    axis.legend()
    return figure


def _round_line(axis: "Axes", series: Sequence[float | None] | None, k: int,
                label: str | None = None) -> None:
    """The line of the k-th language; None is a gap."""
    values = [math.nan if v is None else v for v in series or []]
    axis.plot(range(1, len(values) + 1), values, marker=style.MARKERS[k % 7], label=label,
              **style.look(k))


def _round_axis(axis: "Axes", series: Rounds, title: str) -> None:
    """Title, rounds below, shares from 0 to 1."""
    last = max([1, *(len(values or []) for values in series.values())])
    axis.set(title=title, xlabel="round", ylim=(0, 1.02), xlim=(0.7, last + 0.3))
    axis.set_xticks(range(1, last + 1))
    axis.grid(axis="y")


@style.figure
def ratings_histogram(probabilities: Iterable[Mapping[str, float] | Sequence[float]]) -> "Figure":
    """The evaluator's probabilities of its ratings (3.3).

    Rows of (p0, p1, p2), or dicts with these keys.
    """
    keys = ("p0", "p1", "p2")
    rows = [[r[k] for k in keys] if isinstance(r, dict) else list(r) for r in probabilities]
    if not rows:
        return style.nothing("ratings")
    figure, axes = style.axes(2.2, 3, sharey=True)
    edges = [k / 25 for k in range(26)]
    colours = (style.COLOURS[1], style.COLOURS[4], style.COLOURS[0])
    names = ("0: does not answer", "1: flawed", "2: good")
    for k, axis in enumerate(axes):
        axis.hist([row[k] for row in rows], edges, color=colours[k])
        axis.set(title=f"rating {names[k]}", xlabel="probability", xlim=(0, 1), xticks=(0, 0.5, 1))
    axes[0].set_ylabel(f"candidates (n = {len(rows):,})")
    return figure


@style.figure
def wins(results: Mapping[str, Mapping[str, float]], what: str = "comparisons") -> "Figure":
    """Stacked bars of wins, ties, losses by the paper's win rule (5.2), with n.

    results: {comparison: outcomes}, numbers of prompts, or shares with "n"; "win_low", "win_high":
    the wins' interval. what: the noun for a figure without any.
    """
    counts = {name: [round((result.get(o) or 0) * result.get("n", 1)) for o in OUTCOMES]
              for name, result in results.items()}
    counts = {name: row for name, row in counts.items() if any(row)}
    if not counts:
        return style.nothing(what)
    totals = [sum(row) for row in counts.values()]
    layers = []
    for k, (outcome, look) in enumerate(OUTCOMES.items()):
        values = [row[k] for row in counts.values()]
        if any(values):
            layers.append(_outcome_layer(outcome, look, values, totals))
    ends = [_end(total, results[name]) for name, total in zip(counts, totals, strict=True)]
    return style.bars(list(counts), layers, ends, each=0.36, xlim=(0, 1), xlabel="share of prompts",
                 xticks=(0, 0.25, 0.5, 0.75, 1), xticklabels=("0%", "25%", "50%", "75%", "100%"))


# Boxes of the method's diagram: what they hold, their place in columns and rows.
BOXES = {"seed": (0, 0), "corpus": (0, 2), "generator": (1, 0), "candidates": (1, 2),
         "follower": (2, 0), "ratings": (2, 1), "kept": (2, 2), "clusters": (3, 2), "tuned": (3, 0)}
# From, to, how much it bends, whether it is the way into the next round.
ARROWS = (("seed", "generator", 0, False), ("generator", "candidates", 0, False),
          ("corpus", "candidates", 0, False), ("seed", "follower", -0.3, False),
          ("follower", "ratings", 0, False), ("candidates", "kept", 0, False),
          ("ratings", "kept", 0, False), ("kept", "clusters", 0, False),
          ("clusters", "tuned", 0, False), ("kept", "follower", 0.9, True))


@style.figure
def method(words: Mapping[str, str]) -> "Figure":
    """The method as a diagram (paper, Figure 2): a box for each of BOXES, with words and counts.

    words: {box: text}; a box without any is drawn empty.
    """
    figure, axis = style.axes(3.6)
    axis.set_xlim(-0.55, 3.55)
    axis.set_ylim(2.6, -0.5)
    look = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": style.GREY}
    drawn = {name: axis.text(*place, words.get(name, name), ha="center", va="center", fontsize=8,
                             bbox=look) for name, place in BOXES.items()}
    for start, end, bend, dash in ARROWS:
        ink = style.GREY if dash else style.COLOURS[0]
        axis.annotate("", BOXES[end], BOXES[start], arrowprops={
            "arrowstyle": "-|>", "color": ink, "linestyle": "--" if dash else "-",
            "connectionstyle": f"arc3,rad={bend}", "shrinkA": 2, "shrinkB": 2,
            "patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()})
    axis.text(2.66, 1, "next\nround", ha="left", va="center", fontsize=8, color=style.GREY)
    axis.set_axis_off()
    return figure


@style.figure
def balances(results: Mapping[str, Mapping[str, float | None]], what: str = "comparisons",
             ) -> "Figure":
    """Wins minus losses, a dot with its 95% interval for each comparison, and a line at zero.

    results: {comparison: {"value", "low", "high", "n"}}, shares; what: the noun for a figure
    without any. An interval that holds zero is drawn in grey: nothing is decided.
    """
    known = {name: row for name, row in results.items() if row.get("value") is not None}
    if not known:
        return style.nothing(what)
    figure, axis = style.axes(0.9 + 0.3 * len(known))
    axis.axvline(0, color=style.INK, lw=0.9)
    for place, row in enumerate(known.values()):
        value = 100 * row["value"]
        low, high = (100 * row[end] if row.get(end) is not None else value
                     for end in ("low", "high"))
        decided = low > 0 or high < 0
        colour = style.GREY if not decided else style.COLOURS[0 if low > 0 else 1]
        axis.plot([low, high], [place, place], color=colour, lw=2)
        axis.plot([value], [place], marker="o" if decided else "D", color=colour,
                  markerfacecolor=colour if decided else "white", linestyle="none")
        axis.text(1.01, place, f"n = {row['n']:,}", transform=axis.get_yaxis_transform(),
                  va="center", fontsize=8)
    axis.set_yticks(range(len(known)), list(known))
    axis.set(xlabel="wins minus losses, points (95% interval)")
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.grid(axis="x")
    return figure


def _outcome_layer(outcome: str, look: Look, values: Sequence[int],
                   totals: Sequence[int]) -> style.Layer:
    """An outcome's part of every bar; the count stands in it where there is room."""
    shares = [n / total for n, total in zip(values, totals, strict=True)]
    words = [f"{n:,}" if share > 0.05 else "" for n, share in zip(values, shares, strict=True)]
    edge = style.GREY if look.hatch == "xxx" else "white"
    bars = {"label": outcome, "color": look.fill, "hatch": look.hatch, "edgecolor": edge,
            "height": 0.72}
    return style.Layer(shares, bars, words, look.ink)


def _end(total: int, result: Mapping[str, float]) -> str:
    """n, and the interval of the wins where it is known."""
    low, high = result.get("win_low"), result.get("win_high")
    if low is None or high is None:
        return f"n = {total:,}"
    return f"n = {total:,}, {low:.0%} to {high:.0%} won"


# {model: {category: (share, low, high)}}
Shares = Mapping[str, Mapping[str, tuple[float, float, float]]]


@style.figure
def radar(panels: Mapping[str, Shares]) -> "Figure":
    """Win rates by category, a panel for each comparison (Figure 4)."""
    panels = {title: models for title, models in panels.items() if len(_categories(models)) > 2}
    if not panels:
        return style.nothing("comparison in three categories or more")
    figure, axes = style.axes(0.9 + 6.0 / len(panels), len(panels), squeeze=False,
                         subplot_kw={"projection": "polar"})
    for axis, (title, models) in zip(axes[0], panels.items(), strict=True):
        _radar_panel(axis, title, models)
    return figure


def _categories(models: Shares) -> list[str]:
    """All categories of a comparison."""
    return sorted({category for shares in models.values() for category in shares})


def _radar_panel(axis: "Axes", title: str, models: Shares) -> None:
    """One comparison: a closed line and its intervals for each model."""
    names = _categories(models)
    angles = [2 * math.pi * k / len(names) for k in range(len(names) + 1)]
    for k, (model, shares) in enumerate(models.items()):
        points = [shares.get(name, 3 * (math.nan,)) for name in [*names, names[0]]]
        values, low, high = zip(*points, strict=True)
        beside = [a + 0.05 * k for a in angles]
        axis.vlines(beside, low, high, color=style.COLOURS[k % 7], alpha=0.45, lw=1.2)
        axis.plot(angles, values, marker=style.MARKERS[k % 7], ms=3.5, label=model, **style.look(k))
    axis.set(title=title.replace(" vs ", "\nvs "), ylim=(0, None), theta_offset=math.pi / 2,
             theta_direction=-1, rlabel_position=180 / len(names))
    axis.set_xticks(angles[:-1], [str(n).replace("_", " ") for n in names], fontsize=7.5)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.tick_params(axis="y", labelsize=6.5, labelcolor=style.GREY)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12))


@style.figure
def steps(manifests: Iterable[Mapping[str, Any]]) -> "Figure":
    """Wall time of each notebook over all languages and rounds.

    Start-up of kernels and subprocesses stands apart. manifests: dicts with `notebook`, `wall_s`
    and `startup_s` (seconds, part of `wall_s`; None or NaN if unknown).
    """
    work: dict[str, float] = {}
    start: dict[str, float] = {}
    for manifest in sorted(manifests, key=lambda m: m["notebook"]):
        name = manifest["notebook"]
        startup = max(0.0, manifest.get("startup_s") or 0.0)
        work[name] = work.get(name, 0.0) + manifest["wall_s"] - startup
        start[name] = start.get(name, 0.0) + startup
    if not work:
        return style.nothing("finished steps")
    layers = [style.Layer(list(work.values()), {"label": "work", "color": style.COLOURS[0]}),
              style.Layer(list(start.values()), {"label": "start-up", "color": style.COLOURS[4],
                                           "hatch": "///", "ec": "w"})]
    ends = [f"{work[name] + start[name]:,.0f}" for name in work]
    return style.bars(list(work), layers, ends, xlabel="seconds, all languages and rounds")


@style.figure
def sunburst(pairs: Sequence[Sequence[tuple[str, str]]]) -> "Figure":
    """Figure 3: the 16 most frequent verbs, their four most frequent nouns around them.

    Below stands the share covered. pairs: (verb, noun) of each instruction, as
    `syntax.of_instructions` gives them; an instruction counts once for each of its pairs.
    """
    counted = Counter(pair for of_one in pairs for pair in of_one)
    total, covered = sum(counted.values()), sum(map(bool, pairs))
    if not total:
        return style.nothing("verb-noun pairs")
    top = top_pairs(counted)
    figure, axis = style.axes(6.4)
    colour = {verb: style.COLOURS[k % 6] for k, verb in enumerate(top)}
    outer = [(verb, noun, n) for verb, nouns in top.items() for noun, n in nouns.items()]
    look = {"startangle": 90, "counterclock": False}
    edge = {"edgecolor": "white", "linewidth": 0.8, "width": 0.42}
    inner = [sum(nouns.values()) for nouns in top.values()]
    verbs = axis.pie(inner, radius=0.62, colors=list(colour.values()), wedgeprops=edge, **look)[0]
    nouns = axis.pie([n for *_, n in outer], radius=1.04, colors=[colour[v] for v, *_ in outer],
                     wedgeprops=edge | {"alpha": 0.55}, **look)[0]
    for wedge, verb in zip(verbs, top, strict=True):
        _wedge_word(axis, wedge, verb, "white" if colour[verb] in style.COLOURS[:3] else style.INK)
    for wedge, (_, noun, _) in zip(nouns, outer, strict=True):
        _wedge_word(axis, wedge, noun, style.INK)
    drawn = sum(n for *_, n in outer)
    share = covered / len(pairs)
    axis.set_xlabel(f"{covered:,} of {len(pairs):,} instructions ({share:.0%}) have a pair of verb "
                    f"and noun.\n{drawn:,} of their {total:,} pairs ({drawn / total:.0%}) are "
                    "drawn.")
    return figure


def _wedge_word(axis: "Axes", wedge: Any, word: str, ink: str) -> None:
    """A word along the middle of a wedge, if the wedge is wide enough to read it."""
    span = wedge.theta2 - wedge.theta1
    if span < 2.2:
        return
    middle = (wedge.theta1 + wedge.theta2) / 2
    across, up = math.cos(math.radians(middle)), math.sin(math.radians(middle))
    turn = middle if across >= 0 else middle + 180
    out = wedge.r - 0.21
    axis.text(out * across, out * up, word[:14], ha="center", va="center", rotation=turn,
              fontsize=min(9, 4.5 + span / 3), color=ink)
