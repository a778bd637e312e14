"""The base class of rewards, and how rewards add up: `2 * Keywords([...]) + LengthWindow(20, 60) - my_function`."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

from textgym.reward_protocol import Reward, RewardResult, Scores, evaluate_reward, reward_name

from .arguments import check_text, describe

if TYPE_CHECKING:
    from .weighted_sum import WeightedSum


class RewardFunction(ABC):
    """A reward that adds and scales, prints, compares and pickles.

    A subclass writes `__call__`, which scores N completions. Where its constructor stores each argument under the
    argument's name (and passes `name` on), `repr` gives what has to be typed to make it again, and two rewards are
    equal if class and arguments are::

        class Shouting(RewardFunction):
            \"\"\"Share of capital letters, 0 to 1.\"\"\"

            def __call__(self, prompts, completions, **columns):
                return [sum(map(str.isupper, text)) / max(len(text), 1) for text in completions]

    Rewards, plain functions and numbers add, subtract, and scale by numbers: `0.25 * (1 - BannedWords([...]))`. The
    result is a `WeightedSum`. A number that is added counts for every completion.

    A subclass that also has `prefix_rewards` (see `textgym.reward_protocol.StepReward`) pays at each step as well,
    and so does a sum that it is in.

    Args:
        name: Name of the reward's term in `info` and logs; None for the class name in snake case.

    Raises:
        TypeError: If `name` is neither a text nor None.

    Attributes:
        declared_range: Lowest and highest score of every reward of the class; None where that is not known.
        waits: Whether scoring is mostly waiting for something outside this process, so that a sum lets its other
            terms work in the meantime.
    """

    declared_range: ClassVar[tuple[float, float] | None] = None

    __array_ufunc__ = None  # numpy's scalars then leave `number * reward` to the reward

    name: str | None = None  # for subclasses whose constructor has no name

    def __init__(self, *, name: str | None = None) -> None:
        if name is not None:
            check_text("name", name)
        self.name = name

    @abstractmethod
    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
        """Score N completions.

        Args:
            prompts: Prompt of each completion, length N.
            completions: The texts, length N.
            **columns: The prompt data's other columns, `completion_ids`, and what else a reward is passed.

        Returns:
            For each completion its score, None where this reward does not apply, or a list of its tokens' rewards.
        """

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, and report each term by name.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            completions: The texts, length N.
            **columns: As for a call.

        Returns:
            Scores, terms (here only one) and token rewards.

        Raises:
            RewardError: If the reward raises, or what it returns is not one valid entry per completion.
        """
        return evaluate_reward(self, prompts, completions, columns, name=self.term_name)

    @property
    def term_name(self) -> str:
        """Name of the term in `info` and logs."""
        return self.name or reward_name(self)

    @property
    def place(self) -> str | None:
        """The folder that exactly this reward is loaded from; None for one that its arguments make.

        Raises:
            ValueError: If it is made by more than its arguments, and saved nowhere.
        """
        return None

    @property
    def term_names(self) -> list[str]:
        """Names of all terms that `evaluate` reports, as far as they are known before anything is scored."""
        return [self.term_name]

    @property
    def score_range(self) -> tuple[float, float] | None:
        """Lowest and highest score that this reward can give; None where that is not known."""
        return self.declared_range

    @property
    def waits(self) -> bool:
        """Whether scoring is mostly waiting."""
        return False

    @property
    def is_shaped(self) -> bool:
        """Whether the score, or a part of it, is to be paid where it is earned; see `PotentialShaping`."""
        return False

    @property
    def shaping_gamma(self) -> float:
        """Discount factor of the algorithm that what is shaped is for."""
        return 1.0

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return what the part that is to be shaped promises for each of N unfinished texts: here 0, as there is none.

        Args:
            prompts: Prompt of each text, length N, at least 1.
            prefixes: The completions as far as they are written, length N.
            **columns: As for a call.
        """
        return [0.0] * len(prefixes)

    def parts(self) -> "Sequence[RewardFunction]":
        """Return the rewards that this one is made of."""
        return ()

    def scoring_state(self) -> dict[str, Any]:
        """Return what scoring has changed in this reward so far, as plain data; its parts keep their own."""
        return {}

    def restore_scoring_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `scoring_state` returned.

        Raises:
            ValueError: If this reward keeps no state and is given one.
        """
        if state:
            raise ValueError(f"{type(self).__name__} keeps nothing of what it scored, got {', '.join(sorted(state))}.")

    def whole_state(self) -> dict[str, Any]:
        """Return `scoring_state` of this reward and, in order, of all that it is made of."""
        return {"own": self.scoring_state(), "parts": [part.whole_state() for part in self.parts()]}

    def restore_whole_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `whole_state` returned.

        Raises:
            ValueError: If the reward that it came from was made of other parts.
        """
        self.restore_scoring_state(state["own"])
        for part, of_part in zip(self.parts(), state["parts"], strict=True):
            part.restore_whole_state(of_part)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments by name, read from the attributes of the same names."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        """Return what has to be typed to make this reward again, without arguments that have their default."""
        parts = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name)
            text = repr(list(value)) if isinstance(value, tuple) else repr(value)
            if parameter.default is parameter.empty:
                parts.append(text)
            elif value != parameter.default:
                parts.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        """Tell whether class and arguments are the same."""
        if type(self) is not type(other) or not isinstance(other, RewardFunction):
            return NotImplemented
        return self.arguments() == other.arguments()

    def __hash__(self) -> int:
        """Hash what is printed, which equal rewards share."""
        return hash(repr(self))

    # The imports are inside the operators because sums are rewards themselves.
    def __add__(self, other: "Reward | float") -> "WeightedSum":
        from .weighted_sum import combine

        return combine(self, other, 1.0)

    def __radd__(self, other: "Reward | float") -> "WeightedSum":
        from .weighted_sum import combine

        return combine(other, self, 1.0)

    def __sub__(self, other: "Reward | float") -> "WeightedSum":
        from .weighted_sum import combine

        return combine(self, other, -1.0)

    def __rsub__(self, other: "Reward | float") -> "WeightedSum":
        from .weighted_sum import combine

        return combine(other, self, -1.0)

    def __mul__(self, weight: float) -> "WeightedSum":
        from .weighted_sum import scale

        return scale(self, weight)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "WeightedSum":
        if not isinstance(divisor, Real):
            raise TypeError(f"A reward can be divided by a number, got {describe(divisor)}.")
        if divisor == 0:
            raise ZeroDivisionError("A reward can be divided by any number but 0.")
        return self * (1 / divisor)

    def __neg__(self) -> "WeightedSum":
        return self * -1
