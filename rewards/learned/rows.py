"""Rows of a JSONL, CSV or TSV file or of a data set, each with its place; a row that cannot be read is told apart."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from textgym.prompts import file_lines, file_text

FILE_SUFFIXES = (".jsonl", ".csv", ".tsv")
FeedbackSource = str | Path | Iterable[Mapping[str, Any]]


class Row(NamedTuple):
    """A row as it was found.

    Attributes:
        line: The line of the file that it ends on, or its number in the data set, from 1.
        values: Its columns by name; None where it could not be read.
        problem: Why not, "" where it could.
    """

    line: int
    values: Mapping[str, Any] | None
    problem: str = ""


def read_rows(source: FeedbackSource) -> tuple[list[Row], str]:
    """Return all rows of a source, and what to call it.

    Args:
        source: A .jsonl file (one object a line), a .csv or .tsv file with a header (in TSV quotes are letters like
            any other), a `datasets.Dataset`, or any other iterable of mappings. Empty lines are no rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its name ends in something else, it is not UTF-8, or it has no header or one that repeats a name.
        TypeError: If the source is none of these.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".tsv": _read_tsv}
        if path.suffix.lower() not in readers:
            raise ValueError(f"feedback must be a {', '.join(FILE_SUFFIXES)} file or a data set, got {str(source)!r}.")
        if not path.is_file():
            raise FileNotFoundError(f"There is no file of feedback {path} (looked for {path.absolute()}).")
        return list(readers[path.suffix.lower()](path)), str(path)
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise TypeError(
            "feedback must be a .jsonl, .csv or .tsv file, a list of rows or one data set, got "
            f"{'None' if source is None else f'a {type(source).__name__}'}."
        )
    rows = list(_read_iterable(source))
    if rows and all(row.values is None for row in rows):
        raise TypeError(
            f"feedback must have rows that are mappings, such as {{'completion': 'A joy.', 'rating': 5}}; in "
            f"this {type(source).__name__} none is. Of a pandas DataFrame they are frame.to_dict('records')."
        )
    return rows, "the feedback"


def _read_iterable(source: Iterable[Any]) -> Iterator[Row]:
    for number, row in enumerate(source, start=1):
        if isinstance(row, Mapping):
            yield Row(number, {column: _plain(value) for column, value in row.items()})
        else:
            yield Row(number, None, f"expected a mapping of columns, got {type(row).__name__}")


def _plain(value: Any) -> Any:
    """Return a value as it would stand in a file: numpy's and torch's as numbers and lists, pandas' NaN as nothing."""
    if isinstance(value, np.ndarray | np.generic | Tensor):
        value = value.tolist()
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' own, which need not be installed
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(file_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_without_repetition)
        except (ValueError, RecursionError) as error:
            yield Row(number, None, f"not JSON: {error}")
            continue
        yield Row(number, row) if isinstance(row, dict) else Row(number, None, "expected an object in braces")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{repeated!r} is given twice")
    return values


def _read_csv(path: Path) -> Iterator[Row]:
    return _read_table(path, csv.reader(io.StringIO(file_text(path), newline=""), strict=True))


def _read_tsv(path: Path) -> Iterator[Row]:
    text = io.StringIO(file_text(path), newline="")
    return _read_table(path, csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE))


def _read_table(path: Path, table: Any) -> Iterator[Row]:
    header = next(table, None)
    if not header:
        raise ValueError(f"{path} must begin with a line of column names, it is empty.")
    repeated = [column for column, count in Counter(header).items() if count > 1]
    if repeated:
        raise ValueError(f"{path} must give each column a name of its own, {repeated[0]!r} occurs more than once.")
    while True:
        first = table.line_num + 1
        try:
            cells = next(table, None)
        except csv.Error as error:
            # A quote that is not closed takes all lines up to the next one, or to the end.
            lines = f"; the row goes from line {first} to {table.line_num}" if table.line_num > first else ""
            yield Row(table.line_num, None, f"not CSV: {error}{lines}")
            continue
        if cells is None:
            return
        if len(cells) == len(header):
            yield Row(table.line_num, dict(zip(header, cells, strict=True)))
        elif cells:  # an empty line is no row
            yield Row(table.line_num, None, f"expected {len(header)} columns as in the header, got {len(cells)}")
