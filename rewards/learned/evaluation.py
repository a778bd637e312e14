"""The figures by which a reward model is judged on feedback that it was not trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .agreement import Agreement, human_ceiling, measure_agreement
from .calibration import Calibration
from .feedback import Feedback, Preference

if TYPE_CHECKING:
    from .model import RewardModel

MIN_GAP = 1.0  # people disagree on what lies closer together


@dataclass(frozen=True)
class Evaluation:
    """How a reward model agrees with people.

    Attributes:
        n_ratings: Completions with ratings.
        agreement: Of the scores with these ratings; None without ratings.
        human: Of one rater with the others; None where no completions were rated by several.
        n_preferences: Pairs with a preference.
        preference_accuracy: Share of them whose better text has the higher score (half where equal); None without.
        calibration: Predictions against what people said; None where the model predicts nothing that is in the
            feedback, such as ratings where there are only preferences.
    """

    n_ratings: int
    agreement: Agreement | None
    human: Agreement | None
    n_preferences: int
    preference_accuracy: float | None
    calibration: Calibration | None

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as plain data."""
        return {
            **asdict(self),
            "agreement": self.agreement and self.agreement._asdict(),
            "human": self.human and self.human._asdict(),
            "calibration": self.calibration
            and {**self.calibration._asdict(), "bins": [one._asdict() for one in self.calibration.bins]},
        }

    def rows(self) -> list[tuple[str, float | None, float | None]]:
        """Return the figures by name, of the model and of one human, for a table."""
        rows: list[tuple[str, float | None, float | None]] = []
        if self.agreement is not None:
            human = self.human or Agreement(None, None, None, 0)
            rows += [
                ("Pearson correlation", self.agreement.pearson, human.pearson),
                ("Spearman correlation", self.agreement.spearman, human.spearman),
                ("pairwise accuracy", self.agreement.pairwise_accuracy, human.pairwise_accuracy),
            ]
        if self.preference_accuracy is not None:
            rows.append(("accuracy on preferences", self.preference_accuracy, None))
        if self.calibration is not None:
            rows.append((f"calibration error, {self.calibration.quantity}", self.calibration.error, None))
        return rows


def evaluate_model(model: "RewardModel", feedback: Feedback, min_gap: float = MIN_GAP) -> Evaluation:
    """Judge a reward model on feedback.

    Args:
        model: A model that has been fitted.
        feedback: Ratings or preferences, at least one, best none that the model was trained on.
        min_gap: Pairs of ratings count that differ by more than this.

    Raises:
        ValueError: If there is no feedback.
    """
    if not len(feedback):
        raise ValueError("A reward model is judged on at least one rating or preference, got none.")
    agreement = None
    if feedback.ratings:
        scores = model.score([one.prompt for one in feedback.ratings], [one.completion for one in feedback.ratings])
        ratings = np.array([one.rating for one in feedback.ratings])
        agreement = measure_agreement(np.array(scores), ratings, min_gap)
    return Evaluation(
        n_ratings=len(feedback.ratings),
        agreement=agreement,
        human=human_ceiling(feedback.ratings, min_gap),
        n_preferences=len(feedback.preferences),
        preference_accuracy=_preference_accuracy(model, feedback.preferences),
        calibration=model.calibrate(feedback),
    )


def _preference_accuracy(model: "RewardModel", preferences: Sequence[Preference]) -> float | None:
    if not preferences:
        return None
    prompts = [one.prompt for one in preferences]
    chosen = np.array(model.score(prompts, [one.chosen for one in preferences]))
    rejected = np.array(model.score(prompts, [one.rejected for one in preferences]))
    return float(np.mean((chosen > rejected) + 0.5 * (chosen == rejected)))
