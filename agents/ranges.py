"""Ranges of numbers that are laid end to end, as flat tensors of ragged texts have them."""

import numpy as np


def starts_of(sizes: np.ndarray) -> np.ndarray:
    """Return where ranges of such sizes begin, laid end to end."""
    return np.concatenate([[0], sizes.cumsum()[:-1]])


def joined_ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Join the ranges from each start, of each size, shape (sum of `sizes`,)."""
    shifts: np.ndarray = np.repeat(starts - starts_of(sizes), sizes)
    return shifts + np.arange(len(shifts))
