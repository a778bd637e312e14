"""Krippendorff's alpha against hand-worked values, and who fails check items."""

import pytest

from tests.feedback.conftest import add_items
from textgym.feedback.agreement import Carefulness, carefulness, krippendorff_alpha
from textgym.feedback.judgements import RatingAnswer, rate
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.statistics import by_kind, by_person
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Item


def test_alpha_of_nominal_data_is_worked_out_by_hand() -> None:
    """Two people, four items: a a, a a, b b, a b. 2 of 8 paired values differ; values are 5 × a, 3 × b.

    Observed disagreement 2/8; expected 2 · 5 · 3 / (8 · 7) = 30/56; alpha = 1 − (2/8) / (30/56) = 1 − 14/30.
    """
    units = [{1: 0, 2: 0}, {1: 0, 2: 0}, {1: 1, 2: 1}, {1: 0, 2: 1}]
    assert krippendorff_alpha(units, "nominal") == pytest.approx(1 - 14 / 30)


def test_what_one_person_judged_alone_does_not_count() -> None:
    units = [{1: 1, 2: 1}, {1: 5, 2: 5}, {3: 2}]
    assert krippendorff_alpha(units, "ordinal") == 1


@pytest.mark.parametrize("units", [[], [{1: 3}], [{1: 3, 2: 3}]])
def test_alpha_is_undefined_without_two_people_or_two_values(units: list[dict[int, float]]) -> None:
    assert krippendorff_alpha(units, "ordinal") is None


def test_statistics_count_people_items_and_failed_checks(store: FeedbackStore) -> None:
    add_items(store, 8, people=2)
    with store.writing() as session:
        for number in (1, 2, 3):
            item = session.get_one(Item, number)
            item.is_check, item.expected = True, "5"
        people = [find_or_add(session, name).id for name in ("Ada", "Bo")]
    for who in people:
        with store.writing() as session:
            while (one := next_assignment(session, who, "rate")) is not None:
                is_failed = who == people[1] and one.item.is_check
                rate(session, who, one.id, RatingAnswer(1 if is_failed else one.item_id % 5 + 1))
    with store.reading() as session:
        rated, compared, _ = by_kind(session)
        found = {one.name: one for one in by_person(session)}
        checks = carefulness(session)
    assert (rated.n_items, rated.n_done, rated.n_judgements, rated.n_wanted, rated.alpha) == (5, 5, 10, 10, 1)
    assert (compared.n_items, compared.alpha) == (0, None)
    assert set(found) == {"Ada", "Bo"}
    # Only one check comes in ten items, so that each has judged one; Bo always gives check items a 1.
    assert checks["Bo"] == Carefulness(1, 1)
    assert found["Bo"].n_judged["rate"] == 6


@pytest.mark.parametrize(("checks", "expected"), [(Carefulness(2, 2), False), (Carefulness(3, 2), True)])
def test_who_fails_many_checks_is_careless(checks: Carefulness, expected: bool) -> None:
    assert checks.is_careless is expected
