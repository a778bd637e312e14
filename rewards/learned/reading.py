"""Feedback from rows of ratings, comments or preferences, with every row that cannot be used named by its line."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from textgym.line_ranges import join_ranges
from textgym.named_objects import nearest
from textgym.rewards.arguments import check_choice, check_mapping

from .duplicates import Judgement, without_contradictions
from .feedback import BadRow, Feedback, Rating
from .row_fields import FIELDS, UNREADABLE, PreferredRow, RatedRow, UnusableRowError, read_row
from .rows import FeedbackSource, Row, read_rows

LINES_SHOWN = 20
VALUES_SHOWN = 8


class FeedbackError(ValueError):
    """Feedback with rows that cannot be used.

    Attributes:
        bad_rows: These rows.
    """

    def __init__(self, message: str, bad_rows: Sequence[BadRow] = ()) -> None:
        super().__init__(message)
        self.bad_rows = tuple(bad_rows)


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

    A table may have rows of both kinds, each with the other's columns empty.

    Models read prompt and completion as one text, with a space between where words would run together.

    Bad are rows that cannot be read, have a field missing or empty (a `prompt` may be "", for a text that stands
    alone; it may only be missing if no row has one), have a rating that is no finite number or a margin below 0,
    prefer a text to itself, are rating and preference in one, have several people's ratings and one `rater`, or
    contradict another row on the same text by the same rater (or by nobody named) in rating, preference, margin or
    comment. Rows that repeat another one are counted and used once. White space around a text does not make it another.

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
        ValueError: If the kind of file is unknown, `columns` names no field, there is no such column, or no row has the
            values of `only`; the nearest match is given.
        TypeError: If the source is none of these, or an argument has another type.

    Example:
        >>> rows = [{"completion": "A joy.", "rating": 5}, {"completion": "A bore.", "rating": "bad"}]
        >>> feedback = read_feedback(rows, bad_rows="skip")
        >>> len(feedback.ratings), feedback.bad_rows[0].problem
        (1, "rating must be a finite number, got 'bad'")
    """
    check_choice("bad_rows", bad_rows, ("refuse", "skip"))
    check_mapping("columns", columns, "{'completion': 'text'}")
    check_mapping("only", only, "{'domain': 'movie'}")
    fields = _field_names(columns)
    rows, name = read_rows(source)
    _check_columns(rows, name, fields, [*(columns or {}).values(), *(only or {})])
    rows = _choose(rows, name, only or {})
    has_prompts = any(row.values is not None and row.values.get(fields["prompt"]) is not None for row in rows)
    rated: list[RatedRow] = []
    preferred: list[PreferredRow] = []
    bad: list[BadRow] = []
    for row in rows:
        try:
            if row.values is None:
                raise UnusableRowError(UNREADABLE, row.problem)
            one = read_row(row.line, row.values, fields, has_prompts)
        except UnusableRowError as error:
            bad.append(BadRow(row.line, error.kind, str(error)))
            continue
        if isinstance(one, RatedRow):
            rated.append(one)
        else:
            preferred.append(one)
    unique_rated, bad_rated = without_contradictions([_rating_judgement(one) for one in rated])
    unique_preferred, bad_preferred = without_contradictions([_preference_judgement(one) for one in preferred])
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


def _field_names(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return the column of each field."""
    given = columns or {}
    for field in given:
        if field not in FIELDS:
            raise ValueError(
                f"columns must name some of the fields {', '.join(FIELDS)}, got {field!r}.{nearest(field, FIELDS)}"
            )
    return {field: given.get(field, field) for field in FIELDS}


def _check_columns(rows: Sequence[Row], name: str, fields: Mapping[str, str], named: Sequence[str]) -> None:
    """Refuse a table that lacks a column for all its rows, rather than to complain of each row."""
    found = list(dict.fromkeys(column for row in rows for column in row.values or ()))
    for column in named if found else ():
        if column not in found:
            raise ValueError(
                f"{name} has no column {column!r}.{nearest(column, found)} It has {', '.join(map(str, found))}."
            )
    for needed, instead in (("completion", "chosen"), ("rating", "ratings")):
        if found and not {fields[needed], fields[instead], fields["chosen"], fields["rejected"]} & set(found):
            raise ValueError(
                f"{name} has no column {fields[needed]!r}.{nearest(fields[needed], found)} It has "
                f"{', '.join(map(str, found))}. Needed are completion and rating (or ratings), or chosen and rejected; "
                f"say what it calls them: columns={{{needed!r}: NAME}}, on the command line --column {needed}=NAME."
            )


def _choose(rows: Sequence[Row], name: str, only: Mapping[str, str]) -> list[Row]:
    """Return the rows that have the wanted values, and those that could not be read."""
    for column, wanted in only.items():
        before = [row.values for row in rows if row.values is not None]
        rows = [row for row in rows if row.values is None or str(row.values.get(column)) == str(wanted)]
        if before and not any(row.values is not None for row in rows):
            found = list(dict.fromkeys(str(values.get(column)) for values in before))
            some = ", ".join(map(repr, found[:VALUES_SHOWN])) + (", …" if len(found) > VALUES_SHOWN else "")
            raise ValueError(
                f"{name} has no row whose {column} is {str(wanted)!r}.{nearest(str(wanted), found)} It has {some}."
            )
    return list(rows)


def _rating_judgement(one: RatedRow) -> Judgement[RatedRow]:
    subject = one.prompt.strip(), one.completion.strip(), one.rater
    return Judgement(one.line, subject, one.ratings, {"comment": one.comment}, one)


def _preference_judgement(one: PreferredRow) -> Judgement[PreferredRow]:
    said = one.preference
    chosen, rejected = said.chosen.strip(), said.rejected.strip()
    subject = said.prompt.strip(), frozenset((chosen, rejected)), said.rater
    return Judgement(one.line, subject, chosen, {"margin": said.margin, "comment": said.comment}, one)


def _put_together(rated: Sequence[RatedRow]) -> tuple[Rating, ...]:
    """Return one rating a completion, of all its raters."""
    by_text: dict[tuple[str, str], list[RatedRow]] = defaultdict(list)
    for one in rated:
        by_text[one.prompt.strip(), one.completion.strip()].append(one)
    return tuple(_join(rows) for rows in by_text.values())


def _join(rows: Sequence[RatedRow]) -> Rating:
    raters = tuple(row.rater for row in rows for _ in row.ratings)
    return Rating(
        rows[0].prompt,
        rows[0].completion,
        ratings=tuple(number for row in rows for number in row.ratings),
        raters=raters if any(raters) else (),
        comment="\n".join(row.comment for row in rows if row.comment),
    )


def _complain(name: str, n_rows: int, bad: Sequence[BadRow]) -> str:
    summary, *lines = summarise_bad_rows(bad)
    return "\n".join(
        [
            f"{len(bad)} of {n_rows} rows of {name} cannot be used: {summary}.",
            *(f"  {line}" for line in lines),
            "Mend them, or leave them out: bad_rows='skip', on the command line --skip-bad-rows.",
        ]
    )


def summarise_bad_rows(bad: Sequence[BadRow]) -> list[str]:
    """Return how many rows have which fault, what is wrong with each of the first ones, and where the others are."""
    counts = Counter(row.kind for row in bad)
    lines = [f"line {row.line}: {row.problem}" for row in bad[:LINES_SHOWN]]
    others = sorted({row.line for row in bad[LINES_SHOWN:]})
    more = [f"and {len(bad) - LINES_SHOWN} more, in lines {join_ranges(others)}"] if others else []
    return [", ".join(f"{count} × {kind}" for kind, count in counts.most_common()), *lines, *more]
