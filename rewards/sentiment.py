"""A reward for the sentiment of English text, by VADER's lexicon and rules."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from .extras import require_package
from .function import RewardFunction
from .registry import register_reward
from .vader import CompoundScorer


@register_reward("sentiment")
class Sentiment(RewardFunction):
    """Sentiment of an English completion, from −1 (negative) through 0 to 1 (positive): VADER's compound score.

    VADER sums what single words are worth, so that a few strong words are enough: a policy will find them. An empty
    text, and one in another language, is 0. Needs the extra `sentiment`.

    Args:
        name: Name of the term; None for "sentiment".

    Raises:
        MissingPackageError: If vaderSentiment is not installed.

    Reference:
        Hutto and Gilbert (2014), VADER: a parsimonious rule-based model for sentiment analysis of social media text.
    """

    declared_range = (-1.0, 1.0)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        _package()

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's sentiment, −1 to 1."""
        return list(map(_scorer(), completions))


@cache
def _scorer() -> CompoundScorer:
    """Return VADER, which reads its lexicon once."""
    return CompoundScorer(_package())


def _package() -> Any:
    return require_package("vaderSentiment.vaderSentiment", "sentiment", "Sentiment")
