"""Matrix products in float32 on CPUs with AVX-512, by oneDNN.

PyTorch's own product there is MKL's. On an AMD EPYC it reaches 100 to 170 GFLOP/s for what a language model
multiplies, oneDNN's 160 to 210, though it lays out the matrix anew at each call. Where there is no AVX-512, MKL's is
the faster one.
"""

from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

# Multiplications below which a call of oneDNN costs more than it saves.
MIN_MULTIPLICATIONS = 1 << 21


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what `torch.nn.functional.linear` does, rows · weightᵀ + bias, differentiable any number of times.

    Args:
        rows: Shape (N, D).
        weight: Shape (D', D), in any memory order.
        bias: Shape (D',), or None.

    Returns:
        Shape (N, D').
    """
    if not _is_faster(rows, weight):
        return functional.linear(rows, weight, bias)
    if not torch.is_grad_enabled():
        return _multiply(rows, weight, bias)
    result: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _multiply(rows, weight, bias)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_rows, needs_weight, needs_bias = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (
            linear(grad, weight.t()) if needs_rows else None,
            _weight_gradient(rows, weight, grad) if needs_weight else None,
            grad.sum(dim=0) if needs_bias else None,
        )


def _weight_gradient(rows: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
    """Return gradᵀ · rows, shape (D', D), in the weight's memory order."""
    if weight.is_contiguous():
        return grad.t() @ rows
    # oneDNN copies its first factor where that is transposed, which pays off for the narrower one.
    is_narrower = rows.shape[1] < grad.shape[1]
    return (linear(rows.t(), grad.t()) if is_narrower else rows.t() @ grad).t()


def _is_faster(rows: Tensor, weight: Tensor) -> bool:
    is_usual = rows.device.type == "cpu" and rows.dtype == weight.dtype == torch.float32 and rows.dim() == 2
    is_large = is_usual and rows.numel() * weight.shape[0] >= MIN_MULTIPLICATIONS
    return is_large and _has_avx512() and bool(torch.backends.mkldnn.enabled) and not torch.compiler.is_compiling()


def _multiply(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


@cache
def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()
