"""Reward models that predict ratings from words: ridge regression and a decision tree."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textgym.rewards.arguments import check_integer, check_number

from .calibration import Predictions, predicted_ratings
from .estimator_model import EstimatorRewardModel
from .feedback import Feedback
from .libraries import require_library
from .model import Scores


class RegressorRewardModel(EstimatorRewardModel):
    """A regressor of scikit-learn: the score is the predicted rating."""

    def _estimate(self, estimator: Any, features: Any) -> Scores:
        return np.asarray(estimator.predict(features), dtype=float)

    def predictions(self, feedback: Feedback) -> Predictions | None:
        """Return predicted ratings beside ratings; None without ratings."""
        if not feedback.ratings:
            return None
        prompts = [one.prompt for one in feedback.ratings]
        predicted = self.raw_scores(prompts, [one.completion for one in feedback.ratings])
        return predicted_ratings(predicted, np.array([one.rating for one in feedback.ratings]))


class RidgeRewardModel(RegressorRewardModel):
    """Ridge regression of ratings on TF-IDF features.

    Args:
        alpha: Strength of the penalty on weights, above 0.
        max_ngram: Longest sequence of words that is a feature of its own; in Chinese, of characters, where 2 is better.
        min_count: Texts in which a sequence has to occur.
        name: Name of the reward's term.

    Raises:
        ValueError: If an argument is out of range.
        MissingPackageError: If scikit-learn is not installed.
    """

    kind = "ridge"

    def __init__(self, *, alpha: float = 1.0, max_ngram: int = 1, min_count: int = 1, name: str | None = None) -> None:
        super().__init__(max_ngram=max_ngram, min_count=min_count, name=name)
        check_number("alpha", alpha, above=0)
        self.alpha = alpha

    def _fit_estimator(self, features: Any, ratings: Scores, weights: Scores) -> Any:
        ridge = require_library("sklearn.linear_model").Ridge(alpha=self.alpha, solver="sparse_cg")
        return ridge.fit(features, ratings, sample_weight=weights)


class TreeRewardModel(RegressorRewardModel):
    """A decision tree of ratings on TF-IDF features: coarse, but its rules can be read.

    Args:
        max_depth: Most decisions from root to leaf, at least 1.
        min_leaf: Texts that a leaf has at least.
        max_ngram: Longest sequence of words that is a feature of its own.
        min_count: Texts in which a sequence has to occur.
        seed: Decides between equally good splits.
        name: Name of the reward's term.

    Raises:
        ValueError: If an argument is out of range.
        MissingPackageError: If scikit-learn is not installed.
    """

    kind = "tree"
    trusted_types = ("sklearn.tree._tree.Tree",)  # checked below, when it is read

    def __init__(
        self,
        *,
        max_depth: int = 30,
        min_leaf: int = 5,
        max_ngram: int = 1,
        min_count: int = 2,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(max_ngram=max_ngram, min_count=min_count, name=name)
        check_integer("max_depth", max_depth, least=1)
        check_integer("min_leaf", min_leaf, least=1)
        check_integer("seed", seed, least=0)
        self.max_depth = max_depth
        self.min_leaf = min_leaf
        self.seed = seed

    def _fit_estimator(self, features: Any, ratings: Scores, weights: Scores) -> Any:
        tree = require_library("sklearn.tree").DecisionTreeRegressor(
            max_depth=self.max_depth, min_samples_leaf=self.min_leaf, random_state=self.seed
        )
        return tree.fit(features, ratings, sample_weight=weights)

    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        super()._read(folder, state)
        vectorizer, tree = self._pipeline
        _check_tree(tree.tree_, len(vectorizer.vocabulary_), folder)


def _check_tree(tree: Any, n_features: int, folder: Path) -> None:
    """Refuse a tree whose nodes point outside it: scikit-learn's C code follows them without looking.

    Raises:
        ValueError: If a child does not come after its parent, or a decision is on a feature that is not there.
    """
    nodes = np.arange(tree.node_count)
    left, right = tree.children_left, tree.children_right
    is_leaf = (left == -1) & (right == -1)
    has_children = (left > nodes) & (right > nodes) & (left < tree.node_count) & (right < tree.node_count)
    has_feature = (tree.feature >= 0) & (tree.feature < n_features)
    if not np.all(is_leaf | (has_children & has_feature)):
        raise ValueError(f"The decision tree in {folder} is damaged: a node points outside it. Train it again.")
