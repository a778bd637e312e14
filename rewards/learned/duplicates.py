"""Rows that judge the same text more than once: repetitions count once, contradictions not at all."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from .feedback import BadRow

RowT = TypeVar("RowT")
DISAGREES = "duplicate that disagrees"


class Judgement(NamedTuple, Generic[RowT]):
    """What a row says, of what, and who says so.

    Attributes:
        line: Where the row stands.
        subject: What is judged and by whom: equal for rows that may agree or disagree.
        verdict: The rating, or which text is the better one.
        details: What is said beyond that, by its name, such as {"margin": 2.0}.
        row: The row.
    """

    line: int
    subject: Hashable
    verdict: Hashable
    details: dict[str, Hashable]
    row: RowT


def without_contradictions(judgements: Sequence[Judgement[RowT]]) -> tuple[list[RowT], list[BadRow]]:
    """Return the first row on each subject, and as bad rows all those on subjects on which rows disagree."""
    by_subject: dict[Hashable, list[Judgement[RowT]]] = defaultdict(list)
    for one in judgements:
        by_subject[one.subject].append(one)
    unique, bad = [], []
    for same in by_subject.values():
        problem = _disagreement(same)
        if problem is None:
            unique.append(same[0].row)
            continue
        for one in same:
            others = ", ".join(str(other.line) for other in same if other.line != one.line)
            bad.append(BadRow(one.line, DISAGREES, f"{problem} than line {others}"))
    return unique, bad


def _disagreement(same: Sequence[Judgement[RowT]]) -> str | None:
    """Return in which respect rows on one subject disagree; None where they do not."""
    if len({one.verdict for one in same}) > 1:
        return "says otherwise of the same text"
    for name in same[0].details:
        if len({one.details[name] for one in same}) > 1:
            return f"gives another {name} for the same text"
    return None
