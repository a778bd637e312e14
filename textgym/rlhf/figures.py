"""The figure of a loop: true score, what the reward model foresaw, and KL, round by round."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from textgym.training.curves import COLOURS, SCORE_COLOUR

from .results import Points, accuracies_by_round, known_by_round, true_by_round

PANEL_WIDTH, PANEL_HEIGHT = 3.7, 3.4


def draw_rounds(results: dict[str, Any]) -> Figure | None:
    """Draw a loop's rounds, a panel for each figure that is known of any round; None where none is.

    Without a true score the mean rating of what was asked takes its place, if there is one.
    """
    rounds = results["rounds"]
    panels: list[Callable[[Axes], None]] = []
    if true_by_round(results):
        panels.append(partial(_draw_true_score, true_by_round(results)))
    elif means := known_by_round(rounds, "judgement", "mean_rating"):
        panels.append(partial(_draw_mean_ratings, means, rounds))
    if accuracies := accuracies_by_round(results):
        panels.append(partial(_draw_accuracies, accuracies))
    if kl := known_by_round(rounds, "evaluation", "after", "kl"):
        before = known_by_round(rounds[:1], "evaluation", "before", "kl")
        panels.append(partial(_draw_kl, [*((number - 1, value) for number, value in before), *kl]))
    if not panels:
        return None
    figure = Figure(figsize=(PANEL_WIDTH * len(panels), PANEL_HEIGHT), layout="constrained")
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
    return figure


def draw_true_scores(
    axes: Axes,
    scores: Sequence[tuple[float, float | None]],
    label: str,
    *,
    places: Sequence[float] | None = None,
    colour: str = SCORE_COLOUR,
) -> None:
    """Draw scores, the first of them before all rounds, with bars of two standard errors; by round, or at `places`."""
    at = range(len(scores)) if places is None else places
    errors = [2 * (error or 0.0) for _, error in scores]
    axes.errorbar(at, [score for score, _ in scores], yerr=errors, marker="o", color=colour, capsize=3, label=label)


def _draw_true_score(scores: Sequence[tuple[float, float | None]], axes: Axes) -> None:
    draw_true_scores(axes, scores, "true score")
    _dress(axes, "True score of the policy", "round (0: before)", range(len(scores)))


def _draw_mean_ratings(means: Points, rounds: Sequence[dict[str, Any]], axes: Axes) -> None:
    """Draw mean ratings on the scale of what was given, since the dots alone would fill any axis."""
    axes.plot(*zip(*means, strict=True), marker="o", color=SCORE_COLOUR)
    given = [end for one in rounds for end in one["judgement"].get("rating_range") or ()]
    if given and min(given) < max(given):
        margin = 0.05 * (max(given) - min(given))
        axes.set_ylim(min(given) - margin, max(given) + margin)
    _dress(axes, "Mean rating of what was asked", "round", [number for number, _ in means])


def _draw_accuracies(accuracies: dict[str, Points], axes: Axes) -> None:
    styles = {"reward model": "-", "one rater": "--", "reward model, comparisons": ":"}
    for colour, (label, style) in zip(COLOURS, styles.items(), strict=False):
        if label in accuracies:
            axes.plot(*zip(*accuracies[label], strict=True), marker="o", label=label, color=colour, linestyle=style)
    axes.legend(frameon=False, fontsize=8)
    axes.axhline(0.5, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
    lowest = min(value for points in accuracies.values() for _, value in points)
    axes.set_ylim(min(0.4, lowest - 0.05), 1.02)
    numbers = sorted({number for points in accuracies.values() for number, _ in points})
    _dress(axes, "Pairs in the right order, new feedback", "round", numbers)


def _draw_kl(kl: Points, axes: Axes) -> None:
    axes.plot(*zip(*kl, strict=True), marker="o", color=COLOURS[0])
    _dress(axes, "KL to the first model, nats a completion", "round (0: before)", [number for number, _ in kl])


def _dress(axes: Axes, heading: str, label: str, ticks: Sequence[int]) -> None:
    axes.set_title(heading, fontsize=10, loc="left")
    axes.set_xlabel(label)
    axes.set_xticks(list(ticks))
    # A single round stands in the middle.
    axes.set_xlim(ticks[0] - 0.5, ticks[-1] + 0.5)
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
