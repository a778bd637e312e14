"""How far the policy has moved from its frozen reference: estimators, their price, and a coefficient that adapts."""

from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


def estimate_kl(log_prob: Tensor, ref_log_prob: Tensor, estimator: KLEstimator = "k1") -> Tensor:
    """Estimate KL(policy ‖ reference) at each token from the one token that was sampled.

    With r = reference / policy: k1 = −log r, unbiased and of high variance; k2 = (log r)² / 2, biased, of low
    variance; k3 = r − 1 − log r, unbiased and never negative.

    Args:
        log_prob: Log-probability of the sampled tokens under the policy, any shape.
        ref_log_prob: Likewise under the reference.
        estimator: `"k1"`, `"k2"` or `"k3"`.

    Returns:
        Nats, in the same shape.

    Raises:
        ValueError: If the estimator is unknown.

    Reference:
        Schulman (2020), http://joschu.net/blog/kl-approx.html.
    """
    log_ratio = ref_log_prob - log_prob
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    if estimator == "k3":
        return torch.expm1(log_ratio) - log_ratio
    raise ValueError(f"kl_estimator must be 'k1', 'k2' or 'k3', got {estimator!r}.")


def exact_kl(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return KL(p ‖ q) of two distributions over tokens.

    Args:
        logits: Unnormalised log-probabilities of p with finite entries, shape (N, V); a forbidden token has the least
            finite number.
        other_logits: Likewise of q, with the same tokens forbidden.

    Returns:
        Nats, shape (N,).
    """
    log_p, log_q = logits.log_softmax(dim=-1), other_logits.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


class KLController:
    """The coefficient of the KL penalty, fixed or steered towards a target.

    After each rollout of n episodes, coefficient ← coefficient · (1 + clip(KL / target − 1, −0.2, 0.2) · n / horizon)
    (Ziegler et al. 2019, arXiv:1909.08593, section 2.2, where n / horizon is the constant K).

    Args:
        coefficient: Price of one nat, at least 0.
        target: Nats a completion to aim at; None keeps the coefficient fixed.
        horizon: Episodes for which one update changes the coefficient by at most a fifth; a longer rollout counts as
            this many. Ziegler et al. use 10,000.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, coefficient: float, target: float | None = None, horizon: int = 1_000) -> None:
        if coefficient < 0:
            raise ValueError(f"kl_coef must be at least 0, got {coefficient}.")
        if target is not None and target <= 0:
            raise ValueError(f"kl_target must be above 0, got {target}.")
        if horizon < 1:
            raise ValueError(f"kl_horizon must be at least 1, got {horizon}.")
        self.coefficient = coefficient
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, n_episodes: int) -> None:
        """Adapt the coefficient to the mean KL, in nats a completion, of a rollout of `n_episodes`."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            # Without the bound, five horizons in one rollout would turn the price into a reward.
            self.coefficient *= 1 + error * min(n_episodes / self.horizon, 1)
