"""Stable-Baselines3's logs as a resumed run needs them: what was written stays, and is gone on with."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat, filter_excluded_keys
from torch.utils.tensorboard.writer import SummaryWriter

from textgym.replacing import replacing_file

from .run_folder import RunFolder, whole_lines

TOKENS_COLUMN = "time/total_timesteps"


class ProgressTable(KVWriter):
    """Writes one row of a CSV file for each rollout, below the rows of the run's earlier sessions.

    Stable-Baselines3's own format begins an empty file. Here columns keep their order, and one that turns up later is
    added on the right, blank in the rows before.

    Args:
        path: The file.
        from_tokens: Rows of more tokens are dropped: they are of rollouts after the checkpoint, made again now.
    """

    def __init__(self, path: Path, from_tokens: int) -> None:
        self.path = path
        self.columns: list[str] = []
        rows = read_progress(path)
        if rows:
            self.columns = list(rows[0])
            self._rewrite([row for row in rows if float(row[TOKENS_COLUMN]) <= from_tokens])

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append a row."""
        row = filter_excluded_keys(key_values, key_excluded, "csv")
        new = sorted(row.keys() - set(self.columns))
        if new:
            rows = read_progress(self.path)
            self.columns += new
            self._rewrite(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def close(self) -> None:
        """Do nothing: the file is closed after each row."""

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with replacing_file(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)


def read_progress(path: Path) -> list[dict[str, str]]:
    """Read the rows of a progress table; none if there is no file, nor one that a kill has cut off."""
    if not path.is_file():
        return []
    return list(csv.DictReader(whole_lines(path)))


def read_columns(path: Path) -> dict[str, list[float]]:
    """Read a progress table's columns as numbers, NaN where a row has none."""
    rows = read_progress(path)
    names = list(rows[0]) if rows else []
    return {name: [float(row[name]) if row[name] else math.nan for row in rows] for name in names}


def write_columns(path: Path, columns: Mapping[str, Sequence[float | None]]) -> None:
    """Write a progress table from its columns, which are equally long; None becomes an empty cell."""
    with replacing_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(row)


class ContinuedTensorBoard(TensorBoardOutputFormat):
    """Writes TensorBoard events beside those of the run's earlier sessions.

    Args:
        folder: Where the events are.
        from_tokens: Earlier events of more tokens are not shown any more.
    """

    def __init__(self, folder: Path, from_tokens: int) -> None:
        purge_step = from_tokens + 1 if from_tokens else None
        # Stable-Baselines3's constructor has no place for purge_step.
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._is_closed = False


def make_logger(folder: RunFolder, from_tokens: int) -> Logger:
    """Return a logger that goes on with a run's progress table and TensorBoard events from a number of tokens."""
    formats: list[KVWriter] = [
        ProgressTable(folder.progress, from_tokens),
        ContinuedTensorBoard(folder.tensorboard, from_tokens),
    ]
    return Logger(str(folder.path), formats)
