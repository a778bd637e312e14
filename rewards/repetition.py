"""A reward for repetition, to be subtracted: the share of n-grams that have been there before."""

from collections.abc import Hashable, Sequence
from typing import Any

from .arguments import check_integer
from .function import RewardFunction
from .registry import register_reward
from .units import Unit, check_unit, require_ids, split_words


@register_reward("repetition")
class Repetition(RewardFunction):
    """Share of a completion's n-grams that occurred earlier in it: 0 for none, near 1 for one over and over.

    That is 1 − distinct-n, so that `1 - Repetition(2)` is distinct-2. A completion shorter than n repeats nothing.
    Words are compared without regard to case; each Chinese or Japanese character is a word.

    >>> reward = Repetition(2)
    >>> reward(prompts=["It"] * 3, completions=["was so so so so", "was so good", "很好很好"])
    [0.5, 0.0, 0.3333333333333333]

    Args:
        n: Length of the n-grams, in units, at least 1.
        unit: "tokens" (of `completion_ids`), "words" (see `textgym.rewards.units.split_words`) or "characters".
        name: Name of the term; None for "repetition".

    Raises:
        ValueError: If n is below 1, or the unit is unknown.
        TypeError: If n is not an integer.

    Reference:
        distinct-n: Li et al. (2016), arXiv:1510.03055.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, n: int = 3, unit: Unit = "words", *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_integer("n", n, least=1)
        check_unit(unit)
        self.n = n
        self.unit = unit

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Return each completion's share of repeated n-grams, 0 to 1.

        Args:
            prompts: Not used.
            completions: The texts, length N.
            completion_ids: Token ids of each completion, length N; needed where the unit is "tokens".
            **columns: Not used.

        Raises:
            ValueError: If the unit is "tokens" and `completion_ids` did not come.
        """
        if self.unit == "tokens":
            return [self._repeated(token_ids) for token_ids in require_ids(completion_ids, "Repetition")]
        if self.unit == "characters":
            return [self._repeated(text) for text in completions]
        return [self._repeated(split_words(text.casefold())) for text in completions]

    def _repeated(self, items: Sequence[Hashable]) -> float:
        total = len(items) - self.n + 1
        if total < 2:
            return 0.0
        distinct = len(set(zip(*(items[start:] for start in range(self.n)), strict=False)))
        return (total - distinct) / total
