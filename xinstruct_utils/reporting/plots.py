"""House style and every figure of the book, one function each.

Each takes plain Python and returns an image that shows itself in a notebook; pyplot's global state
is not touched. What was not measured (None, or absent) leaves a gap, never 0. Series differ in
marker, dash or hatch too, for print.
"""

import functools
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xinstruct_utils.method.diversification import project
from xinstruct_utils.method.syntax import top_pairs

if TYPE_CHECKING:
    import numpy as np
    from IPython.display import Image
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
INK = "#222222"
GREY = "#6B6B6B"
PALE = "#DDDDDD"


class Look(NamedTuple):
    """How an outcome's bars look."""

    fill: str
    ink: str
    hatch: str | None


OUTCOMES = {"win": Look(COLOURS[0], "white", None), "tie": Look(PALE, INK, None),
            "lose": Look(COLOURS[4], INK, "///"), "unparsed": Look("white", INK, "xxx")}
WIDTH = 7.0  # inches: the width of the book's text column
SCRIPTS = ("Arabic", "Bengali", "Devanagari", "Tamil", "Thai")
FONTS = ("DejaVu Sans", *(f"Noto Sans {script}" for script in SCRIPTS))
STYLE = {
    "figure.dpi": 160, "savefig.dpi": 160, "savefig.facecolor": "white",
    "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.08,
    "font.size": 9, "text.color": INK, "text.parse_math": False,
    "axes.edgecolor": GREY, "axes.labelcolor": INK, "axes.labelsize": 9, "axes.titlesize": 9.5,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "grid.color": "#E4E4E4", "grid.linewidth": 0.6,
    "lines.markersize": 5.5, "legend.frameon": False, "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
}


class Layer(NamedTuple):
    """One layer of stacked bars: values, how they look, words inside them and the words' ink."""

    values: Sequence[float]
    look: dict
    words: Sequence[str] = ()
    ink: str = INK


@functools.cache
def _style() -> dict:
    """STYLE with the FONTS of this machine: naming an absent one makes matplotlib warn."""
    from matplotlib import font_manager

    known = font_manager.get_font_names()
    return STYLE | {"font.family": [name for name in FONTS if name in known]}


def _figure(draw: Callable[..., "Figure"]) -> Callable[..., "Image"]:
    """Draw in house style.

    `draw` returns a figure; its caller gets an Image with `.data` and `.figure`.
    """
    @functools.wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> "Image":
        import matplotlib
        from IPython.display import Image

        buffer = io.BytesIO()
        with matplotlib.rc_context(_style()):
            figure = draw(*args, **kwargs)
            figure.savefig(buffer, format="png", metadata={"Software": None})
        image = Image(buffer.getvalue(), width=760)
        image.figure = figure
        return image
    return styled


def _axes(height: float, columns: int = 1, **kwargs: Any) -> "tuple[Figure, Any]":
    """A figure of the book's width and its axes: one, or an array of `columns`. Inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots(1, columns, **kwargs)


def _nothing(what: str) -> "Figure":
    """A low figure that says that the run has nothing to draw."""
    figure, axis = _axes(0.6)
    axis.text(0.5, 0.5, f"This run has no {what}.", ha="center", va="center", color=GREY)
    axis.set_axis_off()
    return figure


def _look(k: int) -> dict:
    """Colour and dash of the k-th series."""
    return {"color": COLOURS[k % 7], "linestyle": DASHES[k % 7]}


def _rows(names: Sequence[str], layers: Sequence[Layer], ends: Sequence[str], room: float = 1.14,
          each: float = 0.27, **settings: Any) -> "Figure":
    """Horizontal bars from the top, their layers stacked; `ends`: words behind them.

    room: the axis in lengths of the longest bar; each: inches a bar.
    """
    figure, axis = _axes(0.9 + each * len(names))
    left = [0.0] * len(names)
    for layer in layers:
        drawn = axis.barh(names, layer.values, left=left, **layer.look)
        left = [a + b for a, b in zip(left, layer.values, strict=True)]
        if layer.words:
            box = None
            if layer.look.get("hatch"):
                box = {"facecolor": layer.look["color"], "edgecolor": "none", "pad": 1}
            axis.bar_label(drawn, layer.words, label_type="center", color=layer.ink, bbox=box)
    axis.bar_label(drawn, ends, padding=3, fontsize=8.5)
    axis.set(**{"xlim": (0, max(left) * room or 1)} | settings)
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    if len(layers) > 1:
        figure.legend(loc="outside upper center", ncols=4)
    return figure


@_figure
def lengths(groups: Mapping[str, Iterable[int]], unit: str = "characters") -> "Figure":
    """Histogram of the lengths of each group, medians marked (paper Tables 2 and 8)."""
    groups = {name: sorted(v for v in values if v > 0) for name, values in groups.items()}
    groups = {name: values for name, values in groups.items() if values}
    if not groups:
        return _nothing("texts to measure")
    figure, axis = _axes(2.6)
    low = math.log10(min(values[0] for values in groups.values())) - 0.02
    high = math.log10(max(values[-1] for values in groups.values())) + 0.02
    edges = [10 ** (low + (high - low) * k / 40) for k in range(41)]
    for k, (name, values) in enumerate(groups.items()):
        middle = values[len(values) // 2]
        axis.hist(values, edges, histtype="stepfilled", color=COLOURS[k % 7], alpha=0.18)
        label = f"{name} (n = {len(values):,}, median {middle:,})"
        axis.hist(values, edges, histtype="step", label=label, **_look(k))
        axis.axvline(middle, linewidth=1, **_look(k))
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if high - low < 1 else "")
    axis.set(xlabel=f"length in {unit} (logarithmic)", ylabel="texts")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@_figure
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
        return _nothing("rows")
    colours = [COLOURS[0] if name == "kept" else COLOURS[4] for name in names]
    ends = [f"{n:,} ({n / total:.1%})" for n in counts]
    return _rows(names, [Layer(counts, {"color": colours})], ends, 1.22, xlabel="rows")


@_figure
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
        return _nothing("instructions")
    picked = np.ones(len(labels), bool) if picked is None else np.asarray(picked, bool)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:sample])
    points = project(vectors[chosen], method, seed)
    labels, picked = labels[chosen], picked[chosen]
    inks = np.array([COLOURS[k % 6] for k in labels])
    figure, axis = _axes(4.4)
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


@_figure
def rounds(auc: Rounds, precision: Rounds,
           random: Mapping[str, float | None] | None = None) -> "Figure":
    """The evaluator over the rounds, a line for each language (paper 3.3; notebooks 12 and 13).

    auc, precision of the kept: each value in [0, 1] or None; random: {language: share of good ones
    among all candidates}, a thin line in the second panel.
    """
    languages, random = list({**auc, **precision}), random or {}
    every = [v for s in (*auc.values(), *precision.values()) for v in s or []]
    if all(v is None for v in every):
        return _nothing("measured rounds")
    figure, (left, right) = _axes(2.8, 2)
    for k, language in enumerate(languages):
        _round_line(left, auc.get(language), k, label=language)
        _round_line(right, precision.get(language), k)
        if random.get(language) is not None:
            right.axhline(random[language], lw=0.9, **_look(k))
    _round_axis(left, auc, "Evaluator: AUC, good against bad")
    _round_axis(right, precision, "Kept candidates: share that is good")
    left.axhline(0.5, color=GREY, lw=0.9, ls=":")
    if random:
        right.plot([], [], color=GREY, lw=0.9, label="without marks: all candidates")
    figure.legend(loc="outside lower center", ncols=6)
    return figure


def _round_line(axis: "Axes", series: Sequence[float | None] | None, k: int,
                label: str | None = None) -> None:
    """The line of the k-th language; None is a gap."""
    values = [math.nan if v is None else v for v in series or []]
    axis.plot(range(1, len(values) + 1), values, marker=MARKERS[k % 7], label=label, **_look(k))


def _round_axis(axis: "Axes", series: Rounds, title: str) -> None:
    """Title, rounds below, shares from 0 to 1."""
    last = max([1, *(len(values or []) for values in series.values())])
    axis.set(title=title, xlabel="round", ylim=(0, 1.02), xlim=(0.7, last + 0.3))
    axis.set_xticks(range(1, last + 1))
    axis.grid(axis="y")


@_figure
def ratings_histogram(probabilities: Iterable[Mapping[str, float] | Sequence[float]]) -> "Figure":
    """The evaluator's probabilities of its ratings (3.3).

    Rows of (p0, p1, p2), or dicts with these keys.
    """
    keys = ("p0", "p1", "p2")
    rows = [[r[k] for k in keys] if isinstance(r, dict) else list(r) for r in probabilities]
    if not rows:
        return _nothing("ratings")
    figure, axes = _axes(2.2, 3, sharey=True)
    edges = [k / 25 for k in range(26)]
    colours = (COLOURS[1], COLOURS[4], COLOURS[0])
    names = ("0: does not answer", "1: flawed", "2: good")
    for k, axis in enumerate(axes):
        axis.hist([row[k] for row in rows], edges, color=colours[k])
        axis.set(title=f"rating {names[k]}", xlabel="probability", xlim=(0, 1), xticks=(0, 0.5, 1))
    axes[0].set_ylabel(f"candidates (n = {len(rows):,})")
    return figure


@_figure
def wins(results: Mapping[str, Mapping[str, float]], what: str = "comparisons") -> "Figure":
    """Stacked bars of wins, ties, losses by the paper's win rule (5.2), with n.

    results: {comparison: outcomes}, numbers of prompts, or shares with "n"; "win_low", "win_high":
    the wins' interval. what: the noun for a figure without any.
    """
    counts = {name: [round((result.get(o) or 0) * result.get("n", 1)) for o in OUTCOMES]
              for name, result in results.items()}
    counts = {name: row for name, row in counts.items() if any(row)}
    if not counts:
        return _nothing(what)
    totals = [sum(row) for row in counts.values()]
    layers = []
    for k, (outcome, look) in enumerate(OUTCOMES.items()):
        values = [row[k] for row in counts.values()]
        if any(values):
            layers.append(_outcome_layer(outcome, look, values, totals))
    ends = [_end(total, results[name]) for name, total in zip(counts, totals, strict=True)]
    return _rows(list(counts), layers, ends, each=0.36, xlim=(0, 1), xlabel="share of prompts",
                 xticks=(0, 0.25, 0.5, 0.75, 1), xticklabels=("0%", "25%", "50%", "75%", "100%"))


def _outcome_layer(outcome: str, look: Look, values: Sequence[int],
                   totals: Sequence[int]) -> Layer:
    """An outcome's part of every bar; the count stands in it where there is room."""
    shares = [n / total for n, total in zip(values, totals, strict=True)]
    words = [f"{n:,}" if share > 0.05 else "" for n, share in zip(values, shares, strict=True)]
    edge = GREY if look.hatch == "xxx" else "white"
    bars = {"label": outcome, "color": look.fill, "hatch": look.hatch, "edgecolor": edge,
            "height": 0.72}
    return Layer(shares, bars, words, look.ink)


def _end(total: int, result: Mapping[str, float]) -> str:
    """n, and the interval of the wins where it is known."""
    low, high = result.get("win_low"), result.get("win_high")
    if low is None or high is None:
        return f"n = {total:,}"
    return f"n = {total:,}, {low:.0%} to {high:.0%} won"


# {model: {category: (share, low, high)}}
Shares = Mapping[str, Mapping[str, tuple[float, float, float]]]


@_figure
def radar(panels: Mapping[str, Shares]) -> "Figure":
    """Win rates by category, a panel for each comparison (Figure 4)."""
    panels = {title: models for title, models in panels.items() if len(_categories(models)) > 2}
    if not panels:
        return _nothing("comparison in three categories or more")
    figure, axes = _axes(0.9 + 6.0 / len(panels), len(panels), squeeze=False,
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
        axis.vlines(beside, low, high, color=COLOURS[k % 7], alpha=0.45, lw=1.2)
        axis.plot(angles, values, marker=MARKERS[k % 7], ms=3.5, label=model, **_look(k))
    axis.set(title=title.replace(" vs ", "\nvs "), ylim=(0, None), theta_offset=math.pi / 2,
             theta_direction=-1, rlabel_position=180 / len(names))
    axis.set_xticks(angles[:-1], [str(n).replace("_", " ") for n in names], fontsize=7.5)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.tick_params(axis="y", labelsize=6.5, labelcolor=GREY)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12))


@_figure
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
        return _nothing("finished steps")
    layers = [Layer(list(work.values()), {"label": "work", "color": COLOURS[0]}),
              Layer(list(start.values()), {"label": "start-up", "color": COLOURS[4],
                                           "hatch": "///", "ec": "w"})]
    ends = [f"{work[name] + start[name]:,.0f}" for name in work]
    return _rows(list(work), layers, ends, xlabel="seconds, all languages and rounds")


@_figure
def sunburst(pairs: Sequence[Sequence[tuple[str, str]]]) -> "Figure":
    """Figure 3: the 16 most frequent verbs, their four most frequent nouns around them.

    Below stands the share covered. pairs: (verb, noun) of each instruction, as
    `syntax.of_instructions` gives them; an instruction counts once for each of its pairs.
    """
    counted = Counter(pair for of_one in pairs for pair in of_one)
    total, covered = sum(counted.values()), sum(map(bool, pairs))
    if not total:
        return _nothing("verb-noun pairs")
    top = top_pairs(counted)
    figure, axis = _axes(6.4)
    colour = {verb: COLOURS[k % 6] for k, verb in enumerate(top)}
    outer = [(verb, noun, n) for verb, nouns in top.items() for noun, n in nouns.items()]
    look = {"startangle": 90, "counterclock": False}
    edge = {"edgecolor": "white", "linewidth": 0.8, "width": 0.42}
    inner = [sum(nouns.values()) for nouns in top.values()]
    verbs = axis.pie(inner, radius=0.62, colors=list(colour.values()), wedgeprops=edge, **look)[0]
    nouns = axis.pie([n for *_, n in outer], radius=1.04, colors=[colour[v] for v, *_ in outer],
                     wedgeprops=edge | {"alpha": 0.55}, **look)[0]
    for wedge, verb in zip(verbs, top, strict=True):
        _wedge_word(axis, wedge, verb, "white" if colour[verb] in COLOURS[:3] else INK)
    for wedge, (_, noun, _) in zip(nouns, outer, strict=True):
        _wedge_word(axis, wedge, noun, INK)
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
