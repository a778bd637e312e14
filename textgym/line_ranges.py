"""Numbers of lines for messages, those that follow one another as a range."""

from collections.abc import Iterable
from itertools import groupby


def join_ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers with those that follow one another as ranges.

    >>> join_ranges([3, 5, 6, 7, 9])
    '3, 5-7, 9'
    """
    # Numbers that follow one another are equally far ahead of their places.
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for _, pairs in runs if (run := list(pairs))]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)
