"""A reward model's folder: what kind it is and how its scores are scaled, as JSON, beside what it learned."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from textgym.rewards.registry import REWARD_MODEL_FILE

from .kinds import KINDS, make_reward_model
from .model import Normalisation, RewardModel

FORMAT = 1


def save_reward_model(model: RewardModel, folder: Path) -> None:
    """Write a fitted model to a folder, whole or not at all.

    Raises:
        ValueError: If the model has not been fitted, or the folder holds anything but an older reward model.
    """
    if model.normalisation is None:
        raise ValueError(f"This {type(model).__name__} has not learned anything yet; call fit(feedback) before save.")
    check_is_free(folder)
    folder = folder.resolve()
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_model(model, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def check_is_free(folder: Path) -> None:
    """Raise ValueError if a model cannot be written here without losing anything but an older model."""
    if folder.is_file():
        raise ValueError(f"The output {folder} is a file; name a folder.")
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
        ValueError: If the folder holds no reward model, or one in a format that this version does not read.
    """
    folder = Path(folder)
    file = folder / REWARD_MODEL_FILE
    if not file.is_file():
        what = f"has no {REWARD_MODEL_FILE}" if folder.is_dir() else "does not exist"
        raise ValueError(f"{folder} is not the folder of a reward model: it {what}.")
    try:
        description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON ({error}); save the model again.") from error
    if description.get("format") != FORMAT or description.get("kind") not in KINDS:
        raise ValueError(
            f"{file} must have format {FORMAT} and one of the kinds {', '.join(KINDS)}, got format "
            f"{description.get('format')!r} and kind {description.get('kind')!r}; another version of textgym wrote it."
        )
    model = make_reward_model(description["kind"], **description["arguments"])
    model._read(folder, description["state"])
    if description["normalisation"] is not None:
        model.normalisation = Normalisation(**description["normalisation"])
    model.record = description["record"]
    model.folder = folder
    return model


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _other_files(folder: Path) -> list[str]:
    """Return the files beside a reward model that are not its own; none where an older version has listed none."""
    if not (folder / REWARD_MODEL_FILE).is_file():
        return []
    own = json.loads((folder / REWARD_MODEL_FILE).read_text(encoding="utf-8")).get("files")
    return [] if own is None else [name for name in _files(folder) if name not in (*own, REWARD_MODEL_FILE)]
