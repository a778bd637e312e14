"""Raters' weights and pairs' margins count in what a reward model learns, however it learns."""

from typing import Any

import numpy as np
import pytest

from tests.rewards.learned.makers import NEUTRAL
from textgym.rewards.learned import Feedback, Preference, Rating, make_reward_model
from textgym.rewards.learned.linear_preferences import LinearPreferenceModel
from textgym.rewards.learned.objectives import ClassObjective, Objective, PreferenceObjective, RatingObjective
from textgym.rewards.learned.pairs import pairs_from_ratings

RATINGS = (
    Rating("A ", "lovely film", (5.0,), weights=(2.0,)),
    Rating("A ", "dull film", (1.0,), weights=(0.5,)),
    Rating("A ", "film", (3.0,), weights=(4.0,)),
)
PREFERENCES = (
    Preference("A ", "lovely film", "dull film", margin=3.0, weight=2.0),
    Preference("A ", "film", "dull film", margin=0.5, weight=0.25),
)


def contradiction(likes: float, dislikes: float) -> Feedback:
    """Some find whatever is lovely good and whatever is dull bad, others the reverse; they weigh so much."""
    said = [("lovely", 5.0, likes), ("dull", 1.0, likes), ("lovely", 1.0, dislikes), ("dull", 5.0, dislikes)]
    ratings = [
        Rating("A ", f"{word} {subject}", (rating,), weights=(weight,))
        for subject in NEUTRAL
        for word, rating, weight in said
    ]
    preferences = [
        Preference("A ", "lovely film", "dull film", weight=likes),
        Preference("A ", "dull film", "lovely film", weight=dislikes),
    ]
    return Feedback(tuple(ratings), tuple(preferences))


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        (RatingObjective(), [2.0, 0.5, 4.0]),
        (ClassObjective((2.0, 4.0), None), [2.0, 0.5, 4.0]),
        (PreferenceObjective(1.0, 1.0, 2, 0), [2.0, 0.25]),
    ],
)
def test_an_example_weighs_what_its_raters_do(objective: Objective, weights: list[float]) -> None:
    has_pairs = isinstance(objective, PreferenceObjective)
    feedback = Feedback(preferences=PREFERENCES) if has_pairs else Feedback(RATINGS)
    objective.prepare(feedback)
    assert objective.examples(feedback).weights.tolist() == weights


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("ridge", {}),
        ("tree", {}),
        ("linear_preferences", {"min_gap": 10.0}),
        ("logistic", {"boundaries": (2.0, 4.0)}),
        ("svm", {"boundaries": (2.0, 4.0)}),
    ],
)
def test_whoever_weighs_more_is_believed(kind: str, arguments: dict[str, Any]) -> None:
    differences = []
    for likes, dislikes in ((100.0, 1.0), (1.0, 100.0)):
        model = make_reward_model(kind, **arguments).fit(contradiction(likes, dislikes))
        lovely, dull = model.raw_scores(["A "] * 2, ["lovely film", "dull film"])
        differences.append(lovely - dull)
    assert differences[0] > 0.1
    assert differences[1] < -0.1


def test_the_margin_of_an_example_is_its_pairs_own_times_the_models() -> None:
    examples = PreferenceObjective(0.5, 1.0, 2, 0).examples(Feedback(preferences=PREFERENCES))
    assert examples.targets.tolist() == [1.5, 0.25]


def test_scores_are_the_further_apart_the_larger_a_pairs_own_margin_is() -> None:
    pairs = (Preference("A ", "bright", "ugly", margin=1.0), Preference("A ", "lovely", "dull", margin=4.0))
    model = LinearPreferenceModel(margin=1.0, penalty=0.01).fit(Feedback(preferences=pairs))
    bright, ugly, lovely, dull = model.raw_scores(["A "] * 4, ["bright", "ugly", "lovely", "dull"])
    assert lovely - dull > bright - ugly + 1.0
    without = LinearPreferenceModel(margin=0.0, penalty=0.01).fit(Feedback(preferences=pairs))
    assert np.ptp(without.raw_scores(["A "] * 2, ["lovely", "dull"])) < lovely - dull


def test_only_ratings_that_differ_by_more_than_the_gap_are_pairs() -> None:
    ratings = [Rating("A ", f"{number}", (float(number),)) for number in (1, 2, 3)]
    pairs = pairs_from_ratings(ratings, min_gap=1.0, pairs_per_rating=20)
    assert [(one.chosen, one.rejected, one.margin) for one in pairs] == [("3", "1", 2.0)]


def test_a_pair_weighs_the_product_of_what_its_ratings_weigh() -> None:
    ratings = [Rating("A ", "good", (5.0,), weights=(0.5,)), Rating("A ", "bad", (1.0,), weights=(3.0,))]
    (pair,) = pairs_from_ratings(ratings)
    assert (pair.chosen, pair.weight) == ("good", 1.5)
