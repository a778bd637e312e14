"""What a report knows of each run, read from its folder."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from textgym.training.logs import TOKENS_COLUMN, read_columns
from textgym.training.run_folder import RunFolder, read_json

FloatArray = npt.NDArray[np.float64]
ROLLOUTS_AT_THRESHOLD = 3
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


def find_records(folders: Sequence[Path]) -> list[RunRecord]:
    """Read all runs in some folders and the folders below, sorted by task, algorithm and seed.

    Raises:
        ValueError: If a folder does not exist, or there is no run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}; name folders of runs, such as runs/bench.")
    configs = sorted({config.resolve() for folder in folders for config in folder.rglob("config.yaml")})
    runs = [config.parent for config in configs if RunFolder(config.parent).versions.is_file()]
    if not runs:
        raise ValueError(
            f"There is no run in {', '.join(map(str, folders))}; textgym train and textgym bench make some."
        )
    records = _told_apart([_read(path) for path in runs])
    return sorted(records, key=lambda one: (one.task, one.algorithm, one.seed))


def _read(path: Path) -> RunRecord:
    folder = RunFolder(path)
    settings = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    columns = {name: np.array(values) for name, values in read_columns(folder.progress).items()}
    tokens = columns.get(TOKENS_COLUMN, np.empty(0))
    return RunRecord(
        folder=path,
        task=settings["task"].get("name") or _name_of(settings["task"]["reward"]),
        algorithm=path.parent.name if path.with_suffix(".yaml").is_file() else settings["algorithm"]["name"],
        seed=settings["seed"],
        settings=settings,
        tokens=tokens,
        seconds=_added_up(_seconds(columns, len(tokens))),
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


def _added_up(elapsed: FloatArray) -> FloatArray:
    """Turn times that begin anew with each session into one time."""
    steps = np.diff(elapsed, prepend=0.0)
    return np.cumsum(np.where(steps < 0, elapsed, steps))


def _told_apart(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Add the folder's name to the algorithm where two runs would otherwise be the same."""
    given = list(records)
    counts = Counter((one.task, one.algorithm, one.seed) for one in given)
    return [
        replace(one, algorithm=f"{one.algorithm} ({one.folder.name})")
        if counts[one.task, one.algorithm, one.seed] > 1
        else one
        for one in given
    ]
