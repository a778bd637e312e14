"""Rewards from plain data, as it stands in a YAML file, on the command line or in `gym.make`."""

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import yaml

from textgym.named_objects import nearest
from textgym.reward_protocol import Reward, RewardSpec, require_reward
from textgym.yaml_values import read_yaml

from .arguments import describe
from .places import find_place
from .plain import as_reward
from .registry import RESERVED_NAMES, find_reward
from .weighted_sum import WeightedSum


def build_reward(spec: RewardSpec) -> Reward:
    """Build a reward from plain data.

    What a spec may be:

    - a name: `reference_task` or any other registered one, `module:attribute`, the URL of a reward server (see
      `HttpReward`), the folder of a model, or a sequence classifier's name on the Hugging Face hub, as `owner/name`;
    - a mapping of a name to the arguments of its class or function, with an optional `weight` (default 1);
    - a list of these, and of `constant: NUMBER`, which stands for their sum;
    - any of these as YAML in one line, in `{}` or `[]`, as it is convenient on the command line;
    - a reward, also in a list or as an argument.

    A name of a class makes an object of it, and so does a function's that gets arguments; any other name is the reward
    itself and takes no arguments. So `0.5 * Keywords(["Python"]) + 0.25 * (1 - BannedWords(["war"])) + 0.25 *
    Clip(my_module.style, 0, 1)` is in YAML::

        - keywords: {words: [Python]}
          weight: 0.5
        - banned_words: {words: [war]}
          weight: -0.25
        - constant: 0.25
        - clip: {reward: "my_module:style", low: 0, high: 1}
          weight: 0.25

    Args:
        spec: The plain data, or a reward, which is returned as it is.

    Returns:
        What the name stands for, or a weighted sum.

    Raises:
        ValueError: If a name or an argument is unknown (with the nearest match), or the form is not as above.
        TypeError: If the spec is nothing of this, the name stands for something that is not a reward, or an argument is
            of the wrong type. What a named reward says of its arguments begins with its name.
    """
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, str):
        return build_reward(_read_line(spec)) if spec.lstrip()[:1] in ("{", "[") else _make(spec, {})
    if isinstance(spec, Mapping):
        name = _only_name(spec)
        if name == "constant":
            raise ValueError(f"A reward must have a term besides its constant, got {dict(spec)!r}.")
        reward = _make(name, spec[name])
        return _weight(spec) * as_reward(reward) if "weight" in spec else reward
    if isinstance(spec, Sequence) and not isinstance(spec, bytes | bytearray):
        return _build_sum(spec)
    if callable(spec):
        require_reward(spec)
        return spec
    raise TypeError(f"A reward must be given as an object, a name, a mapping or a list, got {describe(spec)}.")


def _read_line(text: str) -> Any:
    """Read YAML in one line, as on the command line."""
    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"The reward {text!r} is not YAML: {' '.join(str(error).split())}.") from error


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
        hints = [nearest(str(name), RESERVED_NAMES) for name in names]
        raise ValueError(
            "Each mapping must have the name of one reward, with its arguments, and at most a weight besides; "
            f"got the keys {', '.join(map(repr, spec)) or 'none'}.{next(filter(None, hints), '')}"
        )
    if not isinstance(names[0], str):
        raise TypeError(f"The name of a reward must be a text, got {describe(names[0])}.")
    return names[0]


def _weight(spec: Mapping[str, Any]) -> float:
    return _number(spec["weight"], "weight")


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{key} must be a number, got {describe(value)}.")
    return float(value)


def _key_hint(name: str, arguments: object) -> str:
    """Return how a reward with a weight is written, for those who write `{reward: NAME, weight: 2}`."""
    is_reward_under_key = name == "reward" and isinstance(arguments, str) and arguments
    return f" A reward is a key itself: {{{arguments!r}: null, weight: 2}}." if is_reward_under_key else ""


def _make(name: str, arguments: object) -> Reward:
    """Return the named reward, made of the arguments if it is a class."""
    if not name.strip():
        raise ValueError("A reward must have a name, got an empty text. `textgym rewards` lists all names.")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f"The arguments of reward {name!r} must be a mapping of names, such as {{words: [Python]}} of keywords, "
            f"got {reprlib.repr(arguments)} of type {type(arguments).__name__}.{_key_hint(name, arguments)}"
        )
    place = find_place(name)
    if place is not None:
        found: Any = place.reward_class
        arguments = {place.argument: name, **arguments}
    else:
        found = find_reward(name)
    # A function that gets arguments makes the reward, as several in `trl.rewards` do.
    if isinstance(found, type) or (arguments and inspect.isfunction(found)):
        _check_arguments(name, found, arguments)
        found = _call(name, found, arguments)
    elif arguments:
        raise ValueError(f"Reward {name!r} is no class and takes no arguments, got {', '.join(map(repr, arguments))}.")
    elif inspect.isfunction(found) and "completions" not in inspect.signature(found).parameters:
        _check_is_reward(name, found)
    require_reward(found)
    reward: Reward = found
    return reward


def _check_is_reward(name: str, function: Callable[..., Any]) -> None:
    try:
        require_reward(function)
    except TypeError as error:
        required = ", ".join(f"{key}: ..." for key in _required(function))
        raise TypeError(
            f"{error} If it makes a reward, give its arguments, as in {{{name}: {{{required}}}}}."
        ) from error


def _required(maker: Callable[..., Any]) -> list[str]:
    return [key for key, one in inspect.signature(maker).parameters.items() if one.default is one.empty]


def _call(name: str, maker: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Make a reward; what is wrong with its arguments is said with its name, since a composition has several."""
    try:
        return maker(**arguments)
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):  # one that says more by its type, such as of a missing package
            raise
        raise type(error)(f"Reward {name!r}: {error}") from error


def _check_arguments(name: str, maker: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    signature = inspect.signature(maker)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        names = list(signature.parameters)
        unknown = [str(key) for key in arguments if key not in names]
        if unknown:
            hint = nearest(unknown[0], names)
            problem = f"Reward {name!r} has no argument {unknown[0]!r}.{hint} It takes {', '.join(names) or 'none'}."
        else:
            example = f"{{{name}: {{{', '.join(f'{key}: ...' for key in _required(maker))}}}}}"
            problem = f"Reward {name!r} is made of {', '.join(names)}: {error}. Give them as in {example}."
        raise ValueError(problem) from error
