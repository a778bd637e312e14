"""Figures of finished runs in one file, so that a long benchmark goes on where another machine has left it.

A line is one run: what `textgym report` and `textgym bench` read of its folder, but for the texts and the weights.
Put back into a folder of runs, it counts as finished. A run of another bundled model or of other settings, defaults
among them, is not put back: it is trained anew, and its line replaced.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from textgym.models import BUNDLED_MODEL, BUNDLED_MODEL_FOLDER
from textgym.replacing import replacing_file
from textgym.training.logs import TOKENS_COLUMN, read_columns, write_columns
from textgym.training.run_folder import RunFolder, read_json, read_json_lines, write_json, write_json_lines
from textgym.training.settings_file import build_settings, write_settings

from .grid import GridRun
from .records import SECONDS_COLUMNS, WITHOUT_EFFECT, flat_settings
from .state import as_yaml, state_of

COLUMNS = (TOKENS_COLUMN, *SECONDS_COLUMNS, "rollout/score")


class KeptRuns:
    """The runs in a file.

    Args:
        path: A JSON Lines file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, dict[str, Any]] = {kept["run"]: kept for kept in read_json_lines(path)}

    def __len__(self) -> int:
        """Return how many runs are kept."""
        return len(self._kept)

    def keep(self, runs: Sequence[GridRun]) -> None:
        """Add those runs that are finished, each in the place of an earlier one of its name, and write the file."""
        for run in runs:
            if state_of(run) == "finished":
                self._kept[_key(run)] = _line(run)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json_lines(self.path, [self._kept[key] for key in sorted(self._kept)])

    def restore(self, runs: Sequence[GridRun]) -> int:
        """Write the folders of those runs that are kept and have none, and return how many these are."""
        n_restored = 0
        for run in runs:
            kept = self._kept.get(_key(run))
            if kept is None or run.folder.exists() or not _has_same_settings(kept["config"], run):
                continue
            if kept["bundled_model"] not in (None, bundled_digest()):
                continue
            _write(kept, run)
            n_restored += 1
        return n_restored


@cache
def bundled_digest() -> str:
    """Return what tells the bundled model's weights from those of another one."""
    return hashlib.sha256((BUNDLED_MODEL_FOLDER / "model.safetensors").read_bytes()).hexdigest()[:16]


def check_bundled_model(folder: Path) -> None:
    """Write down whose bundled model a folder of runs is for, and refuse one that is for another.

    A run's folder does not say with which weights it began, and a finished run would be kept as this model's.

    Raises:
        ValueError: If the folder's runs were begun with another bundled model.
    """
    record = folder / "bundled_model.txt"
    if not record.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing_file(record) as file:
            file.write_text(f"{bundled_digest()}\n", encoding="utf-8")
    elif record.read_text(encoding="utf-8").strip() != bundled_digest():
        raise ValueError(f"The runs in {folder} were begun with another bundled model; give another --runs folder.")


def _has_same_settings(config: dict[str, Any], run: GridRun) -> bool:
    """Whether a run would be trained now as it was, as far as the settings that there were then go."""
    then, now = flat_settings(config), flat_settings(yaml.safe_load(write_settings(build_settings(run.settings))))
    return all(then[name] == now[name] for name in then.keys() & now.keys() - WITHOUT_EFFECT)


def _key(run: GridRun) -> str:
    return f"{run.task}/{run.algorithm}/seed-{run.seed}"


def _line(run: GridRun) -> dict[str, Any]:
    folder = RunFolder(run.folder)
    config = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    columns = read_columns(folder.progress)
    sessions = [{key: value for key, value in one.items() if key != "command"} for one in read_json(folder.versions)]
    return {
        "run": _key(run),
        "bundled_model": bundled_digest() if config["model"] == BUNDLED_MODEL else None,
        "config": config,
        "versions": sessions,
        "progress": {name: list(map(_none_for_nan, columns[name])) for name in COLUMNS if name in columns},
        "evaluation": folder.read_evaluation(),
    }


def _none_for_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _write(kept: dict[str, Any], run: GridRun) -> None:
    folder = RunFolder(run.folder)
    folder.path.mkdir(parents=True)
    write_json(folder.versions, kept["versions"])
    write_json(folder.evaluation, kept["evaluation"])
    write_columns(folder.progress, kept["progress"])
    for path, settings in ((run.config, run.settings), (folder.config, kept["config"])):
        with replacing_file(path) as file:
            file.write_text(as_yaml(settings), encoding="utf-8")
