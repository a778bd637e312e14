"""What users pass, checked where they pass it: what was expected, what came, and the nearest match of a wrong name."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from textgym.named_objects import nearest


def require_number(
    name: str, value: object, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> None:
    """Check that an argument is a finite number within its range.

    Args:
        name: The argument's.
        value: What was passed.
        above: It must be above this; None for no such bound.
        least: It must be at least this; None for no such bound.
        most: It must be at most this; None for no such bound.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {describe(value)}.")
    number = float(value)
    if least is not None and most is not None:
        _require(least <= number <= most, f"{name} must be between {least:g} and {most:g}, got {value}.")
    if above is not None:
        _require(number > above, f"{name} must be above {above:g}, got {value}.")
    if least is not None:
        _require(number >= least, f"{name} must be at least {least:g}, got {value}.")
    _require(math.isfinite(number), f"{name} must be a finite number, got {value}.")


def require_whole(name: str, value: object, *, least: int | None = None) -> None:
    """Check that an argument is a whole number, at least so large.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {describe(value)}.")
    if least is not None:
        _require(int(value) >= least, f"{name} must be at least {least}, got {value}.")


def require_flag(name: str, value: object) -> None:
    """Check that an argument is True or False; TypeError if not."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {describe(value)}.")


def require_choice(name: str, value: object, choices: Sequence[str | None]) -> None:
    """Check that an argument is one of a few.

    Raises:
        ValueError: If it is none of them; the nearest match is given.
    """
    if value not in choices or not isinstance(value, str | None):
        names = [one for one in choices if one is not None]
        *before, last = map(repr, choices)
        expected = f"{', '.join(before)} or {last}" if before else last
        hint = nearest(value, names) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be {expected}, got {value!r}.{hint}")


def require_mapping(name: str, value: object, example: str) -> None:
    """Check that an argument is a mapping with string keys, or None; TypeError with an example if not."""
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise TypeError(f"{name} must be a mapping such as {example}, got {describe(value)}.")


def require_texts(**columns: object) -> None:
    """Check that arguments are lists of strings, all of one length.

    Args:
        **columns: The arguments by name.

    Raises:
        TypeError: If one is no list, or something in it no string.
        ValueError: If they differ in length.
    """
    lengths = {}
    for name, texts in columns.items():
        if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable) or iter(texts) is texts:
            raise TypeError(f"{name} must be a list of strings, got {describe(texts)}.{_in_brackets(texts)}")
        size = 0
        for size, text in enumerate(texts, start=1):
            if not isinstance(text, str):
                raise TypeError(f"{name} must be strings, got {describe(text)} in place {size}.")
        lengths[name] = size
    if len(set(lengths.values())) > 1:
        names = list(lengths)
        raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} must have one length, got {list(lengths.values())}.")


def describe(value: Any) -> str:
    """Return a value, cut short, and its type, for an error."""
    if value is None:
        return "None"
    text = repr(value)
    return f"{text if len(text) <= 60 else f'{text[:60]}…'} of type {type(value).__name__}"


def _in_brackets(value: object) -> str:
    return f" Put a single text in brackets: [{value!r}]." if isinstance(value, str) and len(value) <= 60 else ""


def _require(is_right: bool, message: str) -> None:
    if not is_right:
        raise ValueError(message)
