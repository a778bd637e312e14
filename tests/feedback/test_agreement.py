"""Krippendorff's alpha against hand-worked values, and who fails check items."""

import pytest

from tests.feedback.conftest import add_items
from textgym.feedback.agreement import Carefulness, carefulness, krippendorff_alpha, passes_check
from textgym.feedback.judgements import RatingAnswer, rate
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.statistics import by_kind, by_person
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Item, Quality


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


def judge_all(store: FeedbackStore, name: str, answer: RatingAnswer) -> None:
    """Have somebody say the same of everything."""
    with store.writing() as session:
        who = find_or_add(session, name).id
    while True:
        with store.writing() as session:
            one = next_assignment(session, who, "rate")
            if one is None:
                return
            rate(session, who, one.id, answer)


@pytest.mark.parametrize("right", ["1", "bad"])
def test_who_answers_good_to_everything_in_a_word_is_careless(store: FeedbackStore, right: str) -> None:
    add_items(store, 60, people=2)
    with store.writing() as session:
        for number in range(1, 4):
            item = session.get_one(Item, number)
            item.is_check, item.expected = True, right
    judge_all(store, "Ada", RatingAnswer(quality="bad"))
    judge_all(store, "Bo", RatingAnswer(quality="good"))
    with store.reading() as session:
        assert carefulness(session) == {"Ada": Carefulness(3, 0), "Bo": Carefulness(3, 3)}
        assert carefulness(session)["Bo"].is_careless


def test_words_count_in_agreement_as_the_scores_that_they_stand_for(store: FeedbackStore) -> None:
    add_items(store, 30, people=2)
    words: tuple[Quality, ...] = ("good", "fair", "bad")
    for name in ("Ada", "Bo"):
        with store.writing() as session:
            who = find_or_add(session, name).id
            for number in range(30):
                one = next_assignment(session, who, "rate")
                assert one is not None
                # The one says it in words, the other in scores.
                answer = RatingAnswer(quality=words[number % 3]) if name == "Ada" else RatingAnswer(5 - number % 3 * 2)
                rate(session, who, one.id, answer)
    with store.reading() as session:
        assert by_kind(session)[0].alpha == 1


@pytest.mark.parametrize(
    ("scale", "expected", "passing"),
    [
        ((1, 5), "1", {"bad", 1, 2}),
        ((1, 5), "2", {"bad", "fair", 1, 2, 3}),
        ((1, 5), "3", {"bad", "fair", "good", 2, 3, 4}),
        ((1, 5), "5", {"good", 4, 5}),
        ((1, 5), "bad", {"bad", 1, 2}),
        ((1, 5), "fair", {"fair", 2, 3, 4}),
        ((-4, 4), "-4", {"bad", -4, -3}),
        ((-4, 4), "bad", {"bad", -4, -3, -2}),
        ((-4, 4), "fair", {"fair", -1, 0, 1}),
        ((1, 2), "1", {"bad", "fair", 1}),
        ((1, 2), "good", {"good", 2}),
        ((1, 3), "1", {"bad", "fair", 1, 2}),
    ],
)
def test_what_passes_a_check(scale: tuple[int, int], expected: str, passing: set[int | Quality]) -> None:
    answers: list[int | Quality] = ["good", "fair", "bad", *range(scale[0], scale[1] + 1)]
    assert {one for one in answers if passes_check(one, expected, scale)} == passing
