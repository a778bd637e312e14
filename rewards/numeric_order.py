"""RL4LMs' reward for numbers that increase."""

import math
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import Any

from .arguments import check_integer
from .function import RewardFunction
from .registry import register_reward


@register_reward("numeric_order")
class NumericOrder(RewardFunction):
    """How many numbers increase from the completion's first one on, divided by its words: 1 for nothing but those.

    Words stand between white space; those that are not numbers lower the score. Counting stops at the first number that
    is not greater than the one before. This is the reward by which RL4LMs teaches to count, but for "nan", "inf" and
    "1_000", which are no numbers here, and the prompt, which does not count.

    >>> reward = NumericOrder(min_words=4)
    >>> reward(prompts=["1 2"] * 4, completions=["3 4 5 6", "3 4 4 5", "3 and 4 and", "3"])
    [1.0, 0.5, 0.5, 0.5]

    Args:
        min_words: A completion counts as at least half so many words, so that one number alone is not the best; at
            least 0.
        name: Name of the term; None for "numeric_order".

    Raises:
        ValueError: If `min_words` is negative.
        TypeError: If it is no integer.

    Reference:
        Ramamurthy et al. (2023), arXiv:2210.01241; in its code `RewardIncreasingNumbers`.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, min_words: int = 20, *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_integer("min_words", min_words, least=0)
        self.min_words = min_words

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's score, 0 to 1; 0 where it has no number."""
        return [self._score(text.split()) for text in completions]

    def _score(self, words: Sequence[str]) -> float:
        numbers = [number for number in map(_as_number, words) if number is not None]
        if not numbers:
            return 0.0
        increasing = 1 + sum(1 for _ in takewhile(lambda pair: pair[1] > pair[0], pairwise(numbers)))
        return increasing / max(len(words), self.min_words / 2)


def _as_number(word: str) -> float | None:
    # Most words are none, and an exception costs more than this look.
    if not (word[0].isdigit() or word[0] in "+-.") or "_" in word:
        return None
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
