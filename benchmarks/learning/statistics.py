"""What holds for more than the seeds at hand: interquartile means and probabilities, with bootstrap intervals.

These are the figures of `rliable` (Agarwal et al. 2021), computed by SciPy: its version 1.2 needs `arch`, which cannot
be imported beside pandas 3.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]
RESAMPLES = 2000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A figure and its 95 % interval; the interval is None where a single run says nothing of the spread."""

    value: float
    low: float | None
    high: float | None


def interquartile_mean(scores_by_task: Sequence[FloatArray]) -> Estimate:
    """Estimate the mean of the middle half of all runs' scores.

    Args:
        scores_by_task: For each task the final score of each run. Where there are several tasks, normalise the scores
            first.

    Returns:
        The mean, with an interval from resampling the runs of each task.

    Reference:
        Agarwal et al. (2021), arXiv:2108.13264, section 4.3; stratified bootstrap in section 4.1.
    """

    def statistic(*samples: FloatArray, axis: int = -1) -> Any:
        return stats.trim_mean(np.concatenate(samples, axis=-1), 0.25, axis=-1)

    return _estimate(scores_by_task, statistic)


def probability_of_improvement(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> Estimate:
    """Estimate the probability that a run of one algorithm scores higher than a run of another, averaged over tasks.

    Args:
        first: For each task the scores of the first algorithm.
        second: For the same tasks those of the second.

    Returns:
        A probability; half of that of equal scores is counted in.

    Reference:
        Agarwal et al. (2021), arXiv:2108.13264, section 4.3.
    """
    n_tasks = len(first)

    def statistic(*samples: FloatArray, axis: int = -1) -> Any:
        pairs = zip(samples[:n_tasks], samples[n_tasks:], strict=True)
        differences = [ours[..., :, None] - theirs[..., None, :] for ours, theirs in pairs]
        return np.mean([(np.sign(one) / 2 + 0.5).mean(axis=(-2, -1)) for one in differences], axis=0)

    return _estimate([*first, *second], statistic)


class Band(NamedTuple):
    """A curve over several runs: positions, interquartile mean, and its 95 % interval; each of shape (n,)."""

    positions: FloatArray
    middle: FloatArray
    low: FloatArray
    high: FloatArray


def curve_band(curves: Sequence[tuple[FloatArray, FloatArray]], n_positions: int = 60) -> Band | None:
    """Summarise the curves of several seeds where all of them are known.

    Args:
        curves: Positions (rising) and values of each.
        n_positions: Positions of the summary.

    Returns:
        The band, without width where there is one curve; where no two positions are common to all, as for curves of
        one point, it is that of their last values, at their mean position. None where a curve has no values.
    """
    known = [(x[~np.isnan(x + y)], y[~np.isnan(x + y)]) for x, y in curves]
    if not known or any(len(x) == 0 for x, _ in known):
        return None
    start, stop = max(x[0] for x, _ in known), min(x[-1] for x, _ in known)
    if stop > start:
        positions = np.linspace(start, stop, n_positions)
        values = np.stack([np.interp(positions, x, y) for x, y in known])  # (runs, n)
    else:
        positions = np.mean([x[-1:] for x, _ in known], axis=0)
        values = np.stack([y[-1:] for _, y in known])
    middle = stats.trim_mean(values, 0.25, axis=0)
    if len(values) == 1:
        return Band(positions, middle, middle, middle)
    order = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    resampled = stats.trim_mean(values[order], 0.25, axis=1)  # (resamples, n)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Band(positions, middle, low, high)


def _estimate(samples: Sequence[FloatArray], statistic: Callable[..., Any]) -> Estimate:
    value = float(statistic(*samples))
    if any(len(sample) < 2 for sample in samples):
        return Estimate(value, None, None)
    # Each sample is resampled by itself: strata are tasks (and algorithms).
    result = stats.bootstrap(
        tuple(samples), statistic, vectorized=True, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
        method="percentile", rng=np.random.default_rng(0),
    )  # fmt: skip
    interval = result.confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))
