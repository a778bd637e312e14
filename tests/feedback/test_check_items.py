"""Check items, whose answers are known, are learned from by nobody, and take nobody's place."""

import pytest
from sqlalchemy import select

from tests.feedback.conftest import add_items
from tests.feedback.test_queue import assert_places_are_counted, given, person
from textgym.feedback.exporting import Format, read_judgements
from textgym.feedback.judgements import ComparisonAnswer, RatingAnswer, compare, rate, skip, undo
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Item


def judge_one_and_skip_one(store: FeedbackStore, who: int) -> None:
    """Do so with a completion, and with two of them."""
    for is_skipped in (False, True):
        rated, compared = given(store, who), given(store, who, "compare")
        assert rated is not None
        assert compared is not None
        with store.writing() as session:
            if is_skipped:
                skip(session, who, rated[0], "unclear")
                skip(session, who, compared[0], "unclear")
            else:
                rate(session, who, rated[0], RatingAnswer(5))
                compare(session, who, compared[0], ComparisonAnswer("left"))


def make_checks(store: FeedbackStore, *prompts: str) -> None:
    with store.writing() as session:
        for item in session.scalars(select(Item).where(Item.prompt.in_(prompts))):
            item.is_check, item.expected, item.n_people, item.n_taken = True, "5", 1, 0


@pytest.mark.parametrize("format_name", ["preferences", "labels", "ratings", "comparisons", "skips"])
def test_check_items_are_in_no_export(sqlite_store: FeedbackStore, format_name: Format) -> None:
    add_items(sqlite_store, 4)
    add_items(sqlite_store, 4, "compare")
    ada = person(sqlite_store, "Ada")
    judge_one_and_skip_one(sqlite_store, ada)
    judge_one_and_skip_one(sqlite_store, ada)
    make_checks(sqlite_store, "prompt 0", "prompt 1")
    exported = {row["prompt"] for row in read_judgements(sqlite_store, format_name)}
    assert exported == {"prompt 3" if format_name == "skips" else "prompt 2"}


def test_a_check_that_was_skipped_is_taken_back_by_any_number_of_people(store: FeedbackStore) -> None:
    add_items(store, 1, people=2)
    people = [person(store, name) for name in ("Ada", "Bo")]
    assignments = []
    for who in people:
        one = given(store, who)
        assert one is not None
        assignments.append(one[0])
    for who, assignment in zip(people, assignments, strict=True):
        with store.writing() as session:
            skip(session, who, assignment, "unclear")
    make_checks(store, "prompt 0")
    for who, assignment in zip(people, assignments, strict=True):
        with store.writing() as session:
            assert undo(session, who, assignment).place is None
    assert_places_are_counted(store)
