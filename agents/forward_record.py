"""What decoding computed of texts, kept for the update after it, whose forward pass would compute the same again.

As long as no weight has changed, both give the same numbers at each position, up to rounding. Most of the work are
products with matrices. So these are kept, 9 D numbers a block and position, and an update computes anew only what lies
between them, for its gradients.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional
from transformers import PreTrainedModel

from .choice_record import ChoiceRecord, KnownChoices
from .sampling import draw_with_log_prob
from .weight_mark import WeightMark

# Of texts that might take more nothing is kept: a tenth of an iteration's time is not worth much memory.
MOST_BYTES = 1 << 28
# Rows that have ended are decoded on, until somebody looks.
SPARE_POSITIONS = 4
# Widths of `BlockProducts`, in hidden widths.
FACTORS = (3, 1, 4, 1)


# A text's tokens, and the number of those that were generated.
_Key = tuple[bytes, int]


class DecodingPlan(NamedTuple):
    """What a rollout will decode: so many texts, of at most so many new tokens."""

    n_texts: int
    max_new_tokens: int


class BlockProducts(NamedTuple):
    """What a block's products with matrices are at N positions: shapes (N, 3 D), (N, D), (N, 4 D) and (N, D)."""

    into_attention: Tensor
    out_of_attention: Tensor
    widen: Tensor
    narrow: Tensor

    def at(self, index: Tensor) -> "BlockProducts":
        """Return those at some of the positions, shape (N',)."""
        return BlockProducts(*(part.index_select(0, index) for part in self))


class KnownTexts(NamedTuple):
    """Texts of a packed batch, shape (B, L), that a record knows.

    Attributes:
        tables: Each of `BlockProducts` at all positions of the record, of shape (blocks, positions, D').
        places: Where each of the batch's positions is there, row by row, 0 at last positions and padding, shape (B L,).
        choices: The distributions that the texts' tokens were drawn from, by these places; None if they were not kept.
    """

    tables: list[Tensor]
    places: Tensor
    choices: ChoiceRecord | None

    def block(self, number: int, positions: Tensor) -> BlockProducts:
        """Return a block's products at some of the batch's positions, shape (N,)."""
        return BlockProducts(*(table[number] for table in self.tables)).at(self.places[positions])

    def at_decisions(self, is_decision: Tensor) -> KnownChoices | None:
        """Return the distributions at the batch's decisions, True in shape (B, L), if all were kept."""
        places = self.places[is_decision.flatten()]
        return None if self.choices is None else self.choices.find(places.numpy())


class ForwardRecord:
    """The products of one rollout, and which of its texts they belong to.

    A forward pass that asks for known texts while the trunk's weights are what they were can do without products.

    Args:
        model: A language model with the trunk of a GPT-2, which computes them on the CPU, in float32.
        num_rows: Rows B of the cache that they are computed with.
        context_length: Longest context C.
        plan: What will be decoded. There is room for so many of the longest texts, and more is made where rows that
            have ended take it; beyond `MOST_BYTES` no text is known any more.
        vocab_size: Tokens of the vocabulary V, whose distributions are kept too where these take no more memory than
            is left; 0 where they are of no use.
        settings: What these follow from besides the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        num_rows: int,
        context_length: int,
        plan: DecodingPlan,
        vocab_size: int = 0,
        settings: Hashable = None,
    ) -> None:
        self._weights, self._settings = WeightMark(model), settings
        n_blocks, width, room = _sizes(model, context_length, plan.n_texts)
        self.tables = [torch.empty((n_blocks, room, factor * width)) for factor in FACTORS]
        n_choices = plan.n_texts * (plan.max_new_tokens + SPARE_POSITIONS)
        n_bytes = _n_bytes(n_blocks, width, room) + n_choices * vocab_size * torch.float32.itemsize
        self._choices = ChoiceRecord(vocab_size, n_choices) if vocab_size and n_bytes <= MOST_BYTES else None
        self._n_positions = 0
        # Where each row's positions are in the tables, the last time that they were computed.
        self._places = np.zeros((num_rows, context_length), dtype=np.int64)
        self._texts: dict[_Key, npt.NDArray[np.int64]] = {}

    @staticmethod
    def has_room(model: PreTrainedModel, context_length: int, n_texts: int) -> bool:
        """Whether so many of the longest texts take no more memory than a record may."""
        return _n_bytes(*_sizes(model, context_length, n_texts)) <= MOST_BYTES

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave it out of copies and pickles of a policy, whose weights are others."""
        return type(None), ()

    def add(self, rows: Tensor | None, positions: Tensor, blocks: Sequence[BlockProducts]) -> None:
        """Keep what was computed of some positions.

        Args:
            rows: Their rows, shape (R,); None for all, in order.
            positions: Shape (R, m).
            blocks: Each block's products at these R m positions, laid end to end.
        """
        start = self.reserve(rows, positions)
        if start is None:
            return
        kept = [part for table in self.tables for part in table[:, start : self._n_positions].unbind()]
        torch._foreach_copy_(kept, [part for parts in zip(*blocks, strict=True) for part in parts])

    def reserve(self, rows: Tensor | None, positions: Tensor) -> int | None:
        """Make room in the tables for what is computed of some positions, as `add` does.

        Returns:
            Where they begin there; None where nothing is kept any more.
        """
        start, self._n_positions = self._n_positions, self._n_positions + positions.numel()
        if not self._make_room():
            return None
        row_ids = np.arange(len(self._places)) if rows is None else rows.numpy()
        numbers = np.arange(start, self._n_positions).reshape(positions.shape)
        self._places[row_ids[:, None], positions.numpy()] = numbers
        return start

    def draw(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Draw as `draw_with_log_prob` does, one token after each of the R positions that were added last."""
        if self._choices is None:
            return draw_with_log_prob(logits, uniforms)
        return self._choices.draw(logits, uniforms, self._n_positions - len(logits))

    def keep_rows(self, rows: Tensor) -> None:
        """Follow `RowCache.keep_rows`."""
        self._places = self._places[rows.numpy()]

    def copy_rows(self, source: Tensor, target: Tensor, length: int) -> None:
        """Follow `RowCache.copy_rows`."""
        self._places[target.numpy(), :length] = self._places[source.numpy(), :length]

    def end_text(self, row: int, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> None:
        """Remember a row's text before another one takes its place.

        Args:
            row: The row.
            prompt_ids: The prompt's tokens.
            token_ids: Generated tokens. Decoding ends with the choice of the last one, and computes nothing of it.
        """
        text = np.array([*prompt_ids, *token_ids])
        self._texts[_key(text, len(token_ids))] = self._places[row, : len(text) - 1].copy()

    def find(self, model: PreTrainedModel, batch: Mapping[str, Tensor], settings: Hashable = None) -> KnownTexts | None:
        """Return what is known of texts, at all positions of each but its last.

        Args:
            model: The language model as it is now.
            batch: `input_ids`, `attention_mask` and `is_decision` of the texts, packed.
            settings: As they are now.

        Returns:
            None where a text is unknown, or a weight or the settings have changed since it was decoded.
        """
        if not self.tables or settings != self._settings or not self._weights.is_of(model):
            return None
        places = np.zeros(batch["input_ids"].shape, dtype=np.int64)
        sizes = (batch[name].sum(dim=1).tolist() for name in ("attention_mask", "is_decision"))
        for place, row, length, n_decisions in zip(places, batch["input_ids"].numpy(), *sizes, strict=True):
            known = self._texts.get(_key(row[:length], n_decisions))
            if known is None:
                return None
            place[: length - 1] = known
        return KnownTexts(self.tables, torch.from_numpy(places).flatten(), self._choices)

    def _make_room(self) -> bool:
        """Let tables grow where they have become too small, and return whether there are tables."""
        if not self.tables:
            return False
        n_blocks, room, width = self.tables[-1].shape  # of products of the hidden width
        if self._n_positions > room:
            more = max(self._n_positions - room, room // 2)
            n_bytes = _n_bytes(n_blocks, width, room + more) + (0 if self._choices is None else self._choices.n_bytes)
            if n_bytes <= MOST_BYTES:
                self.tables = [functional.pad(table, (0, 0, 0, more)) for table in self.tables]
            else:
                self.tables, self._choices = [], None
        return bool(self.tables)


def _sizes(model: PreTrainedModel, context_length: int, n_texts: int) -> tuple[int, int, int]:
    """Return blocks, width and positions of a record."""
    return model.config.n_layer, model.config.n_embd, n_texts * (context_length + SPARE_POSITIONS)


def _n_bytes(n_blocks: int, width: int, room: int) -> int:
    return sum(FACTORS) * width * n_blocks * room * torch.float32.itemsize


def _key(text: npt.NDArray[np.integer], n_generated: int) -> _Key:
    # What may be chosen depends on how much has been.
    return text.astype(np.int64).tobytes(), n_generated


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, matrix: Tensor, bias: Tensor, product: Tensor) -> Tensor:
        ctx.save_for_backward(rows, matrix)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        rows, matrix = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_rows, needs_matrix, needs_bias, _ = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (
            grad @ matrix.t() if needs_rows else None,
            rows.t() @ grad if needs_matrix else None,
            grad.sum(dim=0) if needs_bias else None,
            None,
        )


def known_product(rows: Tensor, matrix: Tensor, bias: Tensor, product: Tensor) -> Tensor:
    """Return a product that is known already, with the gradients of `rows @ matrix + bias`.

    Args:
        rows: Shape (N, D).
        matrix: Shape (D, D').
        bias: Shape (D',).
        product: Shape (N, D').

    Returns:
        Shape (N, D'), differentiable once.
    """
    result: Tensor = _Known.apply(rows, matrix, bias, product)  # type: ignore[no-untyped-call]
    return result
