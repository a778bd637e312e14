"""The trunk of a causal language model: hidden states of contexts, of whole episodes, and of cached rows."""

import math
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, Self, TypeVar, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from transformers import GPT2Model

from . import gpu_path
from .cpu_step import cpu_step
from .forward_record import DecodingPlan, ForwardRecord
from .frozen_layers import freeze_layers, lower_hidden_states, upper_hidden_states
from .gpt2_blocks import at_decisions, embedded, through_blocks
from .gpt2_step import GPT2Step, has_published_widths, is_plain_gpt2
from .kv_cache import RowCache
from .lora import LoraSource, add_lora
from .micro_batches import row_slices
from .model_limits import check_context, check_vocabulary
from .number_checks import check_numbers
from .optimizer_settings import optimizer_settings
from .precision import Autocast, check_autocast, checkpointed_blocks, precision, product_dtype
from .rollout_memory import RolloutMemory
from .text_passes import PackedTexts, layout_of
from .trunk_model import ModelSource, own_model

# Positions of a forward pass on the CPU; more of them fall out of its cache.
POSITIONS_PER_PASS = 1024
CacheType = TypeVar("CacheType", bound=RowCache)


class Trunk(BasePolicy):
    """The language model of a policy, and what it makes of observations.

    Observations come in two forms. A batch of single contexts, as `TextGen-v0` and plain Stable-Baselines3 give it,
    holds one decision a row: the token after the last real one. A packed batch, as the sequence path gives it, holds
    whole episodes and a key `is_decision`, shape (B, L), True at each position whose next token the policy chose;
    results are then flattened over decisions, row by row. Where not all decisions count, it also has the indices of
    those that do, `selected`, and the number of tokens generated before each of these, `n_generated`, shape (N,) each.

    Its arguments are those of `LanguagePolicy`.

    Attributes:
        memory: What the last rollout has computed, for the next update.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        model: ModelSource,
        frozen_layers: int,
        lora: LoraSource | None,
        autocast: Autocast | None,
        gradient_checkpointing: bool,
        optimizer_class: type[torch.optim.Optimizer],
        optimizer_kwargs: dict[str, Any] | None,
    ) -> None:
        check_numbers({"frozen_layers": frozen_layers})
        if not isinstance(action_space, spaces.Discrete) or not isinstance(observation_space, spaces.Dict):
            raise TypeError(
                f"{type(self).__name__} needs the spaces of TextGen-v0, Dict observations and Discrete actions, got "
                f"{observation_space} and {action_space}."
            )
        if frozen_layers and lora is not None:
            raise ValueError("lora freezes the whole model, so frozen_layers must be 0 with it; leave one of them out.")
        check_autocast(autocast)
        BasePolicy.__init__(
            self,
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_settings(optimizer_class, optimizer_kwargs),
        )
        self.vocab_size = int(action_space.n)
        self.context_length = int(cast(tuple[int], observation_space["input_ids"].shape)[0])
        self.language_model = own_model(model)
        check_vocabulary(self.language_model.config, self.vocab_size)
        check_context(self.language_model.config, self.context_length)
        freeze_layers(self.language_model, frozen_layers)
        self.frozen_layers = frozen_layers
        self.lora = None if lora is None else add_lora(self.language_model, lora)
        self.autocast = autocast
        self.gradient_checkpointing = gradient_checkpointing
        self.memory = RolloutMemory()

    @property
    def width(self) -> int:
        """Number of entries of a hidden state, D."""
        width: int = self.language_model.get_output_embeddings().in_features
        return width

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation mode; the language model stays in the latter, without dropout."""
        super().train(mode)
        # Not every model's dropout is a module: Llama's attention has a number that counts in training mode.
        self.language_model.eval()
        return self

    @property
    def n_shared_layers(self) -> int:
        """Number of blocks whose result never changes, and is computed once for all that stands on them.

        Never all of them, even if all are frozen.
        """
        n_layers: int = self.language_model.config.num_hidden_layers
        return min(self.frozen_layers, n_layers - 1)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def hidden_states(
        self, input_ids: Tensor, frozen_hidden: Tensor | None = None, trunk: nn.Module | None = None
    ) -> Tensor:
        """Return a trunk's last hidden state at each position of right-padded rows.

        Causal attention never looks right, so padding there needs no mask.

        Args:
            input_ids: Tokens, shape (B, L).
            frozen_hidden: What `frozen_hidden_states` gave for them, shape (B, L, D); None to compute it.
            trunk: Another trunk of the same shape; None for the language model's.

        Returns:
            Float32, shape (B, L, D).
        """
        trunk = self.language_model.base_model if trunk is None else trunk
        is_checkpointed = self.gradient_checkpointing and torch.is_grad_enabled()
        if frozen_hidden is None and gpu_path.is_for_gpu(input_ids) and is_plain_gpt2(trunk):
            hidden = embedded(trunk, input_ids)
            return through_blocks(trunk, hidden, product_dtype(self.autocast), is_checkpointed).float()
        with precision(input_ids.device, self.autocast), checkpointed_blocks(trunk, is_checkpointed):
            if frozen_hidden is not None:
                hidden = upper_hidden_states(trunk, self.n_shared_layers, frozen_hidden)
            else:
                embeddings = trunk.get_input_embeddings()(input_ids)  # type: ignore[operator]
                hidden = trunk(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return hidden.float()

    @torch.no_grad()
    def frozen_hidden_states(self, input_ids: Tensor) -> Tensor:
        """Return what the frozen layers make of right-padded rows, shape (B, L, D); there must be some."""
        with precision(input_ids.device, self.autocast):
            return lower_hidden_states(self.language_model.base_model, self.n_shared_layers, input_ids).float()

    def make_cache(self, num_rows: int, context_length: int) -> RowCache:
        """Return an empty cache for rows of at most `context_length` tokens, on the policy's device."""
        n_layers = self.language_model.config.num_hidden_layers
        return self.prepared(RowCache(n_layers, num_rows, context_length, self.device))

    def prepared(self, cache: CacheType) -> CacheType:
        """Let tokens be appended to a cache in the quickest way that there is for this trunk, and return it."""
        trunk = self.language_model.base_model
        if is_plain_gpt2(trunk):
            if self.memory.plan is not None and has_published_widths(trunk):
                cache.record = self.memory.record = self._new_record(cache, self.memory.plan)
            step = GPT2Step(trunk, cache.num_rows, self.decoding_dtype, is_recorded=cache.record is not None)
            cache.step, cache.lends = step, step.kernel is not None
            cache.step_knows_ends = step.kernel is not None or step.packed is not None
        return cache

    def _new_record(self, cache: RowCache, plan: DecodingPlan) -> ForwardRecord | None:
        """Return a record of what a plain GPT-2 decodes, where that is worth it for the update; see `ForwardRecord`.

        That is so in float32 on the CPU, where the products take little memory. The first pass with gradients that
        asks for these texts can then be differentiated once.
        """
        is_exact = self.device.type == "cpu" and self.autocast is None
        has_room = ForwardRecord.has_room(self.language_model, cache.context_length, plan.n_texts)
        if not is_exact or self.gradient_checkpointing or not has_room:
            return None
        sizes = cache.num_rows, cache.context_length
        return ForwardRecord(self.language_model, *sizes, plan, self.recorded_vocabulary, self.choice_settings)

    @property
    def decoding_dtype(self) -> torch.dtype:
        """Precision of products where tokens are generated: of a plain GPT-2 on the CPU float32, if it is decoded in C.

        That takes less time than PyTorch's operations in bfloat16, of which a token needs many. `predict`, which reads
        a context anew each time, stays in bfloat16, and may decide otherwise between nearly equal tokens.
        """
        trunk, has_c = self.language_model.base_model, cpu_step(self.device, torch.float32) is not None
        is_in_c = has_c and is_plain_gpt2(trunk) and has_published_widths(trunk)
        return torch.float32 if is_in_c else product_dtype(self.autocast)

    @property
    def recorded_vocabulary(self) -> int:
        """Tokens whose distributions an update can take from decoding; 0 where it cannot."""
        return 0

    @property
    def choice_settings(self) -> Hashable:
        """What distributions over tokens follow from, besides weights."""
        return None

    def cached_hidden_states(
        self,
        input_ids: Tensor,
        positions: Tensor,
        cache: RowCache,
        rows: Tensor | None = None,
        attended_length: int | None = None,
    ) -> Tensor:
        """Append tokens to cached rows and return the hidden state at each of them.

        Args:
            input_ids: New tokens, shape (R, m).
            positions: Their positions in their rows, shape (R, m).
            cache: The cache, changed in place.
            rows: Rows appended to, shape (R,); None for all.
            attended_length: See `RowCache.select`.

        Returns:
            Shape (R, m, D).
        """
        cache.select(positions, rows, attended_length)
        if cache.step is not None and not torch.is_grad_enabled():
            with precision(input_ids.device, None):  # it has its own, whatever the caller's is
                return cache.step(input_ids, positions, cache)
        mask = cache.attention_mask()
        if self.language_model.config._attn_implementation == "eager":
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        with precision(input_ids.device, self.autocast):
            output = self.language_model.base_model(
                inputs_embeds=self.language_model.get_input_embeddings()(input_ids),
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        hidden: Tensor = output.last_hidden_state.float()
        return hidden

    def decisions(self, obs: PyTorchObs, trunk: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Return the hidden state and the number of tokens generated before each decision, (N, D) and (N,).

        Args:
            obs: Single contexts, or a packed batch.
            trunk: See `hidden_states`.
        """
        if isinstance(obs, Tensor):
            raise TypeError(f"{type(self).__name__} needs the Dict observation of TextGen-v0, got a tensor.")
        input_ids = obs["input_ids"].long()
        if "is_decision" in obs:
            hidden = self._packed_hidden_states(obs, trunk)
            if "selected" in obs:
                return hidden[obs["selected"]], obs["n_generated"]
            return hidden, (obs if isinstance(obs, PackedTexts) else PackedTexts(obs)).n_generated
        lengths = obs["attention_mask"].long().sum(dim=1)
        # The environment also marks budget that was spent on forbidden tokens, behind the text.
        n_generated = (obs["is_generated"].long() * obs["attention_mask"].long()).sum(dim=1)
        hidden = self.hidden_states(input_ids[:, : int(lengths.max())], trunk=trunk)
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1], n_generated

    def _packed_hidden_states(self, obs: Mapping[str, Tensor], trunk: nn.Module | None) -> Tensor:
        """Return the hidden state at each decision of a packed batch, shape (N, D).

        A plain GPT-2 goes a way of its own. Of other models, on the CPU, a few rows are forwarded at a time, each no
        further than its longest: rows come longest first, so little padding is left, and what a pass works on stays in
        the processor's cache.
        """
        input_ids, is_decision = obs["input_ids"].long(), obs["is_decision"]
        frozen_hidden = obs.get("frozen_hidden") if self.n_shared_layers else None
        plain = self.language_model.base_model if trunk is None else trunk
        if is_plain_gpt2(plain) and (input_ids.device.type == "cpu" or gpu_path.is_for_gpu(input_ids)):
            return self._plain_hidden_states(plain, obs, frozen_hidden)
        if gpu_path.is_for_gpu(input_ids):
            return self.hidden_states(input_ids, frozen_hidden, trunk)[is_decision]
        parts = []
        lengths = obs["attention_mask"].sum(dim=1).tolist()
        for rows in row_slices(lengths, POSITIONS_PER_PASS):
            longest = max(lengths[rows])
            frozen = None if frozen_hidden is None else frozen_hidden[rows, :longest]
            hidden = self.hidden_states(input_ids[rows, :longest], frozen, trunk)
            parts.append(hidden[is_decision[rows, :longest]])
        return torch.cat(parts)

    def _plain_hidden_states(self, trunk: GPT2Model, obs: Mapping[str, Tensor], frozen_hidden: Tensor | None) -> Tensor:
        """Return what `_packed_hidden_states` does, of a plain GPT-2: what texts have alike is forwarded once."""
        is_own = trunk is self.language_model.base_model
        known = self.memory.take_texts(self.language_model, obs, self.choice_settings) if is_own else None
        # A GPU's are as large as the batch: it has no cache that counts.
        most_positions = math.inf if gpu_path.is_for_gpu(obs["input_ids"]) else POSITIONS_PER_PASS
        passes, order = layout_of(obs, most_positions)
        n_done = 0 if frozen_hidden is None else self.n_shared_layers
        is_checkpointed = self.gradient_checkpointing and torch.is_grad_enabled()
        parts = []
        for texts in passes:
            if frozen_hidden is None:
                hidden = trunk.wte(obs["input_ids"].flatten()[texts.positions]) + trunk.wpe(texts.columns)
            else:
                hidden = frozen_hidden.flatten(0, 1)[texts.positions]
            products = None if known is None else partial(known.block, positions=texts.positions)
            arguments = trunk, hidden, texts, n_done, product_dtype(self.autocast), is_checkpointed, products
            parts.append(at_decisions(*arguments))
        joined = torch.cat(parts)
        hidden = joined if order is None else joined.index_select(0, order)
        self.memory.keep_choices(hidden, None if known is None else known.at_decisions(obs["is_decision"]))
        return hidden
