"""Checks of what rewards are made of: an argument of the wrong type, or out of range, is an error that names it."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any


def check_text(key: str, value: object) -> None:
    """Refuse what is not a text.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text, got {with_type(value)}.")


def check_texts(key: str, value: object) -> None:
    """Refuse what is not a list of texts.

    Raises:
        TypeError: If it is none, such as a single text or a set, whose order is not that of the next run.
    """
    if isinstance(value, str):
        raise TypeError(f"{key} must be a list of texts, got the single text {value!r}; write [{value!r}].")
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise TypeError(f"{key} must be a list of texts, got {with_type(value)}.")
    for text in value:
        if not isinstance(text, str):
            raise TypeError(f"{key} must be a list of texts, got {with_type(text)} in it; put it in quotes.")


def check_flag(key: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: If it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be True or False, got {with_type(value)}.")


def check_integer(key: str, value: object, least: int | None = None) -> None:
    """Refuse what is not an integer, or too small.

    Args:
        key: The argument's name.
        value: What came.
        least: The smallest that is allowed; None for any.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is below `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{key} must be an integer, got {with_type(value)}.")
    if least is not None and value < least:
        raise ValueError(f"{key} must be at least {least}, got {value}.")


def check_number(key: str, value: object, least: float | None = None, above: float | None = None) -> None:
    """Refuse what is not a number, or too small.

    Args:
        key: The argument's name.
        value: What came; infinity is a number, NaN is none.
        least: The smallest that is allowed; None for any.
        above: What it has to be greater than; None for any.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN, or too small.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{key} must be a number, got {with_type(value)}.")
    number: Any = value  # of a type that has no order, to a type checker
    if math.isnan(number):
        raise ValueError(f"{key} must be a number, got {value}.")
    if least is not None and number < least:
        raise ValueError(f"{key} must be at least {least:g}, got {value}.")
    if above is not None and number <= above:
        raise ValueError(f"{key} must be above {above:g}, got {value}.")


def with_type(value: object) -> str:
    """Print a value for an error, with its type where that does not show: "'3' of type str", but "None"."""
    return "None" if value is None else f"{value!r} of type {type(value).__name__}"
