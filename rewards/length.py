"""A reward for length: 1 inside a window of tokens, words or characters, falling linearly outside."""

from collections.abc import Sequence
from typing import Any

from .arguments import check_integer, check_number
from .function import RewardFunction
from .registry import register_reward
from .units import Unit, check_unit, count_words, require_ids


@register_reward("length_window")
class LengthWindow(RewardFunction):
    """1 where the completion's length is in a window, edges included; falling linearly to 0 on either side.

    On either side it falls to 0 over `margin` units, 1 − distance / margin, and stays 0 from there on. Without a
    margin it falls to 0 at length 0, length / minimum, and at twice the maximum.

    Units:
        - "tokens": entries of `completion_ids`, which leave out the end-of-sequence token;
        - "words": see `textgym.rewards.units.count_words`;
        - "characters": Unicode code points, without white space at the ends.

    >>> reward = LengthWindow(2, 4, unit="words")
    >>> reward(prompts=["The"] * 5, completions=["", "film", "film was good", "film was not too good", "a " * 9])
    [0.0, 0.5, 1.0, 0.75, 0.0]

    Args:
        minimum: Smallest length that gets 1, in units; 0 for no lower edge.
        maximum: Greatest length that gets 1, in units, at least 1.
        unit: What is counted.
        margin: Distance from the window at which 0 is reached, in units, more than 0; None for `minimum` below the
            window and `maximum` above it.
        name: Name of the term; None for "length_window".

    Raises:
        ValueError: If a number is out of its range, or the unit is unknown.
        TypeError: If minimum or maximum is not an integer, or the margin is no number.
    """

    declared_range = (0.0, 1.0)

    def __init__(
        self,
        minimum: int,
        maximum: int,
        unit: Unit = "tokens",
        margin: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_integer("minimum", minimum)
        check_integer("maximum", maximum)
        if minimum < 0 or maximum < max(minimum, 1):
            raise ValueError(
                "A length window needs 0 <= minimum <= maximum and maximum >= 1, "
                f"got minimum {minimum} and maximum {maximum}."
            )
        check_unit(unit)
        if margin is not None:
            check_number("margin", margin, above=0)
        self.minimum = minimum
        self.maximum = maximum
        self.unit = unit
        self.margin = margin

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Return each completion's score, 0 to 1.

        Args:
            prompts: Not used.
            completions: The texts, length N.
            completion_ids: Token ids of each completion without the end-of-sequence token, length N; needed where
                the unit is "tokens".
            **columns: Not used.

        Raises:
            ValueError: If the unit is "tokens" and `completion_ids` did not come.
        """
        return [self._score(length) for length in self._lengths(completions, completion_ids)]

    def potentials(
        self,
        prompts: Sequence[str],
        prefixes: Sequence[str],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Return what N unfinished texts may still get: 1 for one that is short, and the score of one that is not.

        This is for potential-based shaping alone. So a text that ends too early loses all of it at its last token, and
        growing is paid nothing: the choice to end is what is at fault, and where credit for it belongs.
        """
        return [self._score(max(length, self.minimum)) for length in self._lengths(prefixes, completion_ids)]

    def _lengths(self, completions: Sequence[str], completion_ids: Sequence[Sequence[int]] | None) -> list[int]:
        if self.unit == "words":
            return [count_words(text) for text in completions]
        if self.unit == "characters":
            return [len(text.strip()) for text in completions]
        return [len(token_ids) for token_ids in require_ids(completion_ids, "LengthWindow")]

    def _score(self, length: int) -> float:
        distance = max(self.minimum - length, length - self.maximum, 0)
        if distance == 0:
            return 1.0
        edge = self.minimum if length < self.minimum else self.maximum
        return max(0.0, 1 - distance / (edge if self.margin is None else self.margin))
