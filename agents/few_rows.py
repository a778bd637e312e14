"""Products of few rows with a large matrix on the CPU, which is laid out once in the order in which they read it."""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .cpu_step import MOST_LANES, MOST_TILE_ROWS, CPUStep, as_plain, cpu_step, new_array

Product = Callable[[Tensor], Tensor]
# A smaller matrix gains less than a call of oneDNN costs more.
MIN_ENTRIES = 1 << 17
# oneDNN compiles a product for each number of rows that comes, and never gives all of that memory back: a MB each, and
# several once there are more than a thousand. So rows are filled up to few numbers, and many rows go the general way.
LEAST_STEP = 8
# Beyond so many rows a general product, which reads them less often, is the faster one.
MOST_ROWS = 512


class Matrix(ctypes.Structure):
    """`struct matrix` of `decode_step.c`."""

    _fields_ = [
        ("packed", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("n_inputs", ctypes.c_int64),
        ("n_outputs", ctypes.c_int64),
    ]


class PackedMatrix:
    """A matrix in the order in which a product of few rows reads it; later changes of the matrix need not count.

    Called with rows, shape (N, D), it returns their product, shape (N, D'). That of many rows goes the general way.

    Args:
        functions: Written in C.
        matrix: Shape (D, D').
        bias: Added to each row, shape (D',), or None.
    """

    def __init__(self, functions: CPUStep, matrix: Tensor, bias: Tensor | None) -> None:
        n_inputs, self.n_outputs = matrix.shape
        self._library = functions.library
        self._packed = new_array(n_inputs * (self.n_outputs + -self.n_outputs % MOST_LANES))
        self._matrix, self._bias = matrix, None if bias is None else as_plain(bias)
        self._library.pack(matrix.data_ptr(), self._packed.data_ptr(), *matrix.shape, *matrix.stride())
        bias_pointer = None if self._bias is None else self._bias.data_ptr()
        self.structure = Matrix(self._packed.data_ptr(), bias_pointer, n_inputs, self.n_outputs)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the product of rows with the matrix."""
        n_rows, n_inputs = rows.shape
        if n_inputs != len(self._matrix):
            raise ValueError(f"Rows must have {len(self._matrix)} entries, as the matrix has inputs, got {n_inputs}.")
        if n_rows > MOST_ROWS:
            return _multiplied(rows, self._matrix, self._bias)
        rows = as_plain(rows)
        product, columns = new_array(n_rows, self.n_outputs), new_array((n_rows + MOST_TILE_ROWS) * n_inputs)
        self._library.multiply_alone(
            rows.data_ptr(), ctypes.addressof(self.structure), product.data_ptr(), columns.data_ptr(), n_rows
        )
        return product


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
        if has_gelu and bias is not None and rows.is_cuda and rows.dtype != torch.float32:
            # One kernel, where GELU would read and write the product once more; its tanh is not that of float32.
            return torch._addmm_activation(bias, rows, matrix, use_gelu=True)
        product = _multiplied(rows, matrix, bias)
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


def _multiplied(rows: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    return rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)


def _has_layouts(matrix: Tensor) -> bool:
    is_usual = matrix.device.type == "cpu" and matrix.dtype == torch.float32
    return is_usual and bool(torch.backends.mkldnn.enabled) and torch.backends.mkldnn.is_available()
