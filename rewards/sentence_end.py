"""A reward for completions that end where a sentence ends."""

from collections.abc import Sequence
from typing import Any

from .function import RewardFunction
from .registry import register_reward

# Latin, Chinese and Japanese, Arabic and Urdu, Devanagari, Armenian, Ethiopic, Burmese and Khmer.
_ENDS = frozenset(".!?…。！？｡．؟۔।॥։።။។")
_CLOSING = "\"'”’»›)]}）】〕〉》」』］｝＂＇*_`"


@register_reward("ends_sentence")
class EndsSentence(RewardFunction):
    """1 where the completion ends with the end of a sentence, else 0; `EndsSentence() - 1` is a penalty for no end.

    An end is a full stop, exclamation or question mark, or ellipsis, in Latin, Chinese and other scripts; quotation
    marks, brackets and white space may follow it. An empty completion has no end.

    >>> reward = EndsSentence()
    >>> reward(prompts=["It"] * 4, completions=["was (so) good.", "was 'good!'", "很好。”", "was good, but"])
    [1.0, 1.0, 1.0, 0.0]

    Args:
        name: Name of the term; None for "ends_sentence".
    """

    declared_range = (0.0, 1.0)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return 1 for each completion that ends with a sentence, 0 for any other."""
        return [float(_last_character(text) in _ENDS) for text in completions]


def _last_character(text: str) -> str:
    """Return the last character besides white space, quotation marks and brackets."""
    stripped = text.rstrip()
    while stripped and stripped[-1] in _CLOSING:
        stripped = stripped.rstrip(_CLOSING).rstrip()
    return stripped[-1:]
