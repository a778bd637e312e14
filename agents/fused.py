"""Functions of tensors that a GPU computes in few kernels, where operation by operation each would pass over memory."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
Result = TypeVar("Result")


class Fused(Generic[P, Result]):
    """A function that `torch.compile` compiles where its first argument lies on a GPU and is large.

    On the CPU it runs as it is written. So it does, with a warning, where nothing can be compiled, for want of Triton
    or of a C compiler; and without one where `TORCHDYNAMO_DISABLE=1` is set. What was compiled is kept on the disk, by
    PyTorch, for the next run. It compiles for eight kinds of arguments (widths, precisions, with and without gradients)
    at most, and runs what comes after these as it is written.

    Args:
        function: Of tensors and of what never changes, given by position; it changes none of them. All sizes of the
            first argument but its last, and the number of rows of others that have as many, may be other ones at each
            call.
        least_rows: Rows of the first argument, all sizes but the last multiplied, from which on it is compiled. Whoever
            wants a single completion would wait for the compiler longer than for the text.
        least_width: The first argument's last size, likewise. A small network's time on a GPU goes into launching
            kernels, and half a minute of compiling can be longer than its training.
    """

    def __init__(self, function: Callable[P, Result], least_rows: int, least_width: int) -> None:
        functools.update_wrapper(self, function)
        self.function, self.least_rows, self.least_width = function, least_rows, least_width
        self.compiled: Callable[P, Result] | None = None
        self.has_failed = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run the function, compiled or as it is written."""
        compiled = self._compiled() if self._is_worth_it(args[0]) else None
        if compiled is None:
            return self.function(*args, **kwargs)
        _mark_sizes(args)
        failures = torch._dynamo.exc
        try:
            return compiled(*args, **kwargs)
        # Not all that it raises: a mistake in the arguments is no failure to compile.
        except (failures.BackendCompilerFailed, failures.InternalTorchDynamoError, failures.Unsupported) as error:
            self._give_up(error)
            return self.function(*args, **kwargs)

    def _is_worth_it(self, rows: object) -> bool:
        if not isinstance(rows, Tensor) or not is_compiled_for(rows) or rows.shape[-1] < self.least_width:
            return False
        return rows[..., 0].numel() >= self.least_rows

    def _compiled(self) -> Callable[P, Result] | None:
        """Return what compiles when it is called; None where that has failed."""
        if self.compiled is None and not self.has_failed:
            # Its advice is for those who work on it.
            warnings.filterwarnings("ignore", module=r"torch\._inductor")
            try:
                self.compiled = torch.compile(self.function, fullgraph=True)
            except RuntimeError as error:  # there is no compiler for this version of Python
                self._give_up(error)
        return None if self.has_failed else self.compiled

    def _give_up(self, error: Exception) -> None:
        self.has_failed = True
        name = self.function.__name__.strip("_")
        warnings.warn(f"torch.compile does not work here, so that {name} runs slower: {reason_of(error)}", stacklevel=3)


def fused(least_rows: int, least_width: int) -> Callable[[Callable[P, Result]], Fused[P, Result]]:
    """Return a decorator that makes a function `Fused`."""
    return lambda function: Fused(function, least_rows, least_width)


def is_compiled_for(tensor: Tensor) -> bool:
    """Whether functions of a tensor are compiled where it lies."""
    return tensor.is_cuda


def reason_of(error: Exception) -> str:
    """Return the first paragraph of what a compiler says, in one line; the error's kind where it says nothing."""
    return " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__


def _mark_sizes(args: tuple[Any, ...]) -> None:
    """Tell the compiler which sizes may change."""
    rows = args[0]
    for one in args:
        if isinstance(one, Tensor) and one.dim() and len(one) == len(rows):
            for dim in range(rows.dim() - 1 if one is rows else 1):
                torch._dynamo.maybe_mark_dynamic(one, dim)
