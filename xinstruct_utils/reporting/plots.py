"""Every figure of the book, one function each.

Each takes plain Python and returns an image that shows itself in a notebook. What was not measured
(None, or absent) leaves a gap, never 0.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xinstruct_utils.method.diversification import project
from xinstruct_utils.method.syntax import top_pairs
from xinstruct_utils.reporting import house_style as style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
