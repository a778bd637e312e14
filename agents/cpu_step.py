"""The functions of decoding on the CPU that are written in C, where there is a compiler; draws and counts by them."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from .c_library import compiled

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
# `LANES` and `ROWS` of `decode_step.c` at most, whatever the processor: sizes are filled up to a multiple of them.
MOST_LANES = MOST_TILE_ROWS = 16
_ARGUMENTS = {
    "pack": [*[_POINTER] * 2, *[_SIZE] * 4],
    "multiply_alone": [*[_POINTER] * 4, _SIZE],
    "forward": [_POINTER, _SIZE, *[_POINTER] * 8, *[_SIZE] * 6],
    "draw": [*[_POINTER] * 6, *[_SIZE] * 2],
    "advance": [*[_POINTER] * 10, *[_SIZE] * 4],
}
_RESULTS = {"forward": _SIZE}


class CPUStep:
    """The functions of `decode_step.c`, of tensors on the CPU, without gradients; real numbers are float32.

    Args:
        library: What `c_library.compiled` makes of the file.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, arguments in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, _RESULTS.get(name)
        self.library = library

    def draw(
        self, logits: Tensor, uniforms: Tensor, probabilities: Tensor | None = None, entropies: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw one token a row; see `sampling.draw_with_log_prob`.

        Args:
            logits: Unnormalised log-probabilities, shape (B, V); finite, if entropies are wanted.
            uniforms: Numbers in [0, 1), shape (B,).
            probabilities: Where to write what was drawn from, shape (B, V).
            entropies: Where to write its entropies, in nats, shape (B,).

        Returns:
            Tokens and their log-probabilities, shape (B,) each.
        """
        logits, uniforms = as_plain(logits), as_plain(uniforms)
        token_ids, log_prob = new_array(len(logits), dtype=torch.long), new_array(len(logits))
        written = [None if tensor is None else tensor.data_ptr() for tensor in (probabilities, entropies)]
        results = token_ids.data_ptr(), log_prob.data_ptr()
        self.library.draw(logits.data_ptr(), uniforms.data_ptr(), *written, *results, *logits.shape)
        return token_ids, log_prob

    def advance(
        self,
        tokens: Tensor,
        log_prob: Tensor,
        values: Tensor,
        token_table: Tensor,
        log_prob_table: Tensor,
        value_table: Tensor,
        n_generated: Tensor,
        position: Tensor,
        last_token: Tensor,
        is_running: Tensor,
        context_length: int,
        eos_token_id: int,
    ) -> None:
        """Write down what was chosen in each row, and go on to the next token; the state of a `Decoder` is changed.

        Args:
            tokens: Tokens chosen, shape (B,).
            log_prob: Their log-probabilities, shape (B,).
            values: The critic's values before them, shape (B,).
            token_table: Where tokens are written, shape (B, T + 1).
            log_prob_table: Where log-probabilities are, likewise.
            value_table: Where values are, likewise.
            n_generated: Tokens generated in each row so far, shape (B,).
            position: Where each row goes on, shape (B,).
            last_token: Each row's last token, shape (B,).
            is_running: Whether each row's text goes on, shape (B,).
            context_length: Tokens that a row has at most.
            eos_token_id: The token that ends a text.
        """
        chosen = as_plain(tokens, torch.long), as_plain(log_prob), as_plain(values)
        tables = token_table, log_prob_table, value_table
        state = n_generated, position, last_token, is_running
        sizes = len(tokens), token_table.shape[1] - 1, context_length, eos_token_id
        self.library.advance(*[tensor.data_ptr() for tensor in (*chosen, *tables, *state)], *sizes)


def cpu_step(device: torch.device, dtype: torch.dtype) -> CPUStep | None:
    """Return the functions where rows are decoded on the CPU in float32, and there is a C compiler."""
    if device.type != "cpu" or dtype != torch.float32:
        return None
    # By being asked, PyTorch tells OpenMP in this thread how many threads there should be.
    torch.get_num_threads()
    return _compiled_step()


def as_plain(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor on the CPU without gradients as C reads it, itself if it is so."""
    return tensor.detach().to(dtype).contiguous()


def new_array(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor for C to write into."""
    return torch.empty(shape, dtype=dtype, device="cpu")


@cache
def _compiled_step() -> CPUStep | None:
    library = compiled(Path(__file__).with_name("decode_step.c"))
    return None if library is None else CPUStep(library)
