"""GPT-2's cached forward pass in a few plain operations, for decoding where the general one is mostly overhead."""

from collections.abc import Callable
from functools import partial
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Block
from transformers.pytorch_utils import Conv1D

from .activations import is_tanh_gelu
from .cpu_step import cpu_step
from .decode_attention import attention_kernel
from .few_rows import PackedMatrix, Product, few_rows_product
from .forward_record import BlockProducts
from .fused import fused
from .kv_cache import RowCache, RowCacheLayer
from .packed_network import PackedBlock, PackedNetwork

# From so many on, rows by heads by cached positions, plain products are the faster attention of one query a row, where
# there is no kernel for it.
MIN_SCORES = 1 << 14


def is_plain_gpt2(trunk: nn.Module) -> TypeGuard[GPT2Model]:
    """Whether a trunk computes what `GPT2Step` does: GPT-2 as published, with nothing put into it.

    Adapters, replaced or hooked modules, other activations and attention scaled by layer all go the general way.
    """
    if type(trunk) is not GPT2Model or trunk.config._attn_implementation != "sdpa":
        return False
    config = trunk.config
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights or config.add_cross_attention:
        return False
    if any(is_hooked(module) for module in trunk.modules()) or type(trunk.ln_f) is not nn.LayerNorm:
        return False
    return type(trunk.wte) is type(trunk.wpe) is nn.Embedding and all(_is_plain_block(block) for block in trunk.h)


def is_hooked(module: nn.Module) -> bool:
    """Whether anything has been put before, after or in the place of a module's forward pass."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def _is_plain_block(block: nn.Module) -> bool:
    return (
        type(block) is GPT2Block
        and type(block.attn) is GPT2Attention
        and is_tanh_gelu(block.mlp.act)
        and type(block.ln_1) is type(block.ln_2) is nn.LayerNorm
        and type(block.attn.c_attn) is type(block.attn.c_proj) is Conv1D
        and type(block.mlp.c_fc) is type(block.mlp.c_proj) is Conv1D
    )


def has_published_widths(trunk: GPT2Model) -> bool:
    """Whether a plain GPT-2's matrices are 3, 1, 4 and 1 times as wide as its hidden states, in all blocks."""
    width = int(trunk.config.n_embd)

    def of_block(block: GPT2Block) -> list[tuple[int, ...]]:
        parts = block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj
        return [tuple(part.weight.shape) for part in parts]

    published = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    return all(of_block(cast(GPT2Block, block)) == published for block in trunk.h)


class GPT2Step:
    """Appends tokens to cached rows, with the numbers of the trunk's own forward pass up to rounding.

    Without dropout and without gradients. Weights may be copied, so that it belongs to one rollout.

    Args:
        trunk: One of which `is_plain_gpt2` is true.
        n_rows: About how many rows get a token at a time.
        dtype: Precision of matrix products and attention, as autocast has it; sums and norms stay in float32. Weights
            of another precision are converted once, where autocast would do so at every step.
        is_recorded: Whether the caches that it is called with have a record.
    """

    def __init__(
        self, trunk: GPT2Model, n_rows: int, dtype: torch.dtype = torch.float32, *, is_recorded: bool = False
    ) -> None:
        self.trunk, self.dtype, device = trunk, dtype, trunk.wte.weight.device
        self.n_heads = trunk.config.n_head
        self.head_width = trunk.config.n_embd // self.n_heads
        self.kernel = attention_kernel(device, dtype, self.head_width)
        on_cpu = cpu_step(device, dtype)
        # What a record keeps comes before the activation, and so do products in C.
        has_gelu = not is_recorded and on_cpu is None
        self.activate = None if has_gelu else partial(functional.gelu, approximate="tanh")
        self.blocks = [_BlockStep(cast(GPT2Block, block), n_rows, dtype, has_gelu) for block in trunk.h]
        self.packed = None
        if on_cpu is not None and has_published_widths(trunk):
            self.packed = PackedNetwork(on_cpu, trunk, [block.packed() for block in self.blocks], _parts(trunk.ln_f))

    def __call__(self, input_ids: Tensor, positions: Tensor, cache: RowCache) -> Tensor:
        """Append tokens and return the last hidden state at each of them.

        Args:
            input_ids: New tokens, shape (R, m).
            positions: Their positions in their rows, shape (R, m).
            cache: Has been told where to append, by `RowCache.select`; changed in place.

        Returns:
            Shape (R, m, D).
        """
        is_step = input_ids.shape[1] == 1 and cache.rows is None
        if self.packed is not None and is_step and all(layer.is_initialized for layer in cache.row_layers):
            keys, values = zip(*[(layer.keys, layer.values) for layer in cache.row_layers], strict=True)
            return self.packed(input_ids[:, 0], positions[:, 0], keys, values, cache.record)[:, None]
        trunk = self.trunk
        attend = self._attention(input_ids, cache)
        # A step is joined into few kernels; prompts come once, and one of them is not worth compiling for.
        add_and_norm = _fused_add_and_norm if input_ids.shape[1] == 1 else _add_and_norm
        products: list[BlockProducts] = []
        hidden = functional.embedding(input_ids.flatten(), trunk.wte.weight)  # (R m, D)
        update = functional.embedding(positions.flatten(), trunk.wpe.weight)
        for block, layer in zip(self.blocks, cache.row_layers, strict=True):
            hidden, normed = add_and_norm(hidden, update, *block.first_norm, self.dtype)
            joined = block.into_attention(normed)
            attended = block.out_of_attention(attend(joined, layer))
            hidden, normed = add_and_norm(hidden, attended, *block.second_norm, self.dtype)
            widened = block.widen(normed)
            update = block.narrow(widened if self.activate is None else self.activate(widened))
            if cache.record is not None:
                products.append(BlockProducts(joined, attended, widened, update))
        if cache.record is not None:
            cache.record.add(cache.rows, cache.positions, products)
        # The language head's input stays in float32.
        return _add_and_norm(hidden, update, *_parts(trunk.ln_f), torch.float32)[1].view(*input_ids.shape, -1)

    def _attention(self, input_ids: Tensor, cache: RowCache) -> Callable[[Tensor, RowCacheLayer], Tensor]:
        """Return what appends joined queries, keys and values, shape (R m, 3 D), to a layer and attends, (R m, D)."""
        is_step = input_ids.shape[1] == 1 and cache.rows is None
        split = (*input_ids.shape, 3, self.n_heads, self.head_width)
        if self.kernel is not None and is_step:
            kernel, places = self.kernel, (cache.positions[:, 0], cache.lenders, cache.n_borrowed)

            def attend_by_kernel(joined: Tensor, layer: RowCacheLayer) -> Tensor:
                joined = joined.view(split)[:, 0]  # (R, 3, H, D/H)
                if not layer.is_initialized:
                    layer.lazy_initialization(joined[:, 1, :, None], joined[:, 2, :, None])
                return kernel(joined, layer.keys, layer.values, *places)

            return attend_by_kernel
        if 1 < input_ids.shape[1] == cache.attended_length:
            # Rows that begin: all that there is to attend to is new.
            def attend_to_new(joined: Tensor, layer: RowCacheLayer) -> Tensor:
                queries, keys, values = joined.view(split).permute(2, 0, 3, 1, 4)
                layer.write(keys, values)
                attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
                return attended.transpose(1, 2).reshape(input_ids.numel(), -1)

            return attend_to_new
        # Attention would do so in every block.
        mask = cache.attention_mask()
        added = torch.zeros(mask.shape, device=mask.device, dtype=self.dtype).masked_fill_(~mask, -torch.inf)

        def attend(joined: Tensor, layer: RowCacheLayer) -> Tensor:
            queries, new_keys, new_values = joined.view(split).permute(2, 0, 3, 1, 4)  # (R, H, m, D/H) each
            keys, values = layer.update(new_keys, new_values)
            return _attend(queries, keys, values, added).transpose(1, 2).reshape(input_ids.numel(), -1)

        return attend


class _BlockStep:
    """A block's norms and products, of rows of shape (N, D)."""

    def __init__(self, block: GPT2Block, n_rows: int, dtype: torch.dtype, has_gelu: bool) -> None:
        self.first_norm, self.second_norm = _parts(block.ln_1), _parts(block.ln_2)
        self.into_attention, self.out_of_attention, self.narrow = (
            _product(part, n_rows, dtype) for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_proj)
        )
        self.widen = _product(block.mlp.c_fc, n_rows, dtype, has_gelu=has_gelu)

    def packed(self) -> PackedBlock:
        """Return the block for functions in C, which its products have to be."""
        products = self.into_attention, self.out_of_attention, self.widen, self.narrow
        return PackedBlock([self.first_norm, self.second_norm], cast(list[PackedMatrix], list(products)))


def _product(linear: Conv1D, n_rows: int, dtype: torch.dtype, *, has_gelu: bool = False) -> Product:
    return few_rows_product(linear.weight.to(dtype), linear.bias.to(dtype), n_rows, has_gelu=has_gelu)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Return what queries, shape (R, H, m, D/H), attend to, by a mask that is added, shape (R, 1, m, length)."""
    n_scores = queries.shape[0] * queries.shape[1] * keys.shape[2]
    if queries.shape[2] > 1 or queries.device.type != "cpu" or n_scores < MIN_SCORES:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2)
    scores += mask
    # Under autocast weights are summed in float32, as attention's kernel does.
    attended: Tensor = scores.float().softmax(dim=-1).to(values.dtype) @ values
    return attended


def _parts(norm: nn.LayerNorm) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps


def _add_and_norm(
    hidden: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the sum of hidden states and an update, and its norm in a precision, shape (N, D) each."""
    total = hidden + update
    normed = torch.layer_norm(total, weight.shape, weight, bias, eps)
    return total, normed if dtype == torch.float32 else normed.to(dtype)


_fused_add_and_norm = fused(least_rows=64, least_width=512)(_add_and_norm)
