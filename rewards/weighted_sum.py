"""Sums of rewards with weights, which arithmetic on rewards makes."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from textgym.reward_protocol import (
    Reward,
    RewardResult,
    Scores,
    StepReward,
    evaluate_potential,
    evaluate_reward,
    step_rewards,
)

from .function import RewardFunction
from .plain import as_reward


class WeightedSum(RewardFunction):
    """Σ weight · term + constant. Range and unit follow from the terms.

    Arithmetic on rewards makes these; sums of sums are flat. Each term is reported unweighted, under its own name,
    the second of a name as `name_2`; a term of weight 0 is reported all the same. A term that does not apply to a
    completion adds nothing. Where terms give token rewards, these are weighted and added token by token.

    Args:
        terms: Weight and reward of each term, at least one.
        constant: What is added to every score.

    Raises:
        ValueError: If there are no terms, or a weight or the constant is not finite.
        TypeError: If a term cannot be called as a reward.
    """

    def __init__(self, terms: Sequence[tuple[float, Reward]], constant: float = 0.0) -> None:
        super().__init__()
        if not terms:
            raise ValueError("A weighted sum must have at least one term, got none.")
        self.terms = tuple((_finite(weight), as_reward(term)) for weight, term in terms)
        self.constant = _finite(constant)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
        """Return each completion's weighted sum.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            completions: The texts, length N.
            **columns: Passed on to each term.

        Returns:
            For each completion its score; None if no term applies to it (and there is no constant); a list of its
            tokens' rewards if a term gave such, with what the other terms gave added to the last token's.

        Raises:
            RewardError: If a term raises, or what it returns is not one valid entry per completion.
        """
        result = self.evaluate(prompts, completions, **columns)
        values: list[float | None | Sequence[float]] = []
        for index, (score, tokens) in enumerate(zip(result.scores, result.token_rewards, strict=True)):
            applies = self.constant != 0 or any(term[index] is not None for term in result.terms.values())
            if tokens:
                values.append([*tokens[:-1], tokens[-1] + score - math.fsum(tokens)])
            else:
                values.append(score if applies else None)
        return values

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
        for weight, term in self.terms:
            result = evaluate_reward(term, prompts, completions, columns)
            scores = [total + weight * score for total, score in zip(scores, result.scores, strict=True)]
            token_rewards = [
                _add_weighted(total, weight, tokens)
                for total, tokens in zip(token_rewards, result.token_rewards, strict=True)
            ]
            for name, values in result.terms.items():
                named_terms[_free_name(name, named_terms)] = values
        return RewardResult(scores, named_terms, token_rewards)

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return the weighted sum of the terms' potentials; a term that has none of its own counts with its score.

        Args:
            prompts: Prompt of each completion, length N, at least 1.
            prefixes: The completions as far as they are written, length N.
            **columns: Passed on to each term.

        Raises:
            RewardError: If a term raises, or does not return N finite numbers.
        """
        totals = [self.constant] * len(prefixes)
        for weight, term in self.terms:
            values = evaluate_potential(term, prompts, prefixes, columns)
            totals = [total + weight * value for total, value in zip(totals, values, strict=True)]
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
    number = float(value) + 0.0  # makes -0.0 the 0.0 that it equals, and prints as
    if not math.isfinite(number):
        raise ValueError(f"Weights and constants of rewards must be finite, got {value}.")
    return number


def _number(value: float) -> str:
    """Print a weight so that reading it gives the same float, integers without a point."""
    return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)


def _free_name(name: str, taken: dict[str, list[float | None]]) -> str:
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
