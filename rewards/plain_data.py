"""The way back from a reward to plain data, to be written in a YAML file."""

import inspect
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from textgym.reward_protocol import Reward

from .function import RewardFunction
from .plain import PlainReward
from .registry import find_reward, name_of
from .weighted_sum import WeightedSum


def reward_to_data(reward: Reward) -> Any:
    """Return plain data of which `build_reward` makes the same reward.

    >>> from textgym.rewards import Clip, Keywords
    >>> reward_to_data(0.5 * Clip(Keywords(["sea"]), 0, 1) + 1)
    [{'clip': {'reward': {'keywords': {'words': ['sea']}}, 'low': 0, 'high': 1}, 'weight': 0.5}, {'constant': 1.0}]

    Args:
        reward: A reward whose class, or which itself, has a name or can be imported by its module's name.

    Raises:
        ValueError: If it cannot be found again by a name, as a function within a function, or a reward model that is
            saved nowhere, or is made of something that YAML has no words for.
    """
    name = name_of(reward)
    if name is None and isinstance(reward, RewardFunction):
        name = reward.place
    if name is not None:
        return name
    if isinstance(reward, WeightedSum):
        terms = [_weighted(weight, reward_to_data(term)) for weight, term in reward.terms]
        return [*terms, {"constant": reward.constant}] if reward.constant else terms
    if isinstance(reward, PlainReward):
        if reward.name is not None:
            return {"named": {"function": reward_to_data(reward.function), "name": reward.name}}
        return reward_to_data(reward.function)
    if not isinstance(reward, RewardFunction):
        return _path(reward, reward)
    arguments = {}
    for key, parameter in inspect.signature(type(reward)).parameters.items():
        value = getattr(reward, key)
        if parameter.default is parameter.empty or value != parameter.default:
            arguments[key] = _data(value)
    class_name = name_of(type(reward)) or _path(type(reward), reward)
    return {class_name: arguments} if arguments else class_name


def _weighted(weight: float, data: Any) -> Any:
    if weight == 1:
        return data
    return {**(data if isinstance(data, Mapping) else {data: None}), "weight": weight}


def _data(value: object) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Integral):  # numpy's
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    if callable(value):
        return reward_to_data(value)
    raise ValueError(f"expected text, numbers, lists and rewards, which YAML can hold, got {value!r}.")


def _path(found: Any, reward: object) -> str:
    """Return "module:attribute", after checking that the same is found by it."""
    path = f"{getattr(found, '__module__', '')}:{getattr(found, '__qualname__', '')}"
    try:
        is_found = find_reward(path) is found
    except ValueError:
        is_found = False
    if not is_found:
        raise ValueError(
            f"The reward {reward!r} has no name that it can be found again by; register it by register_reward, or "
            "define it at the top of a module."
        )
    return path
