"""A reward kept between two bounds."""

from collections.abc import Sequence
from typing import Any

from textgym.reward_protocol import RewardResult, RewardSpec, evaluate_potential, evaluate_reward

from .arguments import check_number
from .composite import RewardWrapper
from .registry import register_reward


@register_reward("clip")
class Clip(RewardWrapper):
    """Another reward's score, no lower than `low` and no higher than `high`.

    Where the reward gives token rewards, what clipping takes away or adds is paid at the last token.

    >>> from textgym.rewards import LengthWindow
    >>> Clip(LengthWindow(2, 4, unit="words"), 0.25, 0.75)(prompts=["The"] * 3, completions=["", "end", "end of it"])
    [0.25, 0.5, 0.75]

    Args:
        reward: Any reward, or what names one.
        low: Lowest score; −∞ for no such bound.
        high: Highest score, at least `low`; ∞ for no such bound.
        name: Name of a term of its own; None reports only the reward's terms, which are not clipped.

    Raises:
        ValueError: If `low` is above `high`, or one of them is NaN.
        TypeError: If `reward` is no reward, or pays on the way, or a bound is no number.
    """

    def __init__(self, reward: RewardSpec, low: float, high: float, *, name: str | None = None) -> None:
        super().__init__(reward, name=name)
        check_number("low", low, allows_infinity=True)
        check_number("high", high, allows_infinity=True)
        if not low <= high:
            raise ValueError(f"Clip needs two numbers with low <= high, got low {low} and high {high}.")
        self.low = low
        self.high = high

    @property
    def score_range(self) -> tuple[float, float]:
        """The bounds, or what the reward leaves of them."""
        inner = self.reward.score_range or (self.low, self.high)
        return self._clip(inner[0]), self._clip(inner[1])

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the reward's own terms; where it does not apply, the score stays 0."""
        result = evaluate_reward(self.reward, prompts, completions, columns)
        scores = [self._clip(score) if result.applies_to(index) else score for index, score in enumerate(result.scores)]
        return self.named(result._replace(scores=scores))

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return the reward's potential, clipped."""
        return list(map(self._clip, evaluate_potential(self.reward, prompts, prefixes, columns)))

    def _clip(self, score: float) -> float:
        return float(min(max(score, self.low), self.high))
