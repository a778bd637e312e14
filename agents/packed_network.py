"""GPT-2's forward pass of one new token of each row, on the CPU, by one function written in C."""

import ctypes
from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor
from transformers import GPT2Model

from .cpu_step import MOST_TILE_ROWS, CPUStep, as_plain, new_array
from .few_rows import Matrix, PackedMatrix
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
        self._norms, self._matrices = [_plain(norm) for norm in norms], matrices
        structures = [*[_structure(norm) for norm in self._norms], *[matrix.structure for matrix in matrices]]
        self.structure = _Block(*structures)


class PackedNetwork:
    """GPT-2's forward pass of one new token of each row; it belongs to one rollout.

    Args:
        functions: Written in C.
        trunk: The network, of which `has_published_widths` is true.
        blocks: Its blocks.
        last_norm: What comes after them.
    """

    def __init__(self, functions: CPUStep, trunk: GPT2Model, blocks: Sequence[PackedBlock], last_norm: Norm) -> None:
        self._library, self._kept = functions.library, (blocks, _plain(last_norm))
        self._blocks = (_Block * len(blocks))(*[block.structure for block in blocks])
        self._last_norm = _structure(self._kept[1])
        self._embeddings = [as_plain(part.weight) for part in (trunk.wte, trunk.wpe)]
        self._memory = new_array(0)

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

        Raises:
            IndexError: If the network has no such token or position, or the cache no room for it.
        """
        n_rows, n_heads, context_length, head_width = keys[0].shape
        width = n_heads * head_width
        for block, block_keys, block_values in zip(self._blocks, keys, values, strict=True):
            block.keys, block.values = block_keys.data_ptr(), block_values.data_ptr()
        # 14 for each row, and 4 for each up to the next multiple; see `forward` in C.
        n_numbers = (18 * n_rows + 4 * MOST_TILE_ROWS) * width
        if len(self._memory) < n_numbers:
            self._memory = new_array(n_numbers)
        start = None if record is None else record.reserve(None, positions[:, None])
        into = None
        if record is not None and start is not None:
            pointers = (_POINTER * 4)(*[table.data_ptr() for table in record.tables])
            into = ctypes.byref(_Record(pointers, record.tables[0].shape[1], start))
        hidden = new_array(n_rows, width)
        inputs = *self._embeddings, tokens.contiguous(), positions.contiguous(), hidden, self._memory
        wrong_row = self._library.forward(
            ctypes.addressof(self._blocks),
            len(self._blocks),
            ctypes.addressof(self._last_norm),
            into,
            *[tensor.data_ptr() for tensor in inputs],
            *(n_rows, n_heads, head_width, context_length),
            *[len(table) for table in self._embeddings],
        )
        if wrong_row >= 0:
            n_tokens, n_positions = (len(table) for table in self._embeddings)
            raise IndexError(
                f"A row goes on with token {int(tokens[wrong_row])} at position {int(positions[wrong_row])}, but the "
                f"network has {n_tokens} tokens and {n_positions} positions, and the cache has {context_length}."
            )
        return hidden


def _plain(norm: Norm) -> Norm:
    weight, bias, epsilon = norm
    return as_plain(weight), as_plain(bias), epsilon


def _structure(norm: Norm) -> _Norm:
    weight, bias, epsilon = norm
    return _Norm(weight.data_ptr(), bias.data_ptr(), epsilon)
