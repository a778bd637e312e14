"""Bradley and Terry's model of preferences on words: the smallest contrastive reward model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from textgym.joining import join_texts
from textgym.rewards.arguments import check_integer, check_number

from .calibration import Predictions, predicted_preferences
from .feedback import Feedback
from .libraries import require_library
from .model import RewardModel, Scores
from .objectives import PreferenceObjective
from .text_features import fit_vectorizer, make_vectorizer, read_estimator, write_estimator


class LinearPreferenceModel(RewardModel):
    """A score that is linear in TF-IDF features, learned from pairs by Bradley and Terry's loss with a margin.

    Minimised is the mean of −log σ(w·(x_chosen − x_rejected) − margin) plus penalty / N · ‖w‖² / 2, over N pairs.

    Args:
        penalty: Strength of the penalty on weights, above 0.
        margin: Times a pair's own margin (its difference in ratings, or the row's `margin`).
        min_gap: Ratings of one prompt's completions that differ by more than this make pairs.
        pairs_per_rating: Pairs drawn for each rating.
        max_ngram: Longest sequence of words that is a feature of its own.
        min_count: Texts in which a sequence has to occur.
        seed: Decides which pairs are drawn.
        name: Name of the reward's term.

    Raises:
        ValueError: If an argument is out of range.
        MissingPackageError: If scikit-learn is not installed.

    Reference:
        Bradley and Terry (1952); the margin is eq. 2 of Touvron et al. (2023), arXiv:2307.09288.
    """

    kind = "linear_preferences"

    def __init__(
        self,
        *,
        penalty: float = 1.0,
        margin: float = 0.0,
        min_gap: float = 1.0,
        pairs_per_rating: int = 5,
        max_ngram: int = 2,
        min_count: int = 1,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_number("penalty", penalty, above=0)
        check_number("margin", margin, least=0)
        check_number("min_gap", min_gap, least=0)
        check_integer("pairs_per_rating", pairs_per_rating, least=1)
        check_integer("seed", seed, least=0)
        self.penalty = penalty
        self.margin = margin
        self.min_gap = min_gap
        self.pairs_per_rating = pairs_per_rating
        self.max_ngram = max_ngram
        self.min_count = min_count
        self.seed = seed
        self._pairs = PreferenceObjective(margin, min_gap, pairs_per_rating, seed)
        self._vectorizer: Any = make_vectorizer(max_ngram, min_count)
        self._coefficients: Scores | None = None

    def _fit(self, feedback: Feedback, held_out: Feedback | None, console: Console | None) -> None:
        pairs = self._pairs.pairs(feedback)
        self._vectorizer = make_vectorizer(self.max_ngram, self.min_count)
        fit_vectorizer(self._vectorizer, sorted(set(join_texts(*feedback.texts()))))
        prompts = [one.prompt for one in pairs]
        chosen = self._vectorizer.transform(join_texts(prompts, [one.chosen for one in pairs]))
        rejected = self._vectorizer.transform(join_texts(prompts, [one.rejected for one in pairs]))
        self._coefficients = fit_bradley_terry(
            (chosen - rejected).tocsr(),
            self.margin * np.array([one.margin for one in pairs]),
            np.array([one.weight for one in pairs]),
            self.penalty,
        )

    def raw_scores(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> Scores:
        """Return w·x of each text, shape (N,); comments are not read."""
        if self._coefficients is None:
            raise ValueError(f"This {type(self).__name__} has not learned anything yet; call fit(feedback) first.")
        return np.asarray(self._vectorizer.transform(join_texts(prompts, completions)) @ self._coefficients)

    @property
    def learns_from_preferences(self) -> bool:
        """True, also where the pairs are made from ratings."""
        return True

    def predictions(self, feedback: Feedback) -> Predictions | None:
        """Return σ(difference) beside whether the text is preferred; None without pairs."""
        try:
            pairs = self._pairs.pairs(feedback)
        except ValueError:  # the feedback has no pairs
            return None
        prompts = [one.prompt for one in pairs]
        chosen = self.raw_scores(prompts, [one.chosen for one in pairs])
        return predicted_preferences(chosen - self.raw_scores(prompts, [one.rejected for one in pairs]))

    def judged(self, feedback: Feedback) -> Feedback:
        """Return the pairs, given or made from ratings, as feedback."""
        return self._pairs.as_given(feedback)

    def _write(self, folder: Path) -> dict[str, Any]:
        write_estimator([self._vectorizer, self._coefficients], folder)
        return {}

    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        self._vectorizer, self._coefficients = read_estimator(folder)


def fit_bradley_terry(differences: Any, margins: Scores, weights: Scores, penalty: float) -> Scores:
    """Return the w that minimises Σ weight · −log σ(w·d − margin) + penalty ‖w‖² / 2, a convex function.

    Args:
        differences: Features of the chosen minus those of the rejected texts, sparse, shape (N, D).
        margins: Shape (N,).
        weights: Shape (N,).
        penalty: Above 0.
    """

    def loss(coefficients: Scores) -> tuple[float, Scores]:
        logits = differences @ coefficients - margins
        value = float(weights @ np.logaddexp(0, -logits)) + penalty / 2 * float(coefficients @ coefficients)
        slope = -weights * 0.5 * (1 - np.tanh(logits / 2))  # −weight · σ(−logit)
        return value, differences.T @ slope + penalty * coefficients

    minimize = require_library("scipy.optimize").minimize
    found = minimize(loss, np.zeros(differences.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x, dtype=float)
