"""How far people agree: Krippendorff's alpha, and who fails the items whose right answer is known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import krippendorff
import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from .judgements import QUALITY_VALUES, word_score
from .tables import Annotator, Assignment, Comparison, Item, Kind, Preference, Project, Quality, Rating

Level: TypeAlias = Literal["nominal", "ordinal"]
PREFERENCES: tuple[Preference, ...] = ("a", "b", "tie", "both_bad")
# A score that is this far from the expected one, or less, passes a check; of two scores there are, only the right one.
NEAR = 1.0
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
    """Return alpha over all items of a kind but the check items; where no score was given, a word counts as one."""
    if kind == "rate":
        project = session.get_one(Project, 1)
        ratings = _judged(Rating.score, Rating.quality).join(Rating, Rating.assignment_id == Assignment.id)
        scores = (
            (item, person, word_score(quality, project.least_score, project.most_score) if score is None else score)
            for item, person, score, quality in session.execute(ratings)
        )
        return krippendorff_alpha(_units(scores), "ordinal")
    if kind == "compare":
        said = _judged(Comparison.preference).join(Comparison, Comparison.assignment_id == Assignment.id)
        rows = session.execute(said)
        return krippendorff_alpha(
            _units((item, person, PREFERENCES.index(one)) for item, person, one in rows), "nominal"
        )
    return None


def _judged(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Select item, person and what was said, of all items but the check items."""
    mine = select(Assignment.item_id, Assignment.annotator_id, *columns).select_from(Assignment).join(Item)
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
    """Return how each person who has judged a check item does, by name; see `passes_check`."""
    judged = (
        select(Annotator.name, Item.expected, Rating.score, Rating.quality, Comparison.preference)
        .select_from(Assignment)
        .join(Annotator)
        .join(Item)
        .outerjoin(Rating, Rating.assignment_id == Assignment.id)
        .outerjoin(Comparison, Comparison.assignment_id == Assignment.id)
        .where(Item.is_check, Assignment.state == "decided")
    )
    project = session.get_one(Project, 1)
    scale = (project.least_score, project.most_score)
    found: dict[str, Carefulness] = {}
    for name, expected, score, quality, preference in session.execute(judged):
        said = quality if score is None else score
        passed = preference == expected if preference is not None else passes_check(said, expected, scale)
        before = found.get(name, Carefulness())
        found[name] = Carefulness(before.n_checks + 1, before.n_failed + (not passed))
    return found


def passes_check(said: int | Quality, expected: str, scale: tuple[int, int]) -> bool:
    """Return whether a rating of a check item is near enough to the right answer.

    A score passes that is at most 1 from the right one. A word stands for a third of the scale, and passes if a score
    in it would have: where 1 of 1 to 5 is right, "bad" passes, "fair" (2⅓ to 3⅔) and "good" do not; where 2 is, "fair"
    does, too. Where a word is right, that word passes, or a score that is in its third or at most 1 from what it counts
    as: 1 and 2 for "bad", 2 to 4 for "fair".

    Args:
        said: The score that was given, or a word alone.
        expected: The right score or word, as the store has it.
        scale: Lowest and highest score.

    Example:
        >>> [passes_check(word, "1", (1, 5)) for word in ("bad", "fair", "good")]
        [True, False, False]
    """
    near = min(NEAR, (scale[1] - scale[0]) / 2)
    if expected in QUALITY_VALUES:
        if isinstance(said, str):
            return said == expected
        least, most = _third(expected, scale)
        return least <= said <= most or abs(said - word_score(expected, *scale)) <= near
    least, most = _third(said, scale) if isinstance(said, str) else (said, said)
    return least - near <= int(expected) <= most + near


def _third(quality: Quality, scale: tuple[int, int]) -> tuple[float, float]:
    """Return the least and the most score that a word may stand for."""
    least, most = scale
    place = round(QUALITY_VALUES[quality]) + 1
    # In whole numbers up to the division, so that a score on a border is in both thirds.
    return (least * (3 - place) + most * place) / 3, (least * (2 - place) + most * (place + 1)) / 3
