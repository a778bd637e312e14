"""Who gets which item: each goes to as many people as it asks for, and to nobody twice, however many ask at once."""

import random
import secrets
from collections import Counter
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from .store import utc_now
from .tables import Annotator, Assignment, Item, Kind

# In every so many items of a person there is one check item, at a place that cannot be foreseen.
CHECK_EVERY = 10
# After this time the place of somebody who was given an item, and said nothing, may go to somebody else.
LEFT_LYING = timedelta(hours=2)


class Progress(NamedTuple):
    """How far a person has come.

    Attributes:
        n_done: Items judged.
        n_left: Items that wait for this person.
    """

    n_done: int
    n_left: int


def next_assignment(session: Session, annotator_id: int, kind: Kind) -> Assignment | None:
    """Give a person an item to judge: the one that lies open before them, else a new one.

    Args:
        session: A writing session.
        annotator_id: The person.
        kind: What they are doing.

    Returns:
        The assignment; None if there is nothing left for this person.
    """
    hold_person(session, annotator_id)
    lying_open = session.scalar(
        _of_person(annotator_id, kind).where(Assignment.state == "open").order_by(Assignment.id).limit(1)
    )
    if lying_open is not None:
        return lying_open
    if _has_checks(session, kind) and _check_is_due(session, annotator_id, kind):
        check = session.scalar(_not_yet_given(annotator_id, kind, is_check=True).order_by(Item.id).limit(1))
        if check is not None:
            return _give(session, check, annotator_id, None)
    taken = _take_place(session, annotator_id, kind)
    if taken is None and _free_left_lying(session, kind):
        taken = _take_place(session, annotator_id, kind, may_wait=False)
    return taken


def hold_person(session: Session, annotator_id: int) -> None:
    """Have one person's requests, perhaps from two tabs, come one after the other.

    The first lock of whatever gives or frees a place, as of an import: in PostgreSQL each would otherwise wait for
    something that the other holds.
    """
    session.execute(select(Annotator.id).where(Annotator.id == annotator_id).with_for_update())


def take_place_again(session: Session, assignment: Assignment) -> bool:
    """Give a person who has none any more a place among those who judge an item; False if all are taken."""
    if assignment.item.is_check:
        return True
    session.execute(select(Item.id).where(Item.id == assignment.item_id).with_for_update())
    place = _free_place(session, assignment.item)
    if place is not None and assignment.place is None:
        assignment.item.n_taken = Item.n_taken + 1
    assignment.place = place
    return place is not None


def keep_place(session: Session, assignment: Assignment) -> None:
    """Give a person who comes back to an item that they had let lie its place again, if it is still free."""
    if assignment.place is None:
        take_place_again(session, assignment)


def give_up_place(assignment: Assignment) -> None:
    """Free the place of a person who does not judge an item, for somebody else."""
    if assignment.place is not None:
        assignment.item.n_taken = Item.n_taken - 1
        assignment.place = None


def progress(session: Session, annotator_id: int, kind: Kind) -> Progress:
    """Return how far a person has come with one kind of items."""
    mine = _of_person(annotator_id, kind).subquery()
    by_state = select(mine.c.state, func.count()).group_by(mine.c.state)
    states: dict[str, int] = dict(iter(session.execute(by_state)))
    n_waiting = session.scalar(select(func.count()).select_from(Item).where(*_is_waiting(kind))) or 0
    # All that wait, which an index counts, less those that this person was given: fewer than those that they were not.
    still_waits = exists().where(Item.id == Assignment.item_id, *_is_waiting(kind))
    given = select(func.count()).select_from(Assignment).where(Assignment.annotator_id == annotator_id, still_waits)
    n_given = session.scalar(given) or 0
    return Progress(states.get("decided", 0), states.get("open", 0) + n_waiting - n_given)


def _take_place(session: Session, annotator_id: int, kind: Kind, *, may_wait: bool = True) -> Assignment | None:
    candidates = (
        _not_yet_given(annotator_id, kind, is_check=False)
        .where(*_is_waiting(kind))
        .order_by(Item.priority.desc(), Item.id)
        .limit(1)
    )
    while True:
        # PostgreSQL: another item than those that somebody is being given just now; where there is no other, wait.
        item = session.scalar(candidates.with_for_update(skip_locked=True, of=Item))
        if item is None and may_wait:
            item = session.scalar(candidates.with_for_update(of=Item))
        if item is None:
            return None
        place = _free_place(session, item)
        if place is not None:
            return _give(session, item, annotator_id, place)
        # Counted wrongly, by an older version that was still at work when the count was introduced.
        item.n_taken = len(_places(session, item))
        session.flush()


def _free_place(session: Session, item: Item) -> int | None:
    taken = _places(session, item)
    return next((place for place in range(item.n_people) if place not in taken), None)


def _places(session: Session, item: Item) -> set[int | None]:
    return set(
        session.scalars(select(Assignment.place).where(Assignment.item_id == item.id, Assignment.place.is_not(None)))
    )


def _give(session: Session, item: Item, annotator_id: int, place: int | None) -> Assignment:
    is_swapped = item.kind == "compare" and secrets.randbelow(2) == 1
    given = Assignment(
        item=item, annotator_id=annotator_id, place=place, is_swapped=is_swapped, state="open", given_at=utc_now()
    )
    session.add(given)
    if place is not None:
        item.n_taken = Item.n_taken + 1
    session.flush()
    return given


def _free_left_lying(session: Session, kind: Kind) -> int:
    """Take their places from those who let an item lie; who comes back to it may judge it all the same."""
    is_left = (Assignment.state == "open") & (Assignment.given_at < utc_now() - LEFT_LYING)
    left = (
        select(Assignment)
        .join(Item)
        .where(is_left, Assignment.place.is_not(None), Item.kind == kind)
        # PostgreSQL: who is coming back to an item just now keeps it. Waiting for them could be for ever, since they
        # may wait for the item.
        .with_for_update(skip_locked=True, of=Assignment)
    )
    counts: Counter[int] = Counter()
    for assignment in session.scalars(left):
        assignment.place = None
        counts[assignment.item_id] += 1
    # In the order in which the queue locks them.
    freed = select(Item).where(Item.id.in_(counts)).order_by(Item.priority.desc(), Item.id).with_for_update()
    for item in session.scalars(freed):
        item.n_taken = Item.n_taken - counts[item.id]
    session.flush()
    return counts.total()


def _has_checks(session: Session, kind: Kind) -> bool:
    return session.scalar(select(Item.id).where(Item.kind == kind, Item.is_check).limit(1)) is not None


def _check_is_due(session: Session, annotator_id: int, kind: Kind) -> bool:
    n_given = session.scalar(select(func.count()).select_from(_of_person(annotator_id, kind).subquery())) or 0
    ten, place = divmod(n_given, CHECK_EVERY)
    return random.Random(f"{annotator_id} {kind} {ten}").randrange(CHECK_EVERY) == place


def _of_person(annotator_id: int, kind: Kind) -> Select[Assignment]:
    return select(Assignment).join(Item).where(Assignment.annotator_id == annotator_id, Item.kind == kind)


def _not_yet_given(annotator_id: int, kind: Kind, *, is_check: bool) -> Select[Item]:
    was_given: ColumnElement[bool] = exists().where(
        Assignment.item_id == Item.id, Assignment.annotator_id == annotator_id
    )
    return select(Item).where(Item.kind == kind, Item.is_check.is_(is_check), ~was_given)


def _is_waiting(kind: Kind) -> tuple[ColumnElement[bool], ...]:
    """Return what is true of items that have places left, as their index has it."""
    return Item.kind == kind, Item.is_check.is_(False), Item.n_taken < Item.n_people
