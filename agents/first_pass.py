"""The forward pass that scores a rollout, kept for the update after it, which begins with the same pass."""

from collections.abc import Hashable, Mapping

from torch import Tensor, nn

from .weight_mark import WeightMark

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
        self._weights = WeightMark(policy)
        self._batch, self._results, self._settings = batch, results, settings

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave it out of copies and pickles of a policy, whose weights are others."""
        return type(None), ()

    def results_for(self, policy: nn.Module, batch: object, settings: Hashable) -> Results | None:
        """Return the results, if they are those of this very batch, and weights and settings are what they were."""
        is_same = batch is self._batch and settings == self._settings and self._weights.is_of(policy)
        return self._results if is_same else None
