"""Examples that raters see beside their work: each a judgement that the project's owner finds right, and why."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from textgym.prompts import read_csv, read_jsonl

from .importing import ImportRefusedError
from .judgements import check_text
from .tables import Preference, Quality

# Plain data, as it is kept in the store and shown; `tab` says on which page.
Example: TypeAlias = dict[str, Any]
Language: TypeAlias = Literal["en", "zh"]
TEXTS = {
    "rate": ("prompt", "completion"), "compare": ("prompt", "completion_a", "completion_b"), "chat": ("said", "answer"),
}  # fmt: skip
OPTIONAL = {"rate": ("score", "quality"), "compare": ("preference",), "chat": ("score", "rewriting")}
ANYWHERE = ("comment", "language")


def read_examples(path: Path, least_score: int, most_score: int) -> list[Example]:
    """Read examples from a file.

    A row with `completion_a` and `completion_b` is an example of comparing, with its `preference` (a, b, tie,
    both_bad); one with `said` and `answer` of a conversation, with `score`, `rewriting` or both; any other, with
    `prompt` and `completion`, of rating, with `score`, `quality` (good, fair, bad) or both. `comment` says why.
    `language` (en or zh) shows an example to those alone who read the page in that language.

    Args:
        path: A .jsonl or .csv file; an empty one has no examples.
        least_score: Lowest score of the project.
        most_score: Highest score of the project.

    Raises:
        ImportRefusedError: If there are rows that cannot be used.
        ValueError: If the file is of another kind or cannot be read as such.
        OSError: If the file cannot be read.
    """
    readers: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
        ".jsonl": read_jsonl, ".csv": read_csv,
    }  # fmt: skip
    if path.suffix not in readers:
        raise ValueError(f"expected a {' or '.join(readers)} file of examples, got {str(path)!r}.")
    examples: list[Example] = []
    problems: list[tuple[int, str]] = []
    for line, values in readers[path.suffix](path):
        try:
            examples.append(_read_row(values, range(least_score, most_score + 1)))
        except ValueError as error:
            problems.append((line, str(error)))
    if problems:
        raise ImportRefusedError(path, problems)
    return examples


def _read_row(values: Mapping[str, Any], scale: range) -> Example:
    given = {name: value for name, value in values.items() if value not in (None, "")}
    tab = "compare" if "completion_a" in given else "chat" if "said" in given else "rate"
    unknown = [name for name in given if name not in (*TEXTS[tab], *OPTIONAL[tab], *ANYWHERE)]
    if unknown:
        known = ", ".join((*TEXTS[tab], *OPTIONAL[tab], *ANYWHERE))
        raise ValueError(f"an example to {tab} has no {', '.join(unknown)}; expected {known}")
    example: Example = {"tab": tab}
    for name in TEXTS[tab]:
        if not isinstance(given.get(name), str) or not given[name].strip():
            raise ValueError(f"{name} must be text, got {given.get(name)!r}")
    for name, value in given.items():
        example[name] = _score(value, scale) if name == "score" else check_text(str(value))
    for name, allowed in (("preference", Preference), ("quality", Quality), ("language", Language)):
        if name in example and example[name] not in get_args(allowed):
            raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, got {example[name]!r}")
    if not any(name in example for name in OPTIONAL[tab]):
        raise ValueError(f"an example to {tab} must say what is right: {' or '.join(OPTIONAL[tab])}")
    return example


def _score(value: object, scale: range) -> int:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else 0.5
    except ValueError:
        number = 0.5
    if number not in scale:
        raise ValueError(f"score must be a whole number from {scale[0]} to {scale[-1]}, got {value!r}")
    return int(number)
