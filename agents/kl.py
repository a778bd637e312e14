"""How far the policy has moved from its frozen reference: estimators, their price, and a coefficient that adapts."""

from typing import Literal

import torch
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


def estimate_kl(log_prob: Tensor, ref_log_prob: Tensor, estimator: KLEstimator = "k1") -> Tensor:
    """Estimate KL(policy ‖ reference) at each token from the one token that was sampled.

    With r = reference / policy: k1 = −log r, unbiased and of high variance; k2 = (log r)² / 2, biased, of low
    variance; k3 = r − 1 − log r, unbiased and never negative. Only k1 can be charged as a reward: the expectation of
    its gradient at a given token is 0, so that nothing is lost by a reward's being a constant.

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
        other_logits: Likewise of q, which forbids no token that p allows.

    Returns:
        Nats, shape (N,).
    """
    log_p, log_q = logits.log_softmax(dim=-1), other_logits.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


class KLController:
    """The coefficient of the KL penalty: fixed, a schedule, or steered towards a target.

    After each rollout of n episodes, coefficient ← coefficient · (1 + clip(KL / target − 1, −0.2, 0.2) · n / horizon)
    (Ziegler et al. 2019, arXiv:1909.08593, section 2.2, where n / horizon is the constant K).

    Args:
        coefficient: Price of one nat, at least 0, or a function that gives it for the remaining progress, from 1 to 0.
        target: Nats a completion to aim at, for a coefficient that is a number; None does not steer.
        horizon: Episodes for which one update changes the coefficient by at most a fifth; a longer rollout counts as
            this many. Ziegler et al. use 10,000.

    Raises:
        ValueError: If a number is out of range, or a target is given to a schedule or to a price of 0.
    """

    def __init__(self, coefficient: float | Schedule, target: float | None = None, horizon: int = 1_000) -> None:
        if not callable(coefficient):
            _check_price(coefficient)
        if target is not None and target <= 0:
            raise ValueError(f"kl_target must be above 0, got {target}.")
        if horizon < 1:
            raise ValueError(f"kl_horizon must be at least 1, got {horizon}.")
        self.coefficient = coefficient
        self.target = target
        self.horizon = horizon
        self._check_target()

    def price(self, progress_remaining: float) -> float:
        """Return the price of one nat, for a rollout that begins with this share of training, 1 to 0, before it."""
        self._check_target()
        if not callable(self.coefficient):
            return self.coefficient
        price = float(self.coefficient(progress_remaining))
        _check_price(price)
        return price

    def check(self, has_reference: bool) -> None:
        """Raise ValueError if there is a target that cannot be steered to."""
        self._check_target()
        if self.target is not None and not has_reference:
            raise ValueError(
                "kl_target needs a reference that KL is measured against, got reference None; leave kl_target at None."
            )

    def _check_target(self) -> None:
        # Also before each use, since a saved algorithm can be loaded with another coefficient or target.
        if self.target is not None and callable(self.coefficient):
            raise ValueError("kl_target steers a kl_coef that is a number; with a schedule leave kl_target at None.")
        if self.target is not None and self.coefficient == 0:
            raise ValueError(
                "kl_target multiplies kl_coef, which must be above 0 to begin with, got 0; give one, or leave "
                "kl_target at None."
            )

    def update(self, kl: float, n_episodes: int) -> None:
        """Adapt the coefficient to the mean KL, in nats a completion, of a rollout of `n_episodes`."""
        if self.target is not None and not callable(self.coefficient):
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            # Without the bound, five horizons in one rollout would turn the price into a reward.
            self.coefficient *= 1 + error * min(n_episodes / self.horizon, 1)


def _check_price(price: float) -> None:
    # The negation also refuses NaN.
    if not price >= 0:
        raise ValueError(f"kl_coef must be at least 0, got {price}.")
