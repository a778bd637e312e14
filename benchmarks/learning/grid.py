"""Which runs a benchmark has: every task with every algorithm and every seed, each with settings and a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from textgym.training.settings_file import build_settings, read_mapping

KEYS = ("tasks", "algorithms", "seeds", "total_tokens", "settings")
# What the values of a grid's file must be; a run's settings check total_tokens.
EXPECTED = {
    "tasks": "a list of ids of tasks",
    "algorithms": "a list of names, YAML files, or mappings of settings with a name",
    "seeds": "a number of seeds from 1 on, or a list of whole numbers",
    "settings": "a mapping of settings to values",
}


@dataclass(frozen=True)
class Grid:
    """Tasks × algorithms × seeds.

    Args:
        tasks: Ids of registered tasks.
        algorithms: Each a name, or a mapping of the algorithm's settings with its name; with a `label` where one
            algorithm comes more than once, and a `policy` where its network has settings of its own. `read_grid` takes
            these from YAML files of a run's settings as well, and `LABEL=` before a name or a file.
        seeds: The seeds.
        total_tokens: Tokens of each run; None for what the task says.
        settings: Further settings of every run, in the form of a training run's YAML file, but seed and names.
        files: Files that algorithms were read from, by their labels; errors name them.

    Raises:
        ValueError: If there is nothing to run, two runs would have one folder, a label is not the name of a folder, or
            the settings name what the grid itself decides.
    """

    tasks: Sequence[str]
    algorithms: Sequence[str | Mapping[str, Any]]
    seeds: Sequence[int]
    total_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check that there is something to run, and nothing twice."""
        labels = [algorithm_label(one) for one in self.algorithms]
        for name, values in (("tasks", self.tasks), ("algorithms", labels), ("seeds", self.seeds)):
            if not values:
                option = "algos" if name == "algorithms" else name
                raise ValueError(f"{name} must have at least one entry, got none; give --{option}, or a grid's {name}.")
            twice = [value for index, value in enumerate(values) if value in values[:index]]
            if twice:
                remedy = " Give each a label of its own, such as tuned=best.yaml." if name == "algorithms" else ""
                raise ValueError(f"The {name} of a benchmark must differ, got {twice[0]!r} twice.{remedy}")
        for place, is_given, key in (
            ("seed", "seed" in self.settings, "seeds"),
            ("task.name", "name" in _section(self.settings, "task"), "tasks"),
            ("algorithm.name", "name" in _section(self.settings, "algorithm"), "algorithms"),
        ):
            if is_given:
                raise ValueError(f"settings.{place} of a benchmark must be left out; give it under {key}.")

    def runs(self, folder: Path) -> list["GridRun"]:
        """Return the runs, seed by seed, so that a benchmark that is stopped has compared something.

        Raises:
            ValueError: If a task, algorithm or setting is unknown or out of range; of an algorithm's own setting with
                its label, and the file that it was read from.
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
        settings["task"] = {**_section(self.settings, "task"), "name": task}
        shared = _section(self.settings, "algorithm")
        policy: Any = given.pop("policy", None)
        if policy is not None:
            of_all = _section(self.settings, "policy")
            settings["policy"] = {**of_all, **policy} if isinstance(policy, dict) else policy
        settings["algorithm"] = {**shared, **given}
        if self.total_tokens is not None:
            settings["total_tokens"] = self.total_tokens
        try:
            total_tokens = build_settings(settings).total_tokens
        except ValueError as error:
            others = {**settings, "policy": _section(self.settings, "policy")}
            if not _is_valid({**others, "algorithm": {**shared, "name": given["name"]}}):
                raise
            place = f"{self.files[label]}: " if label in self.files else ""
            raise ValueError(f"{place}algorithm {label!r}: {error}") from error
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
    if "label" not in algorithm:
        return str(algorithm["name"])
    label = algorithm["label"]
    is_folder = isinstance(label, str | int | float) and not {"/", "\\"} & set(str(label))
    if not is_folder or str(label).strip() in ("", ".", ".."):
        raise ValueError(
            f"The label of an algorithm names its folder: it must be text without / and \\, and not .., got {label!r}."
        )
    return str(label)


def _section(settings: Mapping[str, Any], name: str) -> Any:
    """Return a section of settings; none, and an empty one of YAML, is a mapping of nothing."""
    section = settings.get(name)
    return {} if section is None else section


def _is_valid(settings: Mapping[str, Any]) -> bool:
    """Return whether a run could have these settings."""
    try:
        build_settings(settings)
    except ValueError:
        return False
    return True


class _Entry(NamedTuple):
    algorithm: str | Mapping[str, Any]  # as `Grid` takes it
    file: Path | None  # that it was read from


def _entry(given: str | Mapping[str, Any], file: Path | None) -> _Entry:
    """Return an algorithm of a grid; of a YAML file of a training run, such as a tuned one's, its and its policy's.

    Args:
        given: What stands in the grid.
        file: The grid's file; None where it was given without one.
    """
    if not isinstance(given, str):
        return _Entry(given, file)
    label, equals, named = given.partition("=")
    if equals and not {"/", "\\"} & set(label) and not Path(given).is_file():
        entry = _entry(named, file)
        named_one = {"name": entry.algorithm} if isinstance(entry.algorithm, str) else entry.algorithm
        return _Entry({**named_one, "label": label}, entry.file)
    if not given.endswith((".yaml", ".yml")):
        return _Entry(given, file)
    data = read_mapping(Path(given))
    settings, policy = data.get("algorithm"), data.get("policy")
    if not isinstance(settings, dict):
        raise ValueError(f"{given} has no settings of an algorithm: expected a mapping under 'algorithm'.")
    return _Entry(settings if policy is None else {**settings, "policy": policy}, Path(given))


def read_grid(path: Path | None, overrides: Mapping[str, Any]) -> Grid:
    """Read a grid from a YAML file, with the keys of `Grid`.

    `seeds` may be a number n, for 1 to n, and `tasks` or `algorithms` one entry that is in no list.

    Args:
        path: The file; None for none.
        overrides: What goes before it.

    Raises:
        ValueError: If the file is no such mapping, or a value of another kind.
        OSError: If it cannot be read.
    """
    data = {**({} if path is None else _read_file(path)), **overrides}
    seeds = data.get("seeds", 5)
    if isinstance(seeds, int):
        seeds = range(1, seeds + 1)
    file = None if "algorithms" in overrides else path
    entries = [_entry(one, file) for one in data.get("algorithms", ["PPO"])]
    files = {algorithm_label(entry.algorithm): entry.file for entry in entries if entry.file is not None}
    return Grid(
        data.get("tasks", []), [entry.algorithm for entry in entries], list(seeds), data.get("total_tokens"),
        data.get("settings", {}), files,
    )  # fmt: skip


def _read_file(path: Path) -> dict[str, Any]:
    data = read_mapping(path)
    unknown = [key for key in data if key not in KEYS]
    if unknown:
        raise ValueError(f"{path} has the key {unknown[0]!r}; expected some of {', '.join(KEYS)}.")
    for key in ("tasks", "algorithms"):
        if isinstance(data.get(key), str | dict):
            data[key] = [data[key]]
    for key, expected in EXPECTED.items():
        if key in data and not _is_right(key, data[key]):
            raise ValueError(f"{path}: {key} must be {expected}, got {data[key]!r}.")
    for key in ("task", "algorithm", "policy"):
        section = _section(data.get("settings", {}), key)
        if not isinstance(section, dict):
            raise ValueError(f"{path}: settings.{key} must be {EXPECTED['settings']}, got {section!r}.")
    return data


def _is_right(key: str, value: Any) -> bool:
    """Return whether a value of a grid's file is of the kind that its key expects."""
    if key == "settings":
        return isinstance(value, dict)
    if key == "seeds" and _is_whole(value):
        return bool(value >= 1)
    if not isinstance(value, list):
        return False
    if key == "seeds":
        return all(map(_is_whole, value))
    return all(isinstance(one, str) or (key == "algorithms" and isinstance(one, dict)) for one in value)


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; Python takes True for 1."""
    return isinstance(value, int) and not isinstance(value, bool)
