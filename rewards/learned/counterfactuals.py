"""Counterfactuals: changes of one attribute of a text, and what each does to its rating."""

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from textgym.named_objects import nearest
from textgym.rewards.matching import PhraseMatcher
from textgym.unspaced_scripts import CHINESE_AND_JAPANESE, CHINESE_OR_JAPANESE_CHARACTER

from .word_exchange import WordExchange, whole_words
from .word_pairs import WORD_PAIRS

_ENDS_OF_WORDS = re.compile(f" |(?<=[{CHINESE_AND_JAPANESE}])(?=[{CHINESE_AND_JAPANESE}])")

KEEP: Literal["keep"] = "keep"
MIRROR: Literal["mirror"] = "mirror"


class Counterfactual(NamedTuple):
    """A change of one attribute of a text, and what becomes of its rating.

    Attributes:
        name: What is changed, in a few words.
        edit: Returns the text with the attribute changed; the same text where there is nothing to change.
        change: "keep" leaves the rating as it is, "mirror" puts it as far on the other side of the scale's middle, and
            a number is added to it, within the scale.
    """

    name: str
    edit: Callable[[str], str]
    change: float | Literal["keep", "mirror"]


def exchange(pairs: str | Mapping[str, str]) -> Counterfactual:
    """Exchange words for their counterparts, both ways, with the rating kept.

    Args:
        pairs: "gender" or "names" for the lists of `word_pairs.py`, or each word's counterpart.

    Raises:
        ValueError: If there is no such list, or a pair is not two words.
        TypeError: If it is neither a name nor a mapping.
    """
    return Counterfactual(f"exchange {_called(pairs)}", WordExchange(_word_pairs(pairs)), KEEP)


def oppose(pairs: str | Mapping[str, str] = "sentiment") -> Counterfactual:
    """Exchange words for their opposites, with the rating mirrored, in texts whose words are all of one side.

    Args:
        pairs: "sentiment" for the list of `word_pairs.py`, or each word's opposite.

    Raises:
        ValueError: If there is no such list, or a pair is not two words.
        TypeError: If it is neither a name nor a mapping.
    """
    opposite = WordExchange(_word_pairs(pairs))
    return Counterfactual(
        f"oppose {_called(pairs)}", lambda text: opposite(text) if abs(opposite.lean(text)) == 1 else text, MIRROR
    )


def put_in(word: str, change: float | Literal["keep"]) -> Counterfactual:
    """Put a word or phrase between two words of a text that has it not; where, is drawn, always the same for a text.

    In a script without spaces each character counts as a word, and none is put between either.

    Raises:
        ValueError: If it is empty.
        TypeError: If it is no text.
    """
    matcher = PhraseMatcher([word])

    def edit(text: str) -> str:
        if matcher.occurs_any(text):
            return text
        ends = [*(found.start() for found in _ENDS_OF_WORDS.finditer(text)), len(text)]
        place = random.Random(text).choice(ends)
        gap = "" if CHINESE_OR_JAPANESE_CHARACTER.match(text[place - 1 : place]) else " "
        return f"{text[:place]}{gap}{word}{text[place:]}"

    return Counterfactual(f"put in {word!r}", edit, change)


def take_out(words: Sequence[str], change: float | Literal["keep"]) -> Counterfactual:
    """Take words or phrases out of a text.

    Raises:
        ValueError: If there are none, or one is empty.
        TypeError: If they are no list of texts.
    """
    PhraseMatcher(words)
    pattern = re.compile(rf"\s?(?:{whole_words(words)})", re.IGNORECASE)

    def edit(text: str) -> str:
        return pattern.sub("", text)

    return Counterfactual(f"take out {', '.join(words)}", edit, change)


def cut(share: float, change: float | Literal["keep"]) -> Counterfactual:
    """Cut texts down to a share of their length, at the white space before it where there is some.

    Raises:
        ValueError: If the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"The share of a text that a cut leaves must be above 0 and below 1, got {share}.")

    def edit(text: str) -> str:
        size = int(share * len(text))
        kept = text[:size]
        if " " in kept.strip() and not text[size : size + 1].isspace():
            kept = kept[: kept.rindex(" ")]
        return kept.rstrip() or text

    return Counterfactual(f"cut to {share:g} of the length", edit, change)


def read_counterfactual(spec: Any) -> Counterfactual:
    """Read one from plain data.

    Args:
        spec: A mapping with one of `exchange`, `oppose`, `put_in`, `take_out`, `cut`, and, for the last three, `change`
            ("keep" where there is none): `{"exchange": "gender"}`, `{"take_out": ["Python"], "change": -1}`.

    Raises:
        ValueError: If it is something else.
    """
    expected = "expected for example {exchange: gender}, {oppose: sentiment}, {take_out: [Python], change: -1}"
    if not isinstance(spec, Mapping):
        raise ValueError(f"A counterfactual must be a mapping, got {spec!r}; {expected}.")
    kinds = {**_FIXED, **_CHANGING}
    named = [name for name in spec if name != "change"]
    for name in named:
        if name not in kinds:
            raise ValueError(f"There is no counterfactual {name!r}.{nearest(str(name), kinds)} E{expected[1:]}.")
    if len(named) != 1 or ("change" in spec and named[0] in _FIXED):
        raise ValueError(f"A counterfactual must change one thing, got {dict(spec)!r}; {expected}.")
    change = spec.get("change", KEEP)
    if change != KEEP and (
        isinstance(change, bool) or not isinstance(change, int | float) or not math.isfinite(change)
    ):
        raise ValueError(f"change must be a number that is added to the rating, or 'keep', got {change!r}.")
    value = spec[named[0]]
    try:
        return _FIXED[named[0]](value) if named[0] in _FIXED else _CHANGING[named[0]](value, change)
    except TypeError as error:
        raise ValueError(f"{named[0]}: {error}") from error


def _word_pairs(pairs: str | Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(pairs, str):
        return pairs
    if pairs not in WORD_PAIRS:
        raise ValueError(f"There is no list of word pairs {pairs!r}.{nearest(pairs, WORD_PAIRS)}")
    return WORD_PAIRS[pairs]


def _called(pairs: str | Mapping[str, str]) -> str:
    return pairs if isinstance(pairs, str) else f"{len(pairs)} pairs of words"


_FIXED: dict[str, Callable[[Any], Counterfactual]] = {"exchange": exchange, "oppose": oppose}
_CHANGING: dict[str, Callable[[Any, Any], Counterfactual]] = {"put_in": put_in, "take_out": take_out, "cut": cut}
