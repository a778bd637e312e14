"""A row of feedback as a rating or a preference, or why it is neither."""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from .feedback import Preference

FIELDS = ("prompt", "completion", "rating", "ratings", "rater", "comment", "chosen", "rejected", "margin")
MISSING, NO_TEXT, NO_NUMBER, NO_MARGIN, EQUAL, BOTH, TWICE, WHOSE, UNREADABLE = (
    "missing field",
    "field that is no text",
    "rating that is no number",
    "margin that is no number of at least 0",
    "both sides equal",
    "rating and preference in one row",
    "rated twice in one row",
    "several ratings by one rater",
    "unreadable row",
)


class RatedRow(NamedTuple):
    """One row of a rating; `rater` is "" where the row does not say."""

    line: int
    prompt: str
    completion: str
    ratings: tuple[float, ...]
    rater: str
    comment: str


class PreferredRow(NamedTuple):
    """One row of a preference."""

    line: int
    preference: Preference


class UnusableRowError(Exception):
    """Why a row cannot be used.

    Attributes:
        kind: What is wrong, in words that rows with the same fault share.
    """

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind


def read_row(
    line: int, values: Mapping[str, Any], fields: Mapping[str, str], has_prompts: bool
) -> RatedRow | PreferredRow:
    """Read a row.

    Args:
        line: Where it stands.
        values: Its columns by name.
        fields: The column of each of `FIELDS`.
        has_prompts: Whether every row must say what its prompt is, be it "".

    Raises:
        UnusableRowError: If it cannot be used.
    """
    prompt = _prompt(values, fields["prompt"], has_prompts)
    rater, comment = _rater(values, fields["rater"]), _optional(values, fields["comment"])
    if _is_preference(values, fields):
        chosen, rejected = _text(values, fields["chosen"]), _text(values, fields["rejected"])
        if chosen.strip() == rejected.strip():
            raise UnusableRowError(EQUAL, f"{fields['chosen']} and {fields['rejected']} are the same text")
        margin = _margin(values, fields["margin"])
        return PreferredRow(line, Preference(prompt, chosen, rejected, margin, rater=rater, comment=comment))
    completion = _text(values, fields["completion"])
    if all(values.get(fields[name]) not in (None, "") for name in ("rating", "ratings")):
        raise UnusableRowError(TWICE, f"has both {fields['rating']} and {fields['ratings']}")
    if values.get(fields["ratings"]) not in (None, ""):
        ratings = _numbers(values[fields["ratings"]], fields["ratings"])
        if rater and len(ratings) > 1:
            problem = f"{fields['ratings']} are {len(ratings)} people's, but {fields['rater']} names {rater!r}"
            raise UnusableRowError(WHOSE, problem)
    elif values.get(fields["rating"]) in (None, ""):
        is_list = fields["ratings"] in values and fields["rating"] not in values
        raise UnusableRowError(MISSING, f"has no {fields['ratings' if is_list else 'rating']}")
    else:
        ratings = (_finite(values[fields["rating"]], fields["rating"]),)
    return RatedRow(line, prompt, completion, ratings, rater, comment)


def _is_preference(values: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Tell whether a row is a preference; in a table of both kinds, each leaves the other's columns empty."""
    of_preference, of_rating = (
        [column for name in names if values.get(column := fields[name]) not in (None, "")]
        for names in (("chosen", "rejected", "margin"), ("completion", "rating", "ratings"))
    )
    if of_preference and of_rating:
        raise UnusableRowError(BOTH, f"has {of_rating[0]} and {of_preference[0]}; a row is a rating or a preference")
    if of_preference or of_rating:
        return bool(of_preference)
    return fields["completion"] not in values and (fields["chosen"] in values or fields["rejected"] in values)


def _prompt(values: Mapping[str, Any], column: str, has_prompts: bool) -> str:
    if values.get(column) is None and has_prompts:
        raise UnusableRowError(MISSING, f"has no {column}")
    return _optional(values, column)


def _optional(values: Mapping[str, Any], column: str) -> str:
    text = values.get(column)
    if text is not None and not isinstance(text, str):
        raise UnusableRowError(NO_TEXT, f"{column} must be text, got {type(text).__name__}")
    return text or ""


def _rater(values: Mapping[str, Any], column: str) -> str:
    name = values.get(column)
    if isinstance(name, float) and name.is_integer():
        name = int(name)  # pandas' numbers of raters, where one is missing
    return str(name) if isinstance(name, int) else _optional(values, column)


def _text(values: Mapping[str, Any], column: str) -> str:
    if values.get(column) is None:
        raise UnusableRowError(MISSING, f"has no {column}")
    text = _optional(values, column)
    if not text.strip():
        raise UnusableRowError(MISSING, f"{column} is empty")
    return text


def _number(value: object) -> float:
    """Return a number, NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, Real | str) or "_" in str(value):
        return math.nan  # float() reads "1_0", a slip of the pen, as 10
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _finite(value: object, column: str) -> float:
    number = _number(value)
    if not math.isfinite(number):
        raise UnusableRowError(NO_NUMBER, f"{column} must be a finite number, got {value!r}")
    return number


def _numbers(value: object, column: str) -> tuple[float, ...]:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else text.replace(",", " ").split()
        except json.JSONDecodeError:
            value = [text]
    if not isinstance(value, Sequence) or not value:
        raise UnusableRowError(NO_NUMBER, f"{column} must be a list of numbers, got {value!r}")
    return tuple(_finite(one, column) for one in value)


def _margin(values: Mapping[str, Any], column: str) -> float:
    value = values.get(column)
    margin = 1.0 if value in (None, "") else _number(value)
    if not (math.isfinite(margin) and margin >= 0):
        raise UnusableRowError(NO_MARGIN, f"{column} must be a finite number of at least 0, got {value!r}")
    return margin
