"""The stated small search: which settings of an algorithm are tuned, and between which bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from textgym.training.algorithm_settings import AlgorithmSettings
from textgym.training.algorithms import TRPOSettings

Value = float | int | str


class Suggests(Protocol):
    """What is needed of a trial of Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Return a number between two bounds, on a logarithmic scale or not."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        """Return one of several values."""
        ...


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, on a logarithmic scale."""

    low: float
    high: float

    def __contains__(self, value: Value) -> bool:
        """Return whether a number lies between the bounds."""
        return self.low <= float(value) <= self.high

    def suggest(self, trial: Suggests, name: str) -> Value:
        """Return a trial's number."""
        return trial.suggest_float(name, self.low, self.high, log=True)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]

    def __contains__(self, value: Value) -> bool:
        """Return whether a value is one of them."""
        return value in self.values

    def suggest(self, trial: Suggests, name: str) -> Value:
        """Return a trial's value."""
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


# KL's coefficient is not among them: it states what the task is worth, and by score alone 0 is always best. Neither are
# settings that change memory or speed.
SPACE: dict[str, Range | Choice] = {
    "learning_rate": Range(3e-5, 3e-3),
    "n_epochs": Choice((1, 2, 4)),
    "clip_range": Choice((0.1, 0.2, 0.3)),
    "gae_lambda": Choice((0.9, 0.95, 1.0)),
    "advantage_scale": Range(0.02, 0.5),
    "gradient_steps": Choice((4, 8, 16)),
    "top_p": Choice((0.8, 0.9, 0.95)),
    "n_policy_iterations": Choice((4, 8, 16)),
}
TRPO_SPACE: dict[str, Range | Choice] = {"target_kl": Range(0.003, 0.1)}


def search_space(kind: type[AlgorithmSettings]) -> dict[str, Range | Choice]:
    """Return what is tuned of an algorithm, by the names of its settings.

    >>> from textgym.training.algorithms import A2CSettings
    >>> {name: str(values) for name, values in search_space(A2CSettings).items()}
    {'learning_rate': '3e-05 to 0.003', 'gae_lambda': '0.9, 0.95, 1.0'}
    """
    known = {declared.name for declared in fields(kind)}
    found = {name: values for name, values in SPACE.items() if name in known}
    if issubclass(kind, TRPOSettings):
        # Its learning rate is the critic's alone; the policy's step follows from the bound on KL.
        found |= TRPO_SPACE
    return found


def default_settings(settings: AlgorithmSettings) -> dict[str, Any]:
    """Return the settings of an algorithm that are tuned, as they are without a search.

    Those outside of their bounds are left out.
    """
    space = search_space(type(settings))
    given = {name: getattr(settings, name) for name in space}
    return {name: value for name, value in given.items() if value is not None and value in space[name]}


def suggest(trial: Suggests, kind: type[AlgorithmSettings]) -> dict[str, Any]:
    """Return an algorithm's settings for a trial."""
    return {name: values.suggest(trial, name) for name, values in search_space(kind).items()}
