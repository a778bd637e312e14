"""Names of rewards: registering one, finding it again, and what "module:attribute" means."""

import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from textgym.named_objects import find_object, nearest

from .arguments import check_text, describe

# A class, or a function that gets arguments, makes a reward; anything else is the reward itself.
Registered: TypeAlias = Callable[..., Any]
Entry = TypeVar("Entry", bound=Registered)

ENTRY_POINT_GROUP = "textgym.rewards"
REWARD_MODEL_FILE = "reward_model.json"  # a folder that holds one is a reward that was learned
RESERVED_NAMES = ("weight", "constant")  # keys of a composition in plain data

_registered: dict[str, Registered] = {}
_descriptions: dict[str, str] = {}


def register_reward(name: str, description: str = "") -> Callable[[Entry], Entry]:
    """Give a reward a name, by which the command line, a YAML file and `gym.make` find it.

    Decorates a function, which is the reward, or a class, which makes one of the arguments that come with the name::

        @register_reward("exclaims")
        def exclaims(prompts, completions, **columns):
            return [float(completion.endswith("!")) for completion in completions]

    Another distribution makes its names known without being imported first by an entry point::

        [project.entry-points."textgym.rewards"]
        exclaims = "their_package.rewards:exclaims"

    Args:
        name: The name, without a colon.
        description: What `textgym rewards` says of it; "" for the first sentence of its docstring, or for what an
            object prints.

    Raises:
        ValueError: If the name is empty, has a colon, is reserved, or is taken by another reward.
        TypeError: If the name is no text, or what is registered cannot be called.
    """
    check_text("A reward's name", name)
    if not name or ":" in name or name in RESERVED_NAMES:
        raise ValueError(f'A reward\'s name must have no ":" and be none of "", "weight", "constant"; got {name!r}.')

    def register(reward: Entry) -> Entry:
        if not callable(reward):
            raise TypeError(
                f"The reward {name!r} must be a function, a class or an object that is called, got {describe(reward)}."
            )
        taken = _registered.get(name)
        if taken is not None and _origin(taken) != _origin(reward):
            raise ValueError(f"The reward name {name!r} is taken by {taken!r}. Choose another.")
        _registered[name] = reward
        _descriptions[name] = description
        return reward

    return register


def reward_names() -> list[str]:
    """Return all registered names and those of entry points, sorted."""
    return sorted({*_registered, *_named_elsewhere()})


def find_reward(name: str) -> Registered:
    """Return what a name stands for; what was registered goes before entry points, and these before folders.

    A warning names an entry point that its name does not lead to, since something else has it.

    Args:
        name: A registered name, an entry point's, "module:attribute" (the attribute may have dots), or the folder of
            a reward model (see `textgym.rewards.learned`).

    Raises:
        ValueError: If there is no such name, module or attribute; the nearest match is given.
    """
    elsewhere = _named_elsewhere().get(name, [])
    if name in _registered:
        registered = _registered[name]
        _warn_of_hidden(name, [one for one in elsewhere if not _leads_to(one, registered)], registered.__module__)
        return registered
    if elsewhere:
        _warn_of_hidden(name, elsewhere[1:], elsewhere[0].value)
        return _load(elsewhere[0].value)
    if (Path(name) / REWARD_MODEL_FILE).is_file():
        from .learned import load_reward_model

        return load_reward_model(name)
    if ":" in name:
        return _load(name)
    if "/" not in name and any(sign in name for sign in (" * ", " + ", " - ")):
        raise ValueError(
            f"Unknown reward {name!r}: as a text a reward is one name. Reward objects in Python are added so; "
            "anywhere else a sum is a list, such as [{ends_sentence: , weight: 2}, readability, {constant: -1}]."
        )
    raise ValueError(
        f"Unknown reward {name!r}.{nearest(name, reward_names())} `textgym rewards` lists all names; a reward of your "
        'own is given as "module:attribute", a model as its folder or "owner/name", a reward server as its URL.'
    )


def name_of(reward: object) -> str | None:
    """Return the name that exactly this function, class or object was registered under, None for none."""
    return next((name for name, registered in _registered.items() if registered is reward), None)


def description_of(name: str) -> str:
    """Return what a name was registered with as its description."""
    return _descriptions.get(name, "")


def entry_point_of(name: str) -> EntryPoint | None:
    """Return the entry point that a name comes from; None for a name that was registered here."""
    return None if name in _registered else next(iter(_named_elsewhere().get(name, [])), None)


def _load(path: str) -> Registered:
    value = find_object(path, "Reward")
    if not callable(value):
        raise ValueError(f"Reward {path!r} is not callable: it is {value!r} of type {type(value).__name__}.")
    registered: Registered = value
    return registered


def _named_elsewhere() -> dict[str, list[EntryPoint]]:
    """Return the entry points by name, in an order that does not depend on that of the installation."""
    found: dict[str, list[EntryPoint]] = {}
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.value):
        found.setdefault(entry_point.name, []).append(entry_point)
    return found


def _leads_to(entry_point: EntryPoint, reward: Registered) -> bool:
    """Whether an entry point means a reward, whose module has then given it the name itself."""
    found: object = sys.modules.get(entry_point.module)
    for part in entry_point.attr.split("."):
        found = getattr(found, part, None)
    return found is reward


def _warn_of_hidden(name: str, hidden: list[EntryPoint], reached: str) -> None:
    """Warn of entry points whose name leads elsewhere."""
    for entry_point in hidden:
        package = "" if entry_point.dist is None else f" of the package {entry_point.dist.name}"
        warnings.warn(
            f"The reward name {name!r} stands for the one in {reached}; that{package} is {entry_point.value!r}.",
            stacklevel=3,
        )


def _origin(reward: Registered) -> object:
    """Return where a function or class was defined, so that reloading its module may register it again."""
    qualified_name = getattr(reward, "__qualname__", None)
    return (reward.__module__, qualified_name) if qualified_name else reward
