"""Ratings made discrete: bad, fair and good."""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Literal

import numpy as np
import numpy.typing as npt

from textgym.rewards.arguments import check_choice

CLASS_NAMES = ("bad", "fair", "good")
ClassWeight = Literal["balanced"]


class RatingClasses:
    """Classes of ratings: below the first boundary bad, from there on fair, from the second on good.

    >>> RatingClasses((-1.0, 1.0)).classify([-3, -1, 0.5, 2])
    array([0, 1, 1, 2])

    Args:
        boundaries: Two numbers on the scale of the ratings, the lower first.

    Raises:
        ValueError: If there are not two, they are not finite, or they do not rise.
        TypeError: If they are no numbers.
    """

    def __init__(self, boundaries: Sequence[float]) -> None:
        expected = "boundaries must be two finite numbers, between bad, fair and good"
        if not isinstance(boundaries, Iterable) or not all(isinstance(one, Real) for one in boundaries):
            raise TypeError(f"{expected}, such as [2, 4], got {boundaries!r}.")
        self.boundaries = tuple(float(one) for one in boundaries)
        if len(self.boundaries) != 2 or not np.isfinite(self.boundaries).all():
            raise ValueError(f"{expected}, got {boundaries!r}.")
        if self.boundaries[0] >= self.boundaries[1]:
            raise ValueError(f"The first of the boundaries must be below the second, got {boundaries!r}.")

    @classmethod
    def of_thirds(cls, ratings: Sequence[float]) -> "RatingClasses":
        """Return the classes that split these ratings into thirds.

        Raises:
            ValueError: If more than a third of the ratings are equal, so that this cannot be done.
        """
        low, high = np.quantile(np.asarray(ratings, dtype=float), [1 / 3, 2 / 3])
        if low >= high:
            raise ValueError(
                f"These ratings cannot be split into thirds, since more than a third of them are {low:g}; "
                "give boundaries, such as [2, 4]."
            )
        return cls((low, high))

    def classify(self, ratings: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return each rating's class: 0 bad, 1 fair, 2 good; shape (N,)."""
        return np.searchsorted(self.boundaries, np.asarray(ratings, dtype=float), side="right").astype(np.int64)


def check_class_weight(class_weight: object) -> None:
    """Check the name of a way to weigh classes; ValueError with the nearest match where there is none such."""
    check_choice("class_weight", class_weight, ("balanced", None))


def item_weights(
    classes: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], class_weight: ClassWeight | None
) -> npt.NDArray[np.float64]:
    """Return items' weights with those of their classes in them.

    Args:
        classes: Class of each item, shape (N,).
        weights: Each item's own weight, shape (N,).
        class_weight: "balanced" gives every class that occurs the same total weight; None changes nothing.
    """
    if class_weight is None:
        return weights
    totals = np.bincount(classes, weights=weights, minlength=len(CLASS_NAMES))
    n_present = np.count_nonzero(totals)
    factors = np.divide(weights.sum() / n_present, totals, out=np.zeros_like(totals), where=totals > 0)
    balanced: npt.NDArray[np.float64] = weights * factors[classes]
    return balanced
