"""Rewards from plain data, as it stands in a YAML file, on the command line or in `gym.make`."""

import difflib
import inspect
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, cast

from textgym.reward_protocol import Reward, require_reward

from .plain import as_reward
from .registry import RESERVED_NAMES, find_reward
from .weighted_sum import WeightedSum


def build_reward(spec: str | Mapping[str, Any] | Sequence[Any]) -> Reward:
    """Build a reward from plain data.

    What a spec may be:

    - a name: `reference_task` or any other registered one, or `module:attribute`;
    - a mapping of a name to the arguments of its class, with an optional `weight` (default 1);
    - a list of these, and of `constant: NUMBER`, which stands for their sum.

    A name of a class makes an object of it; any other name is the reward itself and takes no arguments. So
    `0.5 * Keywords(["Python"]) + 0.25 * (1 - BannedWords(["war"])) + 0.25 * my_module.style` is in YAML::

        - keywords: {words: [Python]}
          weight: 0.5
        - banned_words: {words: [war]}
          weight: -0.25
        - constant: 0.25
        - my_module:style:
          weight: 0.25

    Args:
        spec: The plain data.

    Returns:
        What the name stands for, or a weighted sum.

    Raises:
        ValueError: If a name or an argument is unknown (with the nearest match), or the form is not as above.
        TypeError: If the spec is none of the three, or the name stands for something that is not a reward.
    """
    if isinstance(spec, str):
        return _make(spec, {})
    if isinstance(spec, Mapping):
        name = _only_name(spec)
        if name == "constant":
            raise ValueError(f"A reward must have a term besides its constant, got {dict(spec)!r}.")
        reward = _make(name, spec[name])
        return _weight(spec) * as_reward(reward) if "weight" in spec else reward
    if isinstance(spec, Sequence):
        return _build_sum(spec)
    raise TypeError(
        f"A reward must be given as a name, a mapping or a list, got {spec!r} of type {type(spec).__name__}."
    )


def _build_sum(specs: Sequence[Any]) -> Reward:
    total: WeightedSum | float = 0.0
    for spec in specs:
        if isinstance(spec, Mapping) and _only_name(spec) == "constant":
            total = total + _number(spec["constant"], "constant")
        else:
            total = total + as_reward(build_reward(spec))
    if not isinstance(total, WeightedSum):
        raise ValueError(f"A list of rewards must have at least one term, got {list(specs)!r}.")
    return total


def _only_name(spec: Mapping[str, Any]) -> str:
    """Return the one key of a mapping that names a reward, or "constant"."""
    if list(spec) == ["constant"]:
        return "constant"
    names = [key for key in spec if key not in RESERVED_NAMES]
    if len(names) != 1 or "constant" in spec:
        raise ValueError(
            "Each mapping must have the name of one reward, with its arguments, and at most a weight besides; "
            f"got the keys {', '.join(map(repr, spec)) or 'none'}."
        )
    if not isinstance(names[0], str):
        raise TypeError(f"The name of a reward must be a string, got {names[0]!r} of type {type(names[0]).__name__}.")
    return names[0]


def _weight(spec: Mapping[str, Any]) -> float:
    return _number(spec["weight"], "weight")


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{key} must be a number, got {value!r} of type {type(value).__name__}.")
    return float(value)


def _make(name: str, arguments: object) -> Reward:
    """Return the named reward, made of the arguments if it is a class."""
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f"The arguments of reward {name!r} must be a mapping, such as {{words: [Python]}}, "
            f"got {reprlib.repr(arguments)} of type {type(arguments).__name__}."
        )
    found = find_reward(name)
    if isinstance(found, type):
        _check_arguments(name, found, arguments)
        found = cast(Reward, found(**arguments))
    elif arguments:
        raise ValueError(f"Reward {name!r} is no class and takes no arguments, got {', '.join(map(repr, arguments))}.")
    require_reward(found)
    return found


def _check_arguments(name: str, reward_class: type[Any], arguments: Mapping[str, Any]) -> None:
    signature = inspect.signature(reward_class)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        names = list(signature.parameters)
        unknown = [str(key) for key in arguments if key not in names]
        if unknown:
            matches = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f" Did you mean {matches[0]!r}?" if matches else ""
            problem = f"Reward {name!r} has no argument {unknown[0]!r}.{hint} It takes {', '.join(names) or 'none'}."
        else:
            example = f"{{{name}: {{{names[0]}: ...}}}}"
            problem = f"Reward {name!r} is made of {', '.join(names)}: {error}. Give them as in {example}."
        raise ValueError(problem) from error
