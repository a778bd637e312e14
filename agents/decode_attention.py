"""Whether a GPU decodes with a kernel for attention, which wants Triton, or with PyTorch's own."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from .triton_trial import first_result

# `decode_kernel.append_and_attend`.
AttentionKernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
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
    joined = torch.zeros((1, 3, 1, head_width), device=device, dtype=dtype)
    keys, values = (torch.zeros((1, 1, 1, head_width), device=device, dtype=dtype) for _ in range(2))
    numbers = [torch.zeros(1, dtype=torch.long, device=device)] * 3

    def try_once() -> AttentionKernel:
        from .decode_kernel import append_and_attend

        append_and_attend(joined, keys, values, *numbers)
        return append_and_attend

    return first_result(try_once, "decoding is slower")
