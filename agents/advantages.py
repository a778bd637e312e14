"""Advantages: how much better a token, or a whole completion, was than what was to be expected."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

# Added to a group's standard deviation, as in TRL: completions that are all worth the same teach nothing.
GROUP_EPSILON = 1e-4


class AdvantageEstimator(Protocol):
    """What estimates the advantages of whole episodes from rewards and values."""

    def __call__(self, rewards: Tensor, values: Tensor) -> Tensor:
        """Return advantages, in the shape of both arguments, (B, T), which are padded with 0 at the right."""
        ...


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Estimate advantages of whole episodes by generalized advantage estimation.

    A_t = δ_t + γλ A_{t+1},   δ_t = r_t + γ V_{t+1} − V_t,   with V = A = 0 after the end.

    Args:
        rewards: Reward of each token, padded with 0 at the right, shape (B, T).
        values: Value before each token, padded with 0 at the right, shape (B, T).
        gamma: Discount of the next value.
        gae_lambda: Trade-off between bias (0) and variance (1).

    Returns:
        Shape (B, T); padding holds 0.

    Raises:
        ValueError: If `rewards` and `values` differ in shape.

    Reference:
        Schulman et al. (2016), arXiv:1506.02438, eq. 16.
    """
    if rewards.shape != values.shape:
        raise ValueError(f"rewards and values must have one shape, got {rewards.shape} and {values.shape}.")
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * next_values - values  # (B, T)
    return _discounted_sums(deltas, gamma * gae_lambda)


def _discounted_sums(deltas: Tensor, discount: float) -> Tensor:
    """Return Σ_k discount^k δ_{t+k} at each step t, shape (B, T), in log₂ T rounds, each of which doubles the range."""
    sums, n_summed = deltas, 1
    while n_summed < deltas.shape[1]:
        following = functional.pad(sums[:, n_summed:], (0, n_summed))
        sums = sums + discount**n_summed * following
        n_summed *= 2
    return sums


def leave_one_out_advantages(returns: Tensor, group_size: int) -> Tensor:
    """Compare each completion with the mean of the others of the same prompt.

    A_i = R_i − 1 / (K − 1) Σ_{j ≠ i} R_j.   The baseline does not depend on completion i, so the gradient has no bias.

    Args:
        returns: Sum of the rewards of each completion, group by group, shape (B,).
        group_size: Completions of one prompt, K.

    Returns:
        Shape (B,).

    Raises:
        ValueError: If `group_size` is below 2 or does not divide the number of completions.

    Reference:
        Kool et al. (2019), https://openreview.net/forum?id=r1lgTGL5DE; Ahmadian et al. (2024), arXiv:2402.14740, RLOO.
    """
    groups = _groups(returns, group_size)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (group_size - 1)  # (B / K, K)
    return (groups - others).flatten()


def group_normalized_advantages(returns: Tensor, group_size: int) -> Tensor:
    """Compare each completion with its group, in units of the group's standard deviation.

    A_i = (R_i − mean R) / std R, over the K completions of one prompt, the standard deviation with K − 1 in the
    denominator.

    Args:
        returns: Sum of the rewards of each completion, group by group, shape (B,).
        group_size: Completions of one prompt, K.

    Returns:
        Shape (B,); 0 where a whole group is worth the same.

    Raises:
        ValueError: If `group_size` is below 2 or does not divide the number of completions.

    Reference:
        Shao et al. (2024), arXiv:2402.03300, section 4.1.2 (GRPO with outcome supervision).
    """
    groups = _groups(returns, group_size).double()
    # From the first, which leaves exactly 0 of equal returns: what is lost by rounding would be divided by epsilon.
    groups = groups - groups[:, :1]
    deviation = groups - groups.mean(dim=1, keepdim=True)
    return (deviation / (groups.std(dim=1, keepdim=True) + GROUP_EPSILON)).flatten().to(returns.dtype)


class MovingAverage:
    """A baseline that follows the mean return of the rollouts so far.

    A_i = R_i − b,   then   b ← decay · b + (1 − decay) · mean R.   As b is an average of earlier rollouts, the gradient
    has no bias; only the first rollout, before which there is none, is compared with its own mean.

    Args:
        decay: What is kept of the average at each rollout, from 0 to below 1.

    Attributes:
        value: b; None before the first rollout.

    Raises:
        ValueError: If `decay` is out of range.

    Reference:
        Williams (1992), Machine Learning 8, section 3 (reinforcement comparison).
    """

    def __init__(self, decay: float = 0.8) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}.")
        self.decay = decay
        self.value: float | None = None

    def advantages(self, returns: Tensor) -> Tensor:
        """Return advantages, shape (B,), of a rollout's returns, shape (B,), and take these into the average."""
        mean = float(returns.mean())
        before = mean if self.value is None else self.value
        self.value = self.decay * before + (1 - self.decay) * mean
        return returns - before


def _groups(returns: Tensor, group_size: int) -> Tensor:
    if group_size < 2:
        raise ValueError(f"A group must have at least 2 completions of one prompt, got group_size {group_size}.")
    if len(returns) % group_size:
        raise ValueError(f"Groups of {group_size} need a multiple of {group_size} completions, got {len(returns)}.")
    return returns.view(-1, group_size)
