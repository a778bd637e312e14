"""A reward for insults and profanity in English text, to be subtracted."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

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
        return _classifier()(completions) if completions else []


@cache
def _classifier() -> Callable[[Sequence[str]], list[float]]:
    """Return alt-profanity-check's `predict_prob`, with all linear models of its ensemble in one product.

    Each call of scikit-learn's own takes some 4 ms, however few texts there are.
    """
    package = _package()
    models = package.model.calibrated_classifiers_
    weights = np.stack([model.estimator.coef_[0] for model in models], axis=1)
    biases = np.array([model.estimator.intercept_[0] for model in models])
    slopes, offsets = (np.array([getattr(model.calibrators[0], name) for model in models]) for name in ("a_", "b_"))

    def predict(texts: Sequence[str]) -> list[float]:
        margins = package.vectorizer.transform(texts) @ weights + biases
        sigmoids = 1 / (1 + np.exp(slopes * margins + offsets))  # Platt's calibration, one for each model
        probabilities: list[float] = sigmoids.mean(axis=1).tolist()
        return probabilities

    return predict


def _package() -> Any:
    return require_package("profanity_check.profanity_check", "toxicity", "Toxicity")
