"""Finding words and phrases in a text: whole words where a script has spaces, substrings in Chinese and Japanese."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from textgym.unspaced_scripts import CHINESE_OR_JAPANESE_CHARACTER

from .arguments import check_texts


class _Phrase(NamedTuple):
    """A normalised phrase, and whether the word at either end of it must be a whole one."""

    text: str
    starts_word: bool
    ends_word: bool


class PhraseMatcher:
    r"""Tells which of some words and phrases occur in a text.

    - Case, and the widths of full-width and half-width characters, make no difference (Unicode's case folding and
      NFKC); ’ is read as '.
    - In scripts with spaces only whole words match: "Python" matches in "PYTHON's", "Python-like" and "用Python写",
      not in "Pythonic", "Python3" or "Python_2". Letters, combining marks, digits and _ make words; this holds for
      Korean too, where a particle is part of the word.
    - Chinese and Japanese match anywhere: "学习" in "机器学习".
    - Any white space in a text stands for the spaces of a phrase: "machine learning" in "machine\nlearning".

    Args:
        phrases: Words or phrases in any script, at least one, each with something besides white space.

    Raises:
        ValueError: If there are none, or one is empty.
        TypeError: If `phrases` is a single text, or one of them is no text.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        check_texts("words", phrases)
        if not phrases:
            raise ValueError("Words must be at least one, got an empty list.")
        self._phrases: list[_Phrase] = []
        self._beginnings: list[list[_Phrase]] = []  # the first words of each phrase, most words first
        for phrase in phrases:
            text = normalise(phrase)
            if not text:
                raise ValueError(f"Each word must have something besides white space, got {phrase!r}.")
            self._phrases.append(_as_phrase(text))
            words = text.split(" ")
            self._beginnings.append([_as_phrase(" ".join(words[:size])) for size in range(len(words) - 1, 0, -1)])

    def count(self, text: str) -> int:
        """Return how many of the phrases occur in the text at least once."""
        text = normalise(text)
        return sum(_occurs(phrase, text) for phrase in self._phrases)

    def progress(self, text: str) -> float:
        """Return how many phrases occur in the text, one whose first n of m words occur counting n / m."""
        text = normalise(text)
        total = 0.0
        for phrase, beginnings in zip(self._phrases, self._beginnings, strict=True):
            size = len(beginnings) + 1
            if _occurs(phrase, text):
                total += 1
            else:
                found = (n for n, part in zip(range(size - 1, 0, -1), beginnings, strict=True) if _occurs(part, text))
                total += next(found, 0) / size
        return total

    def occurs_any(self, text: str) -> bool:
        """Tell whether at least one of the phrases occurs in the text."""
        text = normalise(text)
        return any(_occurs(phrase, text) for phrase in self._phrases)


def normalise(text: str) -> str:
    """Return the text with case folded, widths unified (NFKC), and any white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").casefold().split())


def _as_phrase(text: str) -> _Phrase:
    return _Phrase(text, _belongs_to_word(text[0]), _belongs_to_word(text[-1]))


def _occurs(phrase: _Phrase, text: str) -> bool:
    # A substring search finds next to nothing in most texts, so that the ends are looked at rarely: 20 times as fast
    # as a regular expression with word boundaries.
    start = text.find(phrase.text)
    while start >= 0:
        end = start + len(phrase.text)
        in_word_before = phrase.starts_word and start > 0 and _belongs_to_word(text[start - 1])
        in_word_after = phrase.ends_word and end < len(text) and _belongs_to_word(text[end])
        if not in_word_before and not in_word_after:
            return True
        start = text.find(phrase.text, start + 1)
    return False


def _belongs_to_word(character: str) -> bool:
    """Tell whether a character is part of a word in a script with spaces."""
    is_word_character = character == "_" or unicodedata.category(character)[0] in "LMN"
    return is_word_character and not CHINESE_OR_JAPANESE_CHARACTER.match(character)
