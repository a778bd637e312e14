"""What has become of a run, read from its folder: so that a second call skips it, goes on with it, or begins it."""

import json
import shutil
import zipfile
from contextlib import suppress
from typing import Any, Literal

import yaml

from textgym.folder_lock import locked_folder
from textgym.replacing import replacing_file
from textgym.training.logs import TOKENS_COLUMN, read_progress
from textgym.training.run_folder import RunFolder

from .grid import GridRun
from .records import WITHOUT_EFFECT

State = Literal["finished", "begun", "new"]


class UnusableFolderError(ValueError):
    """A folder holds something else than what is to go on in it."""


def state_of(run: GridRun) -> State:
    """Return whether a run is finished, begun or new.

    Raises:
        UnusableFolderError: If it was begun with other settings; more tokens than then are no other settings.
    """
    folder = RunFolder(run.folder)
    if not folder.config.is_file():
        return "new"
    if run.config.is_file():
        _check_same(run)
    evaluation = folder.read_evaluation()
    if "after" in evaluation and evaluation["after"]["tokens"] >= run.total_tokens:
        return "finished"
    return "begun"


def command_of(run: GridRun) -> list[str]:
    """Write what a run needs to be begun, and return the arguments of `textgym` that begin it or go on with it."""
    if state_of(run) == "begun":
        return ["train", "--resume", str(run.folder), "--total-tokens", str(run.total_tokens)]
    # Without settings nothing was saved yet. A training that has only just begun, and has outlived its benchmark, is in
    # that folder still: the new one is then refused by the folder's lock, which says so.
    if run.folder.is_dir():
        with suppress(ValueError), locked_folder(run.folder, "It is being trained in."):
            shutil.rmtree(run.folder, ignore_errors=True)
    run.config.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(run.config) as file:
        file.write_text(as_yaml(run.settings), encoding="utf-8")
    run.log.unlink(missing_ok=True)
    return ["train", "--config", str(run.config), "--output", str(run.folder)]


def progress_of(run: GridRun) -> tuple[int, float | None]:
    """Return the tokens that a run has trained on so far, and the score of its last rollout."""
    rows = read_progress(RunFolder(run.folder).progress)
    if not rows:
        return 0, None
    score = rows[-1].get("rollout/score")
    return int(float(rows[-1][TOKENS_COLUMN])), float(score) if score else None


def checkpoint_tokens(run: GridRun) -> int | None:
    """Return the tokens at which a run would be resumed.

    None for a run that would not be: it is finished, has saved nothing yet, or its checkpoint cannot be read, of which
    its training says what is wrong.
    """
    checkpoint = RunFolder(run.folder).checkpoint
    if state_of(run) != "begun" or not checkpoint.is_file():
        return None
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return int(json.loads(archive.read("data"))["num_timesteps"])
    except (zipfile.BadZipFile, KeyError, ValueError):
        return None


def excess_tokens(run: GridRun) -> int:
    """Return the tokens that a finished run was to train on, where they are more than it is to have now; else 0."""
    if state_of(run) != "finished":
        return 0
    begun: Any = yaml.safe_load(RunFolder(run.folder).config.read_text(encoding="utf-8"))
    tokens = int(begun.get("total_tokens", 0))
    return tokens if tokens > run.total_tokens else 0


def _check_same(run: GridRun) -> None:
    begun: Any = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    wanted: Any = yaml.safe_load(as_yaml(run.settings))
    different = sorted(
        key
        for key in {*begun, *wanted}
        if key not in {"total_tokens", *WITHOUT_EFFECT} and begun.get(key) != wanted.get(key)
    )
    if different:
        raise UnusableFolderError(
            f"The run in {run.folder} was begun with other settings ({', '.join(different)}: see {run.config}); "
            "give the benchmark another --output, or delete that folder."
        )


def as_yaml(settings: dict[str, Any]) -> str:
    """Return settings as the text of a YAML file, in their order."""
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
