"""Stop a run whose loss, gradients or weights are no longer finite, and say which term did it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from .language_policy import LanguagePolicy
from .term_watch import is_spoilt


class NonFiniteError(FloatingPointError):
    """An update met NaN or infinity and was stopped before it spoiled what is saved.

    Attributes:
        term: What was not finite.
        num_timesteps: Tokens trained on until then.
        n_updates: Stable-Baselines3's count of updates until then.
        checkpoint: The last file that the algorithm was saved to or loaded from; None if there is none.
    """

    def __init__(self, term: str, num_timesteps: int, n_updates: int, checkpoint: Path | None) -> None:
        remedy = "Nothing had been saved; begin again"
        if checkpoint is not None:
            remedy = f"The last good checkpoint is {checkpoint}; go on from there"
        super().__init__(
            f"Training has stopped at step {num_timesteps:,}, after {n_updates} updates: {term} became NaN or "
            f"infinite. {remedy} with smaller steps, such as by a lower learning_rate."
        )
        self.term = term
        self.num_timesteps = num_timesteps
        self.n_updates = n_updates
        self.checkpoint = checkpoint


class FiniteUpdates(BaseAlgorithm):
    """A mixin before Stable-Baselines3's class: no step of the optimiser is taken on gradients that are not finite.

    Attributes:
        last_checkpoint: Where the algorithm was last saved to or loaded from.
    """

    last_checkpoint: Path | None = None

    def _setup_model(self) -> None:
        super()._setup_model()  # type: ignore[safe-super]
        # On the optimiser rather than in `train`, so that an algorithm's further phases are watched too.
        optimizer: torch.optim.Optimizer = self.policy.optimizer
        optimizer.register_step_pre_hook(self._check_gradients)

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Update the policy as Stable-Baselines3 does.

        Raises:
            NonFiniteError: If a loss, a gradient or a weight is NaN or infinite.
        """
        train: Callable[..., None] = super().train  # type: ignore[misc]
        train(*args, **kwargs)
        for name, value in self.logger.name_to_value.items():
            if name.startswith("train/") and name.endswith(("loss", "objective")) and not math.isfinite(value):
                raise self._non_finite(f"{name} in the log")
        greatest_norm = _greatest_norm(list(self.policy.parameters()))
        if not math.isfinite(greatest_norm):
            for name, parameter in self.policy.named_parameters():
                if is_spoilt(parameter):
                    raise self._non_finite(f"the weight {name}")
        # Weights may be finite, and so large that nothing they compute is; such ones must not be saved.
        outputs = {} if self._is_bounded(greatest_norm) else self._outputs()
        for name, tensor in outputs.items():
            if is_spoilt(tensor):
                raise self._non_finite(f"{name} after the update")

    def _is_bounded(self, greatest_norm: float) -> bool:
        """Tell whether weights with norms up to this one give nothing but finite outputs, so that none is looked at."""
        return False

    def _outputs(self) -> dict[str, torch.Tensor]:
        """Return what the network says now of something that it has just learned from, by name."""
        return {}

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if math.isfinite(_greatest_norm(gradients)):
            return
        named = self.policy.named_parameters()
        spoilt = [name for name, one in named if one.grad is not None and is_spoilt(one.grad)]
        # Clipping spreads one NaN over all gradients, so that its place is lost.
        place = f"the gradient of {spoilt[0]}" if 0 < len(spoilt) < len(gradients) else "the gradient"
        watches = [module.term_watch for module in self.policy.modules() if isinstance(module, LanguagePolicy)]
        raise self._non_finite(next(filter(None, (watch.found() for watch in watches)), place))

    def _non_finite(self, term: str) -> NonFiniteError:
        n_updates: int = self._n_updates
        return NonFiniteError(term, self.num_timesteps, n_updates, self.last_checkpoint)


@torch.no_grad()
def _greatest_norm(tensors: list[torch.Tensor]) -> float:
    """Return the greatest norm of any tensor, NaN where one has NaN; it may overflow where nothing is infinite."""
    return float(torch.stack(torch._foreach_norm(tensors)).max()) if tensors else 0.0
