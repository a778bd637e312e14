"""A causal language model with language head and value head, as a Stable-Baselines3 actor-critic policy."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from textgym.models import load_language_model
from textgym.task import TextTask

from .kv_cache import RowCache
from .sampling import draw_tokens, restrict_to_top, token_statistics

MAX_LOGITS_PER_CHUNK = 1 << 24
# Positions of a forward pass on the CPU; more of them fall out of its cache.
POSITIONS_PER_PASS = 1024


@dataclass(frozen=True)
class TokenRules:
    """Which tokens the environment allows, as the policy needs to know it.

    Attributes:
        banned_token_ids: Tokens that are never allowed.
        min_new_tokens: The end-of-sequence token is not allowed before this many tokens.
        eos_token_id: The end-of-sequence token; None where `min_new_tokens` is 0.
    """

    banned_token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    eos_token_id: int | None = None


def token_rules(task: TextTask) -> TokenRules:
    """Return the rules of a task."""
    banned = (~task.is_allowed).nonzero()[:, 0].tolist()
    return TokenRules(tuple(banned), task.min_new_tokens, task.eos_token_id if task.min_new_tokens else None)


class GPT2Policy(ActorCriticPolicy):
    """Actor and critic on the trunk of one causal language model.

    The distribution over actions is softmax(logits / temperature) over the tokens that the environment allows; all
    log-probabilities and entropies are of that distribution. Values come from a linear head on the last hidden
    state, which starts at 0.

    Observations come in two forms. A batch of single contexts, as `TextGen-v0` and plain Stable-Baselines3 give it,
    holds one decision a row: the token after the last real one. A packed batch, as the sequence path gives it, holds
    whole episodes and a key `is_decision`, shape (B, L), True at each position whose next token the policy chose;
    results are then flattened over decisions, row by row.

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        model: A language model, a folder, a hub name, a `transformers` configuration (random weights), or None for
            the bundled GPT-2. Dropout is switched off, since the tokens were sampled without it. An object that is
            passed in is copied.
        temperature: Divides the logits.
        token_rules: Tokens that the environment forbids; the agents of `textgym.agents` fill this in.
        optimizer_class: Optimiser of all parameters.
        optimizer_kwargs: Its arguments but the learning rate; Adam's epsilon is 1e-5 by default.
        use_sde: Not supported; present because Stable-Baselines3 passes it.

    Raises:
        ValueError: If the vocabulary or context of the model is smaller than the environment's, or the temperature
            is not above 0.
        TypeError: If the spaces are not those of `TextGen-v0`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: PreTrainedModel | PretrainedConfig | str | Path | None = None,
        temperature: float = 1.0,
        token_rules: TokenRules = TokenRules(),
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete) or not isinstance(observation_space, spaces.Dict):
            raise TypeError(
                "GPT2Policy needs the spaces of TextGen-v0, Dict observations and Discrete actions, got "
                f"{observation_space} and {action_space}."
            )
        if use_sde:
            raise ValueError("use_sde must be False: it explores continuous actions, and tokens are not.")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}; for greedy text use deterministic=True.")
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
        self.language_model = _own_model(model)
        self._check_sizes(observation_space)
        width = self.language_model.get_output_embeddings().in_features
        self.value_net = nn.Linear(width, 1)
        nn.init.zeros_(self.value_net.weight)
        nn.init.zeros_(self.value_net.bias)
        is_banned = torch.zeros(self.vocab_size, dtype=torch.bool)
        is_banned[list(token_rules.banned_token_ids)] = True
        self.register_buffer("is_banned", is_banned, persistent=False)
        self.optimizer = optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation mode; the language model stays in the latter, without dropout."""
        super().train(mode)
        # Not every model's dropout is a module: Llama's attention has a number that counts in training mode.
        self.language_model.eval()
        return self

    # The trunk and the heads

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Return the trunk's last hidden state at each position of right-padded rows, shape (B, L, D).

        Causal attention never looks right, so padding there needs no mask.
        """
        embeddings = self.language_model.get_input_embeddings()(input_ids)
        output = self.language_model.base_model(inputs_embeds=embeddings, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

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
        output = self.language_model.base_model(
            inputs_embeds=self.language_model.get_input_embeddings()(input_ids),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def decision_logits(self, hidden: Tensor, n_generated: Tensor) -> Tensor:
        """Return logits over allowed tokens, divided by the temperature.

        Args:
            hidden: Hidden states, shape (N, D).
            n_generated: Tokens generated before each decision, shape (N,).

        Returns:
            Float32, shape (N, V), the least finite number at forbidden tokens.
        """
        logits = self.language_model.get_output_embeddings()(hidden)[:, : self.vocab_size].float()
        if self.temperature != 1.0:
            logits = logits / self.temperature
        rules = self.token_rules
        if rules.banned_token_ids:
            logits = logits.masked_fill(self.is_banned, torch.finfo(logits.dtype).min)
        if rules.min_new_tokens and rules.eos_token_id is not None:
            is_eos = torch.arange(self.vocab_size, device=logits.device) == rules.eos_token_id
            is_early = (n_generated < rules.min_new_tokens)[:, None] & is_eos
            logits = logits.masked_fill(is_early, torch.finfo(logits.dtype).min)
        return cast(Tensor, logits)

    def choose(
        self,
        hidden: Tensor,
        n_generated: Tensor,
        uniforms: Tensor,
        deterministic: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the next token of each row.

        Args:
            hidden: Hidden state at the end of each row, shape (B, D).
            n_generated: Tokens generated so far, shape (B,).
            uniforms: Numbers in [0, 1), shape (B,).
            deterministic: Take the most probable token.
            top_k: See `restrict_to_top`.
            top_p: See `restrict_to_top`.

        Returns:
            Token ids and their log-probabilities under the unrestricted policy, shape (B,) each.
        """
        logits = self.decision_logits(hidden, n_generated)
        if deterministic:
            token_ids = logits.argmax(dim=-1)
        elif top_k is None and top_p is None:
            token_ids = draw_tokens(logits, uniforms)
        else:
            token_ids = draw_tokens(restrict_to_top(logits, top_k, top_p), uniforms)
        log_prob = logits.gather(1, token_ids[:, None])[:, 0] - logits.logsumexp(dim=-1)
        return token_ids, log_prob

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the critic's value of hidden states, shape (N, D), as float32, shape (N,)."""
        values: Tensor = self.value_net(hidden)[:, 0].float()
        return values

    # What Stable-Baselines3 calls

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Choose an action for each decision.

        Returns:
            Actions, values, shape (N, 1), and log-probabilities, shape (N,).
        """
        hidden, n_generated = self._decisions(obs)
        uniforms = torch.rand(len(hidden), device=hidden.device)
        actions, log_prob = self.choose(hidden, n_generated, uniforms, deterministic)
        return actions, self.values_of(hidden)[:, None], log_prob

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
        if not isinstance(observation, dict):
            raise TypeError(
                f"predict needs the Dict observation of TextGen-v0, got {type(observation).__name__}; reset() of an "
                "Env returns a pair of observation and info, that of a VecEnv the observation alone."
            )
        self.set_training_mode(False)
        obs, is_batch = self.obs_to_tensor(observation)
        with torch.no_grad():
            hidden, n_generated = self._decisions(obs)
            uniforms = torch.rand(len(hidden), device=hidden.device)
            actions, _ = self.choose(hidden, n_generated, uniforms, deterministic, top_k, top_p)
        token_ids = actions.cpu().numpy()
        return (token_ids if is_batch else token_ids.squeeze(axis=0)), state

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, shape (N, 1), log-probabilities and entropies, shape (N,), of the actions taken."""
        hidden, n_generated = self._decisions(obs)
        token_ids = actions.long().flatten()
        # A chunk's logits are computed again in the backward pass rather than kept.
        size = max(1, MAX_LOGITS_PER_CHUNK // self.vocab_size)
        if len(hidden) <= size:
            log_prob, entropy = self._statistics(hidden, n_generated, token_ids)
        else:
            chunks = zip(hidden.split(size), n_generated.split(size), token_ids.split(size), strict=True)
            parts = [
                torch.utils.checkpoint.checkpoint(self._statistics, *chunk, use_reentrant=False) for chunk in chunks
            ]
            log_prob, entropy = (torch.cat(part) for part in zip(*parts, strict=True))
        return self.values_of(hidden)[:, None], log_prob, entropy

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the distribution over tokens at each decision."""
        hidden, n_generated = self._decisions(obs)
        return CategoricalDistribution(self.vocab_size).proba_distribution(self.decision_logits(hidden, n_generated))

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the value at each decision, shape (N, 1)."""
        return self.values_of(self._decisions(obs)[0])[:, None]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self(observation, deterministic)[0]
        return actions

    def reset_noise(self, n_envs: int = 1) -> None:
        """Do nothing: there is no state-dependent exploration here."""

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            # Only the shape of the network: the weights are loaded, the optimiser's rate too.
            "lr_schedule": _no_learning,
            "model": self.language_model.config,
            "temperature": self.temperature,
            "token_rules": self.token_rules,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def _statistics(self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        return token_statistics(self.decision_logits(hidden, n_generated), token_ids)

    def _decisions(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Return the hidden state and the number of tokens generated before each decision, (N, D) and (N,)."""
        if isinstance(obs, Tensor):
            raise TypeError("GPT2Policy needs the Dict observation of TextGen-v0, got a tensor.")
        input_ids = obs["input_ids"].long()
        if "is_decision" in obs:
            is_decision = obs["is_decision"]
            n_generated = (is_decision.long().cumsum(dim=1) - 1)[is_decision]
            return self._packed_hidden_states(input_ids, obs["attention_mask"], is_decision), n_generated
        lengths = obs["attention_mask"].long().sum(dim=1)
        # The environment also marks budget that was spent on forbidden tokens, behind the text.
        n_generated = (obs["is_generated"].long() * obs["attention_mask"].long()).sum(dim=1)
        hidden = self.hidden_states(input_ids[:, : int(lengths.max())])
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1], n_generated

    def _packed_hidden_states(self, input_ids: Tensor, attention_mask: Tensor, is_decision: Tensor) -> Tensor:
        """Return the hidden state at each decision of a packed batch, shape (N, D).

        On the CPU a few rows are forwarded at a time, each no further than its longest: rows come longest first, so
        little padding is left, and what a pass works on stays in the processor's cache.
        """
        if input_ids.device.type != "cpu":
            return self.hidden_states(input_ids)[is_decision]
        lengths = attention_mask.sum(dim=1).tolist()
        parts, start = [], 0
        while start < len(lengths):
            stop = start + max(1, POSITIONS_PER_PASS // lengths[start])
            longest = max(lengths[start:stop])
            hidden = self.hidden_states(input_ids[start:stop, :longest])
            parts.append(hidden[is_decision[start:stop, :longest]])
            start = stop
        return torch.cat(parts)

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


def _own_model(source: PreTrainedModel | PretrainedConfig | str | Path | None) -> PreTrainedModel:
    if isinstance(source, PretrainedConfig):
        model = AutoModelForCausalLM.from_config(source)
    elif isinstance(source, PreTrainedModel):
        model = copy.deepcopy(source)
    else:
        model = load_language_model(source)
    model.float().eval()
    return cast(PreTrainedModel, model)


def _no_learning(progress_remaining: float) -> float:
    return 0.0
