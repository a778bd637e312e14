"""Apply a function with one number a decision out of a whole vocabulary, without holding all logits at once."""

from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_chunks(
    function: Callable[..., tuple[Tensor, ...]], rows_per_chunk: int, *arguments: Tensor | None
) -> tuple[Tensor, ...]:
    """Apply a function to a few rows at a time; what it keeps for the backward pass is computed again there.

    Args:
        function: Takes as many rows of each argument, and returns tensors with one entry a row.
        rows_per_chunk: Rows that are given at once; where there are no more than these, nothing is computed twice.
        *arguments: Tensors of N rows each, the first of them at least; None is passed on.

    Returns:
        The results of all rows, in order.
    """
    rows = arguments[0]
    if rows is None or len(rows) <= rows_per_chunk:
        return function(*arguments)
    chunks = zip(*(repeat(None) if one is None else one.split(rows_per_chunk) for one in arguments), strict=False)
    parts = [checkpoint(function, *chunk, use_reentrant=False) for chunk in chunks]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))
