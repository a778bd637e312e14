"""Rewards that are named by where they are: a server's URL, a model's folder, a model's name on the hub."""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

from .arguments import describe
from .registry import REWARD_MODEL_FILE, reward_names

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
