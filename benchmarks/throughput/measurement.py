"""Contestants measured in turn, so that what slows the machine for a while slows all of them."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: As the table shows it.
        measure: Does the work once and returns units a second.
        is_ours: Whether it is TextGym's.
    """

    name: str
    measure: Callable[[], float]
    is_ours: bool = False


@dataclass(frozen=True)
class Case:
    """Contestants that do the same work.

    Attributes:
        name: As the table shows it.
        unit: What is counted a second.
        setting: Sizes that make the case repeatable.
        contestants: At least two, ours and another's; the first of ours stands for the case.
        skipped: Contestants that could not take part, and why.
    """

    name: str
    unit: str
    setting: dict[str, Any]
    contestants: list[Contestant]
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """What one contestant reached, in units a second, a number each repeat."""

    name: str
    is_ours: bool
    rates: list[float]

    @property
    def median(self) -> float:
        """The middle rate."""
        return statistics.median(self.rates)


@dataclass(frozen=True)
class CaseResult:
    """A case as it was measured."""

    case: Case
    measurements: list[Measurement]

    @property
    def ours(self) -> Measurement:
        """Our first contestant, which stands for the case."""
        return next(each for each in self.measurements if each.is_ours)

    @property
    def best_peer(self) -> Measurement:
        """The fastest contestant that is not ours."""
        return max((each for each in self.measurements if not each.is_ours), key=lambda each: each.median)

    def ratios(self, measurement: Measurement) -> list[float]:
        """Return how many times as fast as the best peer a contestant was, repeat by repeat."""
        return [own / peer for own, peer in zip(measurement.rates, self.best_peer.rates, strict=True)]

    def as_json(self) -> dict[str, Any]:
        """Return the result in types that JSON has."""
        ratios = self.ratios(self.ours)
        return {
            "case": self.case.name,
            "unit": f"{self.case.unit}/s",
            "setting": self.case.setting,
            "ratio": self.ours.median / self.best_peer.median,
            "ratio_range": [min(ratios), max(ratios)],
            "ours": self.ours.name,
            "best_peer": self.best_peer.name,
            "contestants": [
                {"name": each.name, "is_ours": each.is_ours, "median": each.median, "rates": each.rates}
                for each in self.measurements
            ],
            "skipped": self.case.skipped,
        }


def measure_case(case: Case, repeats: int) -> CaseResult:
    """Let each contestant warm up once, then measure all of them in turn, so many times.

    Raises:
        ValueError: If there is no contestant of ours, or none of another's.
    """
    kinds = {contestant.is_ours for contestant in case.contestants}
    if kinds != {True, False}:
        raise ValueError(f"case {case.name!r} needs a contestant of ours and one of another's to compare.")
    for contestant in case.contestants:
        contestant.measure()
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in case.contestants}
    for _ in range(repeats):
        for contestant in case.contestants:
            gc.collect()
            rates[contestant.name].append(contestant.measure())
    return CaseResult(case, [Measurement(each.name, each.is_ours, rates[each.name]) for each in case.contestants])


def timed(work: Callable[[], int]) -> Callable[[], float]:
    """Turn work that returns how much it did into a function that returns how much it does a second."""

    def measure() -> float:
        started = time.perf_counter()
        amount = work()
        return amount / (time.perf_counter() - started)

    return measure
