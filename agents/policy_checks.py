"""Whether an algorithm can use the policy that it is given, by name or as a class, in its environment."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from textgym.named_objects import nearest

from .completion_policy import GPT2CompletionPolicy
from .value_policy import ValuePolicy

# What a subclass of a policy cannot change here, since tokens are drawn and scored for whole episodes.
PASSED_OVER = ("forward", "get_distribution", "predict_values")


def check_policy_name(name: str, aliases: Mapping[str, type[BasePolicy]]) -> None:
    """Raise ValueError if an algorithm has no policy of this name."""
    if name not in aliases:
        raise ValueError(f"There is no policy {name!r}; expected one of {', '.join(aliases)}.{nearest(name, aliases)}")


def check_policy_class(policy: Any, aliases: Mapping[str, type[BasePolicy]], algorithm: str) -> None:
    """Refuse a policy that an algorithm cannot use, or only in part.

    Args:
        policy: A class; a name is not looked at.
        aliases: The algorithm's policies, by name.
        algorithm: Its name.

    Raises:
        TypeError: If it is none of them nor a subclass, or overrides a method that rollouts or updates pass over.
    """
    if not isinstance(policy, type):
        return
    kinds = tuple(dict.fromkeys(aliases.values()))
    if not issubclass(policy, kinds):
        raise TypeError(
            f"{algorithm} needs {' or '.join(kind.__name__ for kind in kinds)}, or a subclass, got {policy.__name__}; "
            f"by name it is one of {', '.join(map(repr, aliases))}."
        )
    ours = next(kind for kind in policy.__mro__ if kind.__module__.startswith("textgym."))
    instead = "" if issubclass(policy, ValuePolicy) else "override decision_logits, choose or values_of instead, or "
    for name in PASSED_OVER:
        if getattr(policy, name, None) is not getattr(ours, name, None):
            raise TypeError(
                f"{policy.__name__}.{name} would be passed over, since tokens are drawn and scored for whole episodes; "
                f"{instead}train with plain stable_baselines3."
            )


def check_level(policy: Any, aliases: Mapping[str, type[BasePolicy]], algorithm: str, env: VecEnv) -> None:
    """Raise ValueError if an action is a whole completion, and the policy or the algorithm knows tokens alone."""
    if not isinstance(env.action_space, spaces.MultiDiscrete):
        return
    if not any(issubclass(kind, GPT2CompletionPolicy) for kind in aliases.values()):
        raise ValueError(
            f"{algorithm} chooses token by token, so it needs TextGen-v0; on TextGenCompletion-v0, where an action is "
            "a whole completion, PPO, A2C, REINFORCE, RLOO and GRPO work."
        )
    kind = aliases.get(policy) if isinstance(policy, str) else policy
    if kind is not None and not issubclass(kind, GPT2CompletionPolicy):
        raise ValueError(
            f"{kind.__name__} chooses token by token; on TextGenCompletion-v0, where an action is a whole completion, "
            "use 'GPT2CompletionPolicy', or make TextGen-v0."
        )
