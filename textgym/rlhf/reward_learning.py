"""The reward model of each round: judged on feedback that is new to it, then trained on all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from textgym.feedback.agreement import krippendorff_alpha
from textgym.rewards.learned import (
    Feedback,
    RewardModel,
    augment,
    human_ceiling,
    make_ensemble,
    make_reward_model,
    read_feedback,
)

from .annotators import PreferenceRow, RatingRow, Text
from .ratings_file import split_by_hash
from .settings import RewardModelSettings


def make_model(settings: RewardModelSettings) -> RewardModel:
    """Make the reward model, to be fitted.

    Raises:
        ValueError: If its kind or an argument is unknown.
    """
    arguments = dict(settings.settings or {})
    if settings.ensemble is None:
        return make_reward_model(settings.kind, **arguments)
    return make_ensemble(settings.kind, settings.ensemble, settings.pessimism, **arguments)


def known_before(settings: RewardModelSettings, share_of_raters: float) -> Feedback:
    """Read the feedback that was there before the first round, but for those that simulated raters were fitted on."""
    return split_by_hash(settings.ratings.read(), share_of_raters).held_out


def learn(
    settings: RewardModelSettings,
    before: Feedback,
    rows: Sequence[RatingRow | PreferenceRow],
    first_texts: Sequence[Text],
    console: Console,
) -> RewardModel:
    """Train a reward model on all feedback.

    Args:
        settings: Which model.
        before: Feedback that was there before the first round.
        rows: Ratings and preferences of all rounds.
        first_texts: Completions of the model that reinforcement learning began with, on which scores get mean 0 and
            variance 1, in every round.
        console: Where progress is shown.

    Raises:
        ValueError: If it cannot learn from them.
    """
    said = read_feedback(rows)
    everything = replace(said, ratings=before.ratings + said.ratings, preferences=before.preferences + said.preferences)
    feedback = augment(everything, settings.counterfactuals())
    model = make_model(settings).fit(feedback, console=console)
    prompts, completions = (list(column) for column in zip(*first_texts, strict=True))
    return model.normalise(prompts, completions, texts="completions of the loop's first model")


def judge_comparisons(
    model: RewardModel | None, rows: Sequence[PreferenceRow], n_asked: int
) -> dict[str, float | int | None]:
    """Return how well a model foresees which of two completions is preferred.

    Args:
        model: As of `judge`.
        rows: The preferences.
        n_asked: Pairs that were asked about.

    Returns:
        `n_asked`, `n_preferences` and `accuracy`, the share of the preferences in which the chosen completion scores
        higher (equal scores count half); None where unknown.
    """
    accuracy = None
    if model is not None and rows:
        prompts = [row["prompt"] for row in rows]
        scores = [model.score(prompts, [row[side] for row in rows]) for side in ("chosen", "rejected")]
        right = [0.5 * (int(a > b) + int(a >= b)) for a, b in zip(*scores, strict=True)]
        accuracy = sum(right) / len(right)
    return {"n_asked": n_asked, "n_preferences": len(rows), "accuracy": accuracy}


def judge(model: RewardModel | None, rows: Sequence[RatingRow], min_gap: float) -> dict[str, Any]:
    """Return how far annotators agree on new feedback, and how well a model foresees what they say.

    Args:
        model: The model, which has not learned from this feedback; None where there is none yet.
        rows: The feedback.
        min_gap: Pairs count in the accuracy whose ratings differ by more than this.

    Returns:
        `n_completions`, `n_ratings`, `n_raters`, `mean_rating` (over completions), `alpha` (Krippendorff's; both None
        where they are undefined), `model` and `rater` (one rater against the others): Pearson, Spearman, pairwise
        accuracy and number of pairs, None where unknown.
    """
    feedback = read_feedback(rows) if rows else Feedback()
    ratings = [one.rating for one in feedback.ratings]
    rater = human_ceiling(feedback.ratings, min_gap) if rows else None
    agreement = None if model is None or not rows else model.evaluate(feedback, min_gap=min_gap).agreement
    return {
        "n_completions": len(ratings),
        "n_ratings": len(rows),
        "n_raters": len({row["rater"] for row in rows}),
        "mean_rating": sum(ratings) / len(ratings) if rows else None,
        "alpha": krippendorff_alpha(_units(rows), "ordinal") if rows else None,
        "model": None if agreement is None else agreement._asdict(),
        "rater": None if rater is None else rater._asdict(),
    }


def _units(rows: Sequence[RatingRow]) -> list[Mapping[int, float]]:
    """Return for each text what each rater, by a number, said of it."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row["rater"] for row in rows))}
    units: dict[Text, dict[int, float]] = {}
    for row in rows:
        units.setdefault(Text(row["prompt"], row["completion"]), {})[numbers[row["rater"]]] = row["rating"]
    return list(units.values())
