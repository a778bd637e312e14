"""A reward for what a regular expression finds."""

import re
from collections.abc import Sequence
from typing import Any

from .arguments import check_flag, check_text
from .function import RewardFunction
from .registry import register_reward


@register_reward("regex")
class Regex(RewardFunction):
    r"""1 where a regular expression matches the completion, else 0.

    >>> Regex(r"\d{4}-\d{2}-\d{2}")(prompts=["On", "On"], completions=["2024-05-01 it rained", "that day it rained"])
    [1.0, 0.0]

    Args:
        pattern: In the syntax of Python's `re`; `(?i)` at its beginning ignores case, `(?s)` lets `.` match a line's
            end. One with nested repetitions, such as `(a+)+b`, can take very long on a text that nearly matches.
        whole: Whether the whole completion has to match, without white space at its ends, rather than a part of it.
        name: Name of the term; None for "regex".

    Raises:
        ValueError: If the pattern is no regular expression.
        TypeError: If it is not a text, or `whole` is neither True nor False.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, pattern: str, whole: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_text("pattern", pattern)
        check_flag("whole", whole)
        try:
            self._compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"The pattern {pattern!r} is no regular expression: {error}.") from error
        self.pattern = pattern
        self.whole = whole

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return 1 for each completion that matches, 0 for any other."""
        if self.whole:
            return [float(self._compiled.fullmatch(text.strip()) is not None) for text in completions]
        return [float(self._compiled.search(text) is not None) for text in completions]
