"""Sums of rows that lie at equal distances, in one kernel: what `spread_rows` sends back on a GPU."""

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS_PER_PROGRAM = 1024


def sums_of_rows(rows: Tensor, first: Tensor, counts: Tensor, distance: int) -> Tensor:
    """Add up rows, in float32, each sum in the order of its rows.

    Args:
        rows: Contiguous, shape (M, W).
        first: Which is the first row of each sum, shape (N,).
        counts: How many rows each sum has, at least one, shape (N,).
        distance: From each row of a sum to the next one.

    Returns:
        In the precision of `rows`, shape (N, W).
    """
    n_sums, width = len(first), rows.shape[1]
    sums = torch.empty((n_sums, width), dtype=rows.dtype, device=rows.device)
    # Triton launches on the current device, whichever that of the tensors is.
    with torch.cuda.device_of(rows):
        _sums_of_rows[(n_sums, triton.cdiv(width, COLUMNS_PER_PROGRAM))](
            rows, first.contiguous(), counts.contiguous(), sums, distance, width, block=COLUMNS_PER_PROGRAM
        )
    return sums


@triton.jit
def _sums_of_rows(rows, first, counts, sums, distance, width, block: tl.constexpr):
    number = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    is_inside = columns < width
    row = tl.load(first + number)
    total = tl.zeros((block,), dtype=tl.float32)
    for place in range(tl.load(counts + number).to(tl.int32)):
        entries = (row + place * distance) * width + columns
        total += tl.load(rows + entries, mask=is_inside, other=0.0).to(tl.float32)
    tl.store(sums + number * width + columns, total.to(sums.dtype.element_ty), mask=is_inside)
