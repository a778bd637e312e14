"""The figures of a report, as SVG pictures that a page can hold, and those that are published, a panel a task."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from textgym.html_page import as_svg
from textgym.training.curves import COLOURS, DASHES

from .records import RunRecord
from .statistics import Estimate, curve_band

MARKERS = "osD^v<>p"


def learning_curves(records: Sequence[RunRecord], algorithms: Sequence[str], threshold: float | None) -> str:
    """Draw the score of one task's runs over tokens and over seconds: a line an algorithm, with its interval.

    Args:
        records: The runs.
        algorithms: All algorithms of the report, whose order decides colours.
        threshold: Where to draw a line; None for nowhere.
    """
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, runs in by_algorithm(records).items():
        index = algorithms.index(name)
        _draw_band(left, name, index, [(run.tokens, run.score) for run in runs])
        _draw_band(right, name, index, [(run.seconds, run.score) for run in runs])
    for axes, label in ((left, "tokens generated in training"), (right, "seconds of training")):
        if threshold is not None:
            axes.axhline(threshold, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
        _dress(axes, label)
    left.set_ylabel("mean score of a rollout")
    if threshold is not None:
        # At the left edge of the axes, wherever that is, on the line.
        left.annotate(
            "solved", (0, threshold), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points",
            fontsize=8, color="#666666",
        )  # fmt: skip
    _legend_below(figure, left)
    return as_svg(figure)


def curve_panels(
    records: Sequence[RunRecord], thresholds: Mapping[str, float | None], algorithms: Sequence[str]
) -> Figure:
    """Draw the score of runs over tokens: a panel a task, a line an algorithm, each with its interval.

    Args:
        records: The runs.
        thresholds: For each task where it counts as solved, drawn as a dotted line; None for nowhere.
        algorithms: All algorithms, whose order decides colours.
    """
    n_columns = min(2, len(thresholds))
    n_rows = math.ceil(len(thresholds) / n_columns)
    figure = Figure(figsize=(5.3 * n_columns, 0.8 + 3.1 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for axes in panels[len(thresholds) :]:
        axes.remove()
    for axes, (task, threshold) in zip(panels, thresholds.items(), strict=False):
        for name, runs in by_algorithm([run for run in records if run.task == task]).items():
            _draw_band(axes, name, algorithms.index(name), [(run.tokens, run.score) for run in runs])
        if threshold is not None:
            axes.axhline(threshold, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
        _dress(axes, "tokens generated in training")
        axes.set_ylabel("mean score of a rollout")
        axes.set_title(task, fontsize=10)
    _legend_below(figure, panels[0])
    return figure


def frontier(records: Sequence[RunRecord], algorithms: Sequence[str]) -> str | None:
    """Draw final score against KL, a point a run; None where no run has a KL."""
    known = [run for run in records if run.final_kl is not None]
    if not known:
        return None
    # A legend of many names needs a figure as wide as that of the curves.
    figure = Figure(figsize=(6.5, 3.9), layout="constrained")
    axes = figure.add_subplot()
    _scatter_against_kl(axes, known, algorithms)
    _dress(axes, "KL to the first model, nats a completion")
    axes.set_ylabel("score after training")
    _legend_below(figure, axes, 4)
    return as_svg(figure)


def frontier_panels(records: Sequence[RunRecord], algorithms: Sequence[str]) -> Figure:
    """Draw final score against KL: a panel a task, a point a run.

    Args:
        records: Runs, of which at least one has a KL; those without are left out.
        algorithms: All algorithms, whose order decides colours and markers.
    """
    known = [run for run in records if run.final_kl is not None]
    tasks = list(dict.fromkeys(run.task for run in known))
    figure = Figure(figsize=(0.6 + 2.9 * len(tasks), 3.9), layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _scatter_against_kl(axes, [run for run in known if run.task == task], algorithms)
        _dress(axes, "KL, nats a completion")
        axes.set_xlim(left=0)
        axes.set_title(task, fontsize=10)
    panels[0].set_ylabel("score after training")
    # All tasks have the same algorithms, but for those without a KL.
    widest = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    _legend_below(figure, widest, 2 * len(tasks))
    return figure


def intervals(estimates: Mapping[str, Estimate], label: str, algorithms: Sequence[str]) -> str:
    """Draw estimates under one another, each with its interval.

    Args:
        estimates: The estimates by name.
        label: What they are.
        algorithms: All algorithms of the report, whose order decides colours; what is none of them is a probability,
            drawn in grey about one half.
    """
    is_probability = not set(estimates) & set(algorithms)
    figure = Figure(figsize=(7, 0.9 + 0.38 * len(estimates)), layout="constrained")
    axes = figure.add_subplot()
    for row, (name, estimate) in enumerate(estimates.items()):
        colour = "#444444" if is_probability else COLOURS[algorithms.index(name) % len(COLOURS)]
        _draw_estimate(axes, row, estimate, colour)
    axes.set_yticks(range(len(estimates)), list(estimates))
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    if is_probability:
        axes.axvline(0.5, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
        axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return as_svg(figure)


def chance_matrix(ranked: Sequence[str], chances: Mapping[str, Estimate]) -> str:
    """Draw probabilities of improvement as a matrix: that of a row's algorithm over a column's.

    Args:
        ranked: The algorithms, from the top to the bottom.
        chances: By "A > B" for each pair, A before B in `ranked`. Bold where the interval does not hold one half.
    """
    figure = Figure(figsize=(1.6 + 0.62 * len(ranked), 1.2 + 0.42 * len(ranked)), layout="constrained")
    axes = figure.add_subplot()
    matrix = [[_chance(first, second, chances) for second in ranked] for first in ranked]
    values = [[0.5 if chance is None else chance.value for chance in row] for row in matrix]
    axes.imshow(values, cmap="PuOr_r", vmin=-0.6, vmax=1.6, aspect="auto")
    for place, row in enumerate(matrix):
        for column, chance in enumerate(row):
            if chance is not None:
                is_certain = chance.low is not None and chance.high is not None and not chance.low <= 0.5 <= chance.high
                axes.text(
                    column, place, f"{chance.value:.2f}", ha="center", va="center", fontsize=9,
                    fontweight="bold" if is_certain else "normal", color="#222222",
                )  # fmt: skip
    axes.set_xticks(range(len(ranked)), list(ranked), rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(ranked)), list(ranked))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return as_svg(figure)


def _chance(first: str, second: str, chances: Mapping[str, Estimate]) -> Estimate | None:
    """Return the probability that the first is better, whichever way round it is known; None for one and the same."""
    if f"{first} > {second}" in chances:
        return chances[f"{first} > {second}"]
    reverse = chances.get(f"{second} > {first}")
    if reverse is None:
        return None
    bounds = (None if bound is None else 1 - bound for bound in (reverse.high, reverse.low))
    return Estimate(1 - reverse.value, *bounds)


def score_panels(
    scores: Mapping[str, Mapping[str, Estimate]],
    before: Mapping[str, Mapping[str, float]],
    thresholds: Mapping[str, float | None],
    algorithms: Sequence[str],
) -> Figure:
    """Draw the scores after training: a panel a task, a line an algorithm, each with its interval.

    Args:
        scores: For each task the score of each algorithm.
        before: For each task the score of each algorithm's policy before training, drawn in grey.
        thresholds: For each task where it counts as solved, drawn as a dotted line; None for nowhere.
        algorithms: All algorithms, from the top to the bottom.
    """
    figure = Figure(figsize=(1.6 + 2.6 * len(scores), 1.1 + 0.27 * len(algorithms)), layout="constrained")
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, (task, by_name) in zip(panels, scores.items(), strict=True):
        threshold = thresholds[task]
        if threshold is not None:
            axes.axvline(threshold, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
        for name, score in by_name.items():
            place = algorithms.index(name)
            axes.plot([before[task][name]], [place], marker="|", markersize=15, markeredgewidth=2.5, color="#bbbbbb")
            _draw_estimate(axes, place, score, COLOURS[place % len(COLOURS)])
        axes.set_title(task, fontsize=10)
        lows = [score.value if score.low is None else score.low for score in by_name.values()]
        axes.set_xlim(min(0.0, *before[task].values(), *lows) - 0.03, 1.03)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(algorithms)), list(algorithms))
    panels[0].set_ylim(len(algorithms) - 0.5, -0.5)
    figure.supxlabel("score after training · grey: before · dotted: solved", fontsize=9)
    return figure


def by_algorithm(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs of each algorithm, in the order in which algorithms first appear."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.algorithm, []).append(record)
    return found


def _draw_estimate(axes: Axes, row: int, estimate: Estimate, colour: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        # Ends where the interval does.
        axes.plot(
            [estimate.low, estimate.high], [row, row], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt"
        )
    axes.plot([estimate.value], [row], marker="|", markersize=15, markeredgewidth=2.5, color=colour)


def _scatter_against_kl(axes: Axes, records: Sequence[RunRecord], algorithms: Sequence[str]) -> None:
    for name, runs in by_algorithm(records).items():
        index = algorithms.index(name)
        points = [(run.final_kl, run.final_score) for run in runs if run.final_kl is not None]
        axes.scatter(
            [kl for kl, _ in points], [score for _, score in points], s=42, label=name, zorder=3,
            marker=MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)], edgecolors="white",
            linewidths=0.5,
        )  # fmt: skip


def _draw_band(axes: Axes, name: str, index: int, curves: Sequence[tuple[object, object]]) -> None:
    band = curve_band(curves)  # type: ignore[arg-type]
    if band is None:
        return
    colour = COLOURS[index % len(COLOURS)]
    dashes = DASHES[index // len(COLOURS) % len(DASHES)]
    # A single rollout is a point.
    marker = "o" if len(band.positions) == 1 else ""
    axes.plot(band.positions, band.middle, color=colour, linestyle=dashes, marker=marker, linewidth=1.9, label=name)
    axes.fill_between(band.positions, band.low, band.high, color=colour, alpha=0.18, linewidth=0)


def _dress(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}")
    )
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _legend_below(figure: Figure, axes: Axes, columns: int = 6) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)
