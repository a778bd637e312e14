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
            columns.setdefault(key, {})[row] = value
    gathered: dict[str, Any] = {}
    for key, column in columns.items():
        rows = list(column)
        is_nested = key != "final_obs" and isinstance(column[rows[0]], dict)
        gathered[key] = gather_infos(column, num_envs) if is_nested else _array(column, num_envs)
        mask = np.zeros(num_envs, dtype=np.bool_)
        mask[rows] = True
        gathered[f"_{key}"] = mask
    return gathered


def _array(column: Mapping[int, Any], num_envs: int) -> InfoArray:
    values = list(column.values())
    kinds = set(map(type, values))
    for kind in (bool, int, float):
        if kinds == {kind}:
            array: InfoArray = np.zeros(num_envs, dtype=kind)
            array[list(column)] = values
            return array
    array = np.full(num_envs, None, dtype=object)
    for row, value in column.items():  # one by one, since lists of one length would be taken for an array
        array[row] = value
    return array
