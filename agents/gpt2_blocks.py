"""GPT-2's forward pass over whole texts in plain operations, for updates and scoring.

What texts have alike is computed once, and what nobody asks for is not; on a GPU operations are joined into few.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.pytorch_utils import Conv1D

from .forward_record import BlockProducts, known_product
from .fused import fused
from .precision import CHECKPOINT
from .spreading import picked_rows, spread_rows
from .text_passes import TextPass


def embedded(trunk: GPT2Model, input_ids: Tensor) -> Tensor:
    """Return what the first block of a trunk gets for rows of tokens, shape (B, L), as shape (B, L, D)."""
    hidden: Tensor = trunk.wte(input_ids) + trunk.wpe.weight[: input_ids.shape[1]]
    return hidden


def through_blocks(trunk: GPT2Model, hidden: Tensor, dtype: torch.dtype, is_checkpointed: bool) -> Tensor:
    """Run rows through a trunk's blocks and its last norm, with the numbers of its own forward pass up to rounding.

    Without dropout. Causal attention never looks right, so that padding there needs no mask.

    Args:
        trunk: One of which `gpt2_step.is_plain_gpt2` is true.
        hidden: What the first block gets, float32, shape (B, L, D).
        dtype: Precision of products and attention, as autocast has it; sums and norms stay in float32.
        is_checkpointed: Keep only the input of each block; the backward pass computes the rest again.

    Returns:
        The last hidden states, float32, shape (B, L, D).
    """
    for block in cast(list[GPT2Block], trunk.h):
        arguments = (hidden, _weights(block), trunk.config.n_head, trunk.config.layer_norm_epsilon, dtype)
        hidden = CHECKPOINT(_through_block, *arguments) if is_checkpointed else _through_block(*arguments)
    last: Tensor = trunk.ln_f(hidden)
    return last


def at_decisions(
    trunk: GPT2Model,
    hidden: Tensor,
    texts: TextPass,
    first_block: int,
    dtype: torch.dtype,
    is_checkpointed: bool,
    known: Callable[[int], BlockProducts] | None = None,
) -> Tensor:
    """Run texts through a trunk's blocks and its last norm, as `through_blocks` does, each position once.

    Behind its attention the last block computes nothing but what decisions ask for.

    Args:
        trunk: See `through_blocks`.
        hidden: What the first of the blocks gets at the texts' N positions, float32, shape (N, D).
        texts: Which positions these are.
        first_block: Blocks before this one are left out; at least one is left.
        dtype: See `through_blocks`.
        is_checkpointed: Likewise.
        known: Gives what a block's products are at the texts' positions, where that is known already.

    Returns:
        The last hidden states at the texts' M decisions, float32, shape (M, D).
    """
    blocks = cast(list[GPT2Block], trunk.h)
    for number, block in enumerate(blocks[first_block:], start=first_block):
        products = None if known is None else known(number)
        of_trunk = trunk.config.n_head, trunk.config.layer_norm_epsilon, dtype
        arguments = (hidden, _weights(block), *of_trunk, texts, number + 1 == len(blocks), products)
        hidden = CHECKPOINT(_of_texts, *arguments) if is_checkpointed else _of_texts(*arguments)
    last_states: Tensor = trunk.ln_f(hidden)
    return last_states


class _Affine(NamedTuple):
    """Weight and bias of a norm, shape (D,) each, or of a product, shapes (D, D') and (D',)."""

    weight: Tensor
    bias: Tensor


class _BlockWeights(NamedTuple):
    first_norm: _Affine
    into_attention: _Affine
    out_of_attention: _Affine
    second_norm: _Affine
    widen: _Affine
    narrow: _Affine


def _weights(block: GPT2Block) -> _BlockWeights:
    def affine(part: nn.LayerNorm | Conv1D) -> _Affine:
        return _Affine(part.weight, part.bias)

    attention, feed_forward = block.attn, block.mlp
    return _BlockWeights(
        affine(block.ln_1),
        affine(attention.c_attn),
        affine(attention.c_proj),
        affine(block.ln_2),
        affine(feed_forward.c_fc),
        affine(feed_forward.c_proj),
    )


def _through_block(hidden: Tensor, weights: _BlockWeights, n_heads: int, eps: float, dtype: torch.dtype) -> Tensor:
    rows = hidden.flatten(0, 1)
    joined = _into_attention(rows, weights.first_norm, weights.into_attention, eps, dtype)
    attended = _attended(joined.view(*hidden.shape[:2], -1), n_heads).flatten(0, 1)
    return _behind_attention(rows, attended, weights, eps, dtype).view(hidden.shape)


def _of_texts(
    hidden: Tensor,
    weights: _BlockWeights,
    n_heads: int,
    eps: float,
    dtype: torch.dtype,
    texts: TextPass,
    is_last: bool,
    known: BlockProducts | None,
) -> Tensor:
    known_joined = None if known is None else known.into_attention
    joined = _into_attention(hidden, weights.first_norm, weights.into_attention, eps, dtype, known_joined)
    padded = joined.view(*texts.number.shape, -1) if texts.kept is None else spread_rows(joined, texts)
    attended = _attended(padded, n_heads).flatten(0, 1)  # (R ℓ, D)
    if is_last:
        asked_for = texts.number.flatten()[texts.decisions]
        hidden = hidden.index_select(0, asked_for)
        known = None if known is None else known.at(asked_for)
        attended = picked_rows(attended, texts.decisions)
    elif texts.kept is not None:
        attended = picked_rows(attended, texts.kept)
    return _behind_attention(hidden, attended, weights, eps, dtype, known)


@fused(least_rows=512, least_width=512)
def _into_attention(
    hidden: Tensor, norm: _Affine, product: _Affine, eps: float, dtype: torch.dtype, known: Tensor | None = None
) -> Tensor:
    """Return joined queries, keys and values, shape (N, 3 D), of hidden states, shape (N, D)."""
    return _product(_norm(hidden, norm, eps, dtype), product, known)


@fused(least_rows=512, least_width=3 * 512)
def _attended(joined: Tensor, n_heads: int) -> Tensor:
    """Return what queries attend to, shape (B, L, D), from joined queries, keys and values, shape (B, L, 3 D).

    PyTorch's own gradient of the three parts would be laid out twice.
    """
    n_rows, length, _ = joined.shape
    queries, keys, values = joined.view(n_rows, length, 3, n_heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, L, D/H) each
    attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    return attended.transpose(1, 2).reshape(n_rows, length, -1)


@fused(least_rows=512, least_width=512)
def _behind_attention(
    hidden: Tensor,
    attended: Tensor,
    weights: _BlockWeights,
    eps: float,
    dtype: torch.dtype,
    known: BlockProducts | None = None,
) -> Tensor:
    """Return what a block gives, shape (N, D), from what it got and what was attended to, likewise."""
    _, out_of_attention, widen, narrow = known or (None,) * 4
    hidden = hidden + _product(attended, weights.out_of_attention, out_of_attention)
    widened = _product(_norm(hidden, weights.second_norm, eps, dtype), weights.widen, widen)
    return hidden + _product(functional.gelu(widened, approximate="tanh"), weights.narrow, narrow)


def _norm(hidden: Tensor, norm: _Affine, eps: float, dtype: torch.dtype) -> Tensor:
    return torch.layer_norm(hidden, norm.weight.shape, norm.weight, norm.bias, eps).to(dtype)


def _product(rows: Tensor, affine: _Affine, known: Tensor | None = None) -> Tensor:
    if known is not None:
        return known_product(rows, affine.weight, affine.bias, known)
    return functional.linear(rows, affine.weight.to(rows.dtype).t(), affine.bias.to(rows.dtype))
