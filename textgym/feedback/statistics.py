"""How a project stands: items done, what each person has said, and how far people agree."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .agreement import Carefulness, agreement, carefulness
from .tables import KINDS, Annotator, Assignment, Chat, Item, Kind, Skip, Turn


@dataclass(frozen=True)
class KindStatistics:
    """How one kind of items stands; check items are not counted.

    Attributes:
        kind: The kind.
        n_items: Items there are.
        n_done: Items that as many people have judged as are asked to.
        n_judgements: Judgements there are.
        n_wanted: Judgements that are asked for.
        n_skips: Times that somebody has skipped one.
        alpha: Krippendorff's; None where it is undefined.
        skip_reasons: How often each reason was given, the most frequent first.
    """

    kind: Kind
    n_items: int
    n_done: int
    n_judgements: int
    n_wanted: int
    n_skips: int
    alpha: float | None
    skip_reasons: dict[str, int]


@dataclass(frozen=True)
class PersonStatistics:
    """What one person has done.

    Attributes:
        name: Who.
        n_judged: Items judged, of each kind.
        n_skipped: Items skipped.
        n_turns: Turns of chats.
        n_rewritten: Answers rewritten.
        checks: How they do on check items.
    """

    name: str
    n_judged: dict[Kind, int]
    n_skipped: int
    n_turns: int
    n_rewritten: int
    checks: Carefulness


class _Counts(NamedTuple):
    """The counts of `KindStatistics`."""

    n_items: int = 0
    n_done: int = 0
    n_judgements: int = 0
    n_wanted: int = 0
    n_skips: int = 0


def by_kind(session: Session) -> list[KindStatistics]:
    """Return how each kind of items stands."""
    states = (
        select(
            Item.id,
            Item.kind,
            Item.n_people,
            func.count(Assignment.id).filter(Assignment.state == "decided").label("n_decided"),
            func.count(Assignment.id).filter(Assignment.state == "skipped").label("n_skipped"),
        )
        .outerjoin(Assignment, Assignment.item_id == Item.id)
        .where(~Item.is_check)
        .group_by(Item.id, Item.kind, Item.n_people)
        .subquery()
    )
    rows = session.execute(
        select(
            states.c.kind,
            func.count(),
            func.count().filter(states.c.n_decided >= states.c.n_people),
            func.sum(states.c.n_decided),
            func.sum(states.c.n_people),
            func.sum(states.c.n_skipped),
        ).group_by(states.c.kind)
    )
    found = {kind: _Counts(*map(int, counts)) for kind, *counts in rows}
    reasons = _skip_reasons(session)
    return [
        KindStatistics(kind, *found.get(kind, _Counts()), agreement(session, kind), reasons[kind]) for kind in KINDS
    ]


def by_person(session: Session) -> list[PersonStatistics]:
    """Return what each person has done, by name."""
    counts: dict[tuple[int, str, str], int] = {}
    judged = (
        select(Assignment.annotator_id, Item.kind, Assignment.state, func.count()).select_from(Assignment).join(Item)
    )
    for person, kind, state, count in session.execute(
        judged.group_by(Assignment.annotator_id, Item.kind, Assignment.state)
    ):
        counts[person, kind, state] = count
    turns = {
        person: (n_turns, n_rewritten)
        for person, n_turns, n_rewritten in session.execute(
            select(Chat.annotator_id, func.count(Turn.id), func.count(Turn.rewriting))
            .select_from(Chat)
            .join(Turn)
            .group_by(Chat.annotator_id)
        )
    }
    checks = carefulness(session)
    return [
        PersonStatistics(
            person.name,
            {kind: counts.get((person.id, kind, "decided"), 0) for kind in KINDS},
            sum(counts.get((person.id, kind, "skipped"), 0) for kind in KINDS),
            *turns.get(person.id, (0, 0)),
            checks.get(person.name, Carefulness()),
        )
        for person in session.scalars(select(Annotator).order_by(Annotator.name))
    ]


def _skip_reasons(session: Session) -> dict[Kind, dict[str, int]]:
    found: dict[Kind, dict[str, int]] = {kind: {} for kind in KINDS}
    skips = select(Item.kind, Skip.reason, func.count()).select_from(Assignment).join(Item).join(Skip)
    counted = skips.where(~Item.is_check).group_by(Item.kind, Skip.reason).order_by(func.count().desc(), Skip.reason)
    for kind, reason, count in session.execute(counted):
        found[kind][reason] = count
    return found
