"""Judge the episodes that have ended, and write the `info` of their last step."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .episodes import FinishedEpisodes, info_columns
from .task import TextTask


class Endings(Mapping[int, dict[str, Any]]):
    """The `info` of each row that ended with a step, by row; see `TextGenEnv`.

    They are kept by column, as vector environments show them. A row's dict is made anew each time it is asked for.

    Args:
        rows: The rows that ended, ascending, shape (N,).
        columns: For each key one value a row, None where the row's info has no such key.
    """

    def __init__(self, rows: npt.NDArray[np.int64], columns: Mapping[str, Sequence[Any]]) -> None:
        self.rows = rows
        self.columns = columns

    def __getitem__(self, row: int) -> dict[str, Any]:
        place = self._places[row]
        return {key: values[place] for key, values in self.columns.items() if values[place] is not None}

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(self.rows.tolist())}


NO_ENDINGS = Endings(np.empty(0, dtype=np.int64), {})


def judge(
    task: TextTask, rows: npt.NDArray[np.int64], episodes: FinishedEpisodes, is_forbidden: npt.NDArray[np.bool_]
) -> Endings:
    """Judge the episodes of N rows by one call of the reward function.

    Args:
        task: The task.
        rows: The rows, ascending, shape (N,).
        episodes: Their episodes.
        is_forbidden: Whether an action of the last step was forbidden, shape (N,).
    """
    columns = info_columns(episodes, task.score_by_column(episodes))
    if task.restricts_tokens and is_forbidden.any():
        columns["forbidden_action"] = [each or None for each in is_forbidden.tolist()]
    return Endings(rows, columns)
