"""Wrong types and names are refused where they are passed, and ensembles are calibrated as their members are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rewards.learned.makers import rated_films
from textgym.rewards.learned import (
    EnsembleRewardModel,
    Feedback,
    LinearPreferenceModel,
    LogisticRewardModel,
    NetworkRewardModel,
    Preference,
    Rating,
    RewardModel,
    RidgeRewardModel,
    SVMRewardModel,
    TreeRewardModel,
    augment,
    load_reward_model,
    make_ensemble,
    make_reward_model,
    pairs_from_ratings,
    split_feedback,
)

TRAINING, HELD_OUT = rated_films(120), rated_films(60, seed=1)
wrong: Any = None
feedback: Any = TRAINING
rows: Any = [{"completion": "A joy.", "rating": 5}]
text: Any = "A joy."


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: SVMRewardModel(class_weight=text), "class_weight must be 'balanced' or None, got 'A joy.'."),
        (
            lambda: make_reward_model("logistic", class_weight="balancd"),
            "class_weight must be 'balanced' or None, got 'balancd'. Did you mean 'balanced'?",
        ),
        (
            lambda: make_reward_model("network", objective="rating"),
            "objective must be 'ratings', 'classes' or 'preferences', got 'rating'. Did you mean 'ratings'?",
        ),
        (
            lambda: make_reward_model("network", pooling="men"),
            "pooling must be 'mean', 'last' or None, got 'men'. Did you mean 'mean'?",
        ),
        (
            lambda: NetworkRewardModel(device="gpuu"),
            "device must be 'auto', 'cpu', 'cuda' or another of torch's devices,",
        ),
        (lambda: NetworkRewardModel(learning_rate=0), "learning_rate must be above 0, got 0."),
        (lambda: LinearPreferenceModel(min_gap=-1), "min_gap must be at least 0, got -1."),
        (lambda: make_ensemble("ridge", 1), "n_members must be at least 2, got 1."),
        (
            lambda: make_reward_model("ensemble"),
            "An ensemble is made of models of another kind; name that one (ridge, ",
        ),
        (lambda: EnsembleRewardModel().fit(TRAINING), "This ensemble has no members; pass them to its constructor."),
        (lambda: Rating("", "a", ()), "Rating.ratings must have at least one number, got none."),
        (lambda: RidgeRewardModel(alpha=10**400), "alpha must be a finite number, got 1000"),
        (lambda: NetworkRewardModel(learning_rate=float("nan")), "learning_rate must be a finite number, got nan."),
        (lambda: Rating("", "a", (float("nan"),)), "Each of Rating.ratings must be a finite number, got nan."),
        (
            lambda: Rating("", "a", (1, 2), weights=(0, 0)),
            "Rating.weights must have at least one above 0, got none; leave the rating out.",
        ),
        (lambda: Preference("", "a", "b", margin=-1), "Preference.margin must be at least 0, got -1."),
    ],
)
def test_wrong_names_and_numbers_out_of_range_are_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=r"[.?,( ]$|\.") as caught:
        act()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: RidgeRewardModel(alpha=text), "alpha must be a number, got 'A joy.' of type str."),
        (lambda: RidgeRewardModel(max_ngram=wrong), "max_ngram must be an integer, got None."),
        (lambda: TreeRewardModel(seed=text), "seed must be an integer, got 'A joy.' of type str."),
        (lambda: LogisticRewardModel(boundaries=text), "boundaries must be two finite numbers, between bad, fair and "),
        (lambda: NetworkRewardModel(wrong), "backbone must be a folder, a hub name or 'bundled', got None."),
        (lambda: NetworkRewardModel(epochs=text), "epochs must be an integer, got 'A joy.' of type str."),
        (lambda: EnsembleRewardModel(text), "members must be a list of reward models, got 'A joy.' of type str."),
        (lambda: EnsembleRewardModel([text, text]), "members must be reward models, such as RidgeRewardModel(), got "),
        (lambda: RidgeRewardModel().fit(rows), "feedback must be Feedback, got [{'completion': 'A joy.', 'rating': 5"),
        (lambda: RidgeRewardModel().fit(wrong), "feedback must be Feedback, got None. read_feedback"),
        (lambda: RidgeRewardModel().fit(TRAINING, held_out=text), "held_out must be Feedback, got 'A joy.'"),
        (
            lambda: RidgeRewardModel().score("A", ["b"]),
            "prompts must be a list of texts, got the single text 'A'; write ['A'].",
        ),
        (lambda: RidgeRewardModel().score(["A"], wrong), "completions must be a list of texts, got None."),
        (lambda: RidgeRewardModel().score(["A"], [wrong]), "completions must be a list of texts, got None in place 1."),
        (lambda: RidgeRewardModel().score([5], ["a"]), "prompts must be a list of texts, got 5 of type int in"),  # type: ignore[list-item]
        (lambda: RidgeRewardModel().evaluate(rows), "feedback must be Feedback, got "),
        (lambda: RidgeRewardModel().evaluate(feedback, mingap=2), "evaluate(feedback) takes min_gap besides, got"),  # type: ignore[call-overload]
        (lambda: split_feedback(rows, 0.5), "feedback must be Feedback, got "),
        (lambda: pairs_from_ratings(wrong), "ratings must be a list of Rating, got None."),
        (lambda: pairs_from_ratings(feedback), "ratings must be a list of Rating, got Feedback; pass feedback."),
        (lambda: augment(TRAINING, rows), "A counterfactual must be a Counterfactual, got {'completion': 'A joy.', "),
        (lambda: Rating("", "a", text), "Rating.ratings must be a tuple such as (4.0, 5.0), got 'A joy.' of type str."),
        (lambda: Rating("", "a", (1,), raters=(7,)), "Each of Rating.raters must be a text, got 7 of type int."),  # type: ignore[arg-type]
        (lambda: RidgeRewardModel().save(wrong), "folder must be the path of a folder to be made, got None."),
        (lambda: Rating(wrong, "a", (1,)), "Rating.prompt must be a text, got None."),
        (lambda: Preference("", "a", wrong), "Preference.rejected must be a text, got None."),
        (lambda: Feedback(rows), "Feedback.ratings must be a list of Rating, got {'completion': 'A joy.', 'rating'"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        act()
    assert str(caught.value).startswith(message)


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "penalty": np.float32(0.5),
        "max_ngram": np.int64(1),
        "boundaries": np.array([-0.5, 0.5]),
    }
    model = LogisticRewardModel(**arguments)
    model.fit(TRAINING).save(tmp_path / "model")
    assert load_reward_model(tmp_path / "model").arguments() == {
        "penalty": 0.5, "max_ngram": 1, "boundaries": (-0.5, 0.5), "class_weight": None, "min_count": 1, "name": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "quantity"),
    [
        (RidgeRewardModel, "rating"),
        (lambda: LogisticRewardModel(boundaries=(-0.5, 0.5)), "probability of the class"),
        (LogisticRewardModel, "probability of the class"),
        (LinearPreferenceModel, "probability of the preference"),
    ],
)
def test_an_ensemble_is_calibrated_as_its_members_are(make: Callable[[], RewardModel], quantity: str) -> None:
    members = [make().fit(TRAINING.resampled(seed)) for seed in range(3)]
    found = EnsembleRewardModel(members).evaluate(HELD_OUT).calibration
    assert found is not None
    assert found.quantity == quantity
    errors = [one.error for member in members if (one := member.calibrate(HELD_OUT)) is not None]
    assert found.error < max(errors) + 0.1
    same = EnsembleRewardModel([members[0], members[0]]).calibrate(HELD_OUT)
    alone = members[0].calibrate(HELD_OUT)
    assert same is not None
    assert alone is not None
    assert same.error == pytest.approx(alone.error)


def test_an_ensemble_of_pairs_is_asked_about_the_same_pairs_whatever_its_seeds() -> None:
    members = [LinearPreferenceModel(seed=seed).fit(TRAINING) for seed in range(2)]
    found = EnsembleRewardModel(members).predictions(HELD_OUT)
    assert found is not None
    judged = members[0].judged(HELD_OUT)
    expected = [one.predictions(judged) for one in members]
    assert found.predicted == pytest.approx(np.mean([one.predicted for one in expected if one is not None], axis=0))


def test_an_ensemble_of_families_that_predict_different_things_has_no_calibration() -> None:
    members = [RidgeRewardModel().fit(TRAINING), LinearPreferenceModel().fit(TRAINING)]
    assert EnsembleRewardModel(members).calibrate(HELD_OUT) is None
