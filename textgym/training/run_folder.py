"""A run's folder: what lies where, and reading it also where a run was killed in the middle of a line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textgym.folder_lock import LOCK, locked_folder
from textgym.models import VERSIONS_FILE
from textgym.replacing import replacing_file

from .settings import TrainSettings
from .settings_file import read_settings, write_settings


class RunFolder:
    """The files of one training run.

    Args:
        path: The folder.

    Attributes:
        config: The settings, from which the run can be repeated.
        versions: Packages, Python and machine, one entry for each time that the run was started or resumed.
        checkpoint: The algorithm as Stable-Baselines3 saves it, with its replay where it has one.
        language_model: The trained language model and its tokenizer, as `save_pretrained` writes them.
        progress: One row for each rollout.
        tensorboard: Folder of TensorBoard events.
        samples: Completions before, during and after training, one JSON object a line.
        tokens: What the trained policy made of each token of a few completions, one JSON object a line.
        evaluation: Figures before and after.
        curves: Picture of the progress.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.versions = path / VERSIONS_FILE
        self.checkpoint = path / "model.zip"
        self.language_model = path / "language_model"
        self.progress = path / "progress.csv"
        self.tensorboard = path / "tensorboard"
        self.samples = path / "samples.jsonl"
        self.tokens = path / "tokens.jsonl"
        self.evaluation = path / "evaluation.json"
        self.curves = path / "curves.png"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder where there is none, and keep every other process from training in it while this is entered.

        Where nothing was written meanwhile, a folder that was made goes again.

        Raises:
            ValueError: If another process trains in it, or it cannot be made.
            OSError: If it cannot be written to.
        """
        made = self._make()
        refusal = f"The run in {self.path} is being trained by another process; wait until that has ended, or stop it."
        try:
            with locked_folder(self.path, refusal):
                try:
                    yield
                finally:
                    if self._is_empty():
                        (self.path / LOCK).unlink(missing_ok=True)
        finally:
            for folder in made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _make(self) -> list[Path]:
        """Make the folder, and return what had to be made for it, innermost first."""
        try:
            missing = [one for one in (self.path, *self.path.parents) if not one.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"The output folder {self.path} cannot be made: {error.strerror}.") from error
        return missing

    def _is_empty(self) -> bool:
        """Return whether nothing is here but perhaps a lock, which a run that was killed at once leaves behind."""
        return not self.path.is_dir() or all(one.name == LOCK for one in self.path.iterdir())

    def check_is_free(self) -> None:
        """Raise ValueError if there is anything here that a new run would overwrite."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ValueError(f"The output {self.path} is a file; name a folder.")
        if not self._is_empty():
            remedy = f"go on with it by --resume {self.path}, or " if self.config.is_file() else ""
            raise ValueError(f"The output folder {self.path} is not empty; {remedy}name another one.")

    def check_is_run(self) -> None:
        """Raise ValueError if no run was ever started here."""
        if not self.config.is_file():
            what = "is a file" if self.path.exists() else "does not exist"
            what = "has no config.yaml" if self.path.is_dir() else what
            raise ValueError(f"{self.path} is not the folder of a run: it {what}.")

    def write_settings(self, settings: TrainSettings) -> None:
        """Write the settings, after making the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing_file(self.config) as file:
            file.write_text(write_settings(settings), encoding="utf-8")

    def read_settings(self, overrides: Mapping[str, Any]) -> TrainSettings:
        """Read the settings back; see `textgym.training.settings_file.read_settings`."""
        self.check_is_run()
        return read_settings(self.config, overrides)

    def settings_or_defaults(self) -> TrainSettings:
        """Return the settings of a run, by whose rules its model writes; the defaults for any other model's folder."""
        return self.read_settings({}) if self.config.is_file() and self.versions.is_file() else TrainSettings()

    def read_evaluation(self) -> dict[str, Any]:
        """Return what has been evaluated so far."""
        return read_json(self.evaluation) if self.evaluation.is_file() else {}

    def read_tokens(self) -> list[dict[str, Any]]:
        """Return what was made of each token; nothing before training has ended."""
        return read_json_lines(self.tokens)

    def write_tokens(self, views: list[dict[str, Any]]) -> None:
        """Write what the policy made of each token; see `textgym.training.token_view`."""
        write_json_lines(self.tokens, views)

    def read_samples(self) -> list[dict[str, Any]]:
        """Return the samples written so far."""
        return read_json_lines(self.samples)

    def write_samples(self, samples: list[dict[str, Any]]) -> None:
        """Replace the samples."""
        write_json_lines(self.samples, samples)

    def add_samples(self, samples: list[dict[str, Any]]) -> None:
        """Append samples."""
        with self.samples.open("a", encoding="utf-8") as file:
            file.writelines(json_line(sample) for sample in samples)


def whole_lines(path: Path) -> list[str]:
    """Read a text file's lines but for a last one without an end, which was being written when the run was killed."""
    # At "\n" alone: a JSON string may hold other line separators.
    return path.read_bytes().decode("utf-8", errors="ignore").split("\n")[:-1]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line; nothing where there is none.

    Raises:
        ValueError: If a line is no JSON, with its number.
    """
    if not path.is_file():
        return []
    return [_from_json(line, f"{path}, line {number}") for number, line in enumerate(whole_lines(path), start=1)]


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of one JSON object a line."""
    with replacing_file(path) as file:
        file.write_text("".join(map(json_line, rows)), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: If it is none.
    """
    return _from_json(path.read_text(encoding="utf-8"), str(path))


def _from_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is damaged, it is no JSON: {error}") from error


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file for people to read."""
    with replacing_file(path) as file:
        file.write_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def json_line(data: Any) -> str:
    """Return data as one line of JSON."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
