"""A causal language model as a Stable-Baselines3 policy: trunk, cached decoding, logits, and the choice of tokens."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from textgym.models import load_language_model

from .candidates import unpack_candidates
from .frozen_layers import freeze_layers, lower_hidden_states, upper_hidden_states
from .kv_cache import RowCache
from .lora import LoraSource, add_lora
from .micro_batches import row_slices
from .precision import Autocast, check_autocast, checkpointed_blocks, precision
from .sampling import draw_tokens, restrict_to_top
from .term_watch import TermWatch
from .token_rules import NO_RULES, TokenRules

# Positions of a forward pass on the CPU; more of them fall out of its cache.
POSITIONS_PER_PASS = 1024
ModelSource = PreTrainedModel | PretrainedConfig | str | Path | None


class LanguagePolicy(BasePolicy):
    """What actor-critic and value-based policies on a language model share.

    The distribution over actions is softmax(logits / temperature) over the tokens that the environment allows; all
    log-probabilities and entropies are of that distribution.

    Observations come in two forms. A batch of single contexts, as `TextGen-v0` and plain Stable-Baselines3 give it,
    holds one decision a row: the token after the last real one. A packed batch, as the sequence path gives it, holds
    whole episodes and a key `is_decision`, shape (B, L), True at each position whose next token the policy chose;
    results are then flattened over decisions, row by row. Where not all decisions count, it also has the indices of
    those that do, `selected`, and the number of tokens generated before each of these, `n_generated`, shape (N,) each.

    Subclasses say what a hidden state is worth (`values_of`), and may choose tokens otherwise (`choose`).

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        model: A language model, a folder, a hub name, a `transformers` configuration (random weights), or None for
            the bundled GPT-2. Dropout is switched off, since the tokens were sampled without it. An object that is
            passed in is copied.
        temperature: Divides the logits.
        token_rules: Tokens that the environment forbids.
        frozen_layers: Number of blocks, from the first, that are not trained, nor are the embeddings then (nor a head
            that is tied to them); 0 trains everything.
        lora: Train a low-rank adapter in place of the model, see `add_lora`: its rank, settings of `peft.LoraConfig`,
            or the folder of a saved adapter. The reference is then the model without it.
        autocast: `"bfloat16"` computes matrix products in it, from weights kept in float32.
        gradient_checkpointing: Keep only each block's input for the backward pass, which computes the rest again.
        optimizer_class: Optimiser of all parameters that are trained.
        optimizer_kwargs: Its arguments but the learning rate; Adam's epsilon is 1e-5 by default.

    Raises:
        ValueError: If the vocabulary or context of the model is smaller than the environment's, or an argument is out
            of range.
        TypeError: If the spaces are not those of `TextGen-v0`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        model: ModelSource = None,
        temperature: float = 1.0,
        token_rules: TokenRules = NO_RULES,
        frozen_layers: int = 0,
        lora: LoraSource | None = None,
        autocast: Autocast | None = None,
        gradient_checkpointing: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete) or not isinstance(observation_space, spaces.Dict):
            raise TypeError(
                f"{type(self).__name__} needs the spaces of TextGen-v0, Dict observations and Discrete actions, got "
                f"{observation_space} and {action_space}."
            )
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}; for greedy text use deterministic=True.")
        if frozen_layers and lora is not None:
            raise ValueError("lora freezes the whole model, so frozen_layers must be 0 with it; leave one of them out.")
        check_autocast(autocast)
        BasePolicy.__init__(
            self,
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs={"eps": 1e-5} if optimizer_kwargs is None else optimizer_kwargs,
        )
        self.vocab_size = int(action_space.n)
        self.temperature = temperature
        self.token_rules = token_rules
        self.term_watch = TermWatch()
        self.language_model = own_model(model)
        self._check_sizes(observation_space)
        freeze_layers(self.language_model, frozen_layers)
        self.frozen_layers = frozen_layers
        self.lora = None if lora is None else add_lora(self.language_model, lora)
        self.autocast = autocast
        self.gradient_checkpointing = gradient_checkpointing
        is_banned = torch.zeros(self.vocab_size, dtype=torch.bool)
        is_banned[list(token_rules.banned_token_ids)] = True
        self.register_buffer("is_banned", is_banned, persistent=False)

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
        return RowCache(n_layers, num_rows, context_length, self.device)

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
        mask = cache.select(positions, rows, attended_length)
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

    @property
    def candidate_bytes(self) -> int:
        """Bytes of one decision's `candidates`, 0 where there are none."""
        return 0

    def candidates(self, hidden: Tensor, n_generated: Tensor) -> Tensor | None:
        """Return the tokens that are chosen among at each decision, where the policy narrows the choice.

        Generation stores them with the episode, so that an update scores a token among those it was drawn from.

        Args:
            hidden: Hidden states, as generation has them, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).

        Returns:
            As `pack_candidates` packs them; None for all that the environment allows.
        """
        return None

    def stored_candidates(self, obs: PyTorchObs, hidden: Tensor, n_generated: Tensor) -> Tensor | None:
        """Return the candidates that a packed batch brings under the key `candidates`, and else the policy's own."""
        if isinstance(obs, dict) and "candidates" in obs:
            return obs["candidates"]
        return self.candidates(hidden, n_generated)

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return logits over allowed tokens, divided by the temperature.

        Args:
            hidden: Hidden states, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).
            candidates: As `candidates` returns them; all other tokens are forbidden too.

        Returns:
            Float32, shape (N, V), the least finite number at forbidden tokens.
        """
        with precision(hidden.device, self.autocast):
            logits = self.language_model.get_output_embeddings()(hidden)[:, : self.vocab_size]
        logits = logits.float()
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return self.forbid(cast(Tensor, logits), n_generated, candidates)

    def forbid(self, logits: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Put the least finite number in the place of forbidden tokens' logits, shape (N, V)."""
        rules = self.token_rules
        if rules.banned_token_ids:
            logits = logits.masked_fill(cast(Tensor, self.is_banned), torch.finfo(logits.dtype).min)
        if rules.min_new_tokens and rules.eos_token_id is not None:
            is_eos = torch.arange(self.vocab_size, device=logits.device) == rules.eos_token_id
            is_early = (n_generated < rules.min_new_tokens)[:, None] & is_eos
            logits = logits.masked_fill(is_early, torch.finfo(logits.dtype).min)
        if candidates is not None:
            is_candidate = unpack_candidates(candidates, self.vocab_size)
            logits = logits.masked_fill(~is_candidate, torch.finfo(logits.dtype).min)
        return logits

    def choose(
        self,
        hidden: Tensor,
        n_generated: Tensor,
        uniforms: Tensor,
        deterministic: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the next token of each row.

        Args:
            hidden: Hidden state at the end of each row, shape (B, D).
            n_generated: Tokens generated so far, shape (B,).
            uniforms: Numbers in [0, 1), shape (B,).
            deterministic: Take the most probable token.
            top_k: See `restrict_to_top`.
            top_p: See `restrict_to_top`.
            candidates: What `candidates` returns, where it is known already.

        Returns:
            Token ids and their log-probabilities under the policy without `top_k` and `top_p`, shape (B,) each.
        """
        if candidates is None:
            candidates = self.candidates(hidden, n_generated)
        logits = self.decision_logits(hidden, n_generated, candidates)
        if deterministic:
            token_ids = logits.argmax(dim=-1)
        elif top_k is None and top_p is None:
            token_ids = draw_tokens(logits, uniforms)
        else:
            token_ids = draw_tokens(restrict_to_top(logits, top_k, top_p), uniforms)
        log_prob = logits.gather(1, token_ids[:, None])[:, 0] - logits.logsumexp(dim=-1)
        return token_ids, log_prob

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the value of hidden states, shape (N, D), as float32, shape (N,)."""
        raise NotImplementedError

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose the next token of one context or of several.

        Args:
            observation: As `TextGen-v0` or a VecEnv of it gives it.
            state: Returned as it is; the context is all there is to know.
            episode_start: Not used, likewise.
            deterministic: Take the most probable token.
            top_k: See `restrict_to_top`.
            top_p: See `restrict_to_top`.

        Returns:
            Token ids, shape () for one context and (B,) for several, and `state`.

        Raises:
            TypeError: If the observation is not a dict.
            ValueError: If `top_k` or `top_p` is out of range.
        """
        obs, is_batch = self._read(observation)
        with torch.no_grad():
            token_ids = self._predict(obs, deterministic, top_k, top_p).cpu().numpy()
        return (token_ids if is_batch else token_ids.squeeze(axis=0)), state

    def _read(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """Return an observation as tensors of several rows, and whether it has several; ready for evaluation."""
        if not isinstance(observation, dict):
            raise TypeError(
                f"predict needs the Dict observation of TextGen-v0, got {type(observation).__name__}; reset() of an "
                "Env returns a pair of observation and info, that of a VecEnv the observation alone."
            )
        self.set_training_mode(False)
        return self.obs_to_tensor(observation)

    def _predict(
        self,
        observation: PyTorchObs,
        deterministic: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        hidden, n_generated = self.decisions(observation)
        uniforms = torch.rand(len(hidden), device=hidden.device)
        candidates = self.stored_candidates(observation, hidden, n_generated)
        return self.choose(hidden, n_generated, uniforms, deterministic, top_k, top_p, candidates)[0]

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
            hidden, is_decision = self._packed_hidden_states(obs, trunk), obs["is_decision"]
            if "selected" in obs:
                return hidden[obs["selected"]], obs["n_generated"]
            return hidden, (is_decision.long().cumsum(dim=1) - 1)[is_decision]
        lengths = obs["attention_mask"].long().sum(dim=1)
        # The environment also marks budget that was spent on forbidden tokens, behind the text.
        n_generated = (obs["is_generated"].long() * obs["attention_mask"].long()).sum(dim=1)
        hidden = self.hidden_states(input_ids[:, : int(lengths.max())], trunk=trunk)
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1], n_generated

    def _packed_hidden_states(self, obs: Mapping[str, Tensor], trunk: nn.Module | None) -> Tensor:
        """Return the hidden state at each decision of a packed batch, shape (N, D).

        On the CPU a few rows are forwarded at a time, each no further than its longest: rows come longest first, so
        little padding is left, and what a pass works on stays in the processor's cache.
        """
        input_ids, is_decision = obs["input_ids"].long(), obs["is_decision"]
        frozen_hidden = obs.get("frozen_hidden") if self.n_shared_layers else None
        if input_ids.device.type != "cpu":
            return self.hidden_states(input_ids, frozen_hidden, trunk)[is_decision]
        lengths = obs["attention_mask"].sum(dim=1).tolist()
        parts = []
        for rows in row_slices(lengths, POSITIONS_PER_PASS):
            longest = max(lengths[rows])
            frozen = None if frozen_hidden is None else frozen_hidden[rows, :longest]
            hidden = self.hidden_states(input_ids[rows, :longest], frozen, trunk)
            parts.append(hidden[is_decision[rows, :longest]])
        return torch.cat(parts)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            # Only the shape of the network: the weights are loaded.
            "model": self.language_model.config,
            "temperature": self.temperature,
            "token_rules": self.token_rules,
            "frozen_layers": self.frozen_layers,
            "lora": self.lora,
            "autocast": self.autocast,
            "gradient_checkpointing": self.gradient_checkpointing,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def _check_sizes(self, observation_space: spaces.Dict) -> None:
        config = self.language_model.config
        if config.vocab_size < self.vocab_size:
            raise ValueError(
                f"The environment's tokenizer has {self.vocab_size} tokens, the model only {config.vocab_size}; "
                "give the environment the model's own tokenizer."
            )
        shape: Sequence[int] | None = observation_space["input_ids"].shape
        context = shape[0] if shape else 0
        longest = getattr(config, "max_position_embeddings", None)
        if longest is not None and context > longest:
            raise ValueError(
                f"max_prompt_tokens + max_new_tokens is {context}, beyond the model's context of {longest} tokens; "
                "lower one of them."
            )


def own_model(source: ModelSource) -> PreTrainedModel:
    """Load a language model, make it from its configuration, or copy it; in float32, without dropout."""
    if isinstance(source, PretrainedConfig):
        model = AutoModelForCausalLM.from_config(source)
    elif isinstance(source, PreTrainedModel):
        model = copy.deepcopy(source)
    else:
        model = load_language_model(source)
    model.float().eval()
    return cast(PreTrainedModel, model)
