"""House style and every figure of the book, one function each.

Each takes plain Python and returns an image that shows itself in a notebook; pyplot's global state is not touched. What
was not measured (None, or absent) leaves a gap, never 0. Series differ in marker, dash or hatch too, for print."""

import functools
import io
import math
from collections import Counter

from xinstruct_utils.method.diversification import project
from xinstruct_utils.method.syntax import top_pairs

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
INK, GREY, PALE = "#222222", "#6B6B6B", "#DDDDDD"
OUTCOMES = {"win": (COLOURS[0], "white", None), "tie": (PALE, INK, None), "lose": (COLOURS[4], INK, "///"),
            "unparsed": ("white", INK, "xxx")}  # fill, ink, hatch
WIDTH = 7.0  # inches: the width of the book's text column
FONTS = ("DejaVu Sans", *(f"Noto Sans {s}" for s in ("Arabic", "Bengali", "Devanagari", "Tamil", "Thai")))
STYLE = {
    "figure.dpi": 160, "savefig.dpi": 160, "savefig.facecolor": "white", "font.size": 9, "text.color": INK,
    "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.08, "text.parse_math": False,
    "axes.edgecolor": GREY, "axes.labelcolor": INK, "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "grid.color":
    "#E4E4E4", "grid.linewidth": 0.6, "lines.markersize": 5.5, "legend.frameon": False, "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
}


@functools.cache
def _style():
    """STYLE with those of FONTS that this machine has: naming an absent one makes matplotlib warn."""
    from matplotlib import font_manager
    return STYLE | {"font.family": [name for name in FONTS if name in font_manager.get_font_names()]}


def _figure(draw):
    """Draw in house style; `draw` returns a figure, its caller gets an Image with `.data` and `.figure`."""
    @functools.wraps(draw)
    def styled(*args, **kwargs):
        import matplotlib
        from IPython.display import Image
        with matplotlib.rc_context(_style()):
            figure, buffer = draw(*args, **kwargs), io.BytesIO()
            figure.savefig(buffer, format="png", metadata={"Software": None})
        image = Image(buffer.getvalue(), width=760)
        image.figure = figure
        return image
    return styled


def _axes(height, columns=1, **kwargs):
    """A figure of the book's width and its axes: one, or an array of `columns`. Inches."""
    from matplotlib.figure import Figure
    return (figure := Figure(figsize=(WIDTH, height))), figure.subplots(1, columns, **kwargs)


def _nothing(what):
    """A low figure that says that the run has nothing to draw."""
    figure, axis = _axes(0.6)
    axis.text(0.5, 0.5, f"This run has no {what}.", ha="center", va="center", color=GREY)
    axis.set_axis_off()
    return figure


def _rows(names, layers, ends, room=1.14, each=0.27, **settings):
    """Horizontal bars from the top; layers: [(values, look, (words inside, ink) or None)], stacked; `ends`: words behind them."""
    figure, axis = _axes(0.9 + each * len(names))
    left = [0.0] * len(names)
    for values, look, words in layers:
        drawn = axis.barh(names, values, left=left, **look)
        left = [a + b for a, b in zip(left, values, strict=True)]
        if words:
            box = {"facecolor": look["color"], "edgecolor": "none", "pad": 1} if look.get("hatch") else None
            axis.bar_label(drawn, words[0], label_type="center", color=words[1], bbox=box)
    axis.bar_label(drawn, ends, padding=3, fontsize=8.5)
    axis.set(**{"xlim": (0, max(left) * room or 1)} | settings)
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    if len(layers) > 1:
        figure.legend(loc="outside upper center", ncols=4)
    return figure


@_figure
def lengths(groups, unit="characters"):
    """Histogram of the lengths of each group {name: lengths}, medians marked (paper Tables 2 and 8)."""
    groups = {name: sorted(v for v in values if v > 0) for name, values in groups.items()}
    every = [v for values in groups.values() for v in values]
    if not every:
        return _nothing("texts to measure")
    figure, axis = _axes(2.6)
    low, high = math.log10(min(every)) - 0.02, math.log10(max(every)) + 0.02
    edges = [10 ** (low + (high - low) * k / 40) for k in range(41)]
    for k, (name, values) in enumerate((n, v) for n, v in groups.items() if v):
        look, middle = {"color": COLOURS[k % 7], "linestyle": DASHES[k % 7]}, values[len(values) // 2]
        axis.hist(values, edges, histtype="stepfilled", color=COLOURS[k % 7], alpha=0.18)
        label = f"{name} (n = {len(values):,}, median {middle:,})"
        axis.hist(values, edges, histtype="step", label=label, **look)
        axis.axvline(middle, linewidth=1, **look)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if high - low < 1 else "")
    axis.set(xlabel=f"length in {unit} (logarithmic)", ylabel="texts")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@_figure
def census(dropped, kept=None):
    """Bars of rows kept (or None) and dropped {reason: rows}, with their shares of all rows (notebook 02)."""
    bars = [("kept", kept)] * (kept is not None) + sorted(dropped.items(), key=lambda bar: -bar[1])
    names, counts = [str(name).replace("_", " ") for name, _ in bars], [n for _, n in bars]
    if not sum(counts):
        return _nothing("rows")
    look = {"color": [COLOURS[0 if name == "kept" else 4] for name in names]}
    return _rows(names, [(counts, look, None)], [f"{n:,} ({n / sum(counts):.1%})" for n in counts], 1.22, xlabel="rows")


@_figure
def cluster_map(vectors, labels, picked=None, method="pca", seed=0, sample=1500):
    """Map of instruction embeddings: a dot for each candidate, a number on each cluster (paper 3.4).

    vectors: (n, d); labels: n cluster numbers; picked: n booleans, true for what went into the final data (the rest
    is hollow); method: see `cluster.project`. Of more than `sample` a seeded sample is drawn.
    """
    import numpy as np

    vectors, labels = np.asarray(vectors, "float32"), np.asarray(labels)
    if not len(labels):
        return _nothing("instructions")
    picked = np.ones(len(labels), bool) if picked is None else np.asarray(picked, bool)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:sample])
    points, labels, picked = project(vectors[chosen], method, seed), labels[chosen], picked[chosen]
    inks, numbers = np.array([COLOURS[k % 6] for k in labels]), sorted(set(labels.tolist()))
    figure, axis = _axes(4.4)
    axis.scatter(*points[~picked].T, s=10, lw=0.6, facecolors="none", edgecolors=inks[~picked], alpha=0.5)
    axis.scatter(*points[picked].T, s=10, lw=0, c=inks[picked], alpha=0.85)
    box = {"pad": 0.8, "fc": "white", "ec": "none", "alpha": 0.7}
    for k in numbers if len(numbers) <= 60 else ():  # more would hide the map
        axis.text(*np.median(points[labels == k], axis=0), k, ha="center", va="center", fontsize=7, bbox=box)
    axis.set_title(f"{len(numbers)} clusters, {len(labels):,} instructions, {picked.sum():,} (filled) picked")
    axis.set_axis_off()
    return figure


@_figure
def rounds(auc, precision, random=None):
    """The evaluator over the rounds, a line for each language: AUC, and precision of the kept (paper 3.3).

    auc, precision: {language: [value of round 1, 2, ...]}, each in [0, 1] or None; random: {language: share
    of good ones among all candidates}, a thin line in the second panel. Notebooks 12 and 13.
    """
    languages, random = list({**auc, **precision}), random or {}
    if not any(v is not None for s in (*auc.values(), *precision.values()) for v in s or []):
        return _nothing("measured rounds")
    figure, axes = _axes(2.8, 2)
    titles = ("Evaluator: AUC, good against bad", "Kept candidates: share that is good")
    for axis, series, title in zip(axes, (auc, precision), titles, strict=True):
        for k, language in enumerate(languages):
            values = [math.nan if v is None else v for v in series.get(language) or []]
            look, name = {"color": COLOURS[k % 7], "ls": DASHES[k % 7]}, None if axis is axes[1] else language
            axis.plot(range(1, len(values) + 1), values, marker=MARKERS[k % 7], label=name, **look)
            if axis is axes[1] and random.get(language) is not None:
                axis.axhline(random[language], lw=0.9, **look)
        last = max([1, *(len(v or []) for v in series.values())])
        axis.set(title=title, xlabel="round", ylim=(0, 1.02), xlim=(0.7, last + 0.3))
        axis.set_xticks(range(1, last + 1))
        axis.grid(axis="y")
    axes[0].axhline(0.5, color=GREY, lw=0.9, ls=":")
    if random:
        axes[1].plot([], [], color=GREY, lw=0.9, label="without marks: all candidates")
    figure.legend(loc="outside lower center", ncols=6)
    return figure


@_figure
def ratings_histogram(probabilities):
    """The evaluator's probabilities of its ratings (3.3): rows (p0, p1, p2), or dicts with these keys."""
    rows = [[r["p0"], r["p1"], r["p2"]] if isinstance(r, dict) else list(r) for r in probabilities]
    if not rows:
        return _nothing("ratings")
    figure, axes = _axes(2.2, 3, sharey=True)
    for k, name in enumerate(("0: does not answer", "1: flawed", "2: good")):
        axes[k].hist([row[k] for row in rows], [j / 25 for j in range(26)], color=COLOURS[(1, 4, 0)[k]])
        axes[k].set(title=f"rating {name}", xlabel="probability", xlim=(0, 1), xticks=(0, 0.5, 1))
    axes[0].set_ylabel(f"candidates (n = {len(rows):,})")
    return figure


@_figure
def wins(results, what="comparisons"):
    """Stacked bars of wins, ties, losses by the paper's win rule (5.2), a row for each comparison, with n.

    results: {name: outcomes}, numbers of prompts, or shares with "n"; "win_low", "win_high": the wins' interval."""
    table = {name: [round((r.get(o) or 0) * r.get("n", 1)) for o in OUTCOMES] for name, r in results.items()}
    table = {name: row for name, row in table.items() if any(row)}
    if not table:
        return _nothing(what)
    layers = []
    for k, (outcome, (colour, ink, hatch)) in enumerate(OUTCOMES.items()):
        if any(row[k] for row in table.values()):
            look = {"label": outcome, "color": colour, "hatch": hatch, "edgecolor": GREY if hatch == "xxx" else "white"}
            shown = [f"{row[k]:,}" if row[k] / sum(row) > 0.05 else "" for row in table.values()]
            layers.append(([row[k] / sum(row) for row in table.values()], look | {"height": 0.72}, (shown, ink)))
    spans = [[results[name].get(k) for k in ("win_low", "win_high")] for name in table]
    ends = [f"n = {sum(row):,}" + ("" if None in span else ", {:.0%} to {:.0%} won".format(*span))
            for row, span in zip(table.values(), spans, strict=True)]
    return _rows(list(table), layers, ends, each=0.36, xlim=(0, 1),
                 xlabel="share of prompts", xticks=(0, 0.25, 0.5, 0.75, 1), xticklabels=("0%", "25%", "50%", "75%", "100%"))


@_figure
def radar(panels):
    """Win rates by category, a panel for each comparison (Figure 4): {title: {model: {category: (share, low, high)}}}."""
    panels = {title: models for title, models in panels.items() if len({c for m in models.values() for c in m}) > 2}
    if not panels:
        return _nothing("comparison in three categories or more")
    figure, axes = _axes(0.9 + 6.0 / len(panels), len(panels), subplot_kw={"projection": "polar"}, squeeze=False)
    for axis, (title, models) in zip(axes[0], panels.items(), strict=True):
        names = sorted({c for m in models.values() for c in m})
        angles = [2 * math.pi * k / len(names) for k in range(len(names) + 1)]
        for k, (model, shares) in enumerate(models.items()):
            values, low, high = zip(*(shares.get(n, 3 * (math.nan,)) for n in [*names, names[0]]), strict=True)
            axis.vlines([a + 0.05 * k for a in angles], low, high, color=COLOURS[k % 7], alpha=0.45, lw=1.2)  # side by side
            axis.plot(angles, values, color=COLOURS[k % 7], ls=DASHES[k % 7], marker=MARKERS[k % 7], ms=3.5, label=model)
        axis.set(title=title.replace(" vs ", "\nvs "), ylim=(0, None), theta_offset=math.pi / 2, theta_direction=-1,
                 rlabel_position=180 / len(names))
        axis.set_xticks(angles[:-1], [str(n).replace("_", " ") for n in names], fontsize=7.5)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.tick_params(axis="y", labelsize=6.5, labelcolor=GREY)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


@_figure
def steps(manifests):
    """Wall time of each notebook over all languages and rounds, start-up of kernels and subprocesses apart.

    manifests: dicts with `notebook`, `wall_s` and `startup_s` (seconds, part of `wall_s`; None or NaN if unknown).
    """
    totals = {}
    for m in sorted(manifests, key=lambda m: m["notebook"]):
        (work, start), startup = totals.get(m["notebook"], (0.0, 0.0)), max(0.0, m.get("startup_s") or 0.0)
        totals[m["notebook"]] = (work + m["wall_s"] - startup, start + startup)
    if not totals:
        return _nothing("finished steps")
    work, start = zip(*totals.values(), strict=True)
    layers = [(work, {"label": "work", "color": COLOURS[0]}, None),
              (start, {"label": "start-up", "color": COLOURS[4], "hatch": "///", "ec": "w"}, None)]
    return _rows(list(totals), layers, [f"{sum(t):,.0f}" for t in totals.values()], xlabel="seconds, all languages and rounds")


@_figure
def sunburst(found):
    """Figure 3: the 16 most frequent verbs, their four most frequent nouns around them; below, the share covered.

    found: of `of_instructions`; an instruction counts once for each of its pairs.
    """
    counted = Counter(pair for pairs_of_one in found for pair in pairs_of_one)
    top, total, covered = top_pairs(counted), sum(counted.values()), sum(map(bool, found))
    if not total:
        return _nothing("verb-noun pairs")
    figure, axis = _axes(6.4)
    outer = [(v, noun, n) for v, nouns in top.items() for noun, n in nouns.items()]
    colour = {v: COLOURS[k % 6] for k, v in enumerate(top)}
    look = {"startangle": 90, "counterclock": False}
    edge = {"edgecolor": "white", "linewidth": 0.8, "width": 0.42}
    inner = [sum(n.values()) for n in top.values()]
    wedges = {0.62: axis.pie(inner, radius=0.62, colors=list(colour.values()), wedgeprops=edge, **look)[0],
              1.04: axis.pie([n for *_, n in outer], radius=1.04, colors=[colour[v] for v, *_ in outer],
                             wedgeprops=edge | {"alpha": 0.55}, **look)[0]}
    for (radius, made), words in zip(wedges.items(), (list(top), [noun for _, noun, _ in outer]), strict=True):
        for wedge, word in zip(made, words, strict=True):
            middle, span = (wedge.theta1 + wedge.theta2) / 2, wedge.theta2 - wedge.theta1
            turn = middle if math.cos(math.radians(middle)) >= 0 else middle + 180
            if span >= 2.2:                      # a narrower one could not be read
                axis.text((radius - 0.21) * math.cos(math.radians(middle)), (radius - 0.21) * math.sin(math.radians(middle)),
                          word[:14], ha="center", va="center", rotation=turn, fontsize=min(9, 4.5 + span / 3),
                          color="white" if radius < 1 and colour[word] in COLOURS[:3] else INK)
    drawn = sum(n for *_, n in outer)
    axis.set_xlabel(f"{covered:,} of {len(found):,} instructions ({covered / len(found):.0%}) have a pair of verb and noun.\n"
                    f"{drawn:,} of their {total:,} pairs ({drawn / total:.0%}) are drawn.")
    return figure
