"""Attention of one query a row on the CPU, as weighted sums of rows of tables.

Each of its two products reads a matrix once and does little with each entry. General products are far too small here,
one for each head of each row, to read at the rate that memory has. `torch.embedding_bag` sums rows of a table with
weights in one pass: values are such rows, with probabilities as weights, and so are keys where those of a head have
their positions side by side. Row d then holds the d-th entry of each position's key, weighted by that of the query.
"""

from functools import lru_cache

import torch
from torch import Tensor

from .kv_cache import RowCache, RowCacheLayer


def are_sums_fast(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether PyTorch sums rows by FBGEMM, which compiles a function for each width, rather than one by one."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and "fbgemm" in torch.backends.quantized.supported_engines
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    )


class SummedAttention:
    """One step of one query a row: appends its key and value to a layer, and attends to all that a mask allows.

    Args:
        cache: Has been told where to append, in all rows, and has key columns.
        n_heads: Heads H.
        head_width: Entries of a head's keys and values, D/H.
        mask: Added to scores, shape (R, 1, 1, L).
    """

    def __init__(self, cache: RowCache, n_heads: int, head_width: int, mask: Tensor) -> None:
        self.rows, self.positions = cache.all_rows, cache.positions[:, 0]
        self.shape = (cache.num_rows, 3, n_heads, head_width)
        self.mask, self.scale, self.length = mask[:, 0], head_width**-0.5, mask.shape[-1]
        context_length, n_lists = cache.context_length, cache.num_rows * n_heads
        firsts = _starts(n_lists, context_length)
        self.value_places = (firsts.view(-1, n_heads) + self.positions[:, None],)
        self.key_rows, self.key_starts = _numbers(n_lists * head_width), _starts(n_lists, head_width)
        self.value_rows = (firsts[:, None] + _numbers(context_length)[: self.length]).flatten()
        self.value_starts = _starts(n_lists, self.length)

    def __call__(self, joined: Tensor, layer: RowCacheLayer) -> Tensor:
        """Append to a layer and attend.

        Args:
            joined: Queries, keys and values, shape (R, 3 D).
            layer: One of the cache.

        Returns:
            Shape (R, D).
        """
        queries, keys, values = joined.view(self.shape).unbind(dim=1)  # (R, H, D/H) each
        layer.make_room(keys[:, :, None], values[:, :, None])
        key_table, value_table = layer.key_columns.flatten(0, 2), layer.values.flatten(0, 2)
        layer.keys[self.rows, :, self.positions] = keys
        value_table.index_put_(self.value_places, values)
        n_rows, _, n_heads, _ = self.shape
        scores = _sums(key_table, self.key_rows, self.key_starts, queries.reshape(-1)).view(n_rows, n_heads, -1)
        weights = torch.add(self.mask, scores[:, :, : self.length], alpha=self.scale).softmax(dim=-1)
        return _sums(value_table, self.value_rows, self.value_starts, weights.view(-1)).view(n_rows, -1)


def _sums(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Return for each list of row numbers, laid end to end, the weighted sum of the rows of a table."""
    sums: Tensor = torch.embedding_bag(table, rows, starts, False, 0, False, weights)[0]
    return sums


@lru_cache(maxsize=8)
def _numbers(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.int32, device="cpu")


@lru_cache(maxsize=64)
def _starts(n_lists: int, length: int) -> Tensor:
    """Return where each of several lists of the same length begins, shape (n_lists,)."""
    return torch.arange(0, n_lists * length, length, dtype=torch.int32, device="cpu")
