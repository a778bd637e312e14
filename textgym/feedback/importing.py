"""Items and judgements from files: TRL's formats and our own; a file goes in whole, or not at all."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from textgym.prompts import read_csv, read_jsonl

from .judgements import (
    ComparisonAnswer,
    RatingAnswer,
    check_text,
    compare,
    rate,
    to_choice,
)
from .people import find_or_add
from .store import FeedbackStore, utc_now
from .tables import Assignment, Item, Kind, Preference, Project

SUFFIXES = (".jsonl", ".csv")
PROBLEMS_SHOWN = 20
# 1 and 0 are the keys True and False, too.
LABELS = {True: "good", False: "bad", "true": "good", "false": "bad", "1": "good", "0": "bad"}
COLUMNS = (
    "prompt", "completion", "label", "score", "rating", "chosen", "rejected", "completion_a", "completion_b",
    "preference", "sureness", "rater", "comment", "priority",
)  # fmt: skip


class ImportRefusedError(ValueError):
    """A file with rows that cannot be used, of which nothing was imported.

    Attributes:
        problems: Line and what is wrong with it.
    """

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        shown = [f"  line {line}: {problem}" for line, problem in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            shown.append(f"  and {len(problems) - PROBLEMS_SHOWN} more")
        count = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
        super().__init__(f"{count} of {path} cannot be used, and nothing was imported:\n" + "\n".join(shown))
        self.problems = problems


class Imported(NamedTuple):
    """What came of a file.

    Attributes:
        items: New items by kind.
        n_judgements: New judgements.
        n_repeated: Rows that brought nothing new.
    """

    items: Counter[Kind]
    n_judgements: int
    n_repeated: int


@dataclass(frozen=True)
class _Row:
    """A row that can be used."""

    kind: Kind
    prompt: str
    completion_a: str = ""
    completion_b: str = ""
    rating: RatingAnswer | None = None
    comparison: tuple[Preference, int | None, str] | None = None
    rater: str = ""
    priority: int = 0

    def digest(self, is_check: bool) -> str:
        """Return what tells this row's item from any other."""
        content = [self.kind, self.prompt, self.completion_a, self.completion_b, is_check]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def import_file(
    store: FeedbackStore, path: Path, *, people: int = 1, are_checks: bool = False, rater: str = "import"
) -> Imported:
    """Read a file into a store, in one transaction.

    A row with `prompt` alone is a subject to chat about; with `completion`, something to rate; with `completion_a`
    and `completion_b`, something to compare. It is judged already if it has `label` (TRL's: true or false), `score`
    or `rating`, `preference` (a, b, tie, both_bad), or if it is a pair `chosen` and `rejected` (TRL's). `rater`,
    `comment`, `sureness` and `priority` (higher goes first) are optional.

    Args:
        store: Where to.
        path: A .jsonl or .csv file.
        people: How many people are to judge each item.
        are_checks: The rows are hidden check items, and what they say is the right answer.
        rater: Whose judgements they are where a row does not say.

    Raises:
        ImportRefusedError: If there are rows that cannot be used.
        ValueError: If the file is of another kind or cannot be read as such, or `people` is below 1.
        OSError: If the file cannot be read.
    """
    if people < 1:
        raise ValueError(f"people must be at least 1, got {people}.")
    rows = list(_read(path))
    problems: list[tuple[int, str]] = []
    items: Counter[Kind] = Counter()
    n_judgements = n_repeated = 0
    with store.writing() as session:
        project = session.get_one(Project, 1)
        for line, values in rows:
            try:
                row = _read_row(values, project)
                item, is_new = _find_or_add(session, row, people, are_checks)
                is_judged = not are_checks and _judge(session, item, row, row.rater or rater)
            except ValueError as error:
                problems.append((line, str(error)))
                continue
            items[row.kind] += is_new
            n_judgements += is_judged
            n_repeated += not (is_new or is_judged)
        if problems:
            raise ImportRefusedError(path, problems)
    return Imported(items, n_judgements, n_repeated)


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"expected a {' or '.join(SUFFIXES)} file, got {str(path)!r}.")
    return read_jsonl(path) if path.suffix == ".jsonl" else read_csv(path)


def _read_row(values: Mapping[str, Any], project: Project) -> _Row:
    prompt = _text(values, "prompt")
    rater = str(values.get("rater") or "")
    comment = check_text(str(values.get("comment") or ""))
    priority = _integer(values, "priority") or 0
    if "chosen" in values or "rejected" in values:
        chosen, rejected = _text(values, "chosen"), _text(values, "rejected")
        first, second = _in_order(chosen, rejected)
        preference: Preference = "a" if first == chosen else "b"
        said = (preference, _integer(values, "sureness"), comment)
        return _Row("compare", prompt, first, second, comparison=said, rater=rater, priority=priority)
    if "completion_a" in values or "completion_b" in values:
        one, other = _text(values, "completion_a"), _text(values, "completion_b")
        first, second = _in_order(one, other)
        named = str(values.get("preference") or "")
        comparison = None
        if named:
            if named not in get_args(Preference):
                raise ValueError(f"preference must be one of {', '.join(get_args(Preference))}, got {named!r}")
            turned = {"a": "b", "b": "a"}.get(named, named) if first != one else named
            comparison = (turned, _integer(values, "sureness"), comment)
        return _Row("compare", prompt, first, second, comparison=comparison, rater=rater, priority=priority)  # type: ignore[arg-type]
    if "completion" in values:
        rating = _rating(values, comment, project)
        return _Row("rate", prompt, _text(values, "completion"), rating=rating, rater=rater, priority=priority)
    others = [name for name in values if name not in COLUMNS]
    if others:
        raise ValueError(f"has no completion, and columns that are unknown here: {', '.join(others)}")
    return _Row("chat", prompt, priority=priority)


def _rating(values: Mapping[str, Any], comment: str, project: Project) -> RatingAnswer | None:
    label = values.get("label")
    score = _integer(values, "score")
    score = _integer(values, "rating") if score is None else score
    if score is not None and not project.least_score <= score <= project.most_score:
        raise ValueError(f"score must be {project.least_score} to {project.most_score}, got {score}")
    quality = None
    if label not in (None, ""):
        quality = LABELS.get(label.strip().lower() if isinstance(label, str) else label)
        if quality is None:
            raise ValueError(f"label must be true or false, got {label!r}")
    if score is None and quality is None:
        return None
    return RatingAnswer(score, quality, comment)  # type: ignore[arg-type]


def _find_or_add(session: Session, row: _Row, people: int, is_check: bool) -> tuple[Item, bool]:
    digest = row.digest(is_check)
    found = session.scalar(select(Item).where(Item.digest == digest))
    if found is not None:
        return found, False
    item = Item(
        kind=row.kind, prompt=row.prompt, completion_a=row.completion_a, completion_b=row.completion_b,
        n_people=people, priority=row.priority, is_check=is_check, expected=_expected(row) if is_check else "",
        digest=digest, created_at=utc_now(),
    )  # fmt: skip
    session.add(item)
    session.flush()
    return item, True


def _expected(row: _Row) -> str:
    if row.comparison is not None:
        return row.comparison[0]
    if row.rating is not None and row.rating.score is not None:
        return str(row.rating.score)
    raise ValueError("a check item needs its right answer: a score, a preference, or chosen and rejected")


def _judge(session: Session, item: Item, row: _Row, rater: str) -> bool:
    """Write what a row says of its item; return whether that is new."""
    if row.rating is None and row.comparison is None:
        return False
    # Whose judgements are imported may never open the page, let alone own the project.
    person = find_or_add(session, rater, may_own=False)
    before = session.scalar(
        select(Assignment).where(Assignment.item_id == item.id, Assignment.annotator_id == person.id)
    )
    if before is not None:
        if not _says_the_same(before, row):
            raise ValueError(f"{rater} has said something else of this already")
        return False
    taken = set(session.scalars(select(Assignment.place).where(Assignment.item_id == item.id)))
    place = next((one for one in range(item.n_people) if one not in taken), None)
    given = Assignment(item=item, annotator=person, place=place, is_swapped=False, state="open", given_at=utc_now())
    session.add(given)
    session.flush()
    if row.rating is not None:
        rate(session, person.id, given.id, row.rating)
    if row.comparison is not None:
        preference, sureness, comment = row.comparison
        compare(session, person.id, given.id, ComparisonAnswer(to_choice(preference, False), sureness, comment))
    return True


def _says_the_same(before: Assignment, row: _Row) -> bool:
    if row.rating is not None:
        said = before.rating
        return said is not None and (said.score, said.quality) == (row.rating.score, row.rating.quality)
    compared = before.comparison
    return compared is not None and row.comparison is not None and compared.preference == row.comparison[0]


def _in_order(one: str, other: str) -> tuple[str, str]:
    """Return a pair so that it is the same item whichever text came first."""
    if one == other:
        raise ValueError("the two completions are the same text")
    return (one, other) if one < other else (other, one)


def _text(values: Mapping[str, Any], column: str) -> str:
    text = values.get(column)
    if not isinstance(text, str):
        raise ValueError(f"{column} must be text, got {text!r}" if column in values else f"has no {column}")
    if not text.strip():
        raise ValueError(f"{column} is empty")
    return check_text(text)


def _integer(values: Mapping[str, Any], column: str) -> int | None:
    value = values.get(column)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else 0.5
    except (ValueError, OverflowError):
        number = 0.5
    if not number.is_integer():
        raise ValueError(f"{column} must be a whole number, got {value!r}")
    return int(number)
