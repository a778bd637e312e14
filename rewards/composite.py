"""What rewards that are made of other rewards have in common."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from textgym.reward_protocol import RewardResult, RewardSpec, Scores, StepReward, resolve_reward
from textgym.shaping import asks_for_shaping

from .function import RewardFunction
from .plain import as_reward


class CompositeReward(RewardFunction):
    """A reward made of others: it judges by `evaluate`, and a call of it gives the same scores."""

    @abstractmethod
    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, and report the terms of the rewards that this one is made of."""

    @property
    def waits(self) -> bool:
        """Whether scoring is mostly waiting: if one of the parts waits."""
        return any(part.waits for part in self.parts())

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
        """Return each completion's score.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            completions: The texts, length N.
            **columns: Passed on.

        Returns:
            For each completion its score; None if no term applies to it; a list of its tokens' rewards if a term gave
            such, with the rest of the score added to the last token's.

        Raises:
            RewardError: If a part raises, or what it returns is not one valid entry per completion.
        """
        result = self.evaluate(prompts, completions, **columns)
        values: list[float | None | Sequence[float]] = []
        for index, (score, tokens) in enumerate(zip(result.scores, result.token_rewards, strict=True)):
            if tokens:
                values.append([*tokens[:-1], tokens[-1] + score - math.fsum(tokens)])
            else:
                values.append(score if result.applies_to(index) else None)
        return values


class RewardWrapper(CompositeReward):
    """A reward that does something with the scores of another one.

    The other one's terms are reported as they are, before anything is done to them, so that logs show what is behind
    the score. Where the wrapper has a name, its own score is a term as well.

    Args:
        reward: Any reward, or what names one; see `textgym.rewards.build_reward`.
        name: Name of the wrapper's own term; None for no such term.

    Raises:
        TypeError: If `reward` is no reward, or one that pays on the way, at each step or by `PotentialShaping`: the
            wrapper could do nothing with what is paid there.
    """

    def __init__(self, reward: RewardSpec, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.reward = self.without_steps(reward)

    def parts(self) -> Sequence[RewardFunction]:
        """Return the reward that is wrapped."""
        return (self.reward,)

    @property
    def term_names(self) -> list[str]:
        """The reward's terms, and the wrapper's own where it has a name."""
        names = self.reward.term_names
        return names if self.name is None or self.name in names else [*names, self.name]

    def without_steps(self, reward: RewardSpec) -> RewardFunction:
        """Return a reward of which all is paid at the end.

        Raises:
            TypeError: If it is no reward, or pays on the way.
        """
        return paid_at_the_end(reward, type(self).__name__)

    def named(self, result: RewardResult) -> RewardResult:
        """Return the result with the wrapper's own score as a term, where the wrapper has a name."""
        if self.name is None:
            return result
        scores = [score if result.applies_to(index) else None for index, score in enumerate(result.scores)]
        return result._replace(terms={**result.terms, self.name: scores})


def paid_at_the_end(reward: RewardSpec, user: str) -> RewardFunction:
    """Return a reward of which all is paid at the end.

    Args:
        reward: Any reward, or what names one.
        user: What needs it, for the error.

    Raises:
        TypeError: If it is no reward, or pays on the way.
    """
    resolved = as_reward(resolve_reward(reward))
    if isinstance(resolved, StepReward) or asks_for_shaping(resolved):
        raise TypeError(
            f"{user} needs a reward that is paid at the end, got {resolved!r}, which pays on the way. Put that beside "
            "it in a sum, or PotentialShaping around it."
        )
    return resolved
