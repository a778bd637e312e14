"""Read prompts from lists, files, data sets or the bundled collection, each with its other columns."""

import csv
import difflib
import inspect
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from .named_objects import find_object

BUNDLED_PROMPTS_FILE = Path(__file__).parent / "bundled" / "prompts.jsonl"
BUNDLED_SPLITS = {"bundled": "train", "bundled:held_out": "held_out"}
FILE_SUFFIXES = (".txt", ".jsonl", ".csv")
# These names are arguments of every reward function, so a column cannot reach it under them.
RESERVED_COLUMNS = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "self")

PromptSource = str | Path | Iterable[str] | Iterable[Mapping[str, Any]]  # a mapping of a name to arguments is the third


class Prompt(NamedTuple):
    """A text to be continued.

    Attributes:
        text: The prompt.
        token_ids: Its tokens, at least one.
        columns: What else the data set says of it, such as a reference answer; passed on to the reward function.
    """

    text: str
    token_ids: tuple[int, ...]
    columns: dict[str, object]


def load_prompts(source: PromptSource) -> list[tuple[str, dict[str, object]]]:
    """Read prompts and their columns.

    Args:
        source: One of

            - the name `"bundled"` (training prompts of the reference task) or `"bundled:held_out"`;
            - `"module:attribute"` of a list, or of a function that returns one; where the function takes arguments, a
              mapping, `{"module:attribute": {"split": "train"}}`;
            - a `.txt` file (one prompt a line), a `.jsonl` file (one object a line) or a `.csv` file with a header;
            - a list of strings, a list of dicts, a `datasets.Dataset`, a `pandas.DataFrame`, or anything else that
              yields strings or dicts and can be read more than once.

            Objects, dicts and tables need the column `prompt`; their other columns are kept.

    Returns:
        A list of (text, columns), in the order of the source.

    Raises:
        FileNotFoundError: If a file is missing.
        TypeError: If the source or a prompt is of the wrong type.
        ValueError: If the source is empty, a name is unknown, a prompt is empty, or a file cannot be understood.

    Example:
        >>> load_prompts([{"prompt": "The capital of France is", "answer": "Paris"}])
        [('The capital of France is', {'answer': 'Paris'})]
    """
    if isinstance(source, str | Path):
        rows, name, unit = _read_named(source)
    elif _is_call(source):
        rows, name, unit = _read_call(*next(iter(dict(source).items())))
    else:
        rows, name, unit = _read_iterable(source), "prompts", "item"
    prompts = [_check_row(row, f"{unit} {number} of {name}") for number, row in rows]
    if not prompts:
        raise ValueError(f"expected at least one prompt, but {name} is empty.")
    _check_columns(prompts, name)
    return prompts


Rows = Iterator[tuple[int, object]]


def _read_named(source: str | Path) -> tuple[Rows, str, str]:
    if source in BUNDLED_SPLITS:
        split = BUNDLED_SPLITS[str(source)]
        rows = ((number, row) for number, row in read_jsonl(BUNDLED_PROMPTS_FILE) if row.pop("split") == split)
        return rows, f"the prompts {source!r}", "line"
    path = Path(source)
    if path.suffix not in FILE_SUFFIXES and ":" in str(source) and not str(source).startswith("bundled"):
        found = find_object(str(source), "Prompts")
        if callable(found):
            return _read_call(str(source), {})
        return _read_iterable(found), str(source), "item"
    if path.suffix not in FILE_SUFFIXES:
        near = difflib.get_close_matches(str(source), BUNDLED_SPLITS, n=1)
        raise ValueError(
            f"prompts must be a list, a data set, a {', '.join(FILE_SUFFIXES)} file, or one of "
            f"{list(BUNDLED_SPLITS)}, got {str(source)!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of prompts {path} (looked for {path.absolute()}).")
    readers = {".txt": _read_txt, ".jsonl": read_jsonl, ".csv": read_csv}
    return readers[path.suffix](path), str(path), "line"


def _is_call(source: object) -> TypeGuard[Mapping[str, Mapping[str, Any]]]:
    """Tell a function with its arguments from other mappings, which are mistaken for data sets."""
    if not isinstance(source, Mapping) or len(source) != 1:
        return False
    name, arguments = next(iter(source.items()))
    return isinstance(name, str) and ":" in name and isinstance(arguments, Mapping)


def _read_call(name: str, arguments: Mapping[str, Any]) -> tuple[Rows, str, str]:
    found = find_object(name, "Prompts")
    if not callable(found):
        raise ValueError(f"Prompts {name!r} take no arguments: they are no function, got {found!r}.")
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        function = name.rpartition(":")[2]
        called = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ValueError(
            f"Prompts {name!r} are made by {function}{inspect.signature(found)}, called as "
            f"{function}({called}): {error}; name a function of prompts, and give what it needs as "
            f'{{"{name}": {{"argument": value}}}}.'
        ) from error
    return _read_iterable(found(**arguments)), name, "item"


def _read_txt(path: Path) -> Rows:
    return enumerate(file_lines(path), start=1)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object of a .jsonl file with its line; ValueError at the first line that holds none."""
    for number, line in enumerate(file_lines(path), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of {path} is not JSON ({error}): {line!r}.") from error
        if not isinstance(row, dict):
            raise ValueError(f'line {number} of {path} must be an object such as {{"prompt": "…"}}, got {line!r}.')
        yield number, row


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a .csv file with its line; ValueError at the first that has not the header's columns."""
    table = csv.DictReader(io.StringIO(file_text(path), newline=""), strict=True)
    twice = [repr(column) for column, n_times in Counter(_header(table, path)).items() if n_times > 1]
    if twice:
        raise ValueError(f"the header of {path} must name each column once, got {', '.join(twice)} more than once.")
    while True:
        try:
            row = next(table, None)
        except csv.Error as error:
            raise ValueError(f"{path} is not CSV after line {table.line_num}: {error}.") from error
        if row is None:
            return
        if None in row or None in row.values():
            raise ValueError(f"line {table.line_num} of {path} must have the header's columns {table.fieldnames}.")
        yield table.line_num, row


def _header(table: "csv.DictReader[str]", path: Path) -> Sequence[str]:
    try:
        return table.fieldnames or ()
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV after line {table.line_num}: {error}.") from error


def file_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file without their ends, broken at line feeds alone."""
    # Not str.splitlines(), which also breaks at characters that a JSON string may hold, such as U+2028.
    text = file_text(path).replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def file_text(path: Path) -> str:
    """Return the text of a UTF-8 file; ValueError if it is no such."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text: {error}.") from error


def _read_iterable(source: object) -> Rows:
    # Not imported for that: where nobody has, there is no table of it.
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return enumerate(source.to_dict("records"), start=1)  # as an iterable it is its columns' names
    if isinstance(source, Mapping):
        raise TypeError(
            f"prompts must be a list or one data set, got a {type(source).__name__} with the keys "
            f"{list(source)}; pass one of its values."
        )
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise TypeError(f"prompts must be a list, a data set, a file or a name, got {type(source).__name__}.")
    if isinstance(source, set | frozenset):
        raise TypeError(
            f"prompts must have an order, got a {type(source).__name__}, whose order differs from process to process; "
            "pass a list, such as sorted(prompts)."
        )
    if iter(source) is source:
        raise TypeError(
            f"prompts must be readable more than once, got a {type(source).__name__}, which is used up after one "
            "pass; pass list(prompts)."
        )
    return enumerate(source, start=1)


def _check_row(row: object, place: str) -> tuple[str, dict[str, object]]:
    columns: dict[str, object] = {}
    text = row
    if isinstance(row, Mapping):
        if "prompt" not in row:
            raise ValueError(f"{place} has no column 'prompt', only {list(row)}.")
        text = row["prompt"]
        columns = {key: value for key, value in row.items() if key != "prompt"}
    if not isinstance(text, str):
        raise TypeError(f"the prompt in {place} must be text, got {type(text).__name__}: {text!r}.")
    if not text.strip():
        raise ValueError(f"the prompt in {place} is empty: {text!r}.")
    return text, columns


def _check_columns(prompts: list[tuple[str, dict[str, object]]], name: str) -> None:
    expected = prompts[0][1].keys()
    for text, columns in prompts:
        if columns.keys() != expected:
            raise ValueError(
                f"every prompt of {name} must have the same columns {sorted(expected, key=str)}, "
                f"but {text!r} has {sorted(columns, key=str)}."
            )
    for column in expected:
        if not isinstance(column, str):
            raise TypeError(f"the columns of {name} must have names, as rewards get them by name, got {column!r}.")
        if column in RESERVED_COLUMNS:
            raise ValueError(
                f"{name} has a column {column!r}, which is an argument of every reward function; rename the column."
            )
