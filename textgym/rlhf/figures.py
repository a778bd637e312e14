"""The figure of a loop: true score, what the reward model foresaw, and KL, round by round."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from textgym.training.curves import COLOURS, SCORE_COLOUR

from .results import true_by_round


def draw_rounds(results: dict[str, Any]) -> Figure:
    """Draw a loop's rounds; without a true score the mean rating of what was asked takes its place, if there is one."""
    rounds = results["rounds"]
    true_scores = true_by_round(results)
    means = [(one["round"], one["judgement"]["mean_rating"]) for one in rounds]
    means = [(number, mean) for number, mean in means if mean is not None]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    *others, middle, right = figure.subplots(1, 3 if true_scores or means else 2)
    for left in others:
        if true_scores:
            draw_true_scores(left, true_scores, "true score")
            _dress(left, "True score of the policy", "round (0: before)", range(len(true_scores)))
        else:
            left.plot(*zip(*means, strict=True), marker="o", color=SCORE_COLOUR)
            _dress(left, "Mean rating of what was asked", "round", [number for number, _ in means])
    _draw_accuracy(middle, rounds)
    evaluated = [one for one in rounds if one["evaluation"] is not None]
    known = [(one["round"], one["evaluation"]["after"]["kl"]) for one in evaluated]
    known = [(number, kl) for number, kl in known if kl is not None]
    right.plot([number for number, _ in known], [kl for _, kl in known], marker="o", color=COLOURS[0])
    _dress(right, "KL to the first model, nats a completion", "round", [number for number, _ in known])
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


def _draw_accuracy(axes: Axes, rounds: Sequence[dict[str, Any]]) -> None:
    """Draw the share of pairs in the right order, of the reward model before training and of one rater."""
    drawn = (
        ("model", "pairwise_accuracy", "reward model"),
        ("rater", "pairwise_accuracy", "one rater"),
        ("comparisons", "accuracy", "reward model, comparisons"),
    )
    for index, (name, figure, label) in enumerate(drawn):
        known = [(one["round"], one["judgement"].get(name)) for one in rounds]
        points = [(number, figures[figure]) for number, figures in known if figures is not None]
        points = [(number, accuracy) for number, accuracy in points if accuracy is not None]
        if points:
            axes.plot(
                [number for number, _ in points], [accuracy for _, accuracy in points], marker="o", label=label,
                color=COLOURS[index], linestyle=("-", "--", ":")[index],
            )  # fmt: skip
            axes.legend(frameon=False, fontsize=8)
    axes.axhline(0.5, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
    _dress(axes, "Pairs in the right order, new feedback", "round", [one["round"] for one in rounds])


def _dress(axes: Axes, heading: str, label: str, ticks: Sequence[int]) -> None:
    axes.set_title(heading, fontsize=10, loc="left")
    axes.set_xlabel(label)
    axes.set_xticks(list(ticks))
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
