"""Plain functions, and any other reward, in the form that adds, scales and has a name."""

import inspect
from collections.abc import Sequence
from typing import Any, cast

from textgym.reward_protocol import (
    Reward,
    RewardResult,
    RewardSpec,
    Scores,
    StepReward,
    TermedReward,
    evaluate_potential,
    evaluate_reward,
    require_reward,
    resolve_reward,
    reward_name,
    shaping_potentials,
    step_rewards,
)
from textgym.shaping import ShapedReward, asks_for_shaping, shaping_gamma

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

    @property
    def term_names(self) -> list[str]:
        """Its name, or, for a reward that reports terms of its own, what it says of their names."""
        if self.name is None and isinstance(self.function, TermedReward):
            return list(getattr(self.function, "term_names", ()))
        return [self.term_name]

    @property
    def score_range(self) -> tuple[float, float] | None:
        """What the reward says of its range: its attribute `score_range`, if it has one."""
        return getattr(self.function, "score_range", None)

    @property
    def waits(self) -> bool:
        """Whether the reward is an async function, or waits as it says itself."""
        if isinstance(self.function, RewardFunction):
            return self.function.waits
        called = self.function if inspect.isroutine(self.function) else type(self.function).__call__
        return inspect.iscoroutinefunction(called)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
        """Return what the reward returns; of an async one, what is to be awaited."""
        # Who scores by a reward awaits what is to be awaited; the type is what comes of it.
        return cast(Scores, self.function(prompts=prompts, completions=completions, **columns))

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions as `RewardFunction.evaluate`; a reward that reports terms is asked for them."""
        return evaluate_reward(self.function, prompts, completions, columns, name=self.name or "")

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return what the reward sees in N unfinished texts: its own potential, or else its score."""
        return evaluate_potential(self.function, prompts, prefixes, columns)

    @property
    def is_shaped(self) -> bool:
        """Whether the reward asks to be paid where it is earned."""
        return asks_for_shaping(self.function)

    @property
    def shaping_gamma(self) -> float:
        """Discount factor that the reward is shaped for."""
        return shaping_gamma(self.function)

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return what the reward promises for N unfinished texts, where it asks for shaping, else 0."""
        if isinstance(self.function, ShapedReward) and self.is_shaped:
            return shaping_potentials(self.function, prompts, prefixes, columns)
        return super().shaping_potentials(prompts, prefixes, **columns)

    def __repr__(self) -> str:
        """Return `as_reward(my_function)`."""
        function = getattr(self.function, "__qualname__", None) or repr(self.function)
        printing: object = type(self.function).__repr__
        if printing is object.__repr__:  # prints an address, another one in each process
            function = f"{type(self.function).__qualname__}(…)"
        return f"as_reward({function}{'' if self.name is None else f', name={self.name!r}'})"


class PlainStepReward(PlainReward):
    """A `PlainReward` around one that also pays at each step."""

    function: Any

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return what the reward pays for the text so far."""
        return step_rewards(self.function, prompts, prefixes, columns)


def as_reward(function: RewardSpec, name: str | None = None) -> RewardFunction:
    """Make any reward one that adds, scales and has a name.

    So that a plain function gets a weight, as in `0.5 * as_reward(my_function)`, and so does what a name stands for, as
    in `0.5 * as_reward("https://rewards.example.org")`.

    Args:
        function: Any reward, such as a plain function, or what `textgym.rewards.build_reward` takes.
        name: Name of its term. None keeps its own, and gives back a `RewardFunction` as it is.

    Raises:
        ValueError: If a name is unknown (with the nearest match), or a composition is not well formed.
        TypeError: If `function` cannot be called as a reward.
    """
    function = resolve_reward(function)
    if isinstance(function, RewardFunction) and name is None:
        return function
    return PlainStepReward(function, name) if isinstance(function, StepReward) else PlainReward(function, name)
