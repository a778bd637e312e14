"""Say of an argument that an algorithm does not have where it belongs, or which one was meant."""

import inspect
import re

from textgym.named_objects import nearest
from textgym.task_arguments import TaskArguments

from .policy import GPT2Policy

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
    hint = nearest(name, known - _OF_SB3_ALONE)
    if name in TaskArguments.__annotations__:
        hint = " It is the environment's; give it where that is made."
    elif name in inspect.signature(GPT2Policy).parameters:
        hint = f" It is the policy's: policy_kwargs=dict({name}=…)."
    return TypeError(f"{algorithm.__name__} has no argument {name!r}.{hint}")
