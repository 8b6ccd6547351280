"""Figures of contests: wins, ties and losses, balances with intervals, categories (paper 5.2)."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xinstruct_utils.reporting import house_style as style

if TYPE_CHECKING:
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
    style.from_the_top(axis, len(known))
    axis.grid(axis="x")
    return figure


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
