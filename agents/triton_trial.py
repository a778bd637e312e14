"""Whether a kernel written in Triton works on this machine."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch

from .fused import reason_of


def works_with_triton(run: Callable[[], object], consequence: str) -> bool:
    """Run a kernel, and tell whether that went well.

    Where Triton is there and does not work, as for want of a C compiler, a warning says so.

    Args:
        run: Imports the kernel and runs it once.
        consequence: What is the case without it, for the warning.
    """
    # PyTorch for CUDA brings Triton on Linux alone.
    if find_spec("triton") is None:
        return False
    try:
        run()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's own errors have no base that is there without Triton
        warnings.warn(f"Triton does not work here, so that {consequence}: {reason_of(error)}", stacklevel=2)
        return False
    return True
