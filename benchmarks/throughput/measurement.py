"""Contestants measured in turn, so that what slows the machine for a while slows all of them."""

import gc
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

# An optimiser's moments come with its first step, so that a process has its full memory in the second iteration alone.
WARM_UPS = 2


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: As the table shows it.
        measure: Does the work once and returns how well it went, in the case's unit.
        is_ours: Whether it is TextGym's.
        is_limit: Whether it is no program that one could use, but what the hardware would allow.
        most_repeats: How often it is measured at most, for what takes minutes; with 1 it does not warm up either. None
            for as often as the others.
    """

    name: str
    measure: Callable[[], float]
    is_ours: bool = False
    is_limit: bool = False
    most_repeats: int | None = None


@dataclass(frozen=True)
class Case:
    """Contestants that do the same work.

    Attributes:
        name: As the table shows it.
        unit: What is measured, such as tokens/s.
        setting: Sizes that make the case repeatable.
        contestants: At least two, ours and another's; the first of ours stands for the case.
        skipped: Contestants that could not take part, and why.
        compared_with: Name of the contestant that the others are compared with; None for the best peer, or the limit
            where there is no peer.
        is_lower_better: Whether a lower number is the better one.
    """

    name: str
    unit: str
    setting: dict[str, Any]
    contestants: list[Contestant]
    skipped: dict[str, str] = field(default_factory=dict)
    compared_with: str | None = None
    is_lower_better: bool = False


@dataclass(frozen=True)
class Measurement:
    """What one contestant reached, in the case's unit, a number each repeat."""

    name: str
    is_ours: bool
    rates: list[float]
    is_limit: bool = False

    @property
    def median(self) -> float:
        """The middle number."""
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
    def baseline(self) -> Measurement:
        """What the others are compared with: the one that the case names, the best peer, or the limit."""
        if self.case.compared_with is not None:
            return next(each for each in self.measurements if each.name == self.case.compared_with)
        others = [each for each in self.measurements if not each.is_ours]
        peers = [each for each in others if not each.is_limit] or others
        best = min if self.case.is_lower_better else max
        return best(peers, key=lambda each: each.median)

    @property
    def rivals(self) -> list[Measurement]:
        """All that ours is compared with, one by one: what is not ours, or the baseline where all is."""
        return [each for each in self.measurements if not each.is_ours] or [self.baseline]

    @property
    def own(self) -> list[Measurement]:
        """All of ours that are compared with rivals: the first alone where there is nobody else's."""
        is_contested = any(not each.is_ours for each in self.measurements)
        return [each for each in self.measurements if each.is_ours] if is_contested else [self.ours]

    def lead_over(self, rival: Measurement, own: Measurement) -> tuple[float, float, float]:
        """Return how many times as good as a rival one was: by the medians, and at least and at most by repeats."""
        repeats = [
            self._times_as_good(one, other) for one, other in zip(own.rates, itertools.cycle(rival.rates), strict=False)
        ]
        return self._times_as_good(own.median, rival.median), min(repeats), max(repeats)

    def ratio(self, measurement: Measurement) -> float:
        """Return how many times as good as the baseline a contestant was, by the medians."""
        return self._times_as_good(measurement.median, self.baseline.median)

    def ratios(self, measurement: Measurement) -> list[float]:
        """Return the same repeat by repeat; one measured less often is compared again and again."""
        pairs = zip(measurement.rates, itertools.cycle(self.baseline.rates), strict=False)
        return [self._times_as_good(own, other) for own, other in pairs]

    def as_json(self) -> dict[str, Any]:
        """Return the result in types that JSON has."""
        ratios = self.ratios(self.ours)
        return {
            "case": self.case.name,
            "unit": self.case.unit,
            "setting": self.case.setting,
            "ratio": self.ratio(self.ours),
            "ratio_range": [min(ratios), max(ratios)],
            "ours": self.ours.name,
            "against": self.baseline.name,
            "contestants": [
                {
                    "name": each.name,
                    "is_ours": each.is_ours,
                    "is_limit": each.is_limit,
                    "median": each.median,
                    "rates": each.rates,
                }
                for each in self.measurements
            ],
            "skipped": self.case.skipped,
        }

    def _times_as_good(self, own: float, other: float) -> float:
        return other / own if self.case.is_lower_better else own / other


def measure_case(case: Case, repeats: int) -> CaseResult:
    """Let each contestant warm up, then measure all of them in turn, so many times.

    Raises:
        ValueError: If there is no contestant of ours, or none to compare it with.
    """
    kinds = {contestant.is_ours for contestant in case.contestants}
    if True not in kinds or (False not in kinds and case.compared_with is None):
        raise ValueError(f"case {case.name!r} needs a contestant of ours and one of another's to compare.")
    for contestant in case.contestants:
        for _ in range(WARM_UPS if contestant.most_repeats != 1 else 0):
            contestant.measure()
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in case.contestants}
    for repeat in range(repeats):
        for contestant in case.contestants:
            if contestant.most_repeats is None or repeat < contestant.most_repeats:
                gc.collect()
                rates[contestant.name].append(contestant.measure())
    measurements = [Measurement(each.name, each.is_ours, rates[each.name], each.is_limit) for each in case.contestants]
    return CaseResult(case, measurements)


def timed(work: Callable[[], int], least_seconds: float = 0.0) -> Callable[[], float]:
    """Turn work that returns how much it did into a function that returns how much it does a second.

    Args:
        work: The work.
        least_seconds: It is done again until so much time has passed, since a busy moment spoils a short measurement.
    """

    def measure() -> float:
        finish_device_work()
        started = time.perf_counter()
        amount, seconds = 0, 0.0
        while not amount or seconds < least_seconds:
            amount += work()
            finish_device_work()
            seconds = time.perf_counter() - started
        return amount / seconds

    return measure


def finish_device_work() -> None:
    """Wait until a GPU, where there is one, has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
