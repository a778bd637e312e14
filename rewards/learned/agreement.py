"""How well scores agree with ratings, and how well one rater agrees with the others: the human ceiling."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from textgym.rewards.arguments import check_number

from .feedback import Rating, require_rating_list

Numbers = npt.NDArray[np.floating[Any]]
ROWS_AT_A_TIME = 512  # bounds the memory of the comparison of all pairs


class Agreement(NamedTuple):
    """Agreement of two lists of numbers; a figure is None where it is undefined.

    Attributes:
        pearson: Pearson's correlation, −1 to 1; None where one list is constant.
        spearman: Spearman's rank correlation, likewise.
        pairwise_accuracy: Share of pairs that both put in the same order; None where there are no pairs.
        n_pairs: Pairs that were compared.
    """

    pearson: float | None
    spearman: float | None
    pairwise_accuracy: float | None
    n_pairs: int


def measure_agreement(scores: Numbers, ratings: Numbers, min_gap: float) -> Agreement:
    """Measure how well scores agree with ratings, both of shape (N,).

    Args:
        scores: What a model says.
        ratings: What people say.
        min_gap: Pairs count whose ratings differ by more than this.
    """
    accuracy, n_pairs = pairwise_accuracy(scores, ratings, min_gap)
    return Agreement(pearson(scores, ratings), pearson(ranks(scores), ranks(ratings)), accuracy, n_pairs)


def are_equal(values: Numbers) -> bool:
    """Tell whether numbers, shape (N,), are equal up to a billionth of the greatest, or of 1 if that is less.

    So far apart rounding may bring equal ones, whose standard deviation is then above 0. True of none, and of NaN.

    >>> are_equal(np.full(3, 0.1)), float(np.full(3, 0.1).std()) > 0
    (True, True)
    """
    return not len(values) or not np.ptp(values) > 1e-9 * max(1.0, np.abs(values).max())


def pearson(one: Numbers, other: Numbers) -> float | None:
    """Return Pearson's correlation of two lists of shape (N,); None where one is constant, up to rounding.

    >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.5])).__round__(4)
    0.9979
    """
    if are_equal(one) or are_equal(other):
        return None
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other) / float(np.sqrt((one @ one) * (other @ other)))


def ranks(values: Numbers) -> Numbers:
    """Return each value's rank from 0; equal values share the mean of their ranks.

    >>> ranks(np.array([0.5, 3.0, 0.5]))
    array([0.5, 2. , 0.5])
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks: Numbers = (ends - counts + ends - 1) / 2
    return mean_ranks[inverse]


def pairwise_accuracy(scores: Numbers, ratings: Numbers, min_gap: float) -> tuple[float | None, int]:
    """Return the share of pairs that scores put in the order of the ratings, and the number of pairs.

    Equal scores count half.

    Args:
        scores: Shape (N,).
        ratings: Shape (N,).
        min_gap: Pairs count whose ratings differ by more than this.
    """
    right, n_pairs = 0.0, 0
    for start in range(0, len(scores), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        is_above = ratings[rows, None] - ratings[None] > min_gap
        difference = (scores[rows, None] - scores[None])[is_above]
        right += float((difference > 0).sum()) + 0.5 * float((difference == 0).sum())
        n_pairs += len(difference)
    return (right / n_pairs if n_pairs else None), n_pairs


def human_ceiling(ratings: Sequence[Rating], min_gap: float) -> Agreement | None:
    """Return how well one rater agrees with the mean of the others: what a model can be compared with.

    The first rater of each completion is compared with its other raters, then the second, and so on as far as each
    completion has one; the figures are means over these comparisons.

    Args:
        ratings: Those by at least two people are used.
        min_gap: Pairs count whose ratings (of the others) differ by more than this.

    Returns:
        None where fewer than two completions were rated by several people.

    Raises:
        TypeError: If these are no ratings.
    """
    require_rating_list(ratings)
    check_number("min_gap", min_gap, least=0)
    numbers = [np.array(one.ratings) for one in ratings if len(one.ratings) > 1]
    if len(numbers) < 2:
        return None
    found = []
    for rater in range(min(map(len, numbers))):
        alone = np.array([one[rater] for one in numbers])
        others = np.array([(one.sum() - one[rater]) / (len(one) - 1) for one in numbers])
        found.append(measure_agreement(alone, others, min_gap))
    return Agreement(
        _mean([one.pearson for one in found]),
        _mean([one.spearman for one in found]),
        _mean([one.pairwise_accuracy for one in found]),
        round(sum(one.n_pairs for one in found) / len(found)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
