"""A reward that counts only where another one allows it: `a if b else 0`."""

from collections.abc import Container, Sequence
from typing import Any

from textgym.reward_protocol import RewardResult, RewardSpec, evaluate_reward
from textgym.reward_validation import select_items

from .arguments import check_number
from .composite import RewardWrapper
from .function import RewardFunction
from .registry import register_reward


@register_reward("gate")
class Gate(RewardWrapper):
    """Another reward's score where a condition scores above a threshold, else 0.

    Only completions that pass are shown to the reward, so that a quick rule saves a slow one's time. The reward's terms
    are None where the gate is closed; the condition's are reported as well.

    >>> from textgym.rewards import EndsSentence, Keywords
    >>> Gate(Keywords(["sea"]), EndsSentence())(prompts=["The"] * 3, completions=["sea.", "sea", "shore."])
    [1.0, 0.0, 0.0]

    Args:
        reward: Any reward, or what names one.
        condition: Any reward, or what names one. Where it does not apply, the gate is closed.
        above: The gate is open where the condition's score is above this.
        name: Name of a term of its own; None reports only the terms of the two rewards.

    Raises:
        ValueError: If `above` is not finite.
        TypeError: If one of the two is no reward, or pays on the way, or `above` is no number.
    """

    def __init__(
        self, reward: RewardSpec, condition: RewardSpec, above: float = 0.0, *, name: str | None = None
    ) -> None:
        super().__init__(reward, name=name)
        check_number("above", above)
        self.condition = self.without_steps(condition)
        self.above = above

    def parts(self) -> Sequence[RewardFunction]:
        """Return the reward and its condition."""
        return self.reward, self.condition

    @property
    def term_names(self) -> list[str]:
        """The reward's terms, the condition's, and the gate's own where it has a name."""
        names = list(self.reward.term_names)
        for term in self.condition.term_names:
            names.append(_free_name(term, names))
        return names if self.name is None or self.name in names else [*names, self.name]

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The reward's range, widened to 0."""
        inner = self.reward.score_range
        return None if inner is None else (min(inner[0], 0.0), max(inner[1], 0.0))

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the terms of both rewards."""
        size = len(completions)
        condition = evaluate_reward(self.condition, prompts, completions, columns)
        passed = [
            index for index, score in enumerate(condition.scores) if score > self.above and condition.applies_to(index)
        ]
        scores = [0.0] * size
        # Where the gate is closed the score is 0, and stands for that.
        counts = [condition.applies_to(index) for index in range(size)]
        # Also where the gate is closed to all of them, so that a term has one name in every batch.
        terms: dict[str, list[float | None]] = {term: [None] * size for term in self.reward.term_names}
        token_rewards: list[list[float] | None] = [None] * size
        if passed:
            inner = evaluate_reward(
                self.reward,
                [prompts[index] for index in passed],
                [completions[index] for index in passed],
                select_items(columns, size, passed),
            )
            terms |= {term: [None] * size for term in inner.terms if term not in terms}
            for position, index in enumerate(passed):
                scores[index], counts[index] = inner.scores[position], inner.applies_to(position)
                token_rewards[index] = inner.token_rewards[position]
                for term, values in inner.terms.items():
                    terms[term][index] = values[position]
        for term, values in condition.terms.items():
            terms[_free_name(term, terms)] = values
        result = RewardResult(scores, terms, token_rewards)
        applies = [result.applies_to(index) or counts[index] for index in range(size)]
        return self.named(result.that_applies(applies))


def _free_name(term: str, taken: Container[str]) -> str:
    return f"{term}_condition" if term in taken else term
