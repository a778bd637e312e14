"""Products of few rows with a large matrix on the CPU, which is laid out once in the order in which they read it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .cpu_step import MOST_ROWS, PackedMatrix, cpu_step

Product = Callable[[Tensor], Tensor]
# A smaller matrix gains less than a call of oneDNN costs more.
MIN_ENTRIES = 1 << 17
# oneDNN compiles a product for each number of rows that comes, and never gives all of that memory back: a MB each, and
# several once there are more than a thousand. So rows are filled up to few numbers, and many rows go the general way.
LEAST_STEP = 8


def few_rows_product(matrix: Tensor, bias: Tensor | None, n_rows: int, *, has_gelu: bool = False) -> Product:
    """Return a function that multiplies rows by a matrix.

    One generated token a row makes a product that does little with each entry that it reads. With a matrix that lies as
    it is read the product is up to twice as fast, and gains more from a second thread. It is ours, in C, where there is
    a C compiler, and else oneDNN's, which applies GELU while the results are at hand.

    Args:
        matrix: Shape (D, D'). It may be copied, and must not be changed as long as the function is used.
        bias: Added to each row, shape (D',), or None.
        n_rows: About how many rows will be given at a time; any number works, many of them as with any matrix.
        has_gelu: Whether GPT-2's activation function, the tanh approximation of GELU, follows.

    Returns:
        A function of rows, shape (N, D), that returns shape (N, D'), without gradients.
    """
    matrix = matrix.detach()
    bias = None if bias is None else bias.detach()
    on_cpu = None if has_gelu else cpu_step(matrix.device, matrix.dtype)
    if on_cpu is not None:
        return PackedMatrix(on_cpu, matrix, bias)

    def general(rows: Tensor) -> Tensor:
        if has_gelu and bias is not None and rows.is_cuda:
            # One kernel, where GELU would read and write the product once more.
            return torch._addmm_activation(bias, rows, matrix, use_gelu=True)
        product = rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)
        return functional.gelu(product, approximate="tanh") if has_gelu else product

    if matrix.numel() < MIN_ENTRIES or not _has_layouts(matrix):
        return general
    packed = torch.ops.mkldnn._reorder_linear_weight(matrix.t().contiguous(), n_rows)
    then, algorithm = ("gelu", "tanh") if has_gelu else ("none", "")

    def in_its_layout(rows: Tensor) -> Tensor:
        n_given = len(rows)
        if n_given > MOST_ROWS:
            return general(rows)
        # Eight numbers from each power of two to the next, so that at most an eighth is added to more than a few rows.
        n_missing = -n_given % max(LEAST_STEP, 1 << (n_given - 1).bit_length() >> 4)
        if n_missing:
            rows = functional.pad(rows, (0, 0, 0, n_missing))
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, then, [], algorithm)
        return product[:n_given] if n_missing else product

    return in_its_layout


def _has_layouts(matrix: Tensor) -> bool:
    is_usual = matrix.device.type == "cpu" and matrix.dtype == torch.float32
    return is_usual and bool(torch.backends.mkldnn.enabled) and torch.backends.mkldnn.is_available()
