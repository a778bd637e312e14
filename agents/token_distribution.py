"""The distribution over tokens as Stable-Baselines3 wants it, whose KL is finite wherever its logits are."""

from typing import Self

import torch
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor
from torch.distributions import Categorical, register_kl

from .kl import exact_kl


class _TokenCategorical(Categorical):
    """A `Categorical` of logits."""


@register_kl(_TokenCategorical, _TokenCategorical)  # type: ignore[untyped-decorator]
def _kl_of_logits(one: _TokenCategorical, other: _TokenCategorical) -> Tensor:
    """Return KL(one ‖ other) from logits: PyTorch's is infinite where a token's probability is rounded to 0."""
    return exact_kl(one.logits, other.logits)


class TokenDistribution(CategoricalDistribution):
    """A `CategoricalDistribution` with a KL that a line search can go by; peaked policies have many such tokens."""

    def proba_distribution(self, action_logits: torch.Tensor) -> Self:
        """Take logits, shape (N, V)."""
        self.distribution = _TokenCategorical(logits=action_logits)
        return self
