"""Which prompts are trained on and which are held out."""

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

Split = Literal["train", "held_out"]
Item = TypeVar("Item")


def check_split(split: str) -> None:
    """Raise ValueError if a split is unknown."""
    if split not in get_args(Split):
        raise ValueError(f'split must be "train" or "held_out", got {split!r}.')


def every_nth(items: Sequence[Item], split: Split, n: int) -> list[Item]:
    """Return a split of which every n-th item, from the first on, is held out.

    >>> every_nth("abcde", "held_out", 4), every_nth("abcde", "train", 4)
    (['a', 'e'], ['b', 'c', 'd'])

    Raises:
        ValueError: If the split is unknown.
    """
    check_split(split)
    return [item for index, item in enumerate(items) if (index % n == 0) == (split == "held_out")]
