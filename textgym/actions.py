"""Check the actions that come in at a door, before anything happens."""

from typing import Any

import numpy as np
import numpy.typing as npt
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
    token = action
    if not isinstance(token, int | np.integer) and isinstance(token, np.ndarray | Tensor) and token.ndim == 0:
        token = token.item()
    if isinstance(token, bool) or not isinstance(token, int | np.integer):
        raise TypeError(f"The action must be one integer, a token id, got {action!r}.")
    if not 0 <= token < vocab_size:
        raise ValueError(f"The action must lie between 0 and {vocab_size - 1}, got {token}.")
    return int(token)


def read_tokens(
    actions: Any, shape: tuple[int, ...], vocab_size: int, is_read: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64] | Tensor:
    """Return a batch of actions as token ids.

    Args:
        actions: An array, a tensor or nested lists of integers.
        shape: The shape they must have.
        vocab_size: Number of tokens V.
        is_read: False for each row whose action does not count, and may be any integer; None for none, shape (B,).

    Returns:
        An array of int64, or for a tensor one on its device.

    Raises:
        TypeError: If the actions are not integers.
        ValueError: If they have another shape, or one is not between 0 and V - 1.
    """
    if isinstance(actions, Tensor):
        if actions.dtype.is_floating_point or actions.dtype.is_complex or actions.dtype == torch.bool:
            raise TypeError(f"Actions must be integers, token ids, got a tensor of {actions.dtype}.")
        tokens: Any = actions.to(torch.int64)
    else:
        array = np.asarray(actions)
        if array.dtype.kind not in "iu":
            raise TypeError(f"Actions must be integers, token ids, got {array.dtype}: {actions!r}.")
        tokens = array.astype(np.int64)
    if tokens.shape != shape:
        raise ValueError(f"Actions must have the shape {shape}, got {tuple(tokens.shape)}.")
    if _are_any_outside(tokens, vocab_size) and is_read is not None:
        is_ignored = torch.from_numpy(~is_read).to(tokens.device) if isinstance(tokens, Tensor) else ~is_read
        tokens = tokens.clone() if isinstance(tokens, Tensor) else tokens
        tokens[is_ignored] = 0
    if _are_any_outside(tokens, vocab_size):
        place = ((tokens < 0) | (tokens >= vocab_size)).nonzero()
        index = place[0].tolist() if isinstance(tokens, Tensor) else [int(axis[0]) for axis in place]
        wrong = int(tokens[tuple(index)])
        raise ValueError(f"Actions must lie between 0 and {vocab_size - 1}, got {wrong} at {index}.")
    return tokens  # type: ignore[no-any-return]


def _are_any_outside(tokens: Any, vocab_size: int) -> bool:
    """Tell whether any of at least one token is not between 0 and V - 1."""
    if isinstance(tokens, Tensor):
        return bool((tokens.min() < 0) | (tokens.max() >= vocab_size))
    unsigned = tokens.view(np.uint64)  # in which a negative number is beyond all others
    return bool(unsigned.item(unsigned.argmax()) >= vocab_size)
