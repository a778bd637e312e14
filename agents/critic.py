"""Where a policy's values come from: the trunk that it shares with the actor, a trunk of their own, or nowhere."""

import copy
from typing import Literal, cast, get_args

from torch import nn
from transformers import PreTrainedModel

from .frozen_layers import frozen_parameters

Critic = Literal["shared", "separate"]


def check_critic(critic: str | None) -> None:
    """Raise ValueError if there is no such critic."""
    if critic is not None and critic not in get_args(Critic):
        raise ValueError(f"critic must be 'shared', 'separate' or None, got {critic!r}.")


def make_value_head(width: int) -> nn.Linear:
    """Make a linear head whose values are 0 at first, so that early advantages are the rewards'."""
    head = nn.Linear(width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def make_value_trunk(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a language model's trunk for the critic alone; what is frozen in it is shared."""
    return copy.deepcopy(cast(PreTrainedModel, model.base_model), frozen_parameters(model))
