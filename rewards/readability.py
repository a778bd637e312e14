"""A reward for English that is easy to read: short sentences of short words."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .function import RewardFunction
from .registry import register_reward

_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)*")
_SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$|[\"'”’)\]])")
_VOWELS = re.compile(r"[aeiouy]+")


@register_reward("readability")
class Readability(RewardFunction):
    """Flesch's reading ease of English, divided by 100 and kept between 0 and 1: 0.3 is hard, 0.6 plain, 0.9 easy.

    ease = 206.835 − 1.015 · words / sentences − 84.6 · syllables / words

    Syllables are estimated by groups of vowels, without a silent e at a word's end. An unfinished sentence counts as
    one. It does not apply to a completion without an English word, so neither to Chinese nor to an empty text. Texts of
    a few words score by chance; combine it with a length.

    >>> reward = Readability()
    >>> reward(prompts=["", ""], completions=["The cat sat on the mat. It was warm.", "很好。"])
    [1.0, None]

    Args:
        name: Name of the term; None for "readability".

    Reference:
        Flesch (1948), A new readability yardstick, Journal of Applied Psychology 32(3).
    """

    declared_range = (0.0, 1.0)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        """Return each completion's reading ease, 0 to 1, None where it has no English word."""
        return [_score(text) for text in completions]


def reading_ease(text: str) -> float | None:
    """Return Flesch's reading ease of an English text, about 0 to 100; None where there is no English word."""
    lowered = text.lower()
    words = _WORD.findall(lowered)
    if not words:
        return None
    ends = [match.end() for match in _SENTENCE_END.finditer(lowered)]
    unfinished = lowered if not ends else lowered[ends[-1] :]
    n_sentences = max(len(ends) + (_WORD.search(unfinished) is not None), 1)
    n_syllables = sum(map(count_syllables, words))
    return 206.835 - 1.015 * len(words) / n_sentences - 84.6 * n_syllables / len(words)


@lru_cache(maxsize=1 << 16)
def count_syllables(word: str) -> int:
    """Estimate the syllables of an English word in lower case, at least 1.

    >>> [count_syllables(word) for word in ("the", "film", "make", "table", "idea", "readability")]
    [1, 1, 1, 2, 2, 5]
    """
    count = len(_VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee", "ie")):
        count -= 1
    return max(count, 1)


def _score(text: str) -> float | None:
    ease = reading_ease(text)
    return None if ease is None else min(max(ease / 100, 0.0), 1.0)
