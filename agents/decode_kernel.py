"""Attention of one new token a row on a GPU, in one kernel that reads no further than each row is long.

PyTorch's attention needs one mask for rows of different lengths and reads the whole cache under it, the places that
nothing stands at included, and keys and values have to be written into the cache by kernels of their own. Nor does it
know which rows begin alike: what the completions of a prompt read of it in one row comes from memory once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Cached positions that a program works on at a time, and warps that it has.
POSITIONS_PER_BLOCK = 32
WARPS = 1


def append_and_attend(
    joined: Tensor, keys: Tensor, values: Tensor, positions: Tensor, lenders: Tensor, n_borrowed: Tensor
) -> Tensor:
    """Append one token to each cached row, and let it attend to the row up to itself.

    Args:
        joined: Query, key and value of each row's new token, shape (B, 3, H, W), W a power of two.
        keys: Cached keys, contiguous, shape (B, H, C, W); the new ones are written into them.
        values: Cached values, likewise.
        positions: Where in its row each new token stands, below C, shape (B,).
        lenders: The row that each row's first positions are read from, where they are the same, shape (B,).
        n_borrowed: How many these are, at most `positions`, shape (B,).

    Returns:
        What each head attends to, shape (B, H W), in the precision of `joined`.
    """
    n_rows, _, n_heads, width = joined.shape
    attended = torch.empty((n_rows, n_heads * width), dtype=joined.dtype, device=joined.device)
    # Triton launches on the current device, whichever that of the tensors is.
    with torch.cuda.device_of(joined):
        _append_and_attend[(n_rows, n_heads)](
            joined.contiguous(),
            keys,
            values,
            positions.contiguous(),
            lenders,
            n_borrowed,
            attended,
            keys.shape[2],
            width**-0.5,
            n_heads=n_heads,
            width=width,
            block=POSITIONS_PER_BLOCK,
            num_warps=WARPS,
        )
    return attended


@triton.jit
def _append_and_attend(
    joined,
    keys,
    values,
    positions,
    lenders,
    n_borrowed,
    attended,
    context_length,
    scale,
    n_heads: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
):
    """Work on one head of one row, by a running maximum and sums (Milakov and Gimelshein 2018, arXiv:1805.02867)."""
    row, head = tl.program_id(0), tl.program_id(1)
    position = tl.load(positions + row).to(tl.int32)
    columns = tl.arange(0, width)
    new = joined + (row * 3 * n_heads + head) * width + columns
    query = tl.load(new).to(tl.float32) * scale
    new_key = tl.load(new + n_heads * width)
    new_value = tl.load(new + 2 * n_heads * width)
    lender, first_own = tl.load(lenders + row), tl.load(n_borrowed + row).to(tl.int32)
    start = (row * n_heads + head).to(tl.int64) * context_length * width
    tl.store(keys + start + position * width + columns, new_key)
    tl.store(values + start + position * width + columns, new_value)
    # The token itself, which is not read again.
    greatest = tl.sum(query * new_key.to(tl.float32), axis=0)
    total = 1.0
    weighted = new_value.to(tl.float32)
    for first in range(0, position, block):
        places = first + tl.arange(0, block)
        is_earlier = places < position
        rows = tl.where(places < first_own, lender, row.to(tl.int64))
        places_of_all = (rows * n_heads + head) * context_length + places
        entries = places_of_all[:, None] * width + columns[None, :]
        block_keys = tl.load(keys + entries, mask=is_earlier[:, None], other=0.0)
        block_values = tl.load(values + entries, mask=is_earlier[:, None], other=0.0)
        scores = tl.sum(block_keys.to(tl.float32) * query[None, :], axis=1)
        scores = tl.where(is_earlier, scores, float("-inf"))
        new_greatest = tl.maximum(greatest, tl.max(scores, axis=0))
        kept = tl.exp(greatest - new_greatest)
        weights = tl.exp(scores - new_greatest)
        total = total * kept + tl.sum(weights, axis=0)
        weighted = weighted * kept + tl.sum(weights[:, None] * block_values.to(tl.float32), axis=0)
        greatest = new_greatest
    tl.store(attended + (row * n_heads + head) * width + columns, (weighted / total).to(new_value.dtype))
