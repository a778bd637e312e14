"""Baselines against tables computed by hand."""

import pytest
import torch

from tests.agents.tiny import exactly
from textgym.agents.advantages import MovingAverage, group_normalized_advantages, leave_one_out_advantages

# Two groups of three: returns 1, 2, 6 and 0, 0, 3.
RETURNS = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0])


def test_leave_one_out_by_hand() -> None:
    """1 − (2 + 6) / 2, 2 − (1 + 6) / 2, 6 − (1 + 2) / 2; 0 − 3 / 2 twice, 3 − 0."""
    expected = torch.tensor([-3.0, -1.5, 4.5, -1.5, -1.5, 3.0])
    torch.testing.assert_close(leave_one_out_advantages(RETURNS, 3), expected)


def test_leave_one_out_in_pairs_is_the_difference() -> None:
    expected = torch.tensor([-1.0, 1.0, 6.0, -6.0, -3.0, 3.0])
    torch.testing.assert_close(leave_one_out_advantages(RETURNS, 2), expected)


def test_group_mean_and_standard_deviation_by_hand() -> None:
    """Means 3 and 1; squared deviations 4, 1, 9 and 1, 1, 4, so that the variances are 14 / 2 and 6 / 2."""
    expected = torch.tensor([-2.0, -1.0, 3.0, 0.0, 0.0, 0.0]) / 7**0.5
    expected[3:] = torch.tensor([-1.0, -1.0, 2.0]) / 3**0.5
    torch.testing.assert_close(group_normalized_advantages(RETURNS, 3), expected, rtol=1e-3, atol=0)


def test_a_group_that_is_all_worth_the_same_has_no_advantage() -> None:
    for advantages in (leave_one_out_advantages, group_normalized_advantages):
        assert advantages(torch.full((4,), 0.7), 4).tolist() == pytest.approx([0.0] * 4, abs=1e-6)


@pytest.mark.parametrize("size", [3, 4, 8])
@pytest.mark.parametrize("reward", [100.1, 333.3, 1000.1, -5000.3, 12345.6])
def test_rounding_of_large_rewards_is_no_advantage(reward: float, size: int) -> None:
    assert group_normalized_advantages(torch.full((size,), reward), size).tolist() == [0.0] * size


def test_a_moving_average_by_hand() -> None:
    """Its first rollout has a mean of 2; then b is 2, and 0.75 · 2 + 0.25 · 6 = 3."""
    baseline = MovingAverage(decay=0.75)
    assert baseline.advantages(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert baseline.advantages(torch.tensor([4.0, 8.0])).tolist() == [2.0, 6.0]
    assert baseline.value == 3.0
    assert baseline.advantages(torch.tensor([3.0])).tolist() == [0.0]


def test_no_completions_own_return_is_part_of_what_leave_one_out_compares_it_with() -> None:
    changed = RETURNS.clone()
    changed[1] += 10
    difference = leave_one_out_advantages(changed, 3) - leave_one_out_advantages(RETURNS, 3)
    assert difference.tolist() == [-5.0, 10.0, -5.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("advantages", [leave_one_out_advantages, group_normalized_advantages])
@pytest.mark.parametrize(
    ("group_size", "message"),
    [
        (1, "A group must have at least 2 completions of one prompt, got group_size 1."),
        (4, "Groups of 4 need a multiple of 4 completions, got 6."),
    ],
)
def test_groups_that_are_none_are_errors(advantages: object, group_size: int, message: str) -> None:
    assert callable(advantages)
    with pytest.raises(ValueError, match=exactly(message)):
        advantages(RETURNS, group_size)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_forgets_nothing_or_less_is_an_error(decay: float) -> None:
    with pytest.raises(ValueError, match=exactly(f"decay must be at least 0 and below 1, got {decay}.")):
        MovingAverage(decay)
