"""Draw a run's progress: score and its terms, KL, entropy and length over the tokens trained on."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .logs import TOKENS_COLUMN, read_columns

TERM_PREFIX = "rollout/reward/"
DASHES = ("-", "--", "-.", ":")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by colour-blind readers, too
SCORE_COLOUR = "#222222"
PANELS = (
    ("rollout/kl", "KL to the first model", "nats per completion"),
    ("rollout/entropy", "Entropy", "nats per token"),
    ("rollout/n_tokens", "Length", "tokens per completion"),
)


def draw_curves(progress: Path, evaluation: dict[str, Any], picture: Path, title: str) -> None:
    """Draw the curves of a run.

    Args:
        progress: Its progress table, of at least one row.
        evaluation: Its figures `before` and `after`, as far as they are there; drawn as points.
        picture: The PNG file to write.
        title: Written above.
    """
    columns = read_columns(progress)
    tokens = columns[TOKENS_COLUMN]
    figure = Figure(figsize=(11, 6.5), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.7, 1))
    score_axes = figure.add_subplot(grid[:, 0])
    _draw_score(score_axes, columns, evaluation)
    shown = [panel for panel in PANELS if panel[0] in columns]
    for row, (name, heading, unit) in enumerate(shown):
        axes = figure.add_subplot(grid[row, 1], sharex=score_axes)
        axes.plot(tokens, columns[name], color=COLOURS[0], linewidth=1.6, marker=_marker(tokens), markersize=3)
        _dress(axes, heading, unit)
        if row < len(shown) - 1:
            axes.tick_params(labelbottom=False)
            axes.set_xlabel("")
    figure.align_ylabels(figure.axes[1:])
    figure.savefig(picture, dpi=130, format="png")


def _draw_score(axes: Axes, columns: dict[str, list[float]], evaluation: dict[str, Any]) -> None:
    tokens = columns[TOKENS_COLUMN]
    terms = [name for name in columns if name.startswith(TERM_PREFIX)]
    if len(terms) == 1 and np.allclose(columns[terms[0]], columns["rollout/score"], equal_nan=True):
        terms = []  # the only term is the score itself, whose line would hide its own
    for index, name in enumerate(terms):
        label = name.removeprefix(TERM_PREFIX).replace("_", " ")
        # Dashed differently, because terms often lie on one another at 0 or 1.
        axes.plot(
            tokens, columns[name], color=COLOURS[index % len(COLOURS)], linestyle=DASHES[index % len(DASHES)],
            linewidth=1.6, marker=_marker(tokens), markersize=3, label=label,
        )  # fmt: skip
    axes.plot(
        tokens, columns["rollout/score"], color=SCORE_COLOUR, linewidth=2.6, marker=_marker(tokens), markersize=4,
        label="score", zorder=3,
    )  # fmt: skip
    evaluated = [(evaluation[phase]["tokens"], evaluation[phase]["score"]) for phase in ("before", "after")
                 if phase in evaluation]  # fmt: skip
    if evaluated:
        axes.plot(
            [tokens for tokens, _ in evaluated], [score for _, score in evaluated], linestyle="none", marker="D",
            markersize=8, markerfacecolor="white", markeredgecolor=SCORE_COLOUR, markeredgewidth=1.8, zorder=4,
            clip_on=False, label="score in the evaluation",
        )  # fmt: skip
    _dress(axes, "Score and its terms" if terms else "Score", "mean over completions")
    handles, labels = axes.get_legend_handles_labels()
    # The score before its terms; outside the axes, where no curve can run beneath it.
    order = [*range(len(terms), len(labels)), *range(len(terms))]
    axes.legend(
        [handles[index] for index in order], [labels[index] for index in order],
        loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, frameon=False, fontsize=9,
    )  # fmt: skip


def _dress(axes: Axes, heading: str, unit: str) -> None:
    axes.set_title(heading, fontsize=11, loc="left")
    axes.set_xlabel("tokens generated in training", fontsize=9)
    axes.set_ylabel(unit, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _short(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"


def _marker(tokens: list[float]) -> str:
    """Mark single rollouts only while there are few of them; one rollout alone would be an invisible line."""
    return "o" if len(tokens) <= 12 else ""
