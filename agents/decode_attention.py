"""Whether a GPU decodes with a kernel for attention, which wants Triton, or with PyTorch's own."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from .fused import reason_of

# From joined queries, keys and values, cached keys, cached values and positions to what is attended to.
AttentionKernel = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
NARROWEST, WIDEST = 16, 256


def attention_kernel(device: torch.device, dtype: torch.dtype, head_width: int) -> AttentionKernel | None:
    """Return `decode_kernel.append_and_attend` where it works, and None elsewhere.

    Args:
        device: Where rows are decoded.
        dtype: Precision of queries, keys and values.
        head_width: Width of an attention head.
    """
    is_power_of_two = head_width & (head_width - 1) == 0
    if device.type != "cuda" or not is_power_of_two or not NARROWEST <= head_width <= WIDEST:
        return None
    return _tried(device, dtype, head_width)


@cache
def _tried(device: torch.device, dtype: torch.dtype, head_width: int) -> AttentionKernel | None:
    # PyTorch for CUDA brings Triton on Linux alone.
    if find_spec("triton") is None:
        return None
    joined = torch.zeros((1, 3, 1, head_width), device=device, dtype=dtype)
    keys, values = (torch.zeros((1, 1, 1, head_width), device=device, dtype=dtype) for _ in range(2))
    try:
        from .decode_kernel import append_and_attend

        append_and_attend(joined, keys, values, torch.zeros(1, dtype=torch.long, device=device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's own errors have no base that is there without Triton
        warnings.warn(f"Triton does not work here, so that decoding is slower: {reason_of(error)}", stacklevel=2)
        return None
    return append_and_attend
