"""Sums of rewards with weights, which arithmetic on rewards makes."""

import math
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any, TypeVar

from textgym.reward_protocol import (
    RewardResult,
    RewardSpec,
    StepReward,
    evaluate_potential,
    evaluate_reward,
    resolve_reward,
    shaping_potentials,
    step_rewards,
)

from .arguments import describe
from .composite import CompositeReward
from .function import RewardFunction
from .plain import as_reward

Judged = TypeVar("Judged")


class WeightedSum(CompositeReward):
    """Σ weight · term + constant. Range and unit follow from the terms.

    Arithmetic on rewards makes these; sums of sums are flat. Each term is reported unweighted, under its own name,
    the second of a name as `name_2`; a term of weight 0 is reported all the same. A term that does not apply to a
    completion adds nothing; where none applies, and there is no constant, the sum does not apply. Where terms give
    token rewards, these are weighted and added token by token. Terms that wait (async functions, reward servers) do so
    together.

    Args:
        terms: Weight and reward of each term, at least one.
        constant: What is added to every score.

    Raises:
        ValueError: If there are no terms, a weight or the constant is not finite, or terms are shaped for different
            discount factors.
        TypeError: If a term is not a weight and a reward, or pays at each step (see `WeightedStepSum`), or a weight or
            the constant is no number.
    """

    def __init__(self, terms: Sequence[tuple[float, RewardSpec]], constant: float = 0.0) -> None:
        super().__init__()
        if not isinstance(terms, Sequence) or isinstance(terms, str | bytes):
            raise TypeError(f"terms must be a list of (weight, reward), got {describe(terms)}.")
        if not terms:
            raise ValueError("A weighted sum must have at least one term, got none.")
        for term in terms:
            if not isinstance(term, Sequence) or isinstance(term, str | bytes) or len(term) != 2:
                raise TypeError(f"terms must be a list of (weight, reward), got {describe(term)} in it.")
        self.terms = tuple((_finite(weight), as_reward(resolve_reward(term))) for weight, term in terms)
        self.constant = _finite(constant)
        paid_at_steps = [term for _, term in self.terms if isinstance(term, StepReward)]
        if paid_at_steps and not isinstance(self, StepReward):
            raise TypeError(
                f"{paid_at_steps[0]!r} pays at each step, which a WeightedSum would lose; add rewards by +, or make a "
                "WeightedStepSum."
            )
        gammas = sorted({term.shaping_gamma for _, term in self.terms if term.is_shaped})
        if len(gammas) > 1:
            listed = " and ".join(f"{gamma:g}" for gamma in gammas)
            raise ValueError(f"All PotentialShaping of a sum must have one gamma, the algorithm's, got {listed}.")

    def parts(self) -> Sequence[RewardFunction]:
        """Return the terms."""
        return [term for _, term in self.terms]

    @property
    def score_range(self) -> tuple[float, float] | None:
        """Lowest and highest sum, as far as the terms say."""
        low = high = self.constant
        for weight, term in self.terms:
            if term.score_range is None:
                return None
            ends = [weight * end if weight else 0.0 for end in term.score_range]
            low, high = low + min(ends), high + max(ends)
        return low, high

    @property
    def term_names(self) -> list[str]:
        """The names of all terms, the second of a name as `name_2`."""
        names: list[str] = []
        for _, term in self.terms:
            for name in term.term_names:
                names.append(_free_name(name, names))
        return names

    @property
    def is_shaped(self) -> bool:
        """Whether one of the terms is to be paid where it is earned."""
        return any(term.is_shaped for _, term in self.terms)

    @property
    def shaping_gamma(self) -> float:
        """Discount factor that the terms are shaped for."""
        return next((term.shaping_gamma for _, term in self.terms if term.is_shaped), 1.0)

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, and report each term by name, unweighted.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            completions: The texts, length N.
            **columns: Passed on to each term.

        Raises:
            RewardError: If a term raises, or what it returns is not one valid entry per completion.
        """
        scores = [self.constant] * len(completions)
        named_terms: dict[str, list[float | None]] = {}
        token_rewards: list[list[float] | None] = [None] * len(completions)
        results = self._of_each_term(lambda term: evaluate_reward(term, prompts, completions, columns))
        for (weight, _), result in zip(self.terms, results, strict=True):
            scores = [total + weight * score for total, score in zip(scores, result.scores, strict=True)]
            token_rewards = [
                _add_weighted(total, weight, tokens)
                for total, tokens in zip(token_rewards, result.token_rewards, strict=True)
            ]
            for name, values in result.terms.items():
                named_terms[_free_name(name, named_terms)] = values
        # A constant applies to every completion, also that of a sum within a term.
        applies = [
            self.constant != 0 or any(result.applies_to(index) for result in results)
            for index in range(len(completions))
        ]
        return RewardResult(scores, named_terms, token_rewards).that_applies(applies)

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return the weighted sum of the terms' potentials; a term that has none of its own counts with its score.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            prefixes: The completions as far as they are written, length N.
            **columns: Passed on to each term.

        Raises:
            RewardError: If a term raises, or does not return N finite numbers.
        """
        values = self._of_each_term(lambda term: evaluate_potential(term, prompts, prefixes, columns))
        return self._weighted(values, self.constant, len(prefixes))

    def shaping_potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return the weighted sum of what the terms that are to be shaped promise; the constant is not part of it.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            prefixes: The completions as far as they are written, length N.
            **columns: Passed on to each term.

        Raises:
            RewardError: If a term raises, or does not return N finite numbers.
        """
        values = self._of_each_term(lambda term: shaping_potentials(term, prompts, prefixes, columns))
        return self._weighted(values, 0.0, len(prefixes))

    def _of_each_term(self, judge: Callable[[RewardFunction], Judged]) -> list[Judged]:
        """Return what is judged of each term, in their order; those that wait do so together, beside the others."""
        n_waiting = sum(term.waits for _, term in self.terms)
        if n_waiting == 0 or len(self.terms) == 1:
            return [judge(term) for _, term in self.terms]
        with ThreadPoolExecutor(n_waiting, thread_name_prefix="waiting-reward") as workers:
            waiting = {index: workers.submit(judge, term) for index, (_, term) in enumerate(self.terms) if term.waits}
            return [
                waiting[index].result() if index in waiting else judge(term)
                for index, (_, term) in enumerate(self.terms)
            ]

    def _weighted(self, values: Sequence[Sequence[float]], constant: float, size: int) -> list[float]:
        totals = [constant] * size
        for (weight, _), numbers in zip(self.terms, values, strict=True):
            totals = [total + weight * number for total, number in zip(totals, numbers, strict=True)]
        return totals

    def __repr__(self) -> str:
        """Return the sum as arithmetic, such as `0.5 * Keywords(['Python']) - BannedWords(['war']) + 1`."""
        text = ""
        for weight, term in self.terms:
            size = abs(weight)
            factor = "" if size == 1 else f"{_number(size)} * "
            sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
            text += f"{sign}{factor}{term!r}"
        if self.constant:
            return f"{text} {'-' if self.constant < 0 else '+'} {_number(abs(self.constant))}"
        return text if len(self.terms) > 1 or self.terms[0][0] != 1 else f"1 * {text}"


class WeightedStepSum(WeightedSum):
    """A `WeightedSum` with terms that also pay at each step."""

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return the weighted sum of what the step rewards among the terms pay; the constant is not part of it.

        Args:
            prompts: Prompt of each completion, length N.
            prefixes: The completions as far as they are written, length N.
            **columns: Passed on to each term.

        Raises:
            RewardError: If a term raises, or does not return N finite numbers.
        """
        totals = [0.0] * len(prompts)
        for weight, term in self.terms:
            if isinstance(term, StepReward):
                paid = step_rewards(term, prompts, prefixes, columns)
                totals = [total + weight * reward for total, reward in zip(totals, paid, strict=True)]
        return totals


def combine(left: object, right: object, sign: float) -> WeightedSum:
    """Return left + sign · right.

    Raises:
        TypeError: If one of them is neither a reward nor a number.
        ValueError: If a number is not finite.
    """
    left_terms, left_constant = _parts(left)
    right_terms, right_constant = _parts(right)
    signed = [(sign * weight, term) for weight, term in right_terms]
    return _weighted_sum([*left_terms, *signed], left_constant + sign * right_constant)


def _parts(value: object) -> tuple[list[tuple[float, RewardFunction]], float]:
    """Return a reward's or number's weighted terms and constant."""
    if isinstance(value, WeightedSum):
        return list(value.terms), value.constant
    if callable(value):
        return [(1.0, as_reward(value))], 0.0
    if isinstance(value, Real):
        return [], _finite(value)
    raise TypeError(
        "A reward can be added to a reward, a function of (prompts, completions, **columns) or a number, "
        f"got {value!r} of type {type(value).__name__}."
    )


def scale(reward: RewardFunction, factor: object) -> WeightedSum:
    """Return factor · reward.

    Raises:
        TypeError: If the factor is not a number.
        ValueError: If it is not finite.
    """
    if not isinstance(factor, Real):
        raise TypeError(f"A reward can be multiplied by a number, got {factor!r} of type {type(factor).__name__}.")
    number = _finite(factor)
    terms, constant = _parts(reward)
    return _weighted_sum([(number * weight, term) for weight, term in terms], number * constant)


def _weighted_sum(terms: Sequence[tuple[float, RewardFunction]], constant: float) -> WeightedSum:
    has_steps = any(isinstance(term, StepReward) for _, term in terms)
    return WeightedStepSum(terms, constant) if has_steps else WeightedSum(terms, constant)


def _finite(value: Real | float) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"Weights and constants of rewards must be numbers, got {describe(value)}.")
    try:
        number = float(value) + 0.0  # makes -0.0 the 0.0 that it equals, and prints as
    except OverflowError:  # an int beyond the range of floats
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"Weights and constants of rewards must be finite, got {value}.")
    return number


def _number(value: float) -> str:
    """Print a weight so that reading it gives the same float, integers without a point."""
    return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)


def _free_name(name: str, taken: Container[str]) -> str:
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free


def _add_weighted(total: list[float] | None, weight: float, tokens: list[float] | None) -> list[float] | None:
    if tokens is None:
        return total
    weighted = [weight * reward for reward in tokens]
    if total is None:
        return weighted
    if len(total) != len(weighted):
        raise ValueError(f"Two terms must agree on the number of tokens, got {len(total)} and {len(weighted)} rewards.")
    return [one + other for one, other in zip(total, weighted, strict=True)]
