"""Functions of tensors that a GPU computes in few kernels, where operation by operation each would pass over memory."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
Result = TypeVar("Result")


def fused(least_rows: int, least_width: int) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Let a function be compiled by `torch.compile` where its first argument lies on a GPU and is large.

    On the CPU it runs as it is written. So it does, with one warning, where nothing can be compiled, for want of Triton
    or of a C compiler; and without one where `TORCHDYNAMO_DISABLE=1` is set. What was compiled is kept on the disk, by
    PyTorch, for the next run.

    Args:
        least_rows: Size of the first argument's first dimension from which on it is compiled. Whoever wants a single
            completion would wait for the compiler longer than for the text.
        least_width: Size of its last dimension, likewise. A small network's time on a GPU goes into launching kernels,
            and half a minute of compiling can be longer than its training.

    Returns:
        A decorator of functions of tensors and of what never changes. All sizes of the first argument but its last, and
        the number of rows of others that have as many, may be other ones at each call.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        compiled: Callable[P, Result] | None = None
        has_failed = False

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> Result:
            nonlocal compiled, has_failed
            rows = args[0]
            if has_failed or not isinstance(rows, Tensor) or not is_compiled_for(rows):
                return function(*args, **kwargs)
            if len(rows) < least_rows or rows.shape[-1] < least_width:
                return function(*args, **kwargs)
            if compiled is None:
                # Its advice is for those who work on it.
                warnings.filterwarnings("ignore", module=r"torch\._inductor")
                compiled = torch.compile(function)
            for one in args:
                if isinstance(one, Tensor) and one.dim() and len(one) == len(rows):
                    for dim in range(rows.dim() - 1 if one is rows else 1):
                        torch._dynamo.maybe_mark_dynamic(one, dim)
            try:
                return compiled(*args, **kwargs)
            except torch._dynamo.exc.TorchDynamoException as error:
                has_failed = True
                reason = " ".join(str(error).split("\n\n")[0].split())
                warnings.warn(
                    f"torch.compile does not work here, so that {function.__name__} runs slower: {reason}", stacklevel=2
                )
                return function(*args, **kwargs)

        return run

    return decorate


def is_compiled_for(tensor: Tensor) -> bool:
    """Whether functions of a tensor are compiled where it lies."""
    return tensor.is_cuda
