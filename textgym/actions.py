"""Check the actions that come in at a door, before anything happens."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_token(action: Any, vocab_size: int) -> int:
    """Return an action as a token id.

    Args:
        action: An integer, or an array or tensor that holds nothing but one integer.
        vocab_size: Number of tokens V.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is not between 0 and V - 1.
    """
    token = action.item() if isinstance(action, np.ndarray | Tensor) and action.ndim == 0 else action
    if isinstance(token, bool) or not isinstance(token, int | np.integer):
        raise TypeError(f"The action must be one integer, a token id, got {action!r}.")
    if not 0 <= token < vocab_size:
        raise ValueError(f"The action must lie between 0 and {vocab_size - 1}, got {token}.")
    return int(token)


def read_tokens(actions: Any, shape: tuple[int, ...], vocab_size: int, device: torch.device) -> Tensor:
    """Return a batch of actions as token ids on a device.

    Args:
        actions: An array, a tensor or nested lists of integers.
        shape: The shape they must have.
        vocab_size: Number of tokens V.
        device: Where the tensor goes.

    Returns:
        An int64 tensor.

    Raises:
        TypeError: If the actions are not integers.
        ValueError: If they have another shape, or one is not between 0 and V - 1.
    """
    if isinstance(actions, Tensor):
        if actions.dtype.is_floating_point or actions.dtype.is_complex or actions.dtype == torch.bool:
            raise TypeError(f"Actions must be integers, token ids, got a tensor of {actions.dtype}.")
        tokens = actions.to(device, torch.int64)
    else:
        array = np.asarray(actions)
        if array.dtype.kind not in "iu":
            raise TypeError(f"Actions must be integers, token ids, got {array.dtype}: {actions!r}.")
        tokens = torch.from_numpy(array.astype(np.int64))
    if tokens.shape != shape:
        raise ValueError(f"Actions must have the shape {shape}, got {tuple(tokens.shape)}.")
    low, high = torch.aminmax(tokens)
    if low < 0 or high >= vocab_size:
        wrong = int(low if low < 0 else high)
        place = [int(index) for index in (tokens == wrong).nonzero()[0]]
        raise ValueError(f"Actions must lie between 0 and {vocab_size - 1}, got {wrong} at {place}.")
    return tokens.to(device)
