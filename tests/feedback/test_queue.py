"""Each item goes to as many people as it asks for, and to nobody twice, however many ask at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from tests.feedback.conftest import add_items
from textgym.feedback.chats import Answer, close_chat, open_chat, say
from textgym.feedback.judgements import (
    ComparisonAnswer,
    RatingAnswer,
    StateError,
    compare,
    last_ended,
    rate,
    skip,
    undo,
    what_was_said,
)
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import CHECK_EVERY, LEFT_LYING, next_assignment, progress
from textgym.feedback.store import FeedbackStore, utc_now
from textgym.feedback.tables import Assignment, Comparison, Item, Kind, Rating


def person(store: FeedbackStore, name: str) -> int:
    with store.writing() as session:
        return find_or_add(session, name).id


def given(store: FeedbackStore, who: int, kind: Kind = "rate") -> tuple[int, int] | None:
    """The assignment that a person is given, and its item."""
    with store.writing() as session:
        assignment = next_assignment(session, who, kind)
        return None if assignment is None else (assignment.id, assignment.item_id)


def rate_all(store: FeedbackStore, who: int) -> list[int]:
    """Rate until nothing is left; return the items."""
    items = []
    while (one := given(store, who)) is not None:
        items.append(one[1])
        with store.writing() as session:
            rate(session, who, one[0], RatingAnswer(3))
    return items


def test_an_item_stays_before_a_person_until_it_is_judged(store: FeedbackStore) -> None:
    add_items(store, 2)
    ada = person(store, "Ada")
    first = given(store, ada)
    assert first is not None
    assert given(store, ada) == first
    with store.writing() as session:
        rate(session, ada, first[0], RatingAnswer(5))
    second = given(store, ada)
    assert second is not None
    assert second[1] != first[1]


def test_an_item_goes_to_as_many_people_as_it_asks_for(store: FeedbackStore) -> None:
    add_items(store, 3, people=2)
    people = [person(store, name) for name in ("Ada", "Bo", "Cy")]
    counts = Counter(item for who in people for item in rate_all(store, who))
    assert sorted(counts.values()) == [2, 2, 2]
    assert rate_all(store, people[2]) == []


def assert_places_are_counted(store: FeedbackStore) -> None:
    """That each item's count of places is that of the assignments which hold one."""
    with store.reading() as session:
        held = Counter(session.scalars(select(Assignment.item_id).where(Assignment.place.is_not(None))))
        counted = dict(iter(session.execute(select(Item.id, Item.n_taken))))
    assert counted == {number: held[number] for number in counted}


def steps_of_a_rating(store: FeedbackStore, who: int) -> int:
    """Steps of SQLite's machine, in tens, that one rating takes: the answer, and the next item with progress."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(count, 10)

    event.listen(store.engine, "checkout", watch)
    with store.writing() as session:
        open_one = next_assignment(session, who, "rate")
        assert open_one is not None
        rate(session, who, open_one.id, RatingAnswer(3))
    with store.writing() as session:
        next_assignment(session, who, "rate")
        last_ended(session, who, "rate")
        progress(session, who, "rate")
    event.remove(store.engine, "checkout", watch)
    return counted


@pytest.mark.parametrize(("people", "n_rated"), [(1, 40), (3, 40)])
def test_what_a_rating_costs_hardly_grows_with_the_items_that_wait(tmp_path: Path, people: int, n_rated: int) -> None:
    """An item more is counted, which takes 4 steps; to look up its places took 149."""
    steps = []
    for n_items in (100, 2100):
        store = FeedbackStore(tmp_path / f"{n_items}.db")
        add_items(store, n_items, people=people)
        ada = person(store, "Ada")
        for _ in range(n_rated):
            one = given(store, ada)
            assert one is not None
            with store.writing() as session:
                rate(session, ada, one[0], RatingAnswer(3))
        steps.append(steps_of_a_rating(store, ada))
        store.close()
    assert steps[0] > 0
    assert 10 * (steps[1] - steps[0]) / 2000 < 5


def test_many_people_at_once_get_every_item_as_often_as_asked_and_nobody_twice(store: FeedbackStore) -> None:
    n_items, n_people, people_an_item = 12, 16, 3
    add_items(store, n_items, people=people_an_item)
    people = [person(store, f"person {number}") for number in range(n_people)]
    with ThreadPoolExecutor(n_people) as threads:
        judged = list(threads.map(lambda who: rate_all(store, who), people))
    assert all(len(set(items)) == len(items) for items in judged)
    counts = Counter(item for items in judged for item in items)
    assert len(counts) == n_items
    assert set(counts.values()) == {people_an_item}
    assert_places_are_counted(store)


def test_one_person_in_many_tabs_is_given_one_item(store: FeedbackStore) -> None:
    add_items(store, 20)
    ada = person(store, "Ada")
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: given(store, ada), range(24)))) == 1


def test_more_urgent_items_go_first(store: FeedbackStore) -> None:
    add_items(store, 3)
    with store.writing() as session:
        session.scalars(select(Item).where(Item.prompt == "prompt 2")).one().priority = 5
    items = rate_all(store, person(store, "Ada"))
    assert items == [3, 1, 2]


def test_a_skipped_item_goes_to_somebody_else_and_not_back(store: FeedbackStore) -> None:
    add_items(store, 1)
    ada, bo = person(store, "Ada"), person(store, "Bo")
    first = given(store, ada)
    assert first is not None
    assert given(store, bo) is None
    with store.writing() as session:
        skip(session, ada, first[0], "unclear", "Which film?")
    assert given(store, ada) is None
    taken = given(store, bo)
    assert taken is not None
    assert taken[1] == first[1]
    with store.writing() as session, pytest.raises(StateError, match="has gone to somebody else"):
        undo(session, ada, first[0])
    with store.writing() as session:
        skip(session, bo, taken[0], "unclear")
        undo(session, ada, first[0])
    assert_places_are_counted(store)


def leave_lying(store: FeedbackStore, *assignments: int) -> None:
    with store.writing() as session:
        for one in assignments:
            session.get_one(Assignment, one).given_at = utc_now() - LEFT_LYING - timedelta(minutes=1)


def test_an_item_that_is_left_lying_goes_to_somebody_else_and_may_still_be_judged(store: FeedbackStore) -> None:
    add_items(store, 1)
    ada, bo = person(store, "Ada"), person(store, "Bo")
    first = given(store, ada)
    assert first is not None
    leave_lying(store, first[0])
    taken = given(store, bo)
    assert taken is not None
    assert_places_are_counted(store)
    with store.writing() as session:
        rate(session, bo, taken[0], RatingAnswer(1))
        rate(session, ada, first[0], RatingAnswer(2))
    with store.reading() as session:
        assert set(session.scalars(select(Rating.score))) == {1, 2}


def test_who_comes_back_to_what_was_left_lying_has_the_place_again_if_it_is_free(store: FeedbackStore) -> None:
    add_items(store, 2)
    ada, bo, cy, di = (person(store, name) for name in ("Ada", "Bo", "Cy", "Di"))
    first, second = given(store, ada), given(store, bo)
    assert first is not None
    assert second is not None
    leave_lying(store, first[0], second[0])
    assert given(store, cy) is not None  # both places are free, and Cy takes one
    with store.writing() as session:
        rate(session, bo, second[0], RatingAnswer(1))
    assert_places_are_counted(store)
    assert given(store, di) is None


def test_what_is_taken_back_or_talked_about_is_not_left_lying(store: FeedbackStore) -> None:
    add_items(store, 1)
    ada, bo = person(store, "Ada"), person(store, "Bo")
    first = given(store, ada)
    assert first is not None
    with store.writing() as session:
        rate(session, ada, first[0], RatingAnswer(1))
    leave_lying(store, first[0])
    with store.writing() as session:
        undo(session, ada, first[0])
    assert given(store, bo) is None
    add_items(store, 1, "chat")
    with store.writing() as session:
        chat = open_chat(session, ada, "echo")
        assert chat.assignment is not None
        subject, number = chat.assignment.id, chat.id
    leave_lying(store, subject)
    say(store, ada, number, 0, "Hi", lambda exchanges, said: Answer(said, "so"))
    assert given(store, bo, "chat") is None
    leave_lying(store, subject)
    assert given(store, bo, "chat") is not None
    with store.writing() as session:
        close_chat(session, ada, number)
    assert_places_are_counted(store)


def test_a_judgement_that_is_sent_twice_is_there_once_with_its_last_words(store: FeedbackStore) -> None:
    add_items(store, 1)
    ada = person(store, "Ada")
    first = given(store, ada)
    assert first is not None
    for score in (2, 4):
        with store.writing() as session:
            rate(session, ada, first[0], RatingAnswer(score, "fair", "很好"))
    with store.reading() as session:
        (rating,) = session.scalars(select(Rating))
        assert (rating.score, rating.quality, rating.comment) == (4, "fair", "很好")


def test_undo_takes_judgements_back_one_after_the_other(store: FeedbackStore) -> None:
    add_items(store, 3)
    ada = person(store, "Ada")
    for score in (1, 2):
        one = given(store, ada)
        assert one is not None
        with store.writing() as session:
            rate(session, ada, one[0], RatingAnswer(score))
    third = given(store, ada)
    assert third is not None
    for score in (2, 1):
        with store.writing() as session:
            last = last_ended(session, ada, "rate")
            assert last is not None
            assert what_was_said(last) == RatingAnswer(score)
            undone = undo(session, ada, last.id)
        assert given(store, ada) == (undone.id, undone.item_id)
    with store.writing() as session:
        assert last_ended(session, ada, "rate") is None
    with store.reading() as session:
        assert list(session.scalars(select(Rating))) == []
        assert progress(session, ada, "rate") == (0, 3)


def test_a_preference_is_kept_by_completion_and_undone_by_side(store: FeedbackStore) -> None:
    add_items(store, 12, "compare")
    ada = person(store, "Ada")
    shown = set()
    while (one := given(store, ada, "compare")) is not None:
        with store.writing() as session:
            assignment = compare(session, ada, one[0], ComparisonAnswer("left", 3, ""))
            is_swapped = assignment.is_swapped
            shown.add(is_swapped)
            assert session.get_one(Comparison, one[0]).preference == ("b" if is_swapped else "a")
            assert what_was_said(assignment) == ComparisonAnswer("left", 3, "")
            assert what_was_said(undo(session, ada, one[0])) is None
            compare(session, ada, one[0], ComparisonAnswer("right", 1, ""))
            assert session.get_one(Comparison, one[0]).preference == ("a" if is_swapped else "b")
    assert shown == {False, True}  # 1 in 2,048 that all twelve fall alike


def test_check_items_come_once_in_ten_to_everybody_and_are_not_counted(store: FeedbackStore) -> None:
    add_items(store, 3 * CHECK_EVERY, people=9)
    with store.writing() as session:
        for item in session.scalars(select(Item).where(Item.id <= 2)):
            item.is_check, item.expected = True, "1"
    for name in ("Ada", "Bo"):
        who = person(store, name)
        with store.reading() as session:
            assert progress(session, who, "rate") == (0, 3 * CHECK_EVERY - 2)
        items = rate_all(store, who)
        assert [sum(item <= 2 for item in items[ten : ten + CHECK_EVERY]) for ten in (0, 10)] == [1, 1]
        assert len(items) == 3 * CHECK_EVERY


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (RatingAnswer(), "a rating needs a score or a quality, got neither."),
        (RatingAnswer(6), "score must be 1 to 5, got 6."),
        (RatingAnswer(1, "fine"), "quality must be one of good, fair, bad, got 'fine'."),  # type: ignore[arg-type]
        (RatingAnswer(1, comment="a\0b"), "a text must not hold the character NUL."),
    ],
)
def test_a_bad_answer_is_refused(sqlite_store: FeedbackStore, answer: RatingAnswer, message: str) -> None:
    add_items(sqlite_store, 1)
    ada = person(sqlite_store, "Ada")
    one = given(sqlite_store, ada)
    assert one is not None
    with pytest.raises(ValueError, match=f"^{message}$"), sqlite_store.writing() as session:
        rate(session, ada, one[0], answer)


def test_nobody_judges_what_was_given_to_somebody_else(sqlite_store: FeedbackStore) -> None:
    add_items(sqlite_store, 1)
    one = given(sqlite_store, person(sqlite_store, "Ada"))
    assert one is not None
    with pytest.raises(ValueError, match="There is no item 1 before you"), sqlite_store.writing() as session:
        rate(session, person_id := 2, one[0], RatingAnswer(1))
    assert person_id == 2
