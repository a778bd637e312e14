"""Items and judgements from files: TRL's formats and our own; a file goes in whole, or not at all."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from textgym.line_ranges import join_ranges
from textgym.prompts import read_csv, read_jsonl

from .import_planning import ImportPlan
from .import_rows import Row, check_columns, read_row
from .import_writing import known_to_store, lock_for_import, write_plan
from .people import check_name
from .places import is_missing_file
from .project import change_project
from .store import FeedbackStore, ProjectSettings
from .tables import Kind, Project

SUFFIXES = (".jsonl", ".csv")
PROBLEMS_SHOWN = 20
MOST_PEOPLE = 1000
DEFAULT_RATER = "import"
# What may be said of a judgement, and means nothing of a right answer.
NOT_OF_CHECKS = ("sureness", "rater", "comment")


class ImportRefusedError(ValueError):
    """A file with rows that cannot be used, of which nothing was imported.

    Attributes:
        problems: Line and what is wrong with it.
    """

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        shown = [f"  line {line}: {problem}" for line, problem in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            others = sorted({line for line, _ in problems[PROBLEMS_SHOWN:]})
            shown.append(f"  and {len(problems) - PROBLEMS_SHOWN} more, in lines {join_ranges(others)}")
        count = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
        super().__init__(f"{count} of {path} cannot be used, and nothing was imported:\n" + "\n".join(shown))
        self.problems = problems


class Imported(NamedTuple):
    """What came of a file.

    Attributes:
        items: New items by kind.
        n_judgements: New judgements.
        n_repeated: Rows that brought nothing new.
        n_changed: Items that were there, and now go to another number of people or have another priority.
        n_skips: New skips.
        unused_columns: Columns that mean nothing here.
    """

    items: Counter[Kind]
    n_judgements: int
    n_repeated: int
    n_changed: int = 0
    n_skips: int = 0
    unused_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    """A file that has been read, and what is asked of it."""

    path: Path
    lines: list[tuple[int, dict[str, Any]]]
    people: int | None
    are_checks: bool
    rater: str
    unused_columns: tuple[str, ...]


def import_file(
    store: FeedbackStore,
    path: Path,
    *,
    people: int | None = None,
    are_checks: bool = False,
    rater: str | None = None,
) -> Imported:
    """Read a file into a store, in one transaction.

    A row with `prompt` alone is a subject to chat about; with `completion`, something to rate; with `completion_a`
    and `completion_b`, something to compare. It is judged already if it has `label` (TRL's: true or false), `quality`
    (good, fair, bad), `score` or `rating`, `preference` (a, b, tie, both_bad), or if it is a pair `chosen` and
    `rejected` (TRL's); and skipped if it has a `reason`. A `rating` beside an empty `score` is what the quality counts
    as, if it is that number. `rater`, `comment`, `sureness` and `priority` (higher goes first) are optional. Other
    columns are left out, unless they are probably mistyped.

    An item that is there already is not doubled; `people` and `priority`, where given, are changed.

    Args:
        store: Where to.
        path: A .jsonl or .csv file.
        people: How many people are to judge each item; None for 1, and for as many as before where it is there. Not for
            check items, which go to everybody.
        are_checks: The rows are hidden check items, and what they say is the right answer.
        rater: Whose judgements they are where a row does not say; None for a person called import. Not for check
            items, whose right answers are nobody's judgements.

    Raises:
        ImportRefusedError: If there are rows that cannot be used.
        ValueError: If the file is of another kind or cannot be read as such, a column is nearly one that means
            something, or `people` or `rater` cannot be.
        OSError: If the file cannot be read.
    """
    file = _read(path, people, are_checks, rater)
    with store.writing() as session:
        return _put_in(session, file)


def import_into(
    place: str,
    path: Path,
    *,
    scale: tuple[int, int] | None = None,
    instructions: str | None = None,
    people: int | None = None,
    are_checks: bool = False,
    rater: str | None = None,
) -> Imported:
    """Read a file into a store that is made where there is none: in one transaction, so that it is made in vain never.

    Args:
        place: Where to, as of `FeedbackStore`.
        path: As of `import_file`, as the arguments below.
        scale: Lowest and highest score; None for 1 and 5, and for those of the store where it is there.
        instructions: What raters read; None for the page's own words, and for those of the store where it is there.
        people: See `import_file`.
        are_checks: Likewise.
        rater: Likewise.

    Raises:
        ValueError: As `import_file`, and if the scale cannot be changed any more.
        OSError: If the file cannot be read.
    """
    file = _read(path, people, are_checks, rater)
    least_score, most_score = scale or (ProjectSettings.least_score, ProjectSettings.most_score)
    settings = ProjectSettings(least_score, most_score, instructions or "")
    if is_missing_file(place):
        # SQLite would make the file before the first row is looked at.
        _plan(file, settings, ImportPlan(people, is_check=are_checks))
    imported: list[Imported] = []

    def put_in(session: Session) -> None:
        change_project(session, scale=scale, instructions=instructions)
        imported.append(_put_in(session, file))

    FeedbackStore(place, settings, first=put_in).close()
    return imported[0]


def _read(path: Path, people: int | None, are_checks: bool, rater: str | None) -> _File:
    if people is not None and not 1 <= people <= MOST_PEOPLE:
        raise ValueError(f"people must be 1 to {MOST_PEOPLE}, got {people}.")
    if people is not None and are_checks:
        raise ValueError("check items go to everybody; leave people out, or import the rows as items to be judged.")
    if rater is not None and are_checks:
        raise ValueError(
            "the right answers of check items are nobody's judgements; leave the rater out, or import the rows as "
            "judgements of items."
        )
    if path.suffix not in SUFFIXES:
        raise ValueError(f"expected a {' or '.join(SUFFIXES)} file, got {str(path)!r}.")
    lines = list(read_jsonl(path) if path.suffix == ".jsonl" else read_csv(path))
    try:
        names = dict.fromkeys(name for _, values in lines for name in values)
        unused = [*check_columns(names), *(name for name in NOT_OF_CHECKS if are_checks and name in names)]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return _File(path, lines, people, are_checks, check_name(DEFAULT_RATER if rater is None else rater), tuple(unused))


def _put_in(session: Session, file: _File) -> Imported:
    lock_for_import(session)
    project = session.get_one(Project, 1)
    rows, problems = _rows(file, project)
    plan = ImportPlan(file.people, is_check=file.are_checks)
    known_to_store(session, plan, (row for _, row in rows), file.rater)
    result = _carry_out(file, rows, problems, plan)
    write_plan(session, plan)
    return result


def _plan(file: _File, settings: ProjectSettings, plan: ImportPlan) -> None:
    """Raise ImportRefusedError if the file cannot go into a new store."""
    _carry_out(file, *_rows(file, settings), plan)


def _rows(file: _File, scale: Project | ProjectSettings) -> tuple[list[tuple[int, Row]], list[tuple[int, str]]]:
    rows: list[tuple[int, Row]] = []
    problems: list[tuple[int, str]] = []
    scores = range(scale.least_score, scale.most_score + 1)
    for line, values in file.lines:
        try:
            rows.append((line, read_row(values, scores)))
        except ValueError as error:
            problems.append((line, str(error)))
    return rows, problems


def _carry_out(
    file: _File, rows: Iterable[tuple[int, Row]], problems: list[tuple[int, str]], plan: ImportPlan
) -> Imported:
    n_repeated = 0
    for line, row in rows:
        try:
            n_repeated += not plan.add(row, row.rater or file.rater)
        except ValueError as error:
            problems.append((line, str(error)))
    if problems:
        raise ImportRefusedError(file.path, sorted(problems))
    kinds = Counter(item.row.kind for item in plan.new_items)
    n_skips = sum(one.row.skip is not None for one in plan.judgements)
    n_judgements = len(plan.judgements) - n_skips
    return Imported(kinds, n_judgements, n_repeated, len(plan.changed_items), n_skips, file.unused_columns)
