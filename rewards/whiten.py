"""A reward brought to mean 0 and variance 1 while it is used."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from textgym.reward_protocol import RewardResult, RewardSpec, evaluate_potential, evaluate_reward

from .arguments import check_flag
from .composite import RewardWrapper
from .registry import register_reward


@register_reward("whiten")
class Whiten(RewardWrapper):
    """Another reward's score, less the mean and divided by the standard deviation of all its scores so far.

    Each batch counts before it is whitened, so that what a score becomes depends on what was scored before it: wrap
    what is trained on, and judge by the reward's own terms, which are reported as they are. Where all scores so far
    are equal, nothing is divided. A pickled copy goes on from where the original was, and so does a run of
    `textgym train` that is resumed. Beside `model.save`, keep `scoring_state()` for `restore_scoring_state` of the
    next one.

    Token rewards are not changed; what whitening makes of the score is paid at the last token.

    Args:
        reward: Any reward, or what names one.
        center: Whether the mean is subtracted; without it, a score keeps its sign.
        name: Name of a term of its own; None reports only the reward's terms, which are not whitened.

    Raises:
        TypeError: If `reward` is no reward, or pays on the way, or `center` is neither True nor False.

    Reference:
        The mean and variance of parts: Chan, Golub and LeVeque (1979), eq. 2.1.
    """

    def __init__(self, reward: RewardSpec, center: bool = True, *, name: str | None = None) -> None:
        super().__init__(reward, name=name)
        check_flag("center", center)
        self.center = center
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    @property
    def mean(self) -> float:
        """Mean of the reward's scores so far, 0 before any."""
        return self._mean

    @property
    def std(self) -> float:
        """Standard deviation of the reward's scores so far; 1 where they are all equal."""
        variance = self._squares / self._count if self._count else 0.0
        return math.sqrt(variance) if variance > 1e-16 * max(1.0, self._mean**2) else 1.0

    def scoring_state(self) -> dict[str, Any]:
        """Return the statistics so far."""
        return {"count": self._count, "mean": self._mean, "squares": self._squares}

    def restore_scoring_state(self, state: Mapping[str, Any]) -> None:
        """Go on with these statistics."""
        self._count, self._mean, self._squares = state["count"], state["mean"], state["squares"]

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the reward's own terms; where it does not apply, the score stays 0."""
        result = evaluate_reward(self.reward, prompts, completions, columns)
        applies = [result.applies_to(index) for index in range(len(completions))]
        self._count_in([score for score, is_counted in zip(result.scores, applies, strict=True) if is_counted])
        scores = [
            self._whiten(score) if is_counted else score
            for score, is_counted in zip(result.scores, applies, strict=True)
        ]
        return self.named(result._replace(scores=scores))

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return the reward's potential, whitened by the scores so far; unfinished texts do not count."""
        return list(map(self._whiten, evaluate_potential(self.reward, prompts, prefixes, columns)))

    def _whiten(self, score: float) -> float:
        return (score - self._mean if self.center else score) / self.std

    def _count_in(self, scores: Sequence[float]) -> None:
        if not scores:
            return
        mean = math.fsum(scores) / len(scores)
        distance = mean - self._mean
        total = self._count + len(scores)
        self._squares += math.fsum((score - mean) ** 2 for score in scores)
        self._squares += distance**2 * self._count * len(scores) / total
        self._mean += distance * len(scores) / total
        self._count = total
