"""Q-network and target network on a causal language model, as Stable-Baselines3's DQN wants its policy."""

from typing import Any, Unpack

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy

from .optimizer_settings import optimizer_settings
from .q_network import GPT2QNetwork
from .token_rules import NO_RULES, TokenRules
from .trunk import ModelSource, TrunkOptions, own_model


class GPT2QPolicy(DQNPolicy):
    """Two `GPT2QNetwork`s with the same first weights: one that learns, and its target.

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        model: See `LanguagePolicy`.
        advantage_scale: See `GPT2QNetwork`.
        token_rules: Tokens that the environment forbids; the agents of `textgym.agents` fill this in.
        optimizer_class: Optimiser of all parameters.
        optimizer_kwargs: Its arguments but the learning rate; None for those of `optimizer_settings`.
        **options: `frozen_layers`, `lora`, `autocast` and `gradient_checkpointing`, see `LanguagePolicy`.
    """

    q_net: GPT2QNetwork  # type: ignore[assignment]
    q_net_target: GPT2QNetwork  # type: ignore[assignment]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: ModelSource = None,
        advantage_scale: float = 0.1,
        token_rules: TokenRules = NO_RULES,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **options: Unpack[TrunkOptions],
    ) -> None:
        # DQNPolicy's own constructor describes layers on extracted features.
        BasePolicy.__init__(
            self,
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_settings(optimizer_class, optimizer_kwargs),
        )
        self.net_args: dict[str, Any] = {
            "model": own_model(model),
            "advantage_scale": advantage_scale,
            "token_rules": token_rules,
            **options,
        }
        self._build(lr_schedule)
        self.net_args.update(model=self.q_net.language_model.config, lora=self.q_net.lora)

    @property
    def network(self) -> GPT2QNetwork:
        """The network that learns and chooses."""
        return self.q_net

    def make_q_net(self) -> GPT2QNetwork:  # type: ignore[override]
        """Make one of the two networks."""
        return GPT2QNetwork(self.observation_space, self.action_space, **self.net_args).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return constructor_parameters(self, self.net_args)


def constructor_parameters(policy: BasePolicy, net_args: dict[str, Any]) -> dict[str, Any]:
    """Return what a saved value-based policy is made again from, but for its weights and the optimiser's rate."""
    return {
        "observation_space": policy.observation_space,
        "action_space": policy.action_space,
        **net_args,
        "lr_schedule": policy._dummy_schedule,
        "optimizer_class": policy.optimizer_class,
        "optimizer_kwargs": policy.optimizer_kwargs,
    }
