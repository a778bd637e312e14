"""What the policies of value-based algorithms share: a network that learns, its target, and how both are made again."""

from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule

from .optimizer_settings import optimizer_settings
from .q_network import GPT2QNetwork
from .trunk_model import ModelSource, own_model


class ValuePolicy(BasePolicy):
    """Two networks with the same first weights: one that learns, and its target.

    Comes before one of Stable-Baselines3's value-based policies, whose own constructor describes layers on extracted
    features.

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `Discrete(V)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        model: See `LanguagePolicy`.
        optimizer_class: Optimiser of all parameters.
        optimizer_kwargs: Its arguments but the learning rate; None for those of `optimizer_settings`.
        **options: Of the network: `advantage_scale`, `token_rules` (which the agents of `textgym.agents` fill in), and
            `frozen_layers`, `lora`, `autocast` and `gradient_checkpointing`, see `LanguagePolicy`.
    """

    network: GPT2QNetwork
    _build: Callable[[Schedule], None]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: ModelSource = None,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        BasePolicy.__init__(
            self,
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_settings(optimizer_class, optimizer_kwargs),
        )
        self.net_args: dict[str, Any] = {"model": own_model(model), **options}
        self._build(lr_schedule)
        self.net_args.update(model=self.network.language_model.config, lora=self.network.lora)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            **self.net_args,
            "lr_schedule": self._dummy_schedule,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }
