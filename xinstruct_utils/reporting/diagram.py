"""The method as a diagram, with a run's counts in its boxes (paper, Figure 2)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xinstruct_utils.reporting import house_style as style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Boxes of the method's diagram: what they hold, their place in columns and rows.
BOXES = {"seed": (0, 0), "corpus": (0, 2), "generator": (1, 0), "candidates": (1, 2),
         "follower": (2, 0), "ratings": (2, 1), "kept": (2, 2), "clusters": (3, 2), "tuned": (3, 0)}
OF_EVALUATOR = ("p2", "expected")                # rankings that the evaluator makes
RATES = ("ratings", "kept", 0, False)
# From, to, how much it bends, whether it is the way into the next round.
ARROWS = (("seed", "generator", 0, False), ("generator", "candidates", 0, False),
          ("corpus", "candidates", 0, False), ("seed", "follower", -0.3, False),
          ("follower", "ratings", 0, False), ("candidates", "kept", 0, False),
          RATES, ("kept", "clusters", 0, False),
          ("clusters", "tuned", 0, False), ("kept", "follower", 0.9, True))


@style.figure
def method(words: Mapping[str, str], ranking: str = "p2") -> "Figure":
    """The method as a diagram (paper, Figure 2): a box for each of BOXES, with words and counts.

    words: {box: text}; a box without any is drawn empty. ranking: the rater that chooses; where it
    is not the evaluator (p2, expected), the evaluator's arrow is dashed and the follower's drawn.
    """
    figure, axis = style.axes(3.6)
    axis.set_xlim(-0.55, 3.55)
    axis.set_ylim(2.6, -0.5)
    look = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": style.GREY}
    drawn = {name: axis.text(*place, words.get(name, name), ha="center", va="center", fontsize=8,
                             bbox=look) for name, place in BOXES.items()}
    arrows = list(ARROWS)
    if ranking not in OF_EVALUATOR:
        arrows.remove(RATES)
        arrows += [(*RATES[:3], True), ("follower", "kept", -0.45, False)]
    for start, end, bend, dash in arrows:
        ink = style.GREY if dash else style.COLOURS[0]
        axis.annotate("", BOXES[end], BOXES[start], arrowprops={
            "arrowstyle": "-|>", "color": ink, "linestyle": "--" if dash else "-",
            "connectionstyle": f"arc3,rad={bend}", "shrinkA": 2, "shrinkB": 2,
            "patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()})
    axis.text(2.66, 1, "next\nround", ha="left", va="center", fontsize=8, color=style.GREY)
    axis.set_axis_off()
    return figure
