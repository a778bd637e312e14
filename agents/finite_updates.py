"""Stop a run whose loss, gradients or weights are no longer finite, and say which term did it."""

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from . import gpu_path
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


class GradientLook:
    """A look at gradients, whose answer is on its way to the host.

    Args:
        gradients: Each with its parameter's name, at least one.
        flags: Those of `TermWatch`, of each network that has one.
        n_updates: Stable-Baselines3's count of updates.

    Attributes:
        norms: The norm of each gradient, shape (P,).
        is_spoilt: Whether any of them is NaN or infinite; it may overflow where nothing is.
    """

    def __init__(self, gradients: list[tuple[str, Tensor]], flags: list[dict[str, Tensor]], n_updates: int) -> None:
        self.n_updates = n_updates
        self._names, self._flags = [name for name, _ in gradients], flags
        self.norms = _norms([gradient for _, gradient in gradients])
        self.is_spoilt = ~self.norms.max().isfinite()
        self._answer = self.is_spoilt.to("cpu", non_blocking=True)
        self._arrival = torch.cuda.Event() if self.norms.is_cuda else None
        if self._arrival is not None:
            self._arrival.record(torch.cuda.current_stream(self.norms.device))

    def has_found(self) -> bool:
        """Tell whether a gradient is NaN or infinite; what the device was given since then is not waited for."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return bool(self._answer)

    def term(self) -> str:
        """Return what was not finite: an output or a term of the loss, else the place in the gradient."""
        terms = [name for flags in self._flags for name, is_bad in flags.items() if is_bad]
        spoilt = [name for name, norm in zip(self._names, self.norms.tolist(), strict=True) if not math.isfinite(norm)]
        # Clipping spreads one NaN over all gradients, so that its place is lost.
        place = f"the gradient of {spoilt[0]}" if len(spoilt) < len(self._names) else "the gradient"
        return terms[0] if terms else place


class FiniteUpdates(BaseAlgorithm):
    """A mixin before Stable-Baselines3's class: no step of the optimiser is taken on gradients that are not finite.

    On a GPU, fused optimisers leave such a step out by themselves, and the host hears of it one step later: it would
    wait there for the backward pass, and the GPU then for what comes next.

    Attributes:
        last_checkpoint: Where the algorithm was last saved to or loaded from.
    """

    last_checkpoint: Path | None = None
    _last_look: GradientLook | None = None
    # The optimiser whose steps are looked at; a copy of an algorithm, or a user, puts another in its place.
    _watched: weakref.ref[torch.optim.Optimizer] | None = None

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_last_look", "_watched"]

    def _setup_model(self) -> None:
        super()._setup_model()  # type: ignore[safe-super]
        self._watch_optimizer()

    def _watch_optimizer(self) -> None:
        """Look at the gradients of each step that the policy's optimiser takes from now on."""
        optimizer: torch.optim.Optimizer = self.policy.optimizer
        if self._watched is None or self._watched() is not optimizer:
            # On the optimiser rather than in `train`, so that phases are watched too that a subclass adds.
            optimizer.register_step_pre_hook(self._check_gradients)
            optimizer.register_step_post_hook(_forget_answer)
            self._watched = weakref.ref(optimizer)

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Update the policy as Stable-Baselines3 does.

        Raises:
            NonFiniteError: If a loss, a gradient or a weight is NaN or infinite.
        """
        train: Callable[..., None] = super().train  # type: ignore[misc]
        with self._looking():
            train(*args, **kwargs)
        for name, value in self.logger.name_to_value.items():
            if name.startswith("train/") and name.endswith(("loss", "objective")) and not math.isfinite(value):
                raise self._non_finite(f"{name} in the log")
        greatest_norm = float(_norms(list(self.policy.parameters())).max())
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

    def _outputs(self) -> dict[str, Tensor]:
        """Return what the network says now of something that it has just learned from, by name."""
        return {}

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._finish_look()
        names = {id(parameter): name for name, parameter in self.policy.named_parameters()}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        # Somebody may have given the optimiser more than the policy's.
        gradients = [(names.get(id(one), "another parameter"), one.grad) for one in parameters if one.grad is not None]
        if not gradients:
            return
        watches = [module.term_watch for module in self.policy.modules() if isinstance(module, LanguagePolicy)]
        look = GradientLook(gradients, [watch.flags for watch in watches], self._n_updates)
        if _leaves_steps_out(optimizer) and gpu_path.is_for_gpu(look.norms):
            optimizer.found_inf = look.is_spoilt.float()  # type: ignore[attr-defined]
            self._last_look = look
        else:
            self._raise_of(look)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Raise NonFiniteError in the end if the optimiser has left a step out, its last one included."""
        self._watch_optimizer()
        try:
            yield
            self._finish_look()
        finally:
            self._last_look = None

    def _finish_look(self) -> None:
        """Raise NonFiniteError if the optimiser has left its last step out."""
        look, self._last_look = self._last_look, None
        if look is not None:
            self._raise_of(look)

    def _raise_of(self, look: GradientLook) -> None:
        if look.has_found():
            raise self._non_finite(look.term(), look.n_updates)

    def _non_finite(self, term: str, n_updates: int | None = None) -> NonFiniteError:
        n_updates = self._n_updates if n_updates is None else n_updates
        return NonFiniteError(term, self.num_timesteps, n_updates, self.last_checkpoint)


@torch.no_grad()
def _norms(tensors: list[Tensor]) -> Tensor:
    """Return the norm of each tensor, shape (P,), NaN where it has NaN; it may overflow where nothing is infinite."""
    return torch.stack(torch._foreach_norm(tensors))


def _leaves_steps_out(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser takes no step where its `found_inf` is 1, as PyTorch's fused ones do, for `GradScaler`."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _forget_answer(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    # It belongs to one step.
    vars(optimizer).pop("found_inf", None)
