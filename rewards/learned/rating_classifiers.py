"""Reward models that tell bad, fair and good texts apart by their words: logistic regression and SVM."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgym.rewards.arguments import check_number

from .calibration import Predictions, predicted_classes
from .classes import CLASS_NAMES, ClassWeight, RatingClasses, check_class_weight, item_weights
from .estimator_model import EstimatorRewardModel
from .feedback import Feedback
from .libraries import require_library
from .model import Scores


class ClassifierRewardModel(EstimatorRewardModel):
    """A classifier of scikit-learn: the score is the expected class, from 0 (bad) to 2 (good), before normalisation.

    Args:
        penalty: Strength of the penalty on weights, above 0.
        boundaries: Where the classes fair and good begin; None splits the ratings into thirds.
        class_weight: "balanced" gives each class the same total weight.
        max_ngram: Longest sequence of words that is a feature of its own.
        min_count: Texts in which a sequence has to occur.
        name: Name of the reward's term.

    Raises:
        ValueError: If an argument is out of range.
        MissingPackageError: If scikit-learn is not installed.
    """

    def __init__(
        self,
        *,
        penalty: float = 1.0,
        boundaries: Sequence[float] | None = None,
        class_weight: ClassWeight | None = None,
        max_ngram: int = 2,
        min_count: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(max_ngram=max_ngram, min_count=min_count, name=name)
        check_number("penalty", penalty, above=0)
        check_class_weight(class_weight)
        self.penalty = penalty
        self._classes = None if boundaries is None else RatingClasses(boundaries)
        self.boundaries = None if self._classes is None else self._classes.boundaries
        self.class_weight = class_weight

    @abstractmethod
    def _classifier(self, fewest: int) -> Any:
        """Return the classifier; `fewest` is the size of the smallest class."""

    def _fit_estimator(self, features: Any, ratings: Scores, weights: Scores) -> Any:
        if self.boundaries is None:
            self._classes = RatingClasses.of_thirds(ratings.tolist())
        classes = self._known_classes().classify(ratings)
        counts = np.bincount(classes, minlength=len(CLASS_NAMES))
        if np.count_nonzero(counts) < 2:
            found = ", ".join(f"{count} {name}" for name, count in zip(CLASS_NAMES, counts, strict=True))
            raise ValueError(
                f"A classifier needs ratings of at least two classes, got {found} with the boundaries "
                f"{self._known_classes().boundaries}; change them."
            )
        sample_weight = item_weights(classes, weights, self.class_weight)
        fewest = int(counts[counts > 0].min())
        fitted = self._classifier(fewest).fit(features, classes, sample_weight=sample_weight)
        # Probabilities by cross-validation can come out the wrong way round where each part has a text or two.
        if np.cov(self._estimate(fitted, features), classes, aweights=sample_weight, ddof=0)[0, 1] < 0:
            raise ValueError(
                f"{type(self).__name__} ranks its own {len(classes)} ratings the wrong way round, of which one class "
                f"has {fewest}; give it more, or take LogisticRewardModel (kind logistic)."
            )
        return fitted

    def _estimate(self, estimator: Any, features: Any) -> Scores:
        return np.asarray(estimator.predict_proba(features) @ estimator.classes_, dtype=float)

    def predictions(self, feedback: Feedback) -> Predictions | None:
        """Return each class's probability beside whether it is the right one; None without ratings."""
        if not feedback.ratings:
            return None
        prompts = [one.prompt for one in feedback.ratings]
        estimator, features = self._features(prompts, [one.completion for one in feedback.ratings])
        probabilities = np.zeros((len(prompts), len(CLASS_NAMES)))
        probabilities[:, estimator.classes_] = estimator.predict_proba(features)
        return predicted_classes(
            probabilities, self._known_classes().classify([one.rating for one in feedback.ratings])
        )

    def _known_classes(self) -> RatingClasses:
        if self._classes is None:
            raise ValueError(f"This {type(self).__name__} has not learned anything yet; call fit(feedback) first.")
        return self._classes

    def _write(self, folder: Path) -> dict[str, Any]:
        return {**super()._write(folder), "boundaries": list(self._known_classes().boundaries)}

    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        super()._read(folder, state)
        self._classes = RatingClasses(state["boundaries"])


class LogisticRewardModel(ClassifierRewardModel):
    """Logistic regression of the classes bad, fair and good."""

    kind = "logistic"

    def _classifier(self, fewest: int) -> Any:
        return require_library("sklearn.linear_model").LogisticRegression(C=1 / self.penalty, max_iter=1000)


class SVMRewardModel(ClassifierRewardModel):
    """A linear support vector machine for bad, fair and good, with Platt's probabilities by cross-validation.

    Reference:
        Platt (1999), Probabilistic outputs for support vector machines.
    """

    kind = "svm"
    # Plain Python without code of its own to run at loading; skops only trusts what is public.
    trusted_types = ("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration")

    def _classifier(self, fewest: int) -> Any:
        machine = require_library("sklearn.svm").LinearSVC(C=1 / self.penalty)
        if fewest < 2:
            raise ValueError("A support vector machine needs at least two ratings of each class, one class has one.")
        calibration = require_library("sklearn.calibration")
        return calibration.CalibratedClassifierCV(machine, ensemble=False, cv=min(5, fewest))
