"""A reward model's folder: what kind it is and how its scores are scaled, as JSON, beside what it learned."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from textgym.replacing import replacing_folder
from textgym.rewards.arguments import check_number, describe
from textgym.rewards.extras import MissingPackageError
from textgym.rewards.registry import REWARD_MODEL_FILE

from .kinds import KINDS, construct_reward_model
from .model import Normalisation, RewardModel

FORMAT = 1
RELIABILITY_FILE = "reliability.png"  # drawn into the folder by the command line, and replaced with the model
ORIGIN = "Name a folder that save, or textgym reward-model train, has written."
REMEDY = "Copy the whole folder again, or train the model again."
PARTS: dict[str, Any] = {
    "arguments": dict,
    "state": dict,
    "record": dict,
    "files": list | None,
    "normalisation": dict | None,
}


class DamagedModelError(ValueError):
    """A folder holds a reward model that cannot be read any more."""


def save_reward_model(model: RewardModel, folder: Path) -> None:
    """Write a fitted model to a folder, whole or not at all.

    Raises:
        ValueError: If the model has not been fitted, or the folder holds anything but an older reward model.
    """
    if model.normalisation is None:
        raise ValueError(f"This {type(model).__name__} has not learned anything yet; call fit(feedback) before save.")
    check_is_free(folder)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as partial:
        write_model(model, partial)


def check_is_free(folder: Path) -> None:
    """Raise ValueError if a model cannot be written here without losing anything but an older model."""
    if folder.is_file():
        raise ValueError(f"The output {folder} is a file; name a folder.")
    above = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"The output {folder} cannot be made: {above} is no folder that can be written to.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / REWARD_MODEL_FILE).is_file():
        raise ValueError(f"The output folder {folder} is not empty and holds no reward model; name another one.")
    if folder.resolve() == Path.cwd():
        raise ValueError(f"The output {folder} is the current folder, which cannot be replaced; name another one.")
    others = _other_files(folder)
    if others:
        raise ValueError(
            f"The output folder {folder} also holds {others[0]}, which is not the reward model's and would be lost; "
            "name another one."
        )


def write_model(model: RewardModel, folder: Path) -> None:
    """Write a model to an existing empty folder."""
    state = model._write(folder)
    files = _files(folder)
    description = {
        "format": FORMAT,
        "kind": model.kind,
        "arguments": model.plain_arguments(),
        "normalisation": None if model.normalisation is None else model.normalisation._asdict(),
        "state": state,
        "record": model.record,
        "files": files,
        "textgym": version("textgym"),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / REWARD_MODEL_FILE).write_text(f"{text}\n", encoding="utf-8")


def load_reward_model(folder: str | Path) -> RewardModel:
    """Read a reward model of any kind from the folder that `save` wrote; no pickle is loaded.

    Raises:
        ValueError: If the folder holds no reward model, one in a format that this version does not read, or one that is
            damaged.
        TypeError: If it is no path.
    """
    if not isinstance(folder, str | Path):
        raise TypeError(f"folder must be the path of a reward model, got {describe(folder)}.")
    folder = Path(folder)
    file = folder / REWARD_MODEL_FILE
    if not file.is_file():
        what = (
            f"has no {REWARD_MODEL_FILE}" if folder.is_dir() else "is a file" if folder.is_file() else "does not exist"
        )
        raise ValueError(f"{folder} is not the folder of a reward model: it {what}. {ORIGIN}")
    description = _read_description(file)
    missing = [name for name in description["files"] or () if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"The reward model in {folder} is damaged: {missing[0]} is missing. {REMEDY}")
    try:
        model = construct_reward_model(description["kind"], description["arguments"])
    except MissingPackageError:
        raise
    except (ValueError, TypeError) as error:
        raise ValueError(f"The arguments in {file} cannot be used: {error} {REMEDY}") from error
    model.normalisation = _read_normalisation(file, description["normalisation"])
    model.record = description["record"]
    try:
        model._read(folder, description["state"])
        probe = model.raw_scores([""], ["a"])
    except (MissingPackageError, DamagedModelError):
        raise  # these say what to do
    # What a damaged file makes zip, JSON, skops, safetensors and transformers raise has no class in common.
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
        raise DamagedModelError(
            f"The reward model in {folder} is damaged and cannot be read ({cause}). {REMEDY}"
        ) from error
    if np.shape(probe) != (1,) or not np.isfinite(probe).all():
        raise DamagedModelError(f"The reward model in {folder} is damaged: it scores a text {probe!r}. {REMEDY}")
    model.folder = folder
    return model


def _read_description(file: Path) -> dict[str, Any]:
    """Read and check the JSON of a model's folder."""
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedModelError(f"{file} is damaged: it is not JSON ({error}). {REMEDY}") from error
    if not isinstance(description, dict):
        raise DamagedModelError(f"{file} must hold an object in braces, got {describe(description)}. {REMEDY}")
    if description.get("format") != FORMAT or description.get("kind") not in [*KINDS]:
        raise ValueError(
            f"{file} must have format {FORMAT} and one of the kinds {', '.join(KINDS)}, got format "
            f"{description.get('format')!r} and kind {description.get('kind')!r}; another version "
            f"of textgym, or another program, wrote it. {ORIGIN}"
        )
    description = {"record": {}, "files": None, "normalisation": None, **description}
    for name, kind in PARTS.items():
        if not isinstance(description.get(name), kind):
            raise DamagedModelError(f"{file} is damaged: its {name} are not as they were saved. {REMEDY}")
    if not all(isinstance(name, str) for name in description["files"] or ()):
        raise DamagedModelError(f"{file} is damaged: its files are not as they were saved. {REMEDY}")
    return description


def _read_normalisation(file: Path, found: Any) -> Normalisation | None:
    if found is None:
        return None
    try:
        normalisation = Normalisation(**found)
        check_number("mean", normalisation.mean)
        check_number("std", normalisation.std, above=0)
    except (TypeError, ValueError) as error:
        raise DamagedModelError(f"{file} is damaged: its normalisation cannot be used ({error}) {REMEDY}") from error
    return normalisation


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _other_files(folder: Path) -> list[str]:
    """Return the files beside a reward model that are not its own; none where an older version has listed none."""
    if not (folder / REWARD_MODEL_FILE).is_file():
        return []
    try:
        own = _read_description(folder / REWARD_MODEL_FILE)["files"]
    except ValueError as error:
        raise ValueError(
            f"The output folder {folder} holds a {REWARD_MODEL_FILE} that cannot be read; remove the folder, or name "
            "another one."
        ) from error
    return (
        []
        if own is None
        else [name for name in _files(folder) if name not in (*own, REWARD_MODEL_FILE, RELIABILITY_FILE)]
    )
