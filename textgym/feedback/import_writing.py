"""Many items and judgements into a store at once, and what it holds of them already."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import QueryableAttribute, Session

from .import_planning import SKIPPED, ImportPlan, PlannedItem
from .import_rows import Row
from .store import utc_now
from .tables import Annotator, Assignment, Base, Comparison, Item, Project, Rating, Skip

# SQLite takes 32,766 values in a statement, of older versions 999.
AT_ONCE = 900
T = TypeVar("T")


def lock_for_import(session: Session) -> None:
    """Have imports come one after the other, and the queue wait until this one is committed; readers do not wait.

    SQLite has one writer anyway. In PostgreSQL the order of the locks is that of the queue, which holds a person while
    it looks for an item, so that neither waits for ever.
    """
    session.execute(select(Project.id).with_for_update())
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(Annotator.id).order_by(Annotator.id).with_for_update())
        session.execute(text("LOCK TABLE items IN EXCLUSIVE MODE"))


def known_to_store(session: Session, plan: ImportPlan, rows: Iterable[Row], rater: str) -> None:
    """Tell a plan what the store holds of the rows' items.

    Args:
        session: A session that has locked them.
        plan: Is told.
        rows: The rows.
        rater: Who judges where a row does not say.
    """
    judged = {row.digest(plan.is_check): row for row in rows}
    columns = (Item.id, Item.digest, Item.n_people, Item.priority, Item.expected)
    by_number: dict[int, PlannedItem] = {}
    for some in _portions(list(judged)):
        for number, digest, n_people, priority, expected in session.execute(
            select(*columns).where(Item.digest.in_(some))
        ):
            item = PlannedItem(judged[digest], digest, n_people, priority, expected, number)
            plan.items[digest] = by_number[number] = item
    if plan.is_check:
        return
    said = (Rating.score, Rating.quality, Comparison.preference, Skip.reason)
    for numbers in _portions(list(by_number)):
        given = select(Assignment.item_id, Assignment.place, Annotator.name, *said).select_from(Assignment)
        given = given.join(Annotator).outerjoin(Rating).outerjoin(Comparison).outerjoin(Skip)
        for number, place, name, score, quality, preference, reason in session.execute(
            given.where(Assignment.item_id.in_(numbers))
        ):
            item = by_number[number]
            judged_as = (preference if preference is not None else score, quality)
            plan.said[item.digest, name] = judged_as if reason is None else (SKIPPED, reason)
            if place is not None:
                item.places.add(place)


def write_plan(session: Session, plan: ImportPlan) -> None:
    """Write new items, changes and judgements."""
    now = utc_now()
    changed = plan.changed_items | {one.item.id: one.item for one in plan.judgements if one.item.id is not None}
    items = [
        {"kind": item.row.kind, "prompt": item.row.prompt, "completion_a": item.row.completion_a,
         "completion_b": item.row.completion_b, "n_people": item.n_people, "n_taken": len(item.places),
         "priority": item.priority, "is_check": plan.is_check, "expected": item.expected, "digest": item.digest,
         "created_at": now}
        for item in plan.new_items
    ]  # fmt: skip
    numbers = _insert(session, Item.id, [Item.digest], items)
    for item in plan.new_items:
        item.id = numbers[item.digest,]
    if changed:
        changes = [
            {"id": number, "n_people": item.n_people, "n_taken": len(item.places), "priority": item.priority}
            for number, item in changed.items()
        ]
        session.execute(update(Item), changes)
    people = _people(session, list(dict.fromkeys(one.rater for one in plan.judgements)))
    assignments = [
        {"item_id": one.item.id, "annotator_id": people[one.rater], "place": one.place, "is_swapped": False,
         "state": "decided" if one.row.skip is None else "skipped", "given_at": now, "ended_at": now}
        for one in plan.judgements
    ]  # fmt: skip
    numbers = _insert(session, Assignment.id, [Assignment.item_id, Assignment.annotator_id], assignments)
    judgements: dict[type[Base], list[dict[str, Any]]] = {Rating: [], Comparison: [], Skip: []}
    for one in plan.judgements:
        number = numbers[one.item.id, people[one.rater]]
        for table, said in ((Rating, one.row.rating), (Comparison, one.row.comparison), (Skip, one.row.skip)):
            if said is not None:
                judgements[table].append({"assignment_id": number, **vars(said)})
    for kind, rows in judgements.items():
        if rows:
            session.execute(insert(kind), rows)


def _people(session: Session, names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of people, of whom those are new that there are not."""
    found: dict[str, int] = {}
    for some in _portions(names):
        people = session.execute(select(Annotator.name, Annotator.id).where(Annotator.name.in_(some)))
        found |= dict(iter(people))
    # Whose judgements are imported may never open the page, let alone own the project.
    new = [name for name in names if name not in found]
    values = [{"name": name, "is_owner": False, "created_at": utc_now()} for name in new]
    numbers = _insert(session, Annotator.id, [Annotator.name], values)
    return found | {name: numbers[name,] for name in new}


def _insert(
    session: Session,
    number: QueryableAttribute[int],
    keys: Sequence[QueryableAttribute[Any]],
    rows: list[dict[str, Any]],
) -> dict[tuple[Any, ...], int]:
    """Insert rows of a table, and return its numbers for them by the columns that tell them apart."""
    if not rows:
        return {}
    # Numbers are looked up afterwards: INSERT … RETURNING of many rows is one long statement, in which psycopg needs
    # most of its time to find the parameters, or with SQLite one statement a row.
    session.execute(insert(number.class_), rows)
    found: dict[tuple[Any, ...], int] = {}
    for some in _portions(list(dict.fromkeys(row[keys[0].key] for row in rows))):
        inserted = session.execute(select(number, *keys).where(keys[0].in_(some)))
        found |= {tuple(key): one for one, *key in inserted}
    return found


def _portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
