"""Gather the infos of single rows into those of a vector environment: an array for each key, and a mask beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

InfoArray = npt.NDArray[Any]


def gather_infos(infos: Mapping[int, Mapping[str, Any]], num_envs: int) -> dict[str, Any]:
    """Gather infos as `gymnasium.vector.VectorEnv` does, but key by key rather than row by row.

    Args:
        infos: The info of some rows, by row.
        num_envs: Number of rows B.

    Returns:
        For each key an array of shape (B,), of the values' type where they are integers, floats or booleans and of
        objects otherwise, and under `_key` a mask, True for the rows that have the key. Values that are mappings are
        gathered in their turn, but for observations (`final_obs`).
    """
    columns: dict[str, dict[int, Any]] = {}
    for row, info in infos.items():
        for key, value in info.items():
            if key in columns:
                columns[key][row] = value
            else:
                columns[key] = {row: value}
    gathered: dict[str, Any] = {}
    all_rows = np.array(list(infos))
    for key, column in columns.items():
        rows = all_rows if len(column) == len(infos) else np.array(list(column))
        values = list(column.values())
        is_nested = key != "final_obs" and isinstance(values[0], dict)
        gathered[key] = gather_infos(column, num_envs) if is_nested else _array(rows, values, num_envs)
        mask = np.zeros(num_envs, dtype=np.bool_)
        mask[rows] = True
        gathered[f"_{key}"] = mask
    return gathered


def _array(rows: npt.NDArray[np.int64], values: list[Any], num_envs: int) -> InfoArray:
    kinds = set(map(type, values))
    kind = kinds.pop() if len(kinds) == 1 else object
    if kind in (bool, int, float):
        array: InfoArray = np.zeros(num_envs, dtype=kind)
        array[rows] = values
        return array
    array = np.empty(num_envs, dtype=object)  # of None
    for row, value in zip(rows.tolist(), values, strict=True):  # lists of one length would be taken for an array
        array[row] = value
    return array
