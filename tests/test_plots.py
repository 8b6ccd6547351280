"""Figures: each draws what it is given, leaves gaps for what is missing, and is the same for the
same data.
"""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from xinstruct_utils.reporting import contest_plots, diagram, house_style, plots

MODULES = (plots, contest_plots, diagram)

WIN = {"win": 0.5, "tie": 0.25, "lose": 0.25, "unparsed": 0.0, "n": 8}
FULL = {
    "lengths": ({"instruction": [10, 20, 30], "output": [100, 900, 0]},),
    "census": ({"too_short": 3, "duplicate": 0}, 90),
    "cluster_map": (np.eye(12, 5, dtype="float32"), [0, 1, 2] * 4, [True, False] * 6),
    "rounds": ({"sw": [0.8, None]}, {"sw": [0.6, 0.7], "ur": [0.5]}, {"sw": 0.4, "ur": None}),
    "ratings_histogram": ([{"p0": 0.1, "p1": 0.2, "p2": 0.7}, {"p0": 0.6, "p1": 0.3, "p2": 0.1}],),
    "wins": ({"refined vs seed": WIN, "other": {"win": 2, "tie": 2, "lose": 2, "unparsed": 2}},),
    "radar": (
        {
            "a vs b": {
                "a": {c: (v, v - 0.1, v + 0.1) for c, v in {"x": 0.5, "y": 0.2, "z": 0.1}.items()},
                "b": {"x": (0.1, 0.0, 0.2), "z": (0.3, 0.2, 0.4)},
            },
            "too few": {"a": {"x": (1.0, 1.0, 1.0)}},
        },
    ),
    "balances": (
        {
            "a vs b": {"value": 0.1, "low": 0.05, "high": 0.15, "n": 300},
            "a vs c": {"value": -0.1, "low": -0.2, "high": -0.05, "n": 300},
            "b vs c": {"value": 0.0, "low": None, "high": None, "n": 1},
            "not judged": {"value": None, "n": 0},
        },
    ),
    "losses": ({"small": [[50, 3.0], [100, 1.2]], "large": [[50, 2.5], [100, 0.9]]},),
    "steps": (
        [
            {"notebook": "01_seed_data", "wall_s": 9.0, "startup_s": 3.0},
            {"notebook": "02_corpus", "wall_s": 4.0, "startup_s": None},
        ],
    ),
    "sunburst": ([[("write", "story")], [("write", "poem"), ("name", "city")], []],),
}
FULL["method"] = ({name: f"{name}\n5 rows" for name in diagram.BOXES},)
EMPTY = {
    "balances": ({"a": {"value": None}},),
    "lengths": ({},),
    "census": ({},),
    "cluster_map": (np.zeros((0, 5)), []),
    "rounds": ({}, {}),
    "ratings_histogram": ([],),
    "wins": ({},),
    "losses": ({},),
    "steps": ([],),
    "radar": ({"a vs b": {"a": {"x": (0.5, 0.4, 0.6)}}},),
    "sunburst": ([],),
}


def figure_named(name):
    """The figure of that name, in whichever module it is."""
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def texts(image):
    """All words of a figure."""
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in image.figure.findobj(Text) if t.get_text())


@pytest.mark.parametrize("name", FULL)
def test_a_figure_is_a_wide_png_without_warnings_and_the_same_each_time(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (figure_named(name)(*FULL[name]) for _ in "ab")
    assert first.data[:8] == b"\x89PNG\r\n\x1a\n" and first.data == again.data
    assert first.figure.get_size_inches()[0] == house_style.WIDTH


@pytest.mark.parametrize("name", EMPTY)
def test_a_figure_without_data_says_so(name):
    assert "This run has no" in texts(figure_named(name)(*EMPTY[name]))


def test_every_figure_is_tested():
    made = {
        name
        for module in MODULES
        for name, f in vars(module).items()
        if callable(f) and hasattr(f, "__wrapped__") and not name.startswith("_")
    }
    assert made == set(FULL) == {*EMPTY, "method"}      # the diagram holds without counts


def test_an_interval_that_holds_zero_is_grey_and_hollow():
    lines = [line for line in contest_plots.balances(*FULL["balances"]).figure.axes[0].lines
             if line.get_marker() in ("o", "D")]
    assert [line.get_marker() for line in lines] == ["o", "o", "D"]
    assert lines[-1].get_markerfacecolor() == "white"


def test_what_was_not_measured_is_a_gap_and_not_a_zero():
    left = plots.rounds(*FULL["rounds"]).figure.axes[0].lines[0].get_ydata()
    assert left[0] == 0.8 and np.isnan(left[1])


def test_win_bars_carry_counts_and_n():
    words = texts(contest_plots.wins(*FULL["wins"]))
    assert "n = 8" in words and "unparsed" in words and words.startswith("4 | 2 | 2")


def test_intervals_are_drawn_where_they_are_known():
    assert "n = 8, 10% to 90% won" in texts(
        contest_plots.wins({"a": WIN | {"win_low": 0.1, "win_high": 0.9}})
    )
    assert "won" not in texts(contest_plots.wins(*FULL["wins"]))
    lines = contest_plots.radar(*FULL["radar"]).figure.axes[0].collections
    ends = [path.vertices[:, 1].tolist() for path in lines[0].get_paths()]
    assert len(lines) == 2 and ends[:2] == [[0.4, 0.6], [0.1, pytest.approx(0.3)]]


def test_an_empty_figure_says_what_is_missing():
    nothing = contest_plots.wins({}, "prompts with a level")
    assert "This run has no prompts with a level" in texts(nothing)


def test_a_category_without_a_share_leaves_a_gap_in_the_radar():
    axes = contest_plots.radar(*FULL["radar"]).figure.axes
    assert (
        len(axes) == 1
        and np.isnan(axes[0].lines[1].get_ydata()[1])
        and axes[0].lines[0].get_ydata()[0] == 0.5
    )


def test_steps_keep_start_up_apart():
    work, start = plots.steps(*FULL["steps"]).figure.axes[0].containers
    assert [bar.get_width() for bar in work] == [6.0, 4.0] and [
        bar.get_width() for bar in start
    ] == [3.0, 0.0]


def test_hostile_names_are_drawn_and_not_run():
    # mathtext would raise on it
    assert "$\\frac$" in texts(contest_plots.wins({"$\\frac$ <script>": WIN}))


def test_series_differ_without_colour():
    languages = {code: [0.5] for code in ("sw", "fi", "ur", "ta")}
    lines = plots.rounds({}, languages).figure.axes[1].lines[:4]
    assert (
        len({line.get_marker() for line in lines}) == 4
        and len({line.get_linestyle() for line in lines}) >= 3
    )


def test_importing_plots_does_not_load_matplotlib():
    code = (
        "import sys, xinstruct_utils.reporting.plots; "
        "sys.exit('matplotlib' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
