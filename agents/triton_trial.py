"""Whether a kernel written in Triton works on this machine."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

import torch

from .fused import reason_of

Result = TypeVar("Result")


def first_result(try_once: Callable[[], Result], consequence: str) -> Result | None:
    """Run a kernel for the first time, and return what comes of it; None where it does not work.

    Where Triton is there and does not work, as for want of a C compiler, a warning says so.

    Args:
        try_once: Imports the kernel and runs it.
        consequence: What is the case without it, for the warning.
    """
    # PyTorch for CUDA brings Triton on Linux alone.
    if find_spec("triton") is None:
        return None
    try:
        return try_once()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's own errors have no base that is there without Triton
        warnings.warn(f"Triton does not work here, so that {consequence}: {reason_of(error)}", stacklevel=2)
        return None
