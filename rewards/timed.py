"""How long a reward takes, in the logs beside what it scores."""

import time
from collections.abc import Sequence
from typing import Any

from textgym.reward_protocol import RewardResult, RewardSpec, evaluate_potential, evaluate_reward

from .composite import RewardWrapper
from .registry import register_reward
from .weighted_sum import WeightedSum


@register_reward("timed")
class Timed(RewardWrapper):
    """Another reward, and as a further term, `<its name>_seconds`, the seconds that a completion takes.

    Of a sum each term is timed. The seconds are no part of the score; in logs they are the mean over completions. What
    potential-based shaping asks of unfinished texts is not timed.

    Args:
        reward: Any reward, or what names one.
        name: Name of a term of its own, with the score; None for no such term.

    Raises:
        TypeError: If `reward` is no reward, or pays on the way.
    """

    def __init__(self, reward: RewardSpec, *, name: str | None = None) -> None:
        super().__init__(reward, name=name)
        self._timed_sum: WeightedSum | None = None
        if isinstance(self.reward, WeightedSum):
            terms = [(weight, Timed(term)) for weight, term in self.reward.terms]
            self._timed_sum = WeightedSum(terms, self.reward.constant)

    @property
    def term_names(self) -> list[str]:
        """The reward's terms, and the seconds of each that is timed."""
        names = self._timed_sum.term_names if self._timed_sum is not None else self.reward.term_names
        own = [] if self.name is None or self.name in names else [self.name]
        seconds = [] if self._timed_sum is not None else [f"{self.reward.term_name}_seconds"]
        return [*names, *own, *seconds]

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The reward's range."""
        return self.reward.score_range

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the reward's own terms and the seconds that a completion took."""
        if self._timed_sum is not None:
            return self.named(self._timed_sum.evaluate(prompts, completions, **columns))
        start = time.perf_counter()
        result = evaluate_reward(self.reward, prompts, completions, columns)
        seconds: float | None = (time.perf_counter() - start) / max(1, len(completions))
        terms = {**self.named(result).terms, f"{self.reward.term_name}_seconds": [seconds] * len(completions)}
        # What took time does not apply by that.
        applies = [result.applies_to(index) for index in range(len(completions))]
        return result._replace(terms=terms).that_applies(applies)

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return what the reward sees in N unfinished texts."""
        return evaluate_potential(self.reward, prompts, prefixes, columns)
