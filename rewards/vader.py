"""VADER's compound score of a text, word by word only where words stand near one that changes their worth."""

from string import punctuation
from typing import Any, NamedTuple

# Which words before a word of the lexicon, and after it, VADER's rules look at.
_N_BEFORE, _N_AFTER = 3, 2
# Words that its rules name in code, beside those of its tables.
_NAMED_IN_RULES = frozenset({"no", "so", "this", "least", "never", "without", "doubt"})


class _Words(NamedTuple):
    """Words of a text in the form that VADER's rules read."""

    words_and_emoticons: list[str]
    is_cap_diff: bool  # some words are in capitals, others not


class CompoundScorer:
    """Gives `polarity_scores(text)["compound"]` of vaderSentiment, the same number about twice as fast.

    VADER looks at every word of a text, and at all of them again for every word of its lexicon. Here its rules are
    asked about words of the lexicon alone, with those around them that the rules can see; and only if one of these can
    change anything, since otherwise a word is worth what the lexicon says.

    Args:
        module: The module `vaderSentiment.vaderSentiment`.
    """

    def __init__(self, module: Any) -> None:
        self._analyzer = module.SentimentIntensityAnalyzer()
        boosters, idioms = module.BOOSTER_DICT, module.SPECIAL_CASES
        lexicon: dict[str, float] = self._analyzer.lexicon
        self._worth = {word: worth for word, worth in lexicon.items() if word not in boosters}
        # A phrase of several words is there only if its first word is.
        first_words = {phrase.partition(" ")[0] for phrase in (*boosters, *idioms)}
        self._emojis = frozenset(self._analyzer.emojis)
        self._modifiers = _NAMED_IN_RULES.union(module.NEGATE, first_words)

    def __call__(self, text: str) -> float:
        """Return the compound score, −1 to 1."""
        if not text.isascii() and not self._emojis.isdisjoint(text):
            return float(self._analyzer.polarity_scores(text)["compound"])
        words = [_without_punctuation(word) for word in text.split()]
        lower = [word.lower() for word in words]
        places = [place for place, word in enumerate(lower) if word in self._worth]
        valences = [self._valence(words, lower, place) for place in places]
        if "but" in lower:
            everywhere = [0.0] * len(words)
            for place, valence in zip(places, valences, strict=True):
                everywhere[place] = valence
            valences = self._analyzer._but_check(words, everywhere)
        return float(self._analyzer.score_valence(valences, text)["compound"])

    def _valence(self, words: list[str], lower: list[str], place: int) -> float:
        """Return what a word of the lexicon is worth where it stands."""
        word = lower[place]
        if word == "kind" and lower[place + 1 : place + 2] == ["of"]:
            return 0.0
        first = max(0, place - _N_BEFORE)
        around = lower[first : place + 1 + _N_AFTER]
        is_plain = self._modifiers.isdisjoint(around) and not any("n't" in near for near in around)
        if is_plain and not words[place].isupper():
            return self._worth[word]
        seen = _Words(words[first : place + 1 + _N_AFTER], _differ_in_capitals(words))
        valence: float = self._analyzer.sentiment_valence(0, seen, words[place], place - first, [])[0]
        return valence


def _without_punctuation(word: str) -> str:
    """Return a word without punctuation around it; as it is where no more than two characters, an emoticon, remain."""
    stripped = word.strip(punctuation)
    return word if len(stripped) <= 2 else stripped


def _differ_in_capitals(words: list[str]) -> bool:
    return 0 < sum(word.isupper() for word in words) < len(words)
