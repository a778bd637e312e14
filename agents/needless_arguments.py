"""Arguments that an algorithm does not have, or that have no effect on it: what was meant, or where they belong."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from textgym.named_objects import nearest
from textgym.task_arguments import TaskArguments

from .policy import GPT2Policy

# Of Stable-Baselines3's arguments those that mean nothing here, and what they are by default.
UNUSED = {
    "rollout_buffer_class": None,
    "rollout_buffer_kwargs": None,
    "replay_buffer_class": None,
    "replay_buffer_kwargs": None,
    "sde_sample_freq": -1,
}
_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")
_OF_SB3_ALONE = {"self", "args", "kwargs", "_init_setup_model", "support_multi_env", "monitor_wrapper"}


def unknown_argument(algorithm: type, error: TypeError) -> TypeError | None:
    """Return what to raise where a constructor that an algorithm's class leads to has raised an error.

    Args:
        algorithm: The class that was called.
        error: What was raised.

    Returns:
        None if it was about something else.
    """
    found = _UNKNOWN.search(str(error))
    if found is None:
        return None
    name = found[1]
    known = {
        parameter.name
        for one in algorithm.__mro__
        if "__init__" in vars(one)
        for parameter in inspect.signature(vars(one)["__init__"]).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    hint = nearest(name, known - _OF_SB3_ALONE - UNUSED.keys())
    if name in TaskArguments.__annotations__:
        hint = " It is the environment's; give it where that is made."
    elif name in inspect.signature(GPT2Policy).parameters:
        hint = f" It is the policy's: policy_kwargs=dict({name}=…)."
    return TypeError(f"{algorithm.__name__} has no argument {name!r}.{hint}")


def refuse_unused(arguments: Mapping[str, Any]) -> None:
    """Raise ValueError where an argument of Stable-Baselines3 is given that would have no effect."""
    for name, default in UNUSED.items():
        if arguments.get(name, default) != default:
            raise ValueError(
                f"{name} must be left out: episodes are kept in buffers of their own, and use_sde is for continuous "
                f"actions; got {arguments[name]!r}."
            )
