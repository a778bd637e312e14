"""What people said of completions: ratings, perhaps by several of them, and preferences between two texts."""

import dataclasses
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from textgym.named_objects import nearest
from textgym.rewards.arguments import check_number, check_text, describe

Item = TypeVar("Item")


class BadRow(NamedTuple):
    """A row of feedback that cannot be used.

    Attributes:
        line: Where it stands: its line in a file, its number from 1 in a data set.
        kind: What is wrong, in words that rows with the same fault share, such as "missing field".
        problem: What is wrong with this one.
    """

    line: int
    kind: str
    problem: str


@dataclass(frozen=True)
class Rating:
    """What one or more people rated a completion.

    Attributes:
        prompt: The text before the completion; "" where there is none.
        completion: The text that is rated.
        ratings: Each rater's number, at least one, all on one scale.
        raters: Each rater's name, as many as ratings; () where nobody knows.
        weights: Each rater's weight, at least 0; () for 1 each.
        comment: What a rater wrote on it; "" for nothing.

    Raises:
        TypeError: If a text or a number is of another type.
        ValueError: If there is no rating, one is not finite, there are not as many raters or weights, or no weight is
            above 0.
    """

    prompt: str
    completion: str
    ratings: tuple[float, ...]
    raters: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    comment: str = ""

    def __post_init__(self) -> None:
        """Check what was passed, and keep lists as tuples."""
        _check_texts_of(self, "prompt", "completion", "comment")
        for name, example in (("ratings", "(4.0, 5.0)"), ("raters", "('ann', 'bob')"), ("weights", "(1.0, 0.5)")):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise TypeError(f"Rating.{name} must be a tuple such as {example}, got {describe(value)}.")
            object.__setattr__(self, name, tuple(value))
        if not self.ratings:
            raise ValueError("Rating.ratings must have at least one number, got none.")
        for number in self.ratings:
            check_number("Each of Rating.ratings", number)
        for name in self.raters:
            check_text("Each of Rating.raters", name)
        for weight in self.weights:
            check_number("Each of Rating.weights", weight, least=0)
        if self.weights and not any(self.weights):
            raise ValueError("Rating.weights must have at least one above 0, got none; leave the rating out.")
        for name in ("raters", "weights"):
            if len(getattr(self, name)) not in {0, len(self.ratings)}:
                raise ValueError(
                    f"Rating.{name} must be one for each of the {len(self.ratings)} ratings, or none, got "
                    f"{getattr(self, name)!r}."
                )

    @property
    def rating(self) -> float:
        """The weighted mean of the ratings."""
        if not self.weights:
            return math.fsum(self.ratings) / len(self.ratings)
        weighted = math.fsum(weight * one for weight, one in zip(self.weights, self.ratings, strict=True))
        return weighted / math.fsum(self.weights)

    @property
    def weight(self) -> float:
        """How much this completion counts in training: its raters' mean weight."""
        return math.fsum(self.weights) / len(self.weights) if self.weights else 1.0


@dataclass(frozen=True)
class Preference:
    """That somebody prefers one completion of a prompt to another.

    Attributes:
        prompt: The text before both; "" where there is none.
        chosen: The better one.
        rejected: The other one.
        margin: By how much, on any scale, at least 0; 1 where nobody knows.
        weight: How much it counts in training.
        rater: Who prefers it; "" where nobody knows.
        comment: What the rater wrote on the choice; kept, but no model reads it.

    Raises:
        TypeError: If a text or a number is of another type.
        ValueError: If margin or weight is below 0 or not finite.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float = 1.0
    weight: float = 1.0
    rater: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        """Check what was passed."""
        _check_texts_of(self, "prompt", "chosen", "rejected", "rater", "comment")
        check_number("Preference.margin", self.margin, least=0)
        check_number("Preference.weight", self.weight, least=0)


@dataclass(frozen=True)
class Feedback:
    """Ratings and preferences, and which rows they could not be read from.

    Attributes:
        ratings: One for each rated completion.
        preferences: One for each pair.
        bad_rows: The rows that were skipped.
        n_repeated: Rows that said the same as an earlier one, and count only once.

    Raises:
        TypeError: If something is no rating or no preference.
    """

    ratings: tuple[Rating, ...] = ()
    preferences: tuple[Preference, ...] = ()
    bad_rows: tuple[BadRow, ...] = field(default=(), compare=False)
    n_repeated: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        """Check what was passed, and keep lists as tuples."""
        for name, kind in (("ratings", Rating), ("preferences", Preference)):
            object.__setattr__(self, name, _items(f"Feedback.{name}", getattr(self, name), kind))

    def __len__(self) -> int:
        """Return the number of rated completions and pairs."""
        return len(self.ratings) + len(self.preferences)

    def texts(self) -> tuple[list[str], list[str]]:
        """Return prompts and completions of everything that was rated or compared."""
        pairs = [(one.prompt, one.completion) for one in self.ratings]
        for one in self.preferences:
            pairs += [(one.prompt, one.chosen), (one.prompt, one.rejected)]
        return [prompt for prompt, _ in pairs], [completion for _, completion in pairs]

    def with_rater_weights(self, weights: Mapping[str, float]) -> "Feedback":
        """Return the same feedback with some raters counting more or less than 1; one of weight 0 is left out.

        Args:
            weights: Weight of each rater by name, at least 0.

        Raises:
            ValueError: If a weight is negative or not finite, a name is not among the raters (the nearest match is
                given), or nothing is left.
            TypeError: If they are no mapping of names to numbers.
        """
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a mapping such as {{'anna': 0.5}}, got {describe(weights)}.")
        names = {name for one in self.ratings for name in one.raters} | {one.rater for one in self.preferences} - {""}
        for name, weight in weights.items():
            if name not in names:
                raise ValueError(
                    f"There is no rater {name!r}.{nearest(str(name), names)} Expected one of "
                    f"{', '.join(sorted(names)) or 'none'}."
                )
            check_number(f"The weight of rater {name!r}", weight, least=0)
        weighted = [_weigh(one, weights) for one in self.ratings]
        preferences = [
            dataclasses.replace(one, weight=one.weight * weights.get(one.rater, 1.0)) for one in self.preferences
        ]
        kept = dataclasses.replace(
            self,
            ratings=tuple(one for one in weighted if one is not None),
            preferences=tuple(one for one in preferences if one.weight > 0),
        )
        if len(self) and not len(kept):
            raise ValueError("The raters' weights leave no feedback; one of them at least must be above 0.")
        return kept

    def resampled(self, seed: int) -> "Feedback":
        """Return as many ratings and preferences, drawn with replacement (a bootstrap sample)."""
        generator = random.Random(seed)
        return Feedback(
            _draw(self.ratings, generator),
            _draw(self.preferences, generator),
        )


def require_feedback(name: str, value: object) -> None:
    """Check that an argument is feedback; TypeError that says how to make some if not."""
    if not isinstance(value, Feedback):
        raise TypeError(
            f"{name} must be Feedback, got {describe(value)}. read_feedback makes it of a file, a data set or a list "
            "of rows; Feedback(ratings=..., preferences=...) of ratings and preferences."
        )


def require_rating_list(value: object) -> None:
    """Check that an argument is a list of ratings; TypeError that says what to pass if not."""
    if isinstance(value, Feedback):
        raise TypeError("ratings must be a list of Rating, got Feedback; pass feedback.ratings.")
    _items("ratings", value, Rating)


def _items(name: str, value: Any, kind: type[Item]) -> tuple[Item, ...]:
    hint = "read_feedback makes them of a file, a data set or a list of rows."
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of {kind.__name__}, got {describe(value)}. {hint}")
    items = tuple(value)
    for place, one in enumerate(items, start=1):
        if not isinstance(one, kind):
            raise TypeError(f"{name} must be a list of {kind.__name__}, got {describe(one)} in place {place}. {hint}")
    return items


def _check_texts_of(item: "Rating | Preference", *names: str) -> None:
    for name in names:
        check_text(f"{type(item).__name__}.{name}", getattr(item, name))


def _draw(items: Sequence[Item], generator: random.Random) -> tuple[Item, ...]:
    return tuple(generator.choices(items, k=len(items))) if items else ()


def _weigh(rating: Rating, weights: Mapping[str, float]) -> Rating | None:
    """Return a rating with its raters' weights, times those that it has; None if nobody is left."""
    if not rating.raters:
        return rating
    before = rating.weights or [1.0] * len(rating.ratings)
    kept = [
        (number, name, weight * weights.get(name, 1.0))
        for number, name, weight in zip(rating.ratings, rating.raters, before, strict=True)
        if weight * weights.get(name, 1.0) > 0
    ]
    if not kept:
        return None
    numbers, names, values = zip(*kept, strict=True)
    return dataclasses.replace(rating, ratings=numbers, raters=names, weights=values)
