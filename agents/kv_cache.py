"""A key-value cache whose rows advance independently, for any attention of `transformers`.

The static cache of `transformers` has one write position for all rows, so rows of unequal length need left padding
and cannot be refilled one by one. This one knows a single operation: append m tokens at each selected row's own
position. Prefill, refill and decoding are that operation with different m and rows.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from .forward_record import ForwardRecord


class RowCacheLayer(CacheLayerMixin):
    """Keys and values of one attention layer, shape (B, H, C, D/H) each, so that a head reads its row straight on."""

    keys: Tensor
    values: Tensor

    def __init__(self, owner: "RowCache") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A cycle would keep a rollout's cache until the garbage collector comes by, several rollouts later.
        self.owner: RowCache = weakref.proxy(owner)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the buffers in the shape and dtype of the first keys and values that come."""
        _, n_heads, _, head_width = key_states.shape
        n_rows, context_length = self.owner.num_rows, self.owner.context_length
        self.keys = key_states.new_zeros((n_rows, n_heads, context_length, head_width))
        self.values = value_states.new_zeros((n_rows, n_heads, context_length, value_states.shape[-1]))
        self.is_initialized = True

    def write(self, key_states: Tensor, value_states: Tensor) -> None:
        """Write new keys and values, shape (R, H, m, D/H), at the positions selected in the owner."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        index = (self.owner.all_rows if self.owner.rows is None else self.owner.rows)[:, None]
        self.keys[index, :, self.owner.positions] = key_states.transpose(1, 2)  # (R, m, H, D/H)
        self.values[index, :, self.owner.positions] = value_states.transpose(1, 2)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write new keys and values, as `write` does.

        Returns:
            Keys and values of the selected rows up to the attended length, shape (R, H, length, D/H).
        """
        self.write(key_states, value_states)
        rows, length = self.owner.rows, self.owner.attended_length
        keys, values = self.keys[:, :, :length], self.values[:, :, :length]
        if rows is not None:
            keys, values = keys[rows], values[rows]
        return keys, values

    def keep_rows(self, rows: Tensor) -> None:
        """Drop all rows but the given ones, shape (R,)."""
        self.keys = self.keys[rows]
        self.values = self.values[rows]

    def get_seq_length(self) -> int:
        """Return the attended length, as `transformers` asks for where no position ids are given."""
        return self.owner.attended_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of a mask over the keys, and its offset."""
        return self.owner.attended_length, 0

    def get_max_length(self) -> int:
        """Return the longest context that fits."""
        return self.owner.context_length

    def get_max_cache_shape(self) -> int:
        """Return the longest context that fits, under the name that transformers 5.0 uses."""
        return self.owner.context_length


class RowCache(Cache):
    """Cached keys and values of B rows, each with its own length.

    Args:
        num_layers: Attention layers of the model.
        num_rows: Rows B.
        context_length: Longest context C.
        device: Where the cache lives.

    Attributes:
        step: Forward pass in the place of the model's own, from new tokens, their positions and this cache, which has
            been told by `select` where they belong, to hidden states; None for the model's.
        step_knows_ends: Whether the step's attention reads each row to its own end.
        record: Where the step keeps what it computes for an update; None for nowhere.
        lends: Whether the step reads what rows begin with alike in one row for all of them, so that a GPU finds it in
            its cache: a row's first `n_borrowed` positions in the row `lenders`, shape (B,) each.
    """

    step: "Callable[[Tensor, Tensor, RowCache], Tensor] | None" = None
    step_knows_ends = False
    record: ForwardRecord | None = None
    lends = False

    def __init__(self, num_layers: int, num_rows: int, context_length: int, device: torch.device) -> None:
        self.row_layers = [RowCacheLayer(self) for _ in range(num_layers)]
        super().__init__(layers=list(self.row_layers))
        self.num_rows = num_rows
        self.context_length = context_length
        self.all_rows = torch.arange(num_rows, device=device)
        self.key_positions = torch.arange(context_length, device=device)
        self.lenders, self.n_borrowed = self.all_rows.clone(), torch.zeros_like(self.all_rows)
        self.rows: Tensor | None = None
        self.positions = self.all_rows[:, None]
        self.attended_length = context_length

    def select(self, positions: Tensor, rows: Tensor | None = None, attended_length: int | None = None) -> None:
        """Choose where the next forward pass appends.

        Args:
            positions: Position of each new token in its row, shape (R, m).
            rows: Rows that are appended to, shape (R,); None for all, in order.
            attended_length: Number of cached positions that attention reads, at least the highest position plus 1;
                None for the whole context.
        """
        self.rows = rows
        self.positions = positions
        self.attended_length = attended_length or self.context_length

    @property
    def knows_ends(self) -> bool:
        """Whether attention need not be told how far to read."""
        return self.step_knows_ends

    def attention_mask(self) -> Tensor:
        """Return where each of the selected positions may attend, True there, shape (R, 1, m, attended_length)."""
        return self.key_positions[: self.attended_length] <= self.positions[:, None, :, None]

    def begin(self, rows: Tensor) -> None:
        """Take notice of rows that begin anew, shape (R,), before anything is appended to them.

        They borrow no longer, nor does anybody from them; who has borrowed has a copy.
        """
        if self.lends:
            is_over = torch.isin(self.lenders, rows) | torch.isin(self.all_rows, rows)
            self.n_borrowed.masked_fill_(is_over, 0)

    def keep_rows(self, rows: Tensor) -> None:
        """Drop all rows but the given ones, shape (R,), which become rows 0 to R - 1."""
        self.num_rows = len(rows)
        self.all_rows = self.all_rows[: self.num_rows]
        self.lenders, self.n_borrowed = self.all_rows.clone(), torch.zeros_like(self.all_rows)
        if self.record is not None:
            self.record.keep_rows(rows)
        for layer in self.row_layers:
            if layer.is_initialized:
                layer.keep_rows(rows)

    def copy_rows(self, source: Tensor, target: Tensor, lengths: Tensor, longest: int) -> None:
        """Let rows begin as others do.

        Args:
            source: Rows that have been appended to, shape (R,).
            target: The rows that get their keys and values, shape (R,).
            lengths: Number of positions, from the first on, shape (R,).
            longest: The greatest of these numbers.
        """
        for layer in self.row_layers:
            layer.keys[target, :, :longest] = layer.keys[source, :, :longest]
            layer.values[target, :, :longest] = layer.values[source, :, :longest]
        if self.lends:
            self.lenders[target], self.n_borrowed[target] = source, lengths
        if self.record is not None:
            self.record.copy_rows(source, target, longest)


class PairedCache(RowCache):
    """The cache of a network, and that of another which reads the same rows.

    Args:
        num_layers: Attention layers of the network.
        num_rows: Rows B.
        context_length: Longest context C.
        device: Where the cache lives.
        companion: The other's cache.
    """

    def __init__(
        self, num_layers: int, num_rows: int, context_length: int, device: torch.device, companion: RowCache
    ) -> None:
        super().__init__(num_layers, num_rows, context_length, device)
        self.companion = companion

    @property
    def knows_ends(self) -> bool:
        """Whether attention need not be told how far to read, in both networks."""
        return self.step_knows_ends and self.companion.knows_ends

    def begin(self, rows: Tensor) -> None:
        """Take notice of rows that begin anew, in both caches."""
        super().begin(rows)
        self.companion.begin(rows)

    def keep_rows(self, rows: Tensor) -> None:
        """Drop all rows but the given ones in both caches."""
        super().keep_rows(rows)
        self.companion.keep_rows(rows)

    def copy_rows(self, source: Tensor, target: Tensor, lengths: Tensor, longest: int) -> None:
        """Let rows begin as others do, in both caches."""
        super().copy_rows(source, target, lengths, longest)
        self.companion.copy_rows(source, target, lengths, longest)
