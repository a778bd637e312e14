"""What an optimiser is given where the caller says nothing."""

from typing import Any

import torch

# These can update all of a parameter's numbers in one pass over memory.
_FUSED = (torch.optim.Adam, torch.optim.AdamW)


def optimizer_settings(
    optimizer_class: type[torch.optim.Optimizer], given: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of an optimiser but the learning rate.

    Args:
        optimizer_class: The optimiser.
        given: What the caller asks for, which is returned as it is; None for an epsilon of 1e-5, and for one kernel a
            parameter where the optimiser has it.
    """
    if given is not None:
        return given
    return {"eps": 1e-5, "fused": True} if optimizer_class in _FUSED else {"eps": 1e-5}
