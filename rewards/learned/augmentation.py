"""Feedback with counterfactuals added, so that a model learns what an attribute is worth by itself.

Where all texts about women happen to be rated low, a model cannot tell the one from the other. A minimal pair can: the
same text with the genders exchanged, and the rating kept.

Reference:
    Kaushik et al. (2020), arXiv:1909.12434, for counterfactually augmented data, there written by people.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from textgym.rewards.arguments import check_text_columns, describe

from .counterfactuals import KEEP, MIRROR, Counterfactual
from .feedback import Feedback, Preference, require_feedback
from .model import RewardModel


def augment(feedback: Feedback, counterfactuals: Sequence[Counterfactual]) -> Feedback:
    """Return feedback with each of its texts once more for each counterfactual that changes it.

    A rating of the changed text follows `Counterfactual.change`. Of a preference both texts are changed where the
    rating is kept, and where it is mirrored, the other is then preferred; where a number is added, a pair of the text
    and its changed self is made of either text.

    Args:
        feedback: What people said; best only what a model is trained on, not what judges it.
        counterfactuals: At least one.

    Returns:
        The same feedback and the new one. Comments are not carried over, since they may speak of what was changed.

    Raises:
        TypeError: If it is no feedback, or something is no counterfactual.
    """
    require_feedback("feedback", feedback)
    for counterfactual in [counterfactuals] if isinstance(counterfactuals, str | Mapping) else counterfactuals:
        _require_counterfactual(counterfactual)
    numbers = [number for one in feedback.ratings for number in one.ratings]
    scale = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
    ratings, preferences = list(feedback.ratings), list(feedback.preferences)
    for counterfactual in counterfactuals:
        for rating in feedback.ratings:
            changed = counterfactual.edit(rating.completion)
            if changed != rating.completion:
                moved = tuple(_moved(number, counterfactual.change, scale) for number in rating.ratings)
                ratings.append(dataclasses.replace(rating, completion=changed, ratings=moved, comment=""))
        for preference in feedback.preferences:
            preferences += _changed_pairs(preference, counterfactual)
    return dataclasses.replace(feedback, ratings=tuple(ratings), preferences=tuple(preferences))


def reliance(
    model: RewardModel, prompts: Sequence[str], completions: Sequence[str], counterfactual: Counterfactual
) -> float | None:
    """Return how much a score changes with an attribute: the mean absolute difference between texts and changed ones.

    Args:
        model: A model that has learned.
        prompts: Length N.
        completions: Length N.
        counterfactual: What is changed.

    Returns:
        The mean over the texts that it changes, where 1 is a standard deviation of scores as the model normalises them;
        None where it changes none.

    Raises:
        TypeError: If texts are no lists of texts, or something else is no counterfactual.
    """
    check_text_columns(prompts=prompts, completions=completions)
    _require_counterfactual(counterfactual)
    changed = [
        (prompt, text, other)
        for prompt, text in zip(prompts, completions, strict=True)
        if (other := counterfactual.edit(text)) != text
    ]
    if not changed:
        return None
    texts = [text for _, text, _ in changed]
    others = [other for _, _, other in changed]
    places = [prompt for prompt, _, _ in changed]
    return float(np.abs(np.subtract(model.score(places, texts), model.score(places, others))).mean())


def _require_counterfactual(value: object) -> None:
    if not isinstance(value, Counterfactual):
        raise TypeError(
            f"A counterfactual must be a Counterfactual, got {describe(value)}; read_counterfactual makes one of "
            "{'exchange': 'gender'}."
        )


def _changed_pairs(pair: Preference, counterfactual: Counterfactual) -> list[Preference]:
    chosen, rejected = counterfactual.edit(pair.chosen), counterfactual.edit(pair.rejected)
    plain = dataclasses.replace(pair, comment="")
    if counterfactual.change == KEEP:
        is_changed = (chosen, rejected) != (pair.chosen, pair.rejected) and chosen != rejected
        return [dataclasses.replace(plain, chosen=chosen, rejected=rejected)] if is_changed else []
    if counterfactual.change == MIRROR:
        # With one of them unchanged nothing is known of which is the better.
        is_changed = chosen != pair.chosen and rejected not in {pair.rejected, chosen}
        return [dataclasses.replace(plain, chosen=rejected, rejected=chosen)] if is_changed else []
    pairs = []
    for text, other in ((pair.chosen, chosen), (pair.rejected, rejected)):
        if other != text and counterfactual.change != 0:
            better, worse = (other, text) if counterfactual.change > 0 else (text, other)
            pairs.append(dataclasses.replace(plain, chosen=better, rejected=worse, margin=abs(counterfactual.change)))
    return pairs


def _moved(number: float, change: float | str, scale: tuple[float, float]) -> float:
    lowest, highest = scale
    if change == KEEP:
        return number
    if change == MIRROR:
        return lowest + highest - number
    return min(max(number + float(change), lowest), highest)
