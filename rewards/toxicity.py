"""A reward for insults and profanity in English text, to be subtracted."""

from collections.abc import Sequence
from typing import Any

from .extras import require_package
from .function import RewardFunction
from .registry import register_reward


@register_reward("toxicity")
class Toxicity(RewardFunction):
    """Probability that an English completion is offensive, 0 to 1: subtract it.

    A linear classifier of alt-profanity-check, trained on 200,000 comments that people labelled. It knows single words
    rather than what is meant. Needs the extra `toxicity`, which brings scikit-learn; the package keeps its classifier
    as a pickle.

    Args:
        name: Name of the term; None for "toxicity".

    Raises:
        MissingPackageError: If alt-profanity-check is not installed.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        _package()

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's probability of being offensive, 0 to 1."""
        if not completions:
            return []
        probabilities: list[float] = _package().predict_prob(list(completions)).tolist()
        return probabilities


def _package() -> Any:
    return require_package("profanity_check", "toxicity", "Toxicity")
