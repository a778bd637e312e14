"""Plain functions, and any other reward, in the form that adds, scales and has a name."""

from collections.abc import Sequence
from typing import Any

from textgym.reward_protocol import (
    Reward,
    RewardResult,
    Scores,
    StepReward,
    evaluate_reward,
    require_reward,
    reward_name,
    step_rewards,
)

from .function import RewardFunction


class PlainReward(RewardFunction):
    """Any reward in the form of a `RewardFunction`, made by `as_reward`. Its range and unit are the reward's.

    Args:
        function: Any reward, such as a plain function.
        name: Name of its term; None for its own name, or its own terms if it reports such.

    Raises:
        TypeError: If `function` cannot be called as a reward.
    """

    def __init__(self, function: Reward, name: str | None = None) -> None:
        super().__init__(name=name)
        require_reward(function)
        self.function = function

    @property
    def term_name(self) -> str:
        """Name of the term in `info` and logs."""
        return self.name or reward_name(self.function)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
        """Return what the reward returns."""
        return self.function(prompts=prompts, completions=completions, **columns)

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions as `RewardFunction.evaluate`; a reward that reports terms is asked for them."""
        return evaluate_reward(self.function, prompts, completions, columns, name=self.name or "")

    def __repr__(self) -> str:
        """Return `as_reward(my_function)`."""
        function = getattr(self.function, "__qualname__", None) or repr(self.function)
        return f"as_reward({function}{'' if self.name is None else f', name={self.name!r}'})"


class PlainStepReward(PlainReward):
    """A `PlainReward` around one that also pays at each step."""

    function: Any

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return what the reward pays for the text so far."""
        return step_rewards(self.function, prompts, prefixes, columns)


def as_reward(function: Reward, name: str | None = None) -> RewardFunction:
    """Make any reward one that adds, scales and has a name.

    So that a plain function gets a weight: `0.5 * as_reward(my_function)`.

    Args:
        function: Any reward, such as a plain function.
        name: Name of its term. None keeps its own, and gives back a `RewardFunction` as it is.

    Raises:
        TypeError: If `function` cannot be called as a reward.
    """
    if isinstance(function, RewardFunction) and name is None:
        return function
    return PlainStepReward(function, name) if isinstance(function, StepReward) else PlainReward(function, name)
