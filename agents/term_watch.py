"""Which term of a loss was NaN or infinite: the outputs it is computed from, or the gradients that it sends back."""

from functools import partial

import torch
from torch import Tensor


class TermWatch:
    """Remembers what in a forward pass, or in the gradients that the loss sends back to it, was not finite.

    Attributes:
        flags: Whether each was spoilt, by name, in order; another dictionary for each forward pass. They stay on the
            device, so that watching waits for nothing.
    """

    def __init__(self) -> None:
        self.flags: dict[str, Tensor] = {}

    def watch(self, outputs: dict[str, Tensor], losses: dict[str, str]) -> None:
        """Forget the last forward pass and watch this one.

        Args:
            outputs: What the losses are computed from, by name.
            losses: The term of the loss that each of them leads to.
        """
        if not torch.is_grad_enabled():
            return
        self.flags = {f"the policy's {name}": is_spoilt(tensor) for name, tensor in outputs.items()}
        for name, tensor in outputs.items():
            if tensor.requires_grad:
                tensor.register_hook(partial(self._note, f"the {losses[name]}"))

    def _note(self, term: str, gradient: Tensor) -> None:
        self.flags[term] = is_spoilt(gradient)


def is_spoilt(tensor: Tensor) -> Tensor:
    """Tell whether anything in a tensor is NaN or infinite, as a tensor of no dimensions on its device."""
    return ~tensor.detach().isfinite().all()
