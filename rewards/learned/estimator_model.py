"""What the reward models made with scikit-learn have in common: TF-IDF features, and how they are kept."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from textgym.joining import join_texts

from .feedback import Feedback
from .model import RewardModel, Scores
from .objectives import require_ratings
from .text_features import fit_vectorizer, make_vectorizer, read_estimator, write_estimator


class EstimatorRewardModel(RewardModel):
    """An estimator of scikit-learn on TF-IDF features of ratings' texts.

    Args:
        max_ngram: Longest sequence of words that is a feature of its own.
        min_count: Texts in which a sequence has to occur.
        name: Name of the reward's term.

    Raises:
        ValueError: If an argument is out of range.
        MissingPackageError: If scikit-learn is not installed.

    Attributes:
        trusted_types: Types, by their dotted names, that this kind's file may hold though skops does not know them.
    """

    trusted_types: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, max_ngram: int = 2, min_count: int = 1, name: str | None = None) -> None:
        super().__init__(name=name)
        self.max_ngram = max_ngram
        self.min_count = min_count
        self._pipeline: Any = None
        make_vectorizer(max_ngram, min_count)

    def _fit(self, feedback: Feedback, held_out: Feedback | None, console: Console | None) -> None:
        ratings = require_ratings(feedback)
        texts = join_texts([one.prompt for one in ratings], [one.completion for one in ratings])
        values = np.array([one.rating for one in ratings])
        weights = np.array([one.weight for one in ratings])
        vectorizer = make_vectorizer(self.max_ngram, self.min_count)
        features = fit_vectorizer(vectorizer, texts)
        self._pipeline = [vectorizer, self._fit_estimator(features, values, weights)]

    @abstractmethod
    def _fit_estimator(self, features: Any, ratings: Scores, weights: Scores) -> Any:
        """Return an estimator that has learned; features are sparse, (N, D)."""

    @abstractmethod
    def _estimate(self, estimator: Any, features: Any) -> Scores:
        """Return scores, shape (N,)."""

    def raw_scores(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> Scores:
        """Return the estimator's scores, shape (N,); comments are not read."""
        estimator, features = self._features(prompts, completions)
        return self._estimate(estimator, features)

    def _features(self, prompts: Sequence[str], completions: Sequence[str]) -> tuple[Any, Any]:
        """Return the estimator and the features of N texts."""
        if self._pipeline is None:
            raise ValueError(f"This {type(self).__name__} has not learned anything yet; call fit(feedback) first.")
        vectorizer, estimator = self._pipeline
        return estimator, vectorizer.transform(join_texts(prompts, completions))

    def _write(self, folder: Path) -> dict[str, Any]:
        write_estimator(self._pipeline, folder)
        return {}

    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        self._pipeline = read_estimator(folder, self.trusted_types)
