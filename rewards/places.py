"""Rewards that are named by where they are: a server's URL, a model's folder, a model's name on the hub."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from textgym.models import BUNDLED_MODEL
from textgym.yaml_values import read_yaml

from .arguments import describe
from .registry import RESERVED_NAMES, REWARD_MODEL_FILE, reward_names

# Arguments of rewards that are rewards or models again.
NESTED = ("reward", "condition", "model")
# What a folder is loaded by, told by a file in it; the first that is there decides.
FOLDERS = {"config.json": "textgym.rewards.sequence_classifier:SequenceClassifier"}


class Place(NamedTuple):
    """The class that makes a reward of a place, and the argument that takes it."""

    reward_class: type[Any]
    argument: str


def find_place(name: str) -> Place | None:
    """Return what makes a reward of a URL, folder or hub name; None for any other name.

    A registered name goes before a folder of the same name.

    Raises:
        ValueError: If it is a folder that holds no reward.
    """
    if name.startswith(("http://", "https://")):
        return Place(_load("textgym.rewards.http_reward:HttpReward"), "url")
    if name in reward_names():
        return None
    folder = Path(name)
    if (folder / REWARD_MODEL_FILE).is_file():
        return None  # `find_reward` loads what was learned
    if folder.is_dir():
        for file, path in FOLDERS.items():
            if (folder / file).is_file():
                return Place(_load(path), "model")
        raise ValueError(
            f"The folder {name} holds no reward: expected a model as transformers' save_pretrained writes it, "
            f"with {' or '.join(FOLDERS)}."
        )
    if ":" not in name and name.count("/") == 1 and all(name.split("/")):
        return Place(_load("textgym.rewards.sequence_classifier:SequenceClassifier"), "model")
    return None


def absolute_places(spec: Any) -> Any:
    """Return plain data of a reward with its models' folders named from the root, to mean the same in any folder.

    Args:
        spec: As `build_reward` takes it; what is no plain data stays as it is.
    """
    if isinstance(spec, str | Path):
        return _absolute_name(str(spec))
    if isinstance(spec, Mapping):
        return {
            name if name in RESERVED_NAMES else _absolute_name(name): _absolute_arguments(arguments)
            for name, arguments in spec.items()
        }
    if isinstance(spec, list | tuple):
        return [absolute_places(one) for one in spec]
    return spec


def _absolute_name(name: Any) -> Any:
    if not isinstance(name, str) or not name:
        return name
    if name.lstrip()[:1] in ("{", "["):
        try:
            data = read_yaml(name)
        except yaml.YAMLError:
            return name  # `build_reward` says what is wrong with it
        found = absolute_places(data)
        return name if found == data else found
    return str(Path(name).resolve()) if name not in reward_names() and Path(name).is_dir() else name


def _absolute_arguments(arguments: Any) -> Any:
    if not isinstance(arguments, Mapping):
        return arguments
    return {
        key: absolute_places(value) if key in NESTED and value != BUNDLED_MODEL else value
        for key, value in arguments.items()
    }


def check_model(model: object) -> None:
    """Refuse what cannot name a model.

    Raises:
        TypeError: If it is neither a text nor a path.
    """
    if not isinstance(model, str | Path):
        raise TypeError(f"model must be a folder or a name on the Hugging Face hub, got {describe(model)}.")


def _load(path: str) -> type[Any]:
    module, _, attribute = path.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found
