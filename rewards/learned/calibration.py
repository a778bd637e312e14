"""Whether predictions can be taken at their word: predicted against observed, bin by bin, as figures and a picture."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]
N_BINS = 10


class ReliabilityBin(NamedTuple):
    """Predictions that lie close to one another.

    Attributes:
        predicted: Their mean.
        observed: Mean of what was really so.
        size: How many they are.
    """

    predicted: float
    observed: float
    size: int


class Calibration(NamedTuple):
    """Predicted against observed.

    Attributes:
        quantity: What was predicted: "rating", "probability of the class", "probability of the preference".
        bins: In the order of the predictions, with as nearly as possible equal counts.
        error: Mean distance of predicted from observed over bins, weighted by count, in the unit of the quantity.
    """

    quantity: str
    bins: tuple[ReliabilityBin, ...]
    error: float


class Predictions(NamedTuple):
    """What a model predicts, beside what people said.

    Attributes:
        predicted: Shape (N,), N at least 1.
        observed: Shape (N,).
        quantity: What is predicted.
    """

    predicted: Numbers
    observed: Numbers
    quantity: str


def calibrate(predicted: Numbers, observed: Numbers, quantity: str, n_bins: int = N_BINS) -> Calibration:
    """Sort predictions into bins of equal count and compare them with what was observed.

    Equal predictions stay in one bin, so that there may be fewer bins than asked for.

    Args:
        predicted: Shape (N,), N at least 1.
        observed: Shape (N,).
        quantity: What is predicted.
        n_bins: Most bins.

    Reference:
        Guo et al. (2017), arXiv:1706.04599, eq. 3 (there with bins of equal width).
    """
    order = np.argsort(predicted, kind="stable")
    predicted, observed = predicted[order].astype(float), observed[order].astype(float)
    starts = np.unique(np.searchsorted(predicted, predicted[np.arange(n_bins) * len(predicted) // n_bins]))
    bins = tuple(
        ReliabilityBin(float(these.mean()), float(those.mean()), len(these))
        for these, those in zip(np.split(predicted, starts[1:]), np.split(observed, starts[1:]), strict=True)
    )
    error = sum(one.size * abs(one.predicted - one.observed) for one in bins) / len(predicted)
    return Calibration(quantity, bins, error)


def predicted_ratings(predicted: Numbers, ratings: Numbers) -> Predictions:
    """Return predicted ratings beside ratings, both of shape (N,)."""
    return Predictions(predicted, ratings, "rating")


def predicted_classes(probabilities: Numbers, classes: npt.NDArray[np.int64]) -> Predictions:
    """Return the probabilities of all classes, shape (N, K), beside which class it was, shape (N,)."""
    is_class = np.arange(probabilities.shape[1]) == classes[:, None]
    return Predictions(probabilities.ravel(), is_class.ravel().astype(float), "probability of the class")


def predicted_preferences(differences: Numbers) -> Predictions:
    """Return σ(r_chosen − r_rejected), shape (N,), beside what was preferred; each pair counts in both directions."""
    both = np.concatenate([differences, -differences]).astype(float)
    was_chosen = np.repeat([1.0, 0.0], len(differences))
    return Predictions(0.5 * (1 + np.tanh(both / 2)), was_chosen, "probability of the preference")


def draw_reliability(calibration: Calibration, picture: Path, title: str) -> None:
    """Draw the reliability diagram: predicted against observed, the diagonal, and the counts below.

    Args:
        calibration: What to draw.
        picture: The PNG file to write.
        title: Written above.
    """
    from matplotlib.figure import Figure

    predicted = [one.predicted for one in calibration.bins]
    observed = [one.observed for one in calibration.bins]
    figure = Figure(figsize=(5, 5), layout="constrained", facecolor="white")
    axes = figure.subplots()
    ends = [min(*predicted, *observed), max(*predicted, *observed)]
    axes.plot(ends, ends, color="#999999", linestyle="--", linewidth=1, label="as predicted")
    sizes = [20 + 160 * one.size / max(one.size for one in calibration.bins) for one in calibration.bins]
    axes.plot(predicted, observed, color="#0072B2", linewidth=1.6)
    axes.scatter(predicted, observed, s=sizes, color="#0072B2", label="bins; area grows with their count")
    axes.set_xlabel(f"predicted {calibration.quantity}")
    axes.set_ylabel(f"observed {calibration.quantity.replace('probability', 'share')}")
    axes.set_title(f"{title}\nmean distance {calibration.error:.3f}", fontsize=11, loc="left")
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130, format="png")
