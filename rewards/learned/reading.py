"""Feedback from rows of ratings, comments or preferences, with every row that cannot be used named by its line."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple, TypeVar

from .feedback import BadRow, Feedback, Preference, Rating
from .rows import FeedbackSource, read_rows

Item = TypeVar("Item")

LINES_SHOWN = 20
MISSING, NO_NUMBER, EQUAL, DISAGREES, UNREADABLE = (
    "missing field",
    "rating that is no number",
    "both sides equal",
    "duplicate that disagrees",
    "unreadable row",
)


class FeedbackError(ValueError):
    """Feedback with rows that cannot be used.

    Attributes:
        bad_rows: These rows.
    """

    def __init__(self, message: str, bad_rows: Sequence[BadRow] = ()) -> None:
        super().__init__(message)
        self.bad_rows = tuple(bad_rows)


class _Rated(NamedTuple):
    """One row of a rating; `rater` is "" where the row does not say."""

    line: int
    prompt: str
    completion: str
    ratings: tuple[float, ...]
    rater: str
    comment: str


class _Preferred(NamedTuple):
    """One row of a preference."""

    line: int
    preference: Preference


class _UnusableError(Exception):
    """Why a row cannot be used."""

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind


def read_feedback(
    source: FeedbackSource,
    *,
    columns: Mapping[str, str] | None = None,
    only: Mapping[str, str] | None = None,
    bad_rows: Literal["refuse", "skip"] = "refuse",
) -> Feedback:
    """Read feedback.

    A row is one of

    - a rating: `completion`, `rating` (a number) or `ratings` (several people's: a list, or numbers with spaces or
      commas between them), and, where the data has them, `prompt`, `rater` and `comment`. Rows of one completion by
      different raters are put together;
    - a preference: `chosen`, `rejected`, and, where the data has them, `prompt`, `margin`, `rater` and `comment`.

    Bad are rows that cannot be read, have a field missing or empty (a `prompt` may be empty if no row has one), have
    a rating that is no finite number, prefer a text to itself, or contradict another row on the same text by the same
    rater (or by nobody named). Rows that repeat another one are counted and used once.

    Args:
        source: A .jsonl, .csv or .tsv file, a `datasets.Dataset`, or a list of mappings.
        columns: What the data calls these fields: `{"completion": "text"}` reads completions from the column `text`.
        only: Reads the rows that have these values in columns of the data: `{"domain": "movie"}`; None for all rows.
        bad_rows: "refuse" raises an error that names them; "skip" leaves them out and keeps them in
            `Feedback.bad_rows`.

    Returns:
        Ratings and preferences, in the order of the rows.

    Raises:
        FeedbackError: If there are bad rows that are not to be skipped, or none that can be used.
        FileNotFoundError: If there is no such file.
        ValueError: If the kind of file is unknown, or `columns` names no field.
        TypeError: If the source is none of these.

    Example:
        >>> rows = [{"completion": "A joy.", "rating": 5}, {"completion": "A bore.", "rating": "bad"}]
        >>> feedback = read_feedback(rows, bad_rows="skip")
        >>> len(feedback.ratings), feedback.bad_rows[0].problem
        (1, "rating must be a finite number, got 'bad'")
    """
    if bad_rows not in ("refuse", "skip"):
        raise ValueError(f"bad_rows must be 'refuse' or 'skip', got {bad_rows!r}.")
    fields = _field_names(columns or {})
    rows, name = read_rows(source)
    wanted = (only or {}).items()
    rows = [
        row for row in rows if row.values is None or all(str(row.values.get(key)) == value for key, value in wanted)
    ]
    has_prompts = any(row.values is not None and fields["prompt"] in row.values for row in rows)
    rated: list[_Rated] = []
    preferred: list[_Preferred] = []
    bad: list[BadRow] = []
    for row in rows:
        try:
            if row.values is None:
                raise _UnusableError(UNREADABLE, row.problem)
            one = _read_row(row.line, row.values, fields, has_prompts)
        except _UnusableError as error:
            bad.append(BadRow(row.line, error.kind, str(error)))
            continue
        if isinstance(one, _Rated):
            rated.append(one)
        else:
            preferred.append(one)
    unique_rated, bad_rated = _without_contradictions([(one.line, _rating_key(one), one.ratings, one) for one in rated])
    unique_preferred, bad_preferred = _without_contradictions(
        [(one.line, _preference_key(one.preference), one.preference.chosen, one) for one in preferred]
    )
    bad = sorted([*bad, *bad_rated, *bad_preferred])
    if bad and bad_rows == "refuse":
        raise FeedbackError(_complain(name, len(rows), bad), bad)
    if not unique_rated and not unique_preferred:
        raise FeedbackError(f"{name} has no row of feedback that can be used, out of {len(rows)}.", bad)
    n_used = len(unique_rated) + len(unique_preferred)
    return Feedback(
        ratings=_put_together(unique_rated),
        preferences=tuple(one.preference for one in unique_preferred),
        bad_rows=tuple(bad),
        n_repeated=len(rows) - len(bad) - n_used,
    )


FIELDS = ("prompt", "completion", "rating", "ratings", "rater", "comment", "chosen", "rejected", "margin")


def _field_names(columns: Mapping[str, str]) -> dict[str, str]:
    for field in columns:
        if field not in FIELDS:
            raise ValueError(f"columns must name some of the fields {', '.join(FIELDS)}, got {field!r}.")
    return {field: columns.get(field, field) for field in FIELDS}


def _read_row(
    line: int, values: Mapping[str, Any], fields: Mapping[str, str], has_prompts: bool
) -> _Rated | _Preferred:
    prompt = _text(values, fields["prompt"]) if has_prompts else ""
    rater = _text(values, fields["rater"]) if values.get(fields["rater"]) not in (None, "") else ""
    comment = _text(values, fields["comment"]) if values.get(fields["comment"]) not in (None, "") else ""
    if fields["chosen"] in values or fields["rejected"] in values:
        chosen, rejected = _text(values, fields["chosen"]), _text(values, fields["rejected"])
        if chosen == rejected:
            raise _UnusableError(EQUAL, f"{fields['chosen']} and {fields['rejected']} are the same text")
        margin = 1.0 if values.get(fields["margin"]) in (None, "") else _number(values[fields["margin"]], "margin")
        return _Preferred(line, Preference(prompt, chosen, rejected, margin, rater=rater, comment=comment))
    completion = _text(values, fields["completion"])
    if values.get(fields["ratings"]) not in (None, ""):
        ratings = _numbers(values[fields["ratings"]], fields["ratings"])
        rater = ""  # a list of ratings does not say whose they are
    elif values.get(fields["rating"]) in (None, ""):
        raise _UnusableError(MISSING, f"has no {fields['rating']}")
    else:
        ratings = (_number(values[fields["rating"]], fields["rating"]),)
    return _Rated(line, prompt, completion, ratings, rater, comment)


def _text(values: Mapping[str, Any], column: str) -> str:
    text = values.get(column)
    if text is None:
        raise _UnusableError(MISSING, f"has no {column}")
    if not isinstance(text, str):
        raise _UnusableError(MISSING, f"{column} must be text, got {type(text).__name__}")
    if not text.strip():
        raise _UnusableError(MISSING, f"{column} is empty")
    return text


def _number(value: object, column: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real | str) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _UnusableError(NO_NUMBER, f"{column} must be a finite number, got {value!r}")
    return number


def _numbers(value: object, column: str) -> tuple[float, ...]:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else text.replace(",", " ").split()
        except json.JSONDecodeError:
            value = [text]
    if not isinstance(value, Sequence) or not value:
        raise _UnusableError(NO_NUMBER, f"{column} must be a list of numbers, got {value!r}")
    return tuple(_number(one, column) for one in value)


def _rating_key(one: _Rated) -> tuple[Any, ...]:
    return one.prompt, one.completion, one.rater


def _preference_key(one: Preference) -> tuple[Any, ...]:
    return one.prompt, frozenset((one.chosen, one.rejected)), one.rater


def _without_contradictions(
    judged: Sequence[tuple[int, Any, Any, Item]],
) -> tuple[list[Item], list[BadRow]]:
    """Return the first row of each key, and all rows of the keys on which they disagree.

    Args:
        judged: Line, key (what is judged, and by whom), verdict, and row.
    """
    by_key: dict[Any, list[tuple[int, Any, Item]]] = defaultdict(list)
    for line, key, verdict, row in judged:
        by_key[key].append((line, verdict, row))
    unique, bad = [], []
    for rows in by_key.values():
        if len({verdict for _, verdict, _ in rows}) == 1:
            unique.append(rows[0][2])
            continue
        lines = [line for line, _, _ in rows]
        for line in lines:
            others = ", ".join(str(other) for other in lines if other != line)
            bad.append(BadRow(line, DISAGREES, f"says otherwise of the same text than line {others}"))
    return unique, bad


def _put_together(rated: Sequence[_Rated]) -> tuple[Rating, ...]:
    """Return one rating a completion, of all its raters."""
    by_text: dict[tuple[str, str], list[_Rated]] = defaultdict(list)
    for one in rated:
        by_text[one.prompt, one.completion].append(one)
    return tuple(_join(rows) for rows in by_text.values())


def _join(rows: Sequence[_Rated]) -> Rating:
    raters = tuple(row.rater for row in rows for _ in row.ratings)
    return Rating(
        rows[0].prompt,
        rows[0].completion,
        ratings=tuple(number for row in rows for number in row.ratings),
        raters=raters if any(raters) else (),
        comment="\n".join(row.comment for row in rows if row.comment),
    )


def _complain(name: str, n_rows: int, bad: Sequence[BadRow]) -> str:
    counts = Counter(row.kind for row in bad)
    summary = ", ".join(f"{count} × {kind}" for kind, count in counts.most_common())
    lines = [f"  line {row.line}: {row.problem}" for row in bad[:LINES_SHOWN]]
    if len(bad) > LINES_SHOWN:
        lines.append(f"  and {len(bad) - LINES_SHOWN} more")
    return (
        f"{len(bad)} of {n_rows} rows of {name} cannot be used: {summary}.\n" + "\n".join(lines) + "\n"
        "Mend them, or leave them out: bad_rows='skip', on the command line --skip-bad-rows."
    )
