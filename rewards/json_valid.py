"""A reward for completions that are JSON."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from .arguments import check_texts
from .function import RewardFunction
from .registry import register_reward

_WHITE_SPACE = " \t\n\r"
_BEGINNINGS = frozenset('{["-0123456789tfn')


@register_reward("json_valid")
class JsonValid(RewardFunction):
    """1 where the completion is JSON, else 0; with keys, the share of them that a JSON object has.

    White space around it is allowed, anything else is not, and neither are NaN and Infinity, which are no JSON.

    >>> JsonValid()(prompts=["Answer:"] * 3, completions=[' {"a": 1}', "[1, 2", "{'a': 1}"])
    [1.0, 0.0, 0.0]
    >>> JsonValid(["name", "age"])(prompts=["Answer:"] * 2, completions=['{"name": "Ada"}', "[1, 2]"])
    [0.5, 0.0]

    Args:
        keys: Keys that the object should have; none for any JSON.
        name: Name of the term; None for "json_valid".

    Raises:
        TypeError: If `keys` is not a list of texts.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, keys: Sequence[str] = (), *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_texts("keys", keys)
        self.keys = tuple(keys)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's score, 0 to 1."""
        return [self._score(text) for text in completions]

    def _score(self, text: str) -> float:
        # Most texts begin as no JSON does, and an exception costs ten times this look.
        if text.lstrip(_WHITE_SPACE)[:1] not in _BEGINNINGS:
            return 0.0
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):  # the latter for thousands of brackets within brackets
            return 0.0
        if not self.keys:
            return 1.0
        return sum(key in data for key in self.keys) / len(self.keys) if isinstance(data, dict) else 0.0


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
