"""Interquartile means, probabilities of improvement and bands, by hand and by a second way."""

import numpy as np
import pytest
from scipy import stats

from textgym.benchmarks.learning.statistics import curve_band, interquartile_mean, probability_of_improvement


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    estimate = interquartile_mean([np.array([0.0, 1.0, 2.0, 100.0]), np.array([-50.0, 3.0, 4.0, 5.0])])
    assert estimate.value == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < estimate.value < estimate.high


def test_runs_are_resampled_within_their_task_alone() -> None:
    """Each task's runs are alike: no resample within tasks changes anything, one across them would."""
    estimate = interquartile_mean([np.full(4, 0.2), np.full(4, 0.6)])
    assert estimate == pytest.approx((0.4, 0.4, 0.4))


def test_the_interval_is_that_of_a_bootstrap_by_hand() -> None:
    scores = np.random.default_rng(1).random(12)
    estimate = interquartile_mean([scores])
    draws = np.random.default_rng(2).choice(scores, size=(20_000, 12))
    low, high = np.quantile(stats.trim_mean(draws, 0.25, axis=1), [0.025, 0.975])
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.02)


def test_a_single_run_has_no_interval() -> None:
    assert interquartile_mean([np.array([0.5])]) == (0.5, None, None)


def test_the_probability_of_improvement_counts_pairs_and_half_of_ties() -> None:
    first, second = np.array([1.0, 3.0]), np.array([1.0, 2.0])
    # 1 > 1: a tie, 1 > 2: no, 3 > 1 and 3 > 2: yes.
    assert probability_of_improvement([first], [second]).value == pytest.approx(2.5 / 4)
    assert probability_of_improvement([first, second], [second, second]).value == pytest.approx((2.5 / 4 + 0.5) / 2)
    u, _ = stats.mannwhitneyu(first, second)
    assert probability_of_improvement([first], [second]).value == pytest.approx(u / 4)
    certain = probability_of_improvement([second + 5], [second])
    assert certain == pytest.approx((1.0, 1.0, 1.0))


def test_a_band_covers_what_all_curves_know() -> None:
    line = np.arange(11.0)
    band = curve_band([(line, line), (line[2:], line[2:] + 1), (line, np.where(line < 1, np.nan, line + 2))], 5)
    assert band is not None
    assert band.positions.tolist() == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert band.middle == pytest.approx(band.positions + 1)
    assert (band.low < band.middle).all()
    assert (band.high > band.middle).all()


def test_one_curve_is_a_band_without_width_and_none_is_none() -> None:
    line = np.arange(3.0)
    band = curve_band([(line, line)], 3)
    assert band is not None
    assert band.low.tolist() == band.high.tolist() == [0.0, 1.0, 2.0]
    assert curve_band([]) is None
    assert curve_band([(line, np.full(3, np.nan))]) is None


def test_curves_of_one_point_and_curves_that_do_not_overlap_are_summed_up_by_their_last_values() -> None:
    band = curve_band([(np.array([1.0]), np.array([0.2])), (np.array([3.0]), np.array([0.6]))])
    assert band is not None
    assert (band.positions.tolist(), band.middle.tolist()) == ([2.0], [pytest.approx(0.4)])
    assert band.low[0] < band.middle[0] < band.high[0]
    line = np.arange(3.0)
    apart = curve_band([(line, line), (line + 5, line)])
    assert apart is not None
    assert (apart.positions.tolist(), apart.middle.tolist()) == ([4.5], [2.0])
