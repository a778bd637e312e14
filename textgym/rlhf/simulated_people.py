"""People simulated: a reward model fitted on their ratings, on their scale, as far apart as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from textgym.rewards.learned import Rating, RewardModel, load_reward_model, make_reward_model
from textgym.rewards.learned.agreement import are_equal

from .annotator_settings import SimulatedAnnotators
from .coded_raters import CodedRaters, Scale
from .ratings_file import split_by_hash


class Spread(NamedTuple):
    """How ratings are spread.

    Attributes:
        mean: Mean of the texts' mean ratings.
        std: Standard deviation of the texts' mean ratings: how much texts differ.
        noise: Standard deviation of a rating about its text's mean: how much raters differ.
        least: Lowest rating.
        most: Highest rating.
        is_whole: Whether all ratings are whole numbers.
    """

    mean: float
    std: float
    noise: float
    least: float
    most: float
    is_whole: bool = True


def measure_spread(ratings: Sequence[Rating]) -> Spread:
    """Measure how ratings are spread, over the texts that several people have rated.

    Args:
        ratings: At least two of them by several people.

    Raises:
        ValueError: If there are fewer, or all texts are rated alike.
    """
    rows = [np.array(one.ratings) for one in ratings if len(one.ratings) > 1]
    means = np.array([row.mean() for row in rows])
    if are_equal(means):
        raise ValueError(
            f"Simulated people need at least two texts that several people have rated, and not alike; got {len(rows)}."
        )
    # Pooled over texts, each with its own mean.
    squares = sum(float(((row - row.mean()) ** 2).sum()) for row in rows)
    noise = (squares / sum(len(row) - 1 for row in rows)) ** 0.5
    everything = np.concatenate(rows)
    least, most = float(everything.min()), float(everything.max())
    is_whole = not (everything % 1).any()
    return Spread(float(means.mean()), float(means.std()), noise, least, most, is_whole)


def fit_people(settings: SimulatedAnnotators, folder: Path, console: Console) -> None:
    """Fit a reward model on the raters' share of the ratings, and save it with their spread.

    Scores have people's mean and standard deviation on the texts that it was not fitted on, where there are some; on
    these its agreement with people is measured, too.

    Args:
        settings: Which ratings, and which model.
        folder: Where to save; it is replaced.
        console: Where progress is shown.

    Raises:
        ValueError: If the ratings cannot be used.
        OSError: If they cannot be read.
    """
    split = split_by_hash(settings.ratings.read(), settings.share)
    spread = measure_spread(split.training.ratings)
    model = make_reward_model(settings.kind, **(settings.settings or {}))
    model.fit(split.training, console=console)
    agreement: dict[str, Any] | None = None
    if len(split.held_out) > 1:
        model.normalise(*split.held_out.texts(), texts="ratings that the model was not fitted on")
        measured = model.evaluate(split.held_out).agreement
        agreement = None if measured is None else measured._asdict()
    model.record["people"] = {"spread": spread._asdict(), "agreement": agreement}
    model.save(folder)


class PeoplesScore:
    """What people would say on the average: a model's score on their scale.

    Args:
        model: Its scores have mean 0 and variance 1 on texts like those that people rated.
        spread: How people's ratings are spread.
    """

    def __init__(self, model: RewardModel, spread: Spread) -> None:
        self.model = model
        self.spread = spread

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return the expected rating of each of N completions."""
        scores = np.array(self.model.score(prompts, completions))
        ratings: list[float] = (
            (self.spread.mean + self.spread.std * scores).clip(self.spread.least, self.spread.most).tolist()
        )
        return ratings


def load_people(folder: Path, per_item: int) -> CodedRaters:
    """Load simulated people from the folder that `fit_people` wrote."""
    model = load_reward_model(folder)
    spread = Spread(**model.record["people"]["spread"])
    return CodedRaters(
        PeoplesScore(model, spread),
        per_item,
        spread.noise,
        scale=Scale(spread.least, spread.most, spread.is_whole),
        name=f"simulated rater ({model.kind})",
    )
