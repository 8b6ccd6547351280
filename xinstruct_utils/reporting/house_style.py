"""The figures' house style: colours, fonts, sizes, and what every figure begins with.

pyplot's global state is not touched. Series differ in marker, dash or hatch too, for print.
"""

import functools
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from IPython.display import Image
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
INK = "#222222"
GREY = "#6B6B6B"
PALE = "#DDDDDD"
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


@functools.cache
def _settings() -> dict:
    """STYLE with the FONTS of this machine: naming an absent one makes matplotlib warn."""
    from matplotlib import font_manager

    known = font_manager.get_font_names()
    return STYLE | {"font.family": [name for name in FONTS if name in known]}


def figure(draw: Callable[..., "Figure"]) -> Callable[..., "Image"]:
    """Draw in house style.

    `draw` returns a figure; its caller gets an Image with `.data` and `.figure`.
    """
    @functools.wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> "Image":
        import matplotlib
        from IPython.display import Image

        buffer = io.BytesIO()
        with matplotlib.rc_context(_settings()):
            figure = draw(*args, **kwargs)
            figure.savefig(buffer, format="png", metadata={"Software": None})
        image = Image(buffer.getvalue(), width=760)
        image.figure = figure
        return image
    return styled


def axes(height: float, columns: int = 1, **kwargs: Any) -> "tuple[Figure, Any]":
    """A figure of the book's width and its axes: one, or an array of `columns`. Inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots(1, columns, **kwargs)


def nothing(what: str) -> "Figure":
    """A low figure that says that the run has nothing to draw."""
    drawn, axis = axes(0.6)
    axis.text(0.5, 0.5, f"This run has no {what}.", ha="center", va="center", color=GREY)
    axis.set_axis_off()
    return drawn


def look(k: int) -> dict:
    """Colour and dash of the k-th series."""
    return {"color": COLOURS[k % 7], "linestyle": DASHES[k % 7]}


class Layer(NamedTuple):
    """One layer of stacked bars: values, how they look, words inside them and the words' ink."""

    values: Sequence[float]
    look: dict
    words: Sequence[str] = ()
    ink: str = INK


def from_the_top(axis: "Axes", rows: int) -> None:
    """Rows 0, 1, ... of a figure from its top down, without the margins that grow with them."""
    axis.set_ylim(rows - 0.4, -0.6)


def bars(names: Sequence[str], layers: Sequence[Layer], ends: Sequence[str], room: float = 1.14,
         each: float = 0.27, **settings: Any) -> "Figure":
    """Horizontal bars from the top, their layers stacked; `ends`: words behind them.

    room: the axis in lengths of the longest bar; each: inches a bar.
    """
    figure, axis = axes(0.9 + each * len(names))
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
    from_the_top(axis, len(names))
    axis.tick_params(axis="y", length=0)
    if len(layers) > 1:
        figure.legend(loc="outside upper center", ncols=4)
    return figure
