"""From the positions of texts to the places that show them, and back."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .text_passes import TextPass
from .triton_trial import first_result

# `spread_kernel.sums_of_rows`.
SumsKernel = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def spread_rows(rows: Tensor, texts: TextPass) -> Tensor:
    """Lay out what texts have at their positions at all places of the padded texts.

    Args:
        rows: A row for each of the N positions, shape (N, W).
        texts: Have `kept`.

    Returns:
        Shape (R, ℓ, W); anything at padding, where gradients have to be 0. The gradients of all places that show a
        position are added up in float32.
    """
    kernel = _sums_kernel(rows.device, rows.dtype) if rows.is_cuda else None
    if kernel is not None:
        padded: Tensor = _Spread.apply(rows, texts, kernel)  # type: ignore[no-untyped-call]
    else:
        exact = rows.to(torch.promote_types(rows.dtype, torch.float32))
        padded = exact.index_select(0, texts.number.flatten()).to(rows.dtype)
    return padded.view(*texts.number.shape, -1)


def picked_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Return some rows, none of them twice, shape (N', W), of rows, shape (N, W), and their numbers, shape (N',)."""
    picked: Tensor = _Picked.apply(rows, index)  # type: ignore[no-untyped-call]
    return picked


@cache
def _sums_kernel(device: torch.device, dtype: torch.dtype) -> SumsKernel | None:
    rows, one = torch.zeros((1, 16), device=device, dtype=dtype), torch.ones(1, dtype=torch.long, device=device)

    def try_once() -> SumsKernel:
        from .spread_kernel import sums_of_rows

        sums_of_rows(rows, one - 1, one, 1)
        return sums_of_rows

    return first_result(try_once, "updates are slower")


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, texts: TextPass, kernel: SumsKernel) -> Tensor:
        ctx.texts, ctx.kernel = texts, kernel  # type: ignore[attr-defined]
        return rows.index_select(0, texts.number.flatten())

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        texts: TextPass = ctx.texts  # type: ignore[attr-defined]
        # A position's places lie below one another, from the one that it is kept at.
        places = texts.kept, texts.n_places, texts.number.shape[1]
        return ctx.kernel(grad.contiguous(), *places), None, None  # type: ignore[attr-defined]


class _Picked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.n_rows = len(rows)  # type: ignore[attr-defined]
        return rows.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors  # type: ignore[attr-defined]
        # PyTorch's own adds, entry by entry, since it cannot know that no two fall together.
        return grad.new_zeros((ctx.n_rows, grad.shape[1])).index_copy_(0, index, grad), None  # type: ignore[attr-defined]
