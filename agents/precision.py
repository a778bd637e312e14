"""In which precision a network computes, and what is kept between forward and backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from . import gpu_path

Autocast = Literal["bfloat16"]
CHECKPOINT = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False, preserve_rng_state=False)
# No float16: its range is too small for gradients without a scaled loss, and the loss is Stable-Baselines3's.
DTYPES = {"bfloat16": torch.bfloat16}


def check_autocast(autocast: str | None) -> None:
    """Raise ValueError if there is no such precision."""
    if autocast is not None and autocast not in DTYPES:
        raise ValueError(f"autocast must be None or one of {get_args(Autocast)}, got {autocast!r}.")


def precision(device: torch.device, autocast: Autocast | None) -> AbstractContextManager[None]:
    """Compute matrix products in a lower precision, from weights that stay in float32; None for float32 throughout."""
    dtype = None if autocast is None else DTYPES[autocast]
    if dtype is None and not torch.is_autocast_enabled(device.type):
        return nullcontext()  # at a twentieth of the cost
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def product_dtype(autocast: Autocast | None) -> torch.dtype:
    """Return the precision of matrix products."""
    return torch.float32 if autocast is None else DTYPES[autocast]


def aligned_rows(matrix: Tensor) -> Tensor:
    """Append rows of zeros to a matrix on a GPU, until their number is a multiple of 64.

    GPT-2's vocabulary of 50,257 is odd, and for a product in bfloat16 with an odd number of columns an H200 has only
    kernels of older generations: 213 µs in a decoding step of 256 rows, and a third of all time in an update.

    Args:
        matrix: Shape (V, D).

    Returns:
        Shape (V', D); the matrix itself on the CPU, or where nothing is to be added.
    """
    n_added = -len(matrix) % 64
    return functional.pad(matrix, (0, 0, 0, n_added)) if gpu_path.is_for_gpu(matrix) and n_added else matrix


@contextmanager
def checkpointed_blocks(trunk: torch.nn.Module, is_enabled: bool) -> Iterator[None]:
    """Keep only the input of each block in one forward pass; the backward pass computes the rest again.

    `transformers` does so in training mode alone, and then leaves caches out. So the blocks, and nothing in them, are
    in training mode for this one pass: there is no dropout, and cached decoding goes on undisturbed.
    """
    modules = trunk.modules() if is_enabled else ()
    blocks = [module for module in modules if isinstance(module, GradientCheckpointingLayer)]
    for block in blocks:
        block._gradient_checkpointing_func = CHECKPOINT  # type: ignore[assignment]
        block.gradient_checkpointing = block.training = True
    try:
        yield
    finally:
        for block in blocks:
            block.gradient_checkpointing = block.training = False
