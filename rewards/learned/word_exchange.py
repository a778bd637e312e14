"""Exchange words in a text for their counterparts: whole words, in the case of those that were there."""

import re
from collections.abc import Iterable, Mapping

from textgym.unspaced_scripts import CHINESE_AND_JAPANESE

# A letter of a script with spaces.
_LETTER = rf"[^\W{CHINESE_AND_JAPANESE}]"
# "her" is the object or the possessive: which, is read from what follows it.
_HER_BEFORE_A_WORD = re.compile(r"her\s+\w", re.IGNORECASE)


class WordExchange:
    """Puts each word of a pair in the other's place, both ways, in the case of the word that was there.

    Only whole words in scripts with spaces; Chinese and Japanese anywhere, the longest first. "her" before a word is
    taken for the possessive, otherwise for the object, where both are among the pairs.

    Args:
        pairs: Each word's counterpart, at least one pair.

    Raises:
        ValueError: If there are none, one is empty or equal to its counterpart, or one has two counterparts.
        TypeError: If they are no mapping of words.
    """

    def __init__(self, pairs: Mapping[str, str]) -> None:
        if not isinstance(pairs, Mapping) or not all(isinstance(word, str) for pair in pairs.items() for word in pair):
            raise TypeError(f"Words to exchange must be a mapping of words to their counterparts, got {pairs!r}.")
        for one, other in pairs.items():
            if not one.strip() or not other.strip() or one.casefold() == other.casefold():
                raise ValueError(f"Words to exchange must be two different ones, got {one!r} and {other!r}.")
        if not pairs:
            raise ValueError("Words to exchange must be at least one pair, got none.")
        folded = {one.casefold(): other.casefold() for one, other in pairs.items()}
        for one, other in folded.items():
            if folded.get(other, one) != one:
                raise ValueError(
                    f"Words to exchange must have one counterpart each, but {other!r} has {one!r} and "
                    f"{folded[other]!r}."
                )
        self.firsts = {one.casefold(): other for one, other in pairs.items()}
        self.seconds = {other.casefold(): one for one, other in reversed(list(pairs.items()))}
        self._splits_her = {"him", "his"} <= self.firsts.keys()
        self._pattern = re.compile(whole_words([*self.firsts, *self.seconds]), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the text with each word's counterpart; the same text where there is none."""
        return self._pattern.sub(self._replaced, text)

    def lean(self, text: str) -> float:
        """Return the share of firsts among the words found, minus that of seconds: 1 and −1 where only one side is."""
        found = [match.group().casefold() for match in self._pattern.finditer(text)]
        n_firsts = sum(word in self.firsts for word in found)
        return (2 * n_firsts - len(found)) / len(found) if found else 0.0

    def _replaced(self, match: re.Match[str]) -> str:
        word = match.group()
        if self._splits_her and word.casefold() == "her":
            is_possessive = _HER_BEFORE_A_WORD.match(match.string, match.start())
            counterpart = "his" if is_possessive else "him"
        else:
            counterpart = self.firsts.get(word.casefold()) or self.seconds[word.casefold()]
        return _in_case_of(word, counterpart)


def _in_case_of(word: str, counterpart: str) -> str:
    if len(word) > 1 and word.isupper():
        return counterpart.upper()
    return counterpart[0].upper() + counterpart[1:] if word[0].isupper() else counterpart


def whole_words(words: Iterable[str]) -> str:
    """Return a regular expression for any of the words, whole, but in Chinese and Japanese anywhere."""
    longest_first = sorted(set(words), key=lambda word: (-len(word), word))
    return "|".join(
        f"{_unless(f'(?<!{_LETTER})', word[0])}{re.escape(word)}{_unless(f'(?!{_LETTER})', word[-1])}"
        for word in longest_first
    )


def _unless(assertion: str, end: str) -> str:
    """Return what must hold beside a word's end: nothing where it is no letter of a script with spaces."""
    return assertion if re.match(_LETTER, end) else ""
