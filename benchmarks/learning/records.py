"""What a report knows of each run, read from its folder."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml

from textgym.training.algorithm_settings import ValueSettings
from textgym.training.algorithms import ALGORITHMS, NLPOSettings
from textgym.training.logs import TOKENS_COLUMN, read_columns
from textgym.training.run_folder import RunFolder, read_json

FloatArray = npt.NDArray[np.float64]
Choice = Literal["sampled", "nucleus", "best tokens"]
ROLLOUTS_AT_THRESHOLD = 3
SECTIONS = ("task", "algorithm", "policy", "evaluation")
# Settings that change nothing of what is learned.
WITHOUT_EFFECT = frozenset({"device", "checkpoint_seconds"})
# Runs of earlier versions have whole seconds only.
SECONDS_COLUMNS = ("time/seconds", "time/time_elapsed")


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        folder: Its folder.
        task: Id of its task, or its reward where it has none.
        algorithm: Label of its algorithm.
        seed: Its seed.
        settings: Its settings, as plain data.
        tokens: Tokens trained on at the end of each rollout, shape (n,).
        seconds: Seconds of training until then, sessions that were stopped in between added up, shape (n,).
        score: Mean score of each rollout, shape (n,).
        evaluation: What was evaluated `before` and `after`; the latter is missing where the run is not finished.
        samples: Completions written after training.
        tokens_seen: What the policy thought at each token of a few completions; see `textgym.training.token_view`.
        sessions: Versions and machine of each start.
    """

    folder: Path
    task: str
    algorithm: str
    seed: int
    settings: dict[str, Any]
    tokens: FloatArray
    seconds: FloatArray
    score: FloatArray
    evaluation: dict[str, Any]
    samples: list[dict[str, Any]]
    tokens_seen: list[dict[str, Any]]
    sessions: list[dict[str, Any]]

    @property
    def is_finished(self) -> bool:
        """Whether it was evaluated after training."""
        return "after" in self.evaluation

    @property
    def choice(self) -> Choice:
        """How its policy chooses tokens where it is evaluated, also before training."""
        kind = ALGORITHMS.get(self.settings["algorithm"]["name"], object)
        if issubclass(kind, ValueSettings):
            return "best tokens"
        return "nucleus" if issubclass(kind, NLPOSettings) else "sampled"

    @property
    def final_score(self) -> float:
        """Mean score of the evaluation after training."""
        return float(self.evaluation["after"]["score"])

    @property
    def final_kl(self) -> float | None:
        """KL to the model before training, in nats a completion; None without a reference."""
        kl: float | None = self.evaluation["after"]["kl"]
        return kl

    def index_at(self, threshold: float) -> int | None:
        """Return the first rollout at which the mean score of the last three reaches a threshold; None if none does."""
        if len(self.score) < ROLLOUTS_AT_THRESHOLD:
            return None
        means = np.convolve(self.score, np.ones(ROLLOUTS_AT_THRESHOLD) / ROLLOUTS_AT_THRESHOLD, mode="valid")
        reached = np.flatnonzero(means >= threshold)
        return int(reached[0]) + ROLLOUTS_AT_THRESHOLD - 1 if len(reached) else None


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of all sections by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        is_section = isinstance(value, dict) and name in SECTIONS
        flat.update({f"{name}.{key}": part for key, part in value.items()} if is_section else {name: value})
    return flat


def find_records(folders: Sequence[Path]) -> list[RunRecord]:
    """Read all runs in some folders and the folders below, sorted by task, algorithm and seed.

    One that cannot be read is left out with a warning. Where a task has a seed of an algorithm twice, the names of
    folders tell the algorithm's runs apart.

    Raises:
        ValueError: If a folder does not exist, or there is no run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}; name folders of runs, such as runs/bench.")
    roots: dict[Path, Path] = {}
    for folder in folders:
        for config in folder.resolve().rglob("config.yaml"):
            roots.setdefault(config.parent, folder.resolve())
    found = [(record, roots[path]) for path in sorted(roots) if (record := _read_or_warn(path)) is not None]
    if not found:
        raise ValueError(
            f"There is no run in {', '.join(map(str, folders))}; textgym train and textgym bench make some."
        )
    return sorted(_told_apart(found), key=lambda one: (one.task, one.algorithm, one.seed))


def _read_or_warn(path: Path) -> RunRecord | None:
    """Read a run; None, and a warning, where its files are damaged, and None alone where it is no run."""
    if not RunFolder(path).versions.is_file():
        return None
    try:
        return _read(path)
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | TypeError) else str(error)
        warnings.warn(f"The run in {path} cannot be read and is left out: {reason}", stacklevel=3)
        return None


def _read(path: Path) -> RunRecord:
    folder = RunFolder(path)
    settings = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise ValueError(f"{folder.config.name} must hold settings, got {settings!r}")
    columns = {name: np.array(values) for name, values in read_columns(folder.progress).items()}
    tokens = columns.get(TOKENS_COLUMN, np.empty(0))
    return RunRecord(
        folder=path,
        task=settings["task"].get("name") or _name_of(settings["task"]["reward"]),
        algorithm=path.parent.name if path.with_suffix(".yaml").is_file() else settings["algorithm"]["name"],
        seed=settings["seed"],
        settings=settings,
        tokens=tokens,
        seconds=_added_up(_seconds(columns, len(tokens)), columns.get("time/iterations")),
        score=columns.get("rollout/score", np.full(len(tokens), np.nan)),
        evaluation=folder.read_evaluation(),
        samples=[sample for sample in folder.read_samples() if sample["phase"] == "after"],
        tokens_seen=folder.read_tokens(),
        sessions=read_json(folder.versions),
    )


def _name_of(reward: object) -> str:
    return "TextGen-v0" if reward == "reference_task" else str(reward)


def _seconds(columns: Mapping[str, FloatArray], n_rows: int) -> FloatArray:
    """Return the seconds of a session, in fractions where they were written."""
    return next((columns[name] for name in SECONDS_COLUMNS if name in columns), np.full(n_rows, np.nan))


def _added_up(elapsed: FloatArray, iterations: FloatArray | None) -> FloatArray:
    """Turn times that begin anew with each session, as the numbers of rollouts do, into one time."""
    steps = np.diff(elapsed, prepend=0.0)
    begins_anew = steps < 0
    if iterations is not None:
        begins_anew |= np.diff(iterations, prepend=0.0) <= 0
    return np.cumsum(np.where(begins_anew, elapsed, steps))


def _told_apart(found: Sequence[tuple[RunRecord, Path]]) -> list[RunRecord]:
    """Add a folder's name to the algorithm where a task has one of its seeds twice.

    Args:
        found: The runs, each with that of the given folders which it was found in.
    """
    counts = Counter((one.task, one.algorithm, one.seed) for one, _ in found)
    counts_in_root = Counter((one.task, one.algorithm, one.seed, root) for one, root in found)
    repeated = {algorithm for (_, algorithm, _), count in counts.items() if count > 1}
    repeated_in_root = {algorithm for (_, algorithm, _, _), count in counts_in_root.items() if count > 1}
    names = Counter(root.name for root in {root for _, root in found})

    def told_apart(one: RunRecord, root: Path) -> RunRecord:
        if one.algorithm not in repeated:
            return one
        name = root.name if names[root.name] == 1 else str(root)
        if one.algorithm in repeated_in_root and one.folder != root:
            name = str(one.folder.relative_to(root))
        return replace(one, algorithm=f"{one.algorithm} ({name})")

    return [told_apart(one, root) for one, root in found]
