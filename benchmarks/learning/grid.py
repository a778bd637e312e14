"""Which runs a benchmark has: every task with every algorithm and every seed, each with settings and a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textgym.training.settings_file import build_settings, read_mapping

KEYS = ("tasks", "algorithms", "seeds", "total_tokens", "settings")


@dataclass(frozen=True)
class Grid:
    """Tasks × algorithms × seeds.

    Args:
        tasks: Ids of registered tasks.
        algorithms: Each a name, or a mapping of the algorithm's settings with its name; with a `label` where one
            algorithm comes more than once. `read_grid` takes YAML files of a run's settings as well.
        seeds: The seeds.
        total_tokens: Tokens of each run; None for what the task says.
        settings: Further settings of every run, in the form of a training run's YAML file.

    Raises:
        ValueError: If there is nothing to run, or two runs would have one folder.
    """

    tasks: Sequence[str]
    algorithms: Sequence[str | Mapping[str, Any]]
    seeds: Sequence[int]
    total_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that there is something to run, and nothing twice."""
        labels = [algorithm_label(one) for one in self.algorithms]
        for name, values in (("tasks", self.tasks), ("algorithms", labels), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"A benchmark needs at least one of its {name}, got none.")
            twice = [value for index, value in enumerate(values) if value in values[:index]]
            if twice:
                remedy = " Give each a label of its own." if name == "algorithms" else ""
                raise ValueError(f"The {name} of a benchmark must differ, got {twice[0]!r} twice.{remedy}")

    def runs(self, folder: Path) -> list["GridRun"]:
        """Return the runs, seed by seed, so that a benchmark that is stopped has compared something.

        Raises:
            ValueError: If a task, algorithm or setting is unknown or out of range.
        """
        return [
            self._run(task, algorithm, seed, folder)
            for seed in self.seeds
            for task in self.tasks
            for algorithm in self.algorithms
        ]

    def _run(self, task: str, algorithm: str | Mapping[str, Any], seed: int, folder: Path) -> "GridRun":
        given = {"name": algorithm} if isinstance(algorithm, str) else dict(algorithm)
        label = str(given.pop("label", given.get("name")))
        settings: dict[str, Any] = {**self.settings, "seed": seed}
        settings["task"] = {**self.settings.get("task", {}), "name": task}
        settings["algorithm"] = {**self.settings.get("algorithm", {}), **given}
        if self.total_tokens is not None:
            settings["total_tokens"] = self.total_tokens
        total_tokens = build_settings(settings).total_tokens
        return GridRun(task, label, seed, total_tokens, settings, folder / task / label / f"seed-{seed}")


@dataclass(frozen=True)
class GridRun:
    """One run of a grid.

    Attributes:
        task: Id of its task.
        algorithm: Label of its algorithm.
        seed: Its seed.
        total_tokens: Tokens that it trains on.
        settings: Its settings, as plain data.
        folder: Its folder; its settings and its log lie beside it.
    """

    task: str
    algorithm: str
    seed: int
    total_tokens: int
    settings: dict[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        """What it is called on the screen."""
        return f"{self.task} {self.algorithm} seed {self.seed}"

    @property
    def config(self) -> Path:
        """The settings that it was begun with."""
        return self.folder.with_suffix(".yaml")

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder.with_suffix(".log")


def algorithm_label(algorithm: str | Mapping[str, Any]) -> str:
    """Return what an algorithm of a grid is called."""
    if isinstance(algorithm, str):
        return algorithm
    if "name" not in algorithm:
        raise ValueError(f"An algorithm of a benchmark must be a name or have one, got {dict(algorithm)}.")
    return str(algorithm.get("label", algorithm["name"]))


def _algorithm(given: Any) -> Any:
    """Return the settings of an algorithm that is given as the YAML file of a training run, such as a tuned one's."""
    if not isinstance(given, str) or not given.endswith((".yaml", ".yml")):
        return given
    settings = read_mapping(Path(given)).get("algorithm")
    if not isinstance(settings, dict):
        raise ValueError(f"{given} has no settings of an algorithm: expected a mapping under 'algorithm'.")
    return settings


def read_grid(path: Path | None, overrides: Mapping[str, Any]) -> Grid:
    """Read a grid from a YAML file, with the keys of `Grid`; `seeds` may be a number n, for 1 to n.

    Args:
        path: The file; None for none.
        overrides: What goes before it.

    Raises:
        ValueError: If the file is no such mapping.
        OSError: If it cannot be read.
    """
    data = {} if path is None else read_mapping(path)
    unknown = [key for key in data if key not in KEYS]
    if unknown:
        raise ValueError(f"{path} has the key {unknown[0]!r}; expected some of {', '.join(KEYS)}.")
    data = {**data, **overrides}
    seeds = data.get("seeds", 5)
    if isinstance(seeds, int):
        seeds = range(1, seeds + 1)
    return Grid(
        data.get("tasks", []), list(map(_algorithm, data.get("algorithms", ["PPO"]))), list(seeds),
        data.get("total_tokens"), data.get("settings", {}),
    )  # fmt: skip
