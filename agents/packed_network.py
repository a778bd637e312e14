"""GPT-2's forward pass of one new token of each row, on the CPU, by one function written in C."""

import ctypes
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import GPT2Model

from .cpu_step import MOST_LANES, CPUStep, Matrix, PackedMatrix
from .forward_record import ForwardRecord

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
Norm: TypeAlias = tuple[Tensor, Tensor, float]  # weight, bias and epsilon


class _Norm(ctypes.Structure):
    _fields_ = [("weight", _POINTER), ("bias", _POINTER), ("epsilon", ctypes.c_float)]


class _Block(ctypes.Structure):
    _fields_ = [
        *[(name, _Norm) for name in ("first_norm", "second_norm")],
        *[(name, Matrix) for name in ("into_attention", "out_of_attention", "widen", "narrow")],
        *[("keys", _POINTER), ("values", _POINTER)],
    ]


class _Record(ctypes.Structure):
    _fields_ = [("tables", _POINTER * 4), ("room", _SIZE), ("start", _SIZE)]


class PackedBlock:
    """A block's norms and matrices.

    Args:
        norms: The first and the second.
        matrices: Into attention, out of it, the wider one and the one back.
    """

    def __init__(self, norms: Sequence[Norm], matrices: Sequence[PackedMatrix]) -> None:
        self._kept = norms, matrices
        structures = [*[_norm(norm) for norm in norms], *[matrix.structure for matrix in matrices]]
        self.structure = _Block(*structures)


class PackedNetwork:
    """GPT-2's forward pass of one new token of each row; it belongs to one rollout.

    Args:
        functions: Written in C.
        trunk: The network.
        blocks: Its blocks.
        last_norm: What comes after them.
    """

    def __init__(self, functions: CPUStep, trunk: GPT2Model, blocks: Sequence[PackedBlock], last_norm: Norm) -> None:
        self._kept = blocks, last_norm
        self._library, self._n_heads = functions.library, int(trunk.config.n_head)
        self._blocks = (_Block * len(blocks))(*[block.structure for block in blocks])
        self._last_norm = _norm(last_norm)
        self._embeddings = [part.weight.detach().contiguous() for part in (trunk.wte, trunk.wpe)]
        self._memory = torch.empty(0)

    def __call__(
        self,
        tokens: Tensor,
        positions: Tensor,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        record: ForwardRecord | None,
    ) -> Tensor:
        """Append a token to each row.

        Args:
            tokens: Shape (R,).
            positions: Where they belong, shape (R,).
            keys: Each block's cached keys, shape (R, H, C, D/H), changed in place.
            values: Each block's cached values, likewise.
            record: Keeps what is computed for an update; None for nothing.

        Returns:
            Hidden states, shape (R, D).
        """
        n_rows, n_heads, context_length, head_width = keys[0].shape
        width = n_heads * head_width
        for block, block_keys, block_values in zip(self._blocks, keys, values, strict=True):
            block.keys, block.values = block_keys.data_ptr(), block_values.data_ptr()
        if len(self._memory) < 18 * (n_rows + MOST_LANES) * width:
            self._memory = torch.empty(18 * (n_rows + MOST_LANES) * width)
        start = None if record is None else record.reserve(None, positions[:, None])
        into = None
        if record is not None and start is not None:
            pointers = (_POINTER * 4)(*[table.data_ptr() for table in record.tables])
            into = ctypes.byref(_Record(pointers, record.tables[0].shape[1], start))
        hidden = torch.empty((n_rows, width))
        inputs = *self._embeddings, tokens.contiguous(), positions.contiguous(), hidden, self._memory
        self._library.forward(
            ctypes.addressof(self._blocks),
            len(self._blocks),
            ctypes.addressof(self._last_norm),
            into,
            *[tensor.data_ptr() for tensor in inputs],
            *(n_rows, n_heads, head_width, context_length),
        )
        return hidden


def _norm(norm: Norm) -> _Norm:
    weight, bias, epsilon = norm
    return _Norm(weight.data_ptr(), bias.data_ptr(), epsilon)
