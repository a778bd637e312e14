"""The forward pass that scores a rollout, kept for the update after it, which begins with the same pass."""

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn

Results = tuple[Tensor, Tensor, Tensor]


class FirstPass:
    """What a policy has computed of a packed batch, with all that a backward pass needs.

    It can be taken for a new forward pass as long as no weight has changed.

    Args:
        policy: The policy.
        batch: What it evaluated.
        results: What it returned of it.
        settings: What they follow from besides weights.
    """

    def __init__(self, policy: nn.Module, batch: Mapping[str, Tensor], results: Results, settings: Hashable) -> None:
        self._weights, self._norms = _changes(policy), _norms(policy)
        self._batch, self._results, self._settings = batch, results, settings

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave it out of copies and pickles of a policy, whose weights are others."""
        return type(None), ()

    def results_for(self, policy: nn.Module, batch: object, settings: Hashable) -> Results | None:
        """Return the results, if they are those of this very batch, and weights and settings are what they were."""
        if batch is not self._batch or settings != self._settings or _changes(policy) != self._weights:
            return None
        return self._results if torch.equal(_norms(policy), self._norms) else None


def _changes(policy: nn.Module) -> list[tuple[int, int, int]]:
    """Return which weights a policy has, and how often each was changed, as far as PyTorch counts it."""
    return [(id(weight), weight.data_ptr(), weight._version) for weight in policy.parameters()]


@torch.no_grad()
def _norms(policy: nn.Module) -> Tensor:
    """Return the norm of each weight, since PyTorch does not count what is done to `weight.data`."""
    return torch.stack(torch._foreach_norm(list(policy.parameters())))
