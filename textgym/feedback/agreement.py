"""How far people agree: Krippendorff's alpha, and who fails the items whose right answer is known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import krippendorff
import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from .tables import Annotator, Assignment, Comparison, Item, Kind, Preference, Rating

Level: TypeAlias = Literal["nominal", "ordinal"]
PREFERENCES: tuple[Preference, ...] = ("a", "b", "tie", "both_bad")
# A score that is this far from the expected one, or less, passes a check.
NEAR = 1
# Who fails more of the checks than this, of at least so many, is shown as careless.
CARELESS_ABOVE, CHECKS_TO_JUDGE_BY = 0.34, 3


def krippendorff_alpha(units: Sequence[Mapping[int, float]], level: Level) -> float | None:
    """Return Krippendorff's alpha: 1 is full agreement, 0 is what chance would give.

    Args:
        units: For each item what each person said of it, by the person's number.
        level: "ordinal" for scores, "nominal" for choices.

    Returns:
        None where no item was judged by two people, or all judgements are the same, which leaves it undefined.

    Reference:
        Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.

    Example:
        >>> krippendorff_alpha([{1: 1, 2: 1}, {1: 5, 2: 5}, {1: 3, 2: 4}], "ordinal").__round__(3)
        0.949
    """
    paired = [unit for unit in units if len(unit) > 1]
    values = {value for unit in paired for value in unit.values()}
    if len(values) < 2:
        return None
    people = sorted({person for unit in paired for person in unit})
    table = np.full((len(people), len(paired)), np.nan)
    for column, unit in enumerate(paired):
        for person, value in unit.items():
            table[people.index(person), column] = value
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement=level))


def agreement(session: Session, kind: Kind) -> float | None:
    """Return alpha over all items of a kind but the check items; of ratings over their scores."""
    if kind == "rate":
        scores = _judged(Rating.score).join(Rating, Rating.assignment_id == Assignment.id)
        return krippendorff_alpha(_units(session.execute(scores.where(Rating.score.is_not(None)))), "ordinal")
    if kind == "compare":
        said = _judged(Comparison.preference).join(Comparison, Comparison.assignment_id == Assignment.id)
        rows = session.execute(said)
        return krippendorff_alpha(
            _units((item, person, PREFERENCES.index(one)) for item, person, one in rows), "nominal"
        )
    return None


def _judged(column: Any) -> Select[*tuple[Any, ...]]:
    """Select item, person and what was said, of all items but the check items."""
    mine = select(Assignment.item_id, Assignment.annotator_id, column).select_from(Assignment).join(Item)
    return mine.where(~Item.is_check)


def _units(rows: Iterable[tuple[int, int, float]]) -> list[dict[int, float]]:
    units: dict[int, dict[int, float]] = {}
    for item, person, value in rows:
        units.setdefault(item, {})[person] = value
    return list(units.values())


@dataclass(frozen=True)
class Carefulness:
    """How a person does on check items.

    Attributes:
        n_checks: Check items judged.
        n_failed: Those judged otherwise than expected.
    """

    n_checks: int = 0
    n_failed: int = 0

    @property
    def is_careless(self) -> bool:
        """Whether so many failed that this person's judgements had better be looked at."""
        return self.n_checks >= CHECKS_TO_JUDGE_BY and self.n_failed > CARELESS_ABOVE * self.n_checks


def carefulness(session: Session) -> dict[str, Carefulness]:
    """Return how each person who has judged a check item does, by name."""
    judged = (
        select(Annotator.name, Item.expected, Rating.score, Comparison.preference)
        .select_from(Assignment)
        .join(Annotator)
        .join(Item)
        .outerjoin(Rating, Rating.assignment_id == Assignment.id)
        .outerjoin(Comparison, Comparison.assignment_id == Assignment.id)
        .where(Item.is_check, Assignment.state == "decided")
    )
    found: dict[str, Carefulness] = {}
    for name, expected, score, preference in session.execute(judged):
        if preference is None and score is None:
            continue  # a word instead of a score can be neither near nor far
        passed = preference == expected if preference is not None else _is_near(score, expected)
        before = found.get(name, Carefulness())
        found[name] = Carefulness(before.n_checks + 1, before.n_failed + (not passed))
    return found


def _is_near(score: int | None, expected: str) -> bool:
    return score is not None and abs(score - int(expected)) <= NEAR
