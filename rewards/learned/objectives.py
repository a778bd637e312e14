"""What a reward network is trained for: ratings, classes of ratings, or preferences between two texts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .agreement import are_equal
from .calibration import Predictions, predicted_classes, predicted_preferences, predicted_ratings
from .classes import CLASS_NAMES, ClassWeight, RatingClasses, item_weights
from .feedback import Feedback, Preference, Rating
from .losses import bradley_terry_loss, class_loss, expected_class, squared_loss
from .pairs import all_preferences


class Text(NamedTuple):
    """One text that a network reads."""

    prompt: str
    completion: str
    comment: str = ""


class Examples(NamedTuple):
    """What a network learns from: N examples of one text each, or of two.

    Attributes:
        texts: Length N · n_texts; the texts of an example stand side by side.
        n_texts: Texts of an example, 1 or 2.
        targets: What the loss compares with, shape (N,).
        weights: Shape (N,), not all 0.
    """

    texts: list[Text]
    n_texts: int
    targets: Tensor
    weights: Tensor


class Objective(ABC):
    """From feedback to examples, from a network's outputs to a loss and to a score.

    Attributes:
        n_outputs: Numbers that the network gives for each text.
    """

    n_outputs: int = 1

    @abstractmethod
    def prepare(self, feedback: Feedback) -> None:
        """Take from the training feedback what outputs are scaled or divided by."""

    @abstractmethod
    def examples(self, feedback: Feedback) -> Examples:
        """Return the feedback as examples.

        Raises:
            ValueError: If there are none in it.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the mean loss of N examples; outputs have shape (N · n_texts, n_outputs)."""

    @abstractmethod
    def scores(self, outputs: Tensor) -> Tensor:
        """Return the score of each text: (N, n_outputs) gives (N,)."""

    @abstractmethod
    def predictions(self, outputs: Tensor, feedback: Feedback) -> Predictions:
        """Return predictions beside what people said; outputs are those of the texts of `examples`."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what `prepare` found, as plain data."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""


class RatingObjective(Objective):
    """Squared error on ratings, which are scaled to mean 0 and variance 1 for the network."""

    def __init__(self) -> None:
        self.mean, self.std = 0.0, 1.0

    def prepare(self, feedback: Feedback) -> None:
        """Take mean and standard deviation of the ratings."""
        ratings = np.array([one.rating for one in require_ratings(feedback)])
        self.mean, self.std = float(ratings.mean()), 1.0 if are_equal(ratings) else float(ratings.std())

    def examples(self, feedback: Feedback) -> Examples:
        """Return an example for each rating."""
        ratings = require_ratings(feedback)
        targets = torch.tensor([(one.rating - self.mean) / self.std for one in ratings], dtype=torch.float32)
        return Examples(rated_texts(ratings), 1, targets, torch.tensor([one.weight for one in ratings]))

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the mean squared error of the scaled ratings."""
        return squared_loss(outputs.squeeze(-1), targets, weights)

    def scores(self, outputs: Tensor) -> Tensor:
        """Return predicted ratings, on the scale of the ratings."""
        return outputs.squeeze(-1) * self.std + self.mean

    def predictions(self, outputs: Tensor, feedback: Feedback) -> Predictions:
        """Return predicted ratings beside ratings."""
        return predicted_ratings(self.scores(outputs).numpy(), np.array([one.rating for one in feedback.ratings]))

    def state(self) -> dict[str, Any]:
        """Return the scale."""
        return {"mean": self.mean, "std": self.std}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a scale."""
        self.mean, self.std = float(state["mean"]), float(state["std"])


class ClassObjective(Objective):
    """Cross entropy on the classes bad, fair and good; the score is the expected class, 0 to 2.

    Args:
        boundaries: Where the classes begin; None splits the training ratings into thirds.
        class_weight: "balanced" gives each class the same total weight.
    """

    n_outputs = len(CLASS_NAMES)

    def __init__(self, boundaries: Sequence[float] | None, class_weight: ClassWeight | None) -> None:
        self.given = None if boundaries is None else RatingClasses(boundaries)
        self.class_weight = class_weight
        self.classes: RatingClasses | None = self.given

    def prepare(self, feedback: Feedback) -> None:
        """Divide the ratings into thirds, unless boundaries were given."""
        ratings = [one.rating for one in require_ratings(feedback)]
        self.classes = self.given or RatingClasses.of_thirds(ratings)

    def examples(self, feedback: Feedback) -> Examples:
        """Return an example for each rating."""
        ratings = require_ratings(feedback)
        classes = self._classify(ratings)
        weights = item_weights(classes, np.array([one.weight for one in ratings]), self.class_weight)
        return Examples(rated_texts(ratings), 1, torch.from_numpy(classes), torch.tensor(weights, dtype=torch.float32))

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the mean cross entropy."""
        return class_loss(outputs, targets, weights)

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the expected class."""
        return expected_class(outputs)

    def predictions(self, outputs: Tensor, feedback: Feedback) -> Predictions:
        """Return each class's probability beside whether it is the right one."""
        return predicted_classes(outputs.softmax(-1).numpy(), self._classify(feedback.ratings))

    def state(self) -> dict[str, Any]:
        """Return the boundaries."""
        return {"boundaries": None if self.classes is None else list(self.classes.boundaries)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over boundaries."""
        self.classes = None if state["boundaries"] is None else RatingClasses(state["boundaries"])

    def _classify(self, ratings: Sequence[Rating]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if self.classes is None:
            raise ValueError("The classes have no boundaries yet; prepare(feedback) finds them.")
        return self.classes.classify([one.rating for one in ratings])


class PreferenceObjective(Objective):
    """Bradley and Terry's model of preferences, with a margin.

    Args:
        margin: Times a pair's own margin: by how much the better text's score should be above the other's.
        min_gap: Ratings that differ by more than this make pairs.
        pairs_per_rating: Pairs drawn for each rating.
        seed: Decides those draws.
    """

    def __init__(self, margin: float, min_gap: float, pairs_per_rating: int, seed: int) -> None:
        self.margin, self.min_gap, self.pairs_per_rating, self.seed = margin, min_gap, pairs_per_rating, seed

    def prepare(self, feedback: Feedback) -> None:
        """Check that there are pairs."""
        self.pairs(feedback)

    def pairs(self, feedback: Feedback) -> list[Preference]:
        """Return the preferences that were given, and those made from ratings.

        Raises:
            ValueError: If there are none.
        """
        pairs = all_preferences(feedback, min_gap=self.min_gap, pairs_per_rating=self.pairs_per_rating, seed=self.seed)
        if not pairs:
            raise ValueError(
                f"A model of preferences needs pairs: preference rows, or ratings of one prompt's completions that "
                f"differ by more than {self.min_gap:g}; got {len(feedback.ratings)} ratings and no such pair."
            )
        return pairs

    def as_given(self, feedback: Feedback) -> Feedback:
        """Return the pairs as feedback; none where there are none."""
        pairs = all_preferences(feedback, min_gap=self.min_gap, pairs_per_rating=self.pairs_per_rating, seed=self.seed)
        return Feedback(preferences=tuple(pairs))

    def examples(self, feedback: Feedback) -> Examples:
        """Return an example for each pair, the better text first; its target is the margin."""
        pairs = self.pairs(feedback)
        texts = [Text(one.prompt, text) for one in pairs for text in (one.chosen, one.rejected)]
        margins = torch.tensor([self.margin * one.margin for one in pairs], dtype=torch.float32)
        return Examples(texts, 2, margins, torch.tensor([one.weight for one in pairs]))

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the mean of −log σ(difference − margin)."""
        chosen, rejected = outputs.view(-1, 2).unbind(-1)
        return bradley_terry_loss(chosen, rejected, targets, weights)

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the scores as they are; only differences mean something."""
        return outputs.squeeze(-1)

    def predictions(self, outputs: Tensor, feedback: Feedback) -> Predictions:
        """Return σ(difference) beside whether the text is preferred."""
        chosen, rejected = outputs.view(-1, 2).unbind(-1)
        return predicted_preferences((chosen - rejected).numpy())

    def state(self) -> dict[str, Any]:
        """Return nothing: there is nothing to scale."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over nothing."""


def require_ratings(feedback: Feedback) -> tuple[Rating, ...]:
    """Return the ratings.

    Raises:
        ValueError: If there are none.
    """
    if not feedback.ratings:
        raise ValueError(
            f"This kind of reward model learns from ratings, got none and {len(feedback.preferences)} preferences; "
            "choose a kind that learns from pairs: linear_preferences, or network with the objective 'preferences'."
        )
    return feedback.ratings


def rated_texts(ratings: Sequence[Rating]) -> list[Text]:
    """Return prompts, completions and comments of what was rated."""
    return [Text(one.prompt, one.completion, one.comment) for one in ratings]
