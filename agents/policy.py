"""A causal language model with language head and value head, as a Stable-Baselines3 actor-critic policy."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from .language_policy import LanguagePolicy, ModelSource
from .sampling import token_statistics
from .token_rules import NO_RULES, TokenRules

MAX_LOGITS_PER_CHUNK = 1 << 24
# The term of an actor-critic loss that each result of `evaluate_actions` leads to.
LOSSES = {"values": "value loss", "log_prob": "policy loss", "entropy": "entropy loss"}


class GPT2Policy(LanguagePolicy, ActorCriticPolicy):
    """Actor and critic on the trunk of one causal language model.

    Values come from a linear head on the last hidden state, which starts at 0. For the distribution over tokens and
    the two forms of observations see `LanguagePolicy`.

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
        model: ModelSource = None,
        temperature: float = 1.0,
        token_rules: TokenRules = NO_RULES,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde must be False: it explores continuous actions, and tokens are not.")
        super().__init__(
            observation_space,
            action_space,
            model=model,
            temperature=temperature,
            token_rules=token_rules,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.value_net = nn.Linear(self.width, 1)
        nn.init.zeros_(self.value_net.weight)
        nn.init.zeros_(self.value_net.bias)
        self.optimizer = optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the critic's value of hidden states, shape (N, D), as float32, shape (N,)."""
        values: Tensor = self.value_net(hidden)[:, 0].float()
        return values

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Choose an action for each decision.

        Returns:
            Actions, values, shape (N, 1), and log-probabilities, shape (N,).
        """
        hidden, n_generated = self.decisions(obs)
        uniforms = torch.rand(len(hidden), device=hidden.device)
        actions, log_prob = self.choose(hidden, n_generated, uniforms, deterministic)
        return actions, self.values_of(hidden)[:, None], log_prob

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, shape (N, 1), log-probabilities and entropies, shape (N,), of the actions taken."""
        hidden, n_generated = self.decisions(obs)
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
        values = self.values_of(hidden)[:, None]
        self.term_watch.watch({"values": values, "log_prob": log_prob, "entropy": entropy}, LOSSES)
        return values, log_prob, entropy

    def evaluate_tokens(self, obs: PyTorchObs, token_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate single tokens, as `evaluate_actions` does, whatever an action is to a subclass."""
        return GPT2Policy.evaluate_actions(self, obs, token_ids)

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Return the distribution over tokens at each decision."""
        hidden, n_generated = self.decisions(obs)
        return CategoricalDistribution(self.vocab_size).proba_distribution(self.decision_logits(hidden, n_generated))

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the value at each decision, shape (N, 1)."""
        return self.values_of(self.decisions(obs)[0])[:, None]

    def reset_noise(self, n_envs: int = 1) -> None:
        """Do nothing: there is no state-dependent exploration here."""

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # The optimiser's rate is loaded.
        return {**super()._get_constructor_parameters(), "lr_schedule": _no_learning}

    def _statistics(self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        return token_statistics(self.decision_logits(hidden, n_generated), token_ids)


def _no_learning(progress_remaining: float) -> float:
    return 0.0
