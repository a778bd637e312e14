"""Agreement, calibration, losses, pairs and splits against numbers that were worked out another way."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from tests.rewards.learned.makers import rated_films
from textgym.rewards.learned import Feedback, Preference, Rating, human_ceiling, pairs_from_ratings, split_feedback
from textgym.rewards.learned.agreement import measure_agreement, pearson
from textgym.rewards.learned.calibration import calibrate, draw_reliability, predicted_preferences
from textgym.rewards.learned.classes import RatingClasses, item_weights
from textgym.rewards.learned.encoding import shuffled_batches, sorted_batches
from textgym.rewards.learned.losses import bradley_terry_loss, class_loss, expected_class, squared_loss


def test_correlations_equal_scipys_with_ties() -> None:
    generator = np.random.default_rng(0)
    ratings = generator.integers(0, 5, 40).astype(float)
    scores = ratings + generator.integers(-2, 3, 40).astype(float)
    found = measure_agreement(scores, ratings, 1.0)
    assert found.pearson == pytest.approx(stats.pearsonr(scores, ratings).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(scores, ratings).statistic)


def test_pairwise_accuracy_counts_far_pairs_and_halves_ties() -> None:
    # Pairs more than 1 apart: (3, 1) right, (3, 0) tie; (1, 0) and (3, 2) and (2, 1) are too near, (2, 0) is wrong.
    found = measure_agreement(np.array([5.0, 1.0, 5.0, 4.0]), np.array([3.0, 1.0, 0.0, 2.0]), 1.0)
    assert (found.pairwise_accuracy, found.n_pairs) == (0.5, 3)
    constant = measure_agreement(np.ones(3), np.ones(3), 1.0)
    assert constant == (None, None, None, 0)


def test_the_human_ceiling_compares_each_rater_with_the_others() -> None:
    ratings = [Rating("", text, numbers) for text, numbers in (("a", (0, 1, 2)), ("b", (3, 1, 5)), ("c", (4, 4, 7)))]
    expected = []
    table = np.array([one.ratings for one in ratings])
    for rater in range(3):
        others = np.delete(table, rater, axis=1).mean(1)
        expected.append(stats.pearsonr(table[:, rater], others).statistic)
    found = human_ceiling(ratings, 1.0)
    assert found is not None
    assert found.pearson == pytest.approx(np.mean(expected))
    assert human_ceiling([Rating("", "a", (1.0,)), Rating("", "b", (1.0, 2.0))], 1.0) is None


def test_calibration_bins_have_equal_counts_and_keep_equal_predictions_together() -> None:
    predicted = np.array([0.1, 0.1, 0.1, 0.4, 0.5, 0.9])
    observed = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    found = calibrate(predicted, observed, "probability", n_bins=3)
    assert [one.size for one in found.bins] == [4, 2]
    assert found.bins[0] == pytest.approx((0.175, 0.5, 4))
    assert found.error == pytest.approx((4 * (0.5 - 0.175) + 2 * (0.7 - 0.5)) / 6)


def test_preferences_of_a_right_model_are_calibrated(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    gaps = generator.normal(size=20_000)
    is_right = generator.random(20_000) < 1 / (1 + np.exp(-gaps))
    found = calibrate(*predicted_preferences(np.where(is_right, gaps, -gaps)))
    assert found.error < 0.02
    assert calibrate(*predicted_preferences(3 * np.where(is_right, gaps, -gaps))).error > 0.1
    draw_reliability(found, tmp_path / "a.png", "title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_losses_equal_their_formulas() -> None:
    weights = torch.tensor([1.0, 3.0])
    loss = bradley_terry_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]), weights)
    expected = (math.log1p(math.exp(-0.5)) + 3 * math.log1p(math.exp(1))) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert squared_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), weights).item() == pytest.approx(13 / 4)
    logits = torch.tensor([[0.0, math.log(2), 0.0], [0.0, 0.0, 0.0]])
    loss = class_loss(logits, torch.tensor([1, 2]), weights)
    assert loss.item() == pytest.approx((math.log(2) + 3 * math.log(3)) / 4)
    assert expected_class(logits).tolist() == pytest.approx([0.25 + 0.5 + 0.25, 1.0])


def test_classes_are_thirds_or_what_was_asked_for_and_balance() -> None:
    assert RatingClasses.of_thirds(range(9)).classify(range(9)).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="more than a third of them are 1") as caught:
        RatingClasses.of_thirds([1, 1, 1, 2])
    assert str(caught.value) == (
        "These ratings cannot be split into thirds, since more than a third of them are 1; "
        "give boundaries, such as [2, 4]."
    )
    with pytest.raises(ValueError, match=r"The first of the boundaries must be below the second, got \(2, 1\)."):
        RatingClasses((2, 1))
    classes = np.array([0, 0, 0, 2])
    assert item_weights(classes, np.ones(4), "balanced") == pytest.approx([2 / 3] * 3 + [2])
    assert item_weights(classes, np.ones(4), None) == pytest.approx([1] * 4)


def test_pairs_are_far_apart_of_one_prompt_and_put_the_better_first() -> None:
    ratings = [Rating(prompt, f"{prompt}{value}", (value,)) for prompt in "pq" for value in (0.0, 0.8, 3.0)]
    pairs = pairs_from_ratings([*ratings, Rating("lonely", "x", (9.0,))], pairs_per_rating=20)
    found = {(one.chosen, one.rejected): one.margin for one in pairs}
    expected = {(f"{prompt}3.0", f"{prompt}{low}"): 3 - low for prompt in "pq" for low in (0.0, 0.8)}
    assert found == expected
    assert pairs == pairs_from_ratings([*ratings, Rating("lonely", "x", (9.0,))], pairs_per_rating=20)


def test_no_text_stands_on_both_sides_of_a_split() -> None:
    feedback = Feedback(
        (Rating("", "One two", (1.0,)), Rating("", "one  TWO", (2.0,)), *rated_films(20).ratings),
        (*tuple(Preference("", f"{index}", f"{index + 1}") for index in range(4)), Preference("", "x", "y")),
    )
    training, held_out = split_feedback(feedback, 0.3, seed=2)
    assert len(training) + len(held_out) == len(feedback)

    def keys(part: Feedback) -> set[str]:
        prompts, texts = part.texts()
        return {" ".join((one + two).casefold().split()) for one, two in zip(prompts, texts, strict=True)}

    assert not keys(training) & keys(held_out)
    assert split_feedback(feedback, 0.3, seed=2) == (training, held_out)
    with pytest.raises(ValueError, match="at least two groups of texts, got 1"):
        split_feedback(Feedback(feedback.ratings[:2]), 0.5)


def test_batches_hold_every_item_once_and_hardly_any_padding() -> None:
    lengths = [random.Random(0).randrange(1, 100) for _ in range(1000)]
    for batches in (list(sorted_batches(lengths, 32)), shuffled_batches(lengths, 32, random.Random(1))):
        assert sorted(index for batch in batches for index in batch) == list(range(1000))
        padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
        assert padded < 1.1 * sum(lengths)
    first = next(iter(sorted_batches(lengths, 32)))
    assert max(lengths) == lengths[first[0]]


def test_texts_that_belong_together_are_learned_from_where_they_are_more_than_the_share() -> None:
    """20 pairs of one prompt hang together, 10 others are each by themselves."""
    chain = [Preference("", f"text {number}", f"text {number + 1}") for number in range(20)]
    alone = [Preference(f"prompt {number}", "a", "b") for number in range(10)]
    for seed in range(5):
        training, held_out = split_feedback(Feedback(preferences=(*chain, *alone)), 0.2, seed)
        assert (len(training), len(held_out)) == (24, 6)
        assert set(chain) <= set(training.preferences)
    training, held_out = split_feedback(Feedback(preferences=(*chain, *alone[:1])), 0.01)
    assert held_out.preferences == (alone[0],)
    training, held_out = split_feedback(Feedback(preferences=(*alone[:2],)), 0.99)
    assert (len(training), len(held_out)) == (1, 1)


@pytest.mark.parametrize("value", [0.1, 0.2, 2.7, 3.3, -1e6 / 3])
def test_a_constant_list_has_no_correlation_though_rounding_gives_it_a_deviation(value: float) -> None:
    for size in (3, 256, 1000):
        constant = np.full(size, value)
        assert pearson(constant, np.arange(float(size))) is None
        assert pearson(np.arange(float(size)), constant) is None
    assert pearson(np.array([1e6, 1e6 + 0.5, 1e6 + 1]), np.arange(3.0)) == pytest.approx(1)


def test_a_text_that_was_rated_twice_is_no_pair_and_each_rating_of_it_is_one_with_others() -> None:
    ratings = [Rating("", "good", (5.0,)), Rating("", "good", (4.0,)), Rating("", "bad", (1.0,))]
    pairs = pairs_from_ratings(ratings, pairs_per_rating=20)
    assert sorted((pair.chosen, pair.rejected, pair.margin) for pair in pairs) == [
        ("good", "bad", 3.0), ("good", "bad", 4.0),
    ]  # fmt: skip
    assert not pairs_from_ratings([Rating("", "x", (5.0,)), Rating("", "x", (1.0,))])
    assert len(pairs_from_ratings(ratings * 2, pairs_per_rating=50)) == 8
