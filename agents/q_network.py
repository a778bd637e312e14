"""A causal language model as a Q-network: the value of each next token, exploration around the best one."""

from collections.abc import Hashable
from typing import Any, Unpack

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from .exploration import Exploration
from .kv_cache import PairedCache, RowCache
from .language_policy import LanguagePolicy
from .number_checks import check_numbers
from .sampling import draw_tokens, restrict_to_top
from .token_rules import NO_RULES, TokenRules
from .trunk_model import ModelSource, TrunkOptions


class GPT2QNetwork(LanguagePolicy):
    """Values of all next tokens, from the language head and a value head on one trunk.

    Q(s, a) = V(s) + τ log π(a|s),   log π = logits − logsumexp(logits)

    V starts at 0, so that before training the best token is the language model's most probable one, and a token that it
    takes for e times less likely is worth τ less. (Logits themselves, taken for values, would first have to be torn to
    the reward's scale.) After training, softmax(Q/τ) is the language model's own distribution.

    A packed batch as `EpisodeReplay` gives it also has, where only some tokens are considered, the ids of these,
    `considered`, shape (N, k).

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        model: See `LanguagePolicy`.
        advantage_scale: τ, in units of reward per nat.
        token_rules: Tokens that the environment forbids.
        **options: `frozen_layers`, `lora`, `autocast` and `gradient_checkpointing`, see `LanguagePolicy`.

    Attributes:
        exploration: What is tried besides the best token; none unless it is set.

    Raises:
        ValueError: If `advantage_scale` is not above 0, or as `LanguagePolicy` says.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        model: ModelSource = None,
        advantage_scale: float = 0.1,
        token_rules: TokenRules = NO_RULES,
        **options: Unpack[TrunkOptions],
    ) -> None:
        check_numbers({"advantage_scale": advantage_scale})
        super().__init__(observation_space, action_space, model=model, token_rules=token_rules, **options)
        self.advantage_scale = advantage_scale
        self.exploration = Exploration()
        self.value_net = self._make_value_head()

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Return the value of each token at each decision, the least finite number at tokens that are out of question.

        Returns:
            Shape (N, V).
        """
        hidden, n_generated = self.decisions(obs)
        q_values = self.q_values(hidden, n_generated)
        self.term_watch.watch({"Q values": q_values}, {"Q values": "loss"})
        return self._without_others(q_values, obs)

    def q_values(self, hidden: Tensor, n_generated: Tensor) -> Tensor:
        """Return the value of each token, shape (N, V), after hidden states, shape (N, D)."""
        return self.finite(self.value_net(hidden).float() + self.advantages(hidden, n_generated))

    def advantages(self, hidden: Tensor, n_generated: Tensor) -> Tensor:
        """Return τ log π of each token, shape (N, V), after hidden states, shape (N, D)."""
        return self.advantage_scale * self.decision_logits(hidden, n_generated).log_softmax(dim=-1)

    @staticmethod
    def finite(values: Tensor) -> Tensor:
        """Put the least finite number in the place of minus infinity.

        Stable-Baselines3 multiplies by 0 at an episode's end, which infinity would not survive.
        """
        return values.clamp(min=torch.finfo(values.dtype).min)

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return V of hidden states, shape (N, D), as float32, shape (N,)."""
        values: Tensor = self.value_net(hidden[:, : self.width]).float().mean(dim=-1)
        return values

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
        """Choose the best token, or, where the random number is below the exploration rate, explore.

        Args:
            hidden: Hidden state at the end of each row, followed by the reference's where exploration needs it.
            n_generated: Tokens generated so far, shape (B,).
            uniforms: Numbers in [0, 1), shape (B,).
            deterministic: Do not explore.
            top_k: Explore only among so many tokens; see `restrict_to_top`.
            top_p: Likewise.
            candidates: See `LanguagePolicy.choose`.

        Returns:
            Token ids and their log-probabilities, exploration included, shape (B,) each.
        """
        q_values = self.q_values(hidden[:, : self.width], n_generated)
        rate = 0.0 if deterministic else self.exploration.rate
        logits = torch.zeros_like(q_values)
        if self.exploration.needs_reference:
            reference_logits = self.exploration.reference.decision_logits(hidden[:, self.width :], n_generated)
            is_candidate = self.exploration.candidate_mask(reference_logits)
            q_values = q_values.masked_fill(~is_candidate, torch.finfo(q_values.dtype).min)
            if self.exploration.kind == "reference":
                logits = reference_logits
            logits = logits.masked_fill(~is_candidate, torch.finfo(logits.dtype).min)
        q_values = self.forbid(q_values, n_generated, candidates)
        greedy = q_values.argmax(dim=-1)
        if rate == 0:
            return greedy, torch.zeros_like(uniforms)
        logits = self.forbid(logits, n_generated, candidates)
        # Given that a uniform number is below the rate, their ratio is uniform too.
        explored = draw_tokens(restrict_to_top(logits, top_k, top_p), uniforms / rate)
        token_ids = torch.where(uniforms < rate, explored, greedy)
        probability = rate * logits.softmax(dim=-1).gather(1, token_ids[:, None])[:, 0]
        return token_ids, (probability + (1 - rate) * (token_ids == greedy)).log()

    @property
    def kind_of_choice(self) -> Hashable:
        """See `LanguagePolicy.kind_of_choice`."""
        return super().kind_of_choice, self.exploration.rate == 0, self.exploration.needs_reference

    def choices(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Return what `choose` wants: as `decisions`, the hidden states followed by the reference's where needed."""
        hidden, n_generated = self.decisions(obs)
        if self.exploration.needs_reference:
            of_reference, _ = self.exploration.reference.decisions(obs)
            hidden = torch.cat([hidden, of_reference], dim=-1)
        return hidden, n_generated

    def make_cache(self, num_rows: int, context_length: int) -> RowCache:
        """Return an empty cache, which holds the reference's too where exploration needs it."""
        if not self.exploration.needs_reference:
            return super().make_cache(num_rows, context_length)
        companion = self.exploration.reference.make_cache(num_rows, context_length)
        n_layers = self.language_model.config.num_hidden_layers
        return self.prepared(PairedCache(n_layers, num_rows, context_length, self.device, companion))

    def cached_hidden_states(
        self,
        input_ids: Tensor,
        positions: Tensor,
        cache: RowCache,
        rows: Tensor | None = None,
        attended_length: int | None = None,
    ) -> Tensor:
        """Append tokens to cached rows; see `LanguagePolicy.cached_hidden_states`.

        Returns:
            Hidden states, followed by the reference's where the cache is a pair, shape (R, m, D) or (R, m, D + D').
        """
        hidden = super().cached_hidden_states(input_ids, positions, cache, rows, attended_length)
        if not isinstance(cache, PairedCache):
            return hidden
        reference = self.exploration.reference
        of_reference = reference.cached_hidden_states(input_ids, positions, cache.companion, rows, attended_length)
        return torch.cat([hidden, of_reference], dim=-1)

    def _without_others(self, values: Tensor, obs: PyTorchObs) -> Tensor:
        """Give all tokens but those considered, where these are few, the least finite value; shape (N, …, V)."""
        if isinstance(obs, Tensor) or "considered" not in obs:
            return values
        is_other = torch.ones((len(values), self.vocab_size), dtype=torch.bool, device=values.device)
        is_other.scatter_(1, obs["considered"].long(), False)
        is_other = is_other.view(len(values), *[1] * (values.dim() - 2), self.vocab_size)
        return values.masked_fill(is_other, torch.finfo(values.dtype).min)

    def _make_value_head(self) -> nn.Linear:
        return self._zero_linear(1)

    def _zero_linear(self, out_features: int) -> nn.Linear:
        head = nn.Linear(self.width, out_features)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head
