"""A prompt and what follows it as one text: a space is put where two words would otherwise run together."""

import re
import unicodedata
from collections.abc import Sequence

from .unspaced_scripts import BURMESE, CHINESE_AND_JAPANESE, KHMER, THAI_AND_LAO

_UNSPACED = re.compile(f"[{CHINESE_AND_JAPANESE}{THAI_AND_LAO}{BURMESE}{KHMER}]")


def join_text(prompt: str, completion: str) -> str:
    """Return what a person reads: the prompt and its completion, with a space where two words would run together.

    A language model's completion brings its space along, one in a table of TRL's style, or one that a person types,
    does not; all are read alike. No space is put next to one that is there, in scripts that have none, before
    punctuation, or after an opening bracket. The price: a completion that goes on within a word ("The film", "s") is
    read as a word of its own.

    >>> join_text("The film", "was a joy"), join_text("The film", " was a joy"), join_text("The film", ", a joy")
    ('The film was a joy', 'The film was a joy', 'The film, a joy')
    >>> join_text("Was it good?", "Yes"), join_text("这部电影", "很好"), join_text("", "A joy")
    ('Was it good? Yes', '这部电影很好', 'A joy')
    """
    return prompt + spaced(prompt, completion)


def join_texts(prompts: Sequence[str], completions: Sequence[str]) -> list[str]:
    """Return the texts of N prompts and completions, length N; see `join_text`."""
    return [join_text(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]


def spaced(prompt: str, completion: str) -> str:
    """Return a completion as it follows the prompt: with a space before it where `join_text` puts one.

    >>> spaced("The film", "was dull."), spaced("天气", "很好"), spaced("It ends. ", "So")
    (' was dull.', '很好', 'So')
    """
    if not prompt or not completion or _is_unspaced(prompt[-1]) or _is_unspaced(completion[0]):
        return completion
    return f" {completion}" if _ends_word(prompt[-1]) and _begins_word(completion[0]) else completion


def text_key(prompt: str, completion: str) -> str:
    """Return what texts share that are one text to a reader: joined, whatever their case and white space.

    >>> text_key("The film", "was  dull") == text_key("THE FILM was", " dull") == "the film was dull"
    True
    """
    return " ".join(join_text(prompt, completion).casefold().split())


def _is_unspaced(character: str) -> bool:
    """Tell whether a character belongs to a script without spaces, as also the wide punctuation of these does."""
    is_wide_punctuation = unicodedata.category(character)[0] in "PS" and unicodedata.east_asian_width(character) in "WF"
    return is_wide_punctuation or _UNSPACED.match(character) is not None


def _ends_word(character: str) -> bool:
    """Tell whether a word, a bracket, a quotation or a sentence ends with this character."""
    category = unicodedata.category(character)
    return category[0] in "LMN" or category in {"Pe", "Pf"} or character in ".,;:!?…%"


def _begins_word(character: str) -> bool:
    """Tell whether a word, a bracket or a quotation begins with this character."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category in {"Ps", "Pi"}
