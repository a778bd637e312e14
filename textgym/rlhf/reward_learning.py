"""The reward model of each round: judged on feedback that is new to it, then trained on all."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from textgym.feedback.agreement import PREFERENCES, krippendorff_alpha
from textgym.rewards.learned import (
    Feedback,
    RewardModel,
    augment,
    human_ceiling,
    make_ensemble,
    make_reward_model,
    read_feedback,
)

from .annotators import ComparisonRow, Pair, PreferenceRow, RatingRow, Text
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
    said = read_feedback(rows) if rows else Feedback()
    everything = replace(said, ratings=before.ratings + said.ratings, preferences=before.preferences + said.preferences)
    feedback = augment(everything, settings.counterfactuals())
    model = make_model(settings).fit(feedback, console=console)
    prompts, completions = (list(column) for column in zip(*first_texts, strict=True))
    return model.normalise(prompts, completions, texts="completions of the loop's first model")


def judge_comparisons(
    model: RewardModel | None, rows: Sequence[PreferenceRow], said: Sequence[ComparisonRow], n_asked: int
) -> dict[str, float | int | None]:
    """Return how far annotators agree on pairs, and how well a model foresees which of two completions is preferred.

    Args:
        model: As of `judge`.
        rows: The preferences.
        said: What each rater said of each pair, ties and two bad ones as well; none of a round that did not keep it.
        n_asked: Pairs that were asked about.

    Returns:
        `n_asked`, `n_comparisons` (of all raters), `n_raters`, `alpha` (Krippendorff's of A, B, tie and both bad; None
        where it is undefined), `n_preferences` and `accuracy`, the share of the preferences in which the chosen
        completion scores higher (equal scores count half); None where unknown.
    """
    accuracy = None
    if model is not None and rows:
        prompts = [row["prompt"] for row in rows]
        scores = [model.score(prompts, [row[side] for row in rows]) for side in ("chosen", "rejected")]
        right = [0.5 * (int(a > b) + int(a >= b)) for a, b in zip(*scores, strict=True)]
        accuracy = sum(right) / len(right)
    judgements = _units((Pair.of(row), row["rater"], PREFERENCES.index(row["preference"])) for row in said)
    return {
        "n_asked": n_asked,
        "n_comparisons": len(said) if said else None,
        "n_raters": len({row["rater"] for row in said}) if said else None,
        "alpha": krippendorff_alpha(judgements, "nominal"),
        "n_preferences": len(rows),
        "accuracy": accuracy,
    }


def judge(model: RewardModel | None, rows: Sequence[RatingRow], min_gap: float) -> dict[str, Any]:
    """Return how far annotators agree on new feedback, and how well a model foresees what they say.

    Args:
        model: The model, which has not learned from this feedback; None where there is none yet.
        rows: The feedback.
        min_gap: Pairs count in the accuracy whose ratings differ by more than this.

    Returns:
        `n_completions`, `n_ratings`, `n_raters`, `mean_rating` (over completions), `rating_range` (the lowest and the
        highest rating), `alpha` (Krippendorff's; all None where they are undefined), `model` and `rater` (one rater
        against the others): Pearson, Spearman, pairwise accuracy and number of pairs, None where unknown.
    """
    feedback = read_feedback(rows) if rows else Feedback()
    ratings = [one.rating for one in feedback.ratings]
    rater = human_ceiling(feedback.ratings, min_gap) if rows else None
    agreement = None if model is None or not rows else model.evaluate(feedback, min_gap=min_gap).agreement
    judgements = _units((Text(row["prompt"], row["completion"]), row["rater"], row["rating"]) for row in rows)
    given = [row["rating"] for row in rows]
    return {
        "n_completions": len(ratings),
        "n_ratings": len(rows),
        "n_raters": len({row["rater"] for row in rows}),
        "mean_rating": sum(ratings) / len(ratings) if rows else None,
        "rating_range": [min(given), max(given)] if given else None,
        "alpha": krippendorff_alpha(judgements, "ordinal"),
        "model": None if agreement is None else agreement._asdict(),
        "rater": None if rater is None else rater._asdict(),
    }


def _units(judgements: Iterable[tuple[Hashable, str, float]]) -> list[Mapping[int, float]]:
    """Return for each text or pair what each rater, by a number, said of it."""
    numbers: dict[str, int] = {}
    units: dict[Hashable, dict[int, float]] = {}
    for judged, rater, value in judgements:
        units.setdefault(judged, {})[numbers.setdefault(rater, len(numbers))] = value
    return list(units.values())
