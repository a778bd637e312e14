"""Gather the infos of single rows into those of a vector environment: an array for each key, and a mask beside it."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS = {bool, int, float}


def gather_infos(rows: npt.NDArray[np.int64], columns: Mapping[str, Sequence[Any]], num_envs: int) -> dict[str, Any]:
    """Gather infos as `gymnasium.vector.VectorEnv` does, but from columns rather than row by row.

    Args:
        rows: The rows that have an info, shape (N,).
        columns: For each key one value a row, None where the row has none.
        num_envs: Number of rows B.

    Returns:
        For each key an array of shape (B,), of the values' type where they are integers, floats or booleans and of
        objects otherwise, and under `_key` a mask, True for the rows that have the key. A key that no row has is left
        out.
    """
    gathered: dict[str, Any] = {}
    is_row = _mask(rows, num_envs)
    for key, values in columns.items():
        kinds = set(map(type, values))
        if NoneType not in kinds:
            gathered[key], gathered[f"_{key}"] = _array(rows, values, kinds, num_envs), is_row.copy()
        elif len(kinds) > 1:
            has_key = np.array([value is not None for value in values])
            present = [value for value in values if value is not None]
            gathered[key] = _array(rows[has_key], present, kinds - {NoneType}, num_envs)
            gathered[f"_{key}"] = _mask(rows[has_key], num_envs)
    return gathered


def _mask(rows: npt.NDArray[np.int64], num_envs: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(num_envs, dtype=np.bool_)
    mask[rows] = True
    return mask


def _array(rows: npt.NDArray[np.int64], values: Sequence[Any], kinds: set[type], num_envs: int) -> npt.NDArray[Any]:
    """Return an array that holds the values of some rows, of so many types, and zeros or None for the others."""
    kind = kinds.pop() if len(kinds) == 1 else object
    array: npt.NDArray[Any]
    if kind in _NUMBERS:
        array = np.zeros(num_envs, kind)
        array[rows] = values
    else:
        array = np.empty(num_envs, object)  # of None
        for row, value in zip(rows.tolist(), values, strict=True):  # lists of one length would be taken for an array
            array[row] = value
    return array
