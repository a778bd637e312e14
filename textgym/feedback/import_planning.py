"""What importing rows would change in a store, worked out before anything is written."""

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from .import_rows import Row

# A score and a word, a preference and None, or SKIPPED and the reason; None of both for what was given to somebody and
# is not judged yet.
Said: TypeAlias = tuple[int | str | None, str | None]

SKIPPED = "skipped"


@dataclass
class PlannedItem:
    """An item, in the store or to be.

    Attributes:
        row: The first row that it is in.
        digest: What tells it from any other.
        n_people: How many people are to judge it.
        priority: Higher goes first.
        expected: The right answer of a check item.
        id: Its number in the store; None for a new one.
        places: Those that are taken.
    """

    row: Row
    digest: str
    n_people: int
    priority: int
    expected: str
    id: int | None = None
    places: set[int] = field(default_factory=set)

    def take_place(self) -> int | None:
        """Return the first place that is free, which is taken from now on; None where all are."""
        place = next((one for one in range(self.n_people) if one not in self.places), None)
        if place is not None:
            self.places.add(place)
        return place


class PlannedJudgement(NamedTuple):
    """What somebody says of an item, or that they skip it."""

    item: PlannedItem
    rater: str
    place: int | None
    row: Row


class ImportPlan:
    """New items, changed ones and new judgements.

    Args:
        people: How many people are to judge each item; None for 1, and for as many as before.
        is_check: The rows are check items.

    Attributes:
        items: All items of the rows, by digest; those in the store are put here before rows are added.
        said: What each rater has said of each item, by digest and name, likewise.
        new_items: Items to be made, in the order of the rows.
        changed_items: Numbers of those that go to other people or have another priority than before.
        judgements: Judgements to be made.
    """

    def __init__(self, people: int | None, *, is_check: bool) -> None:
        self.people = people
        self.is_check = is_check
        self.items: dict[str, PlannedItem] = {}
        self.said: dict[tuple[str, str], Said] = {}
        self.new_items: list[PlannedItem] = []
        self.changed_items: dict[int, PlannedItem] = {}
        self.judgements: list[PlannedJudgement] = []

    def add(self, row: Row, rater: str) -> bool:
        """Take a row into the plan; return whether it brings anything new.

        Raises:
            ValueError: If it contradicts what was said before.
        """
        digest = row.digest(self.is_check)
        expected = row.right_answer() if self.is_check else ""
        item = self.items.get(digest)
        is_new = item is None
        if item is None:
            item = PlannedItem(row, digest, self.people or 1, row.priority or 0, expected)
            self.items[digest] = item
            self.new_items.append(item)
        elif item.expected != expected:
            raise ValueError(f"this check item has another right answer already, {item.expected}")
        is_changed = self._change(item, row)
        is_judged = not self.is_check and row.is_judged and self._judge(item, row, rater)
        return is_new or is_changed or is_judged

    def _change(self, item: PlannedItem, row: Row) -> bool:
        n_people, priority = self.people or item.n_people, row.priority if row.priority is not None else item.priority
        if (n_people, priority) == (item.n_people, item.priority):
            return False
        item.n_people, item.priority = n_people, priority
        if item.id is not None:
            self.changed_items[item.id] = item
        return True

    def _judge(self, item: PlannedItem, row: Row, rater: str) -> bool:
        said = _said(row)
        before = self.said.get((item.digest, rater))
        if before is not None:
            if before != said:
                raise ValueError(f"{rater} has {_in_words(before)} this already")
            return False
        self.said[item.digest, rater] = said
        # What somebody has passed by waits for another.
        place = None if row.skip is not None else item.take_place()
        self.judgements.append(PlannedJudgement(item, rater, place, row))
        return True


def _said(row: Row) -> Said:
    if row.skip is not None:
        return SKIPPED, row.skip.reason
    if row.comparison is not None:
        return row.comparison.preference, None
    return (None, None) if row.rating is None else (row.rating.score, row.rating.quality)


def _in_words(said: Said) -> str:
    if said[0] == SKIPPED:
        return f"skipped ({said[1]})"
    return "been given" if said == (None, None) else "said something else of"
