"""Rewards for words: the keywords that a completion should have, and the banned words that it should not."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .function import RewardFunction
from .matching import PhraseMatcher, normalise
from .registry import register_reward


@register_reward("keywords")
class Keywords(RewardFunction):
    """Share of the given words that occur in the completion: 0 for none, 1 for all; the prompt does not count.

    Words match as `textgym.rewards.matching.PhraseMatcher` says: case-insensitive, whole words in scripts with
    spaces, substrings in Chinese and Japanese.

    >>> reward = Keywords(["Python", "machine learning", "机器学习"])
    >>> reward(prompts=["I like", "Pythonic", "学"], completions=["python", "Machine  learning", "习机器学习python"])
    [0.3333333333333333, 0.3333333333333333, 0.6666666666666666]

    Args:
        words: Words or phrases in any script, at least one, each only once.
        name: Name of the term; None for "keywords".

    Raises:
        ValueError: If there are no words, one is empty, or two are the same to the matching.
        TypeError: If `words` is a single text, or one of them is no text.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, words: Sequence[str], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._matcher = PhraseMatcher(words)
        self.words = tuple(words)
        repeated = [text for text, count in Counter(map(normalise, words)).items() if count > 1]
        if repeated:
            raise ValueError(f"Keywords must differ in more than case and spaces, got {repeated[0]!r} more than once.")

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's share of the words, 0 to 1."""
        return [self._matcher.count(completion) / len(self.words) for completion in completions]

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> list[float]:
        """Return each unfinished text's share of the words, 0 to 1; the first n of a phrase's m words count n / m.

        This is for potential-based shaping alone: without it, the first word of a phrase is never paid, and a phrase
        that is rare as a whole is not found.
        """
        return [self._matcher.progress(prefix) / len(self.words) for prefix in prefixes]


@register_reward("banned_words")
class BannedWords(RewardFunction):
    """1 where at least one of the given words occurs in the completion, else 0: subtract it.

    Words match as `textgym.rewards.matching.PhraseMatcher` says: case-insensitive, whole words in scripts with
    spaces, substrings in Chinese and Japanese.

    >>> reward = 1 - BannedWords(["war", "战争"])
    >>> reward(prompts=["The", "The", "这"], completions=["cold War", "warm soup", "场战争"])
    [0.0, 1.0, 0.0]

    Args:
        words: Words or phrases in any script, at least one.
        name: Name of the term; None for "banned_words".

    Raises:
        ValueError: If there are no words, or one is empty.
        TypeError: If `words` is a single text, or one of them is no text.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, words: Sequence[str], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._matcher = PhraseMatcher(words)
        self.words = tuple(words)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return 1 for each completion with a banned word, 0 for any other."""
        return [float(self._matcher.occurs_any(completion)) for completion in completions]
