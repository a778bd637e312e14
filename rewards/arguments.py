"""Checks of what users pass: what was expected, what came, and the nearest match of a wrong name."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from textgym.named_objects import nearest

LONGEST_SHOWN = 60  # characters of a value in an error


def check_text(key: str, value: object) -> None:
    """Refuse what is not a text.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text, got {describe(value)}.")


def check_texts(key: str, value: object) -> None:
    """Refuse what is not a list of texts.

    Raises:
        TypeError: If it is none, such as a single text or a set, whose order is not that of the next run.
    """
    if not isinstance(value, Sequence):
        raise TypeError(f"{key} must be a list of texts, got {describe(value)}.")
    _count_texts(key, value)


def check_text_columns(**columns: object) -> None:
    """Refuse what are not texts in an order, as many of each, such as prompts and completions.

    Args:
        **columns: What came, by the arguments' names: lists, or what else can be gone through again and again.

    Raises:
        TypeError: If one is nothing of the kind, or something in it no text.
        ValueError: If they differ in length.
    """
    lengths = {}
    for key, texts in columns.items():
        if isinstance(texts, Mapping) or not isinstance(texts, Iterable) or iter(texts) is texts:
            raise TypeError(f"{key} must be a list of texts, got {describe(texts)}.")
        lengths[key] = _count_texts(key, texts)
    if len(set(lengths.values())) > 1:
        *before, last = lengths
        raise ValueError(f"{', '.join(before)} and {last} must have one length, got {list(lengths.values())}.")


def check_flag(key: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: If it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be True or False, got {describe(value)}.")


def check_integer(key: str, value: object, *, least: int | None = None) -> None:
    """Refuse what is not an integer, or too small.

    Args:
        key: The argument's name.
        value: What came; those of numpy are integers too.
        least: The smallest that is allowed; None for any.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is below `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{key} must be an integer, got {describe(value)}.")
    if least is not None and int(value) < least:
        raise ValueError(f"{key} must be at least {least}, got {value}.")


def check_number(
    key: str,
    value: object,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    allows_infinity: bool = False,
) -> None:
    """Refuse what is not a number, or out of range.

    Args:
        key: The argument's name.
        value: What came; NaN is no number.
        least: The smallest that is allowed; None for any.
        most: The largest that is allowed, with `least`; None for any.
        above: What it has to be greater than; None for any.
        allows_infinity: Whether infinity will do.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN, infinite, or out of range.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{key} must be a number, got {describe(value)}.")
    number = _as_float(value)
    if math.isnan(number) or (math.isinf(number) and not allows_infinity):
        raise ValueError(f"{key} must be a {'' if allows_infinity else 'finite '}number, got {_cut(str(value))}.")
    if least is not None and most is not None and not least <= number <= most:
        raise ValueError(f"{key} must be between {least:g} and {most:g}, got {value}.")
    if least is not None and number < least:
        raise ValueError(f"{key} must be at least {least:g}, got {value}.")
    if above is not None and number <= above:
        raise ValueError(f"{key} must be above {above:g}, got {value}.")


def check_choice(key: str, value: object, choices: Sequence[str | None]) -> None:
    """Refuse what is not one of a few names.

    Raises:
        ValueError: If it is none of them; the nearest match is given.
    """
    if not isinstance(value, str | None) or value not in choices:
        *before, last = map(repr, choices)
        expected = f"{', '.join(before)} or {last}" if before else last
        hint = nearest(value, [one for one in choices if one is not None]) if isinstance(value, str) else ""
        raise ValueError(f"{key} must be {expected}, got {_cut(repr(value))}.{hint}")


def check_mapping(key: str, value: object, example: str) -> None:
    """Refuse what is neither a mapping whose keys are texts, nor None.

    Args:
        key: The argument's name.
        value: What came.
        example: What it might be.

    Raises:
        TypeError: If it is neither.
    """
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        raise TypeError(f"{key} must be a mapping such as {example}, got {describe(value)}.")


def describe(value: Any) -> str:
    """Print a value for an error, cut short, with its type where that does not show: "'3' of type str", but "None"."""
    return "None" if value is None else f"{_cut(repr(value))} of type {type(value).__name__}"


def _count_texts(key: str, values: Iterable[object]) -> int:
    """Return how many texts there are, and refuse what is none."""
    if isinstance(values, str):
        hint = f"; write [{values!r}]" if len(values) <= LONGEST_SHOWN else ""
        raise TypeError(f"{key} must be a list of texts, got the single text {_cut(repr(values))}{hint}.")
    if isinstance(values, bytes | bytearray):
        raise TypeError(f"{key} must be a list of texts, got {describe(values)}.")
    place = 0
    for place, text in enumerate(values, start=1):
        if not isinstance(text, str):
            hint = "; put it in quotes" if isinstance(text, bool | int | float) else ""
            raise TypeError(f"{key} must be a list of texts, got {describe(text)} in place {place}{hint}.")
    return place


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond the largest float
        return math.inf


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
