"""A reward for the right answer, which stands in a column of the prompts."""

from collections.abc import Sequence
from typing import Any

from .arguments import check_flag, check_text
from .function import RewardFunction
from .registry import register_reward


@register_reward("answer_match")
class AnswerMatch(RewardFunction):
    """1 where the completion is the prompt's answer, else 0; or the share of it that is right.

    White space at both ends does not count. With `partial`, a completion gets the number of places at which it has the
    answer's character, divided by the length of the longer of the two; it is 1 for the answer alone.

    >>> rows = {"prompts": ["6*7=", "6*7=", "6*7="], "completions": ["42", "4", "420"], "answer": ["42"] * 3}
    >>> AnswerMatch()(**rows), AnswerMatch(partial=True)(**rows)
    ([1.0, 0.0, 0.0], [1.0, 0.5, 0.6666666666666666])

    Args:
        partial: Whether a part of the answer is worth a part.
        column: Column of the prompts that holds the answers; None in it is a prompt that this reward leaves out.
        name: Name of the term; None for "answer_match".

    Raises:
        TypeError: If an argument is of the wrong type.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, *, partial: bool = False, column: str = "answer", name: str | None = None) -> None:
        super().__init__(name=name)
        check_flag("partial", partial)
        check_text("column", column)
        self.partial = partial
        self.column = column

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        """Return each completion's score, 0 to 1.

        Raises:
            ValueError: If the prompts have no such column.
            TypeError: If an answer is not text.
        """
        if self.column not in columns:
            raise ValueError(
                f"AnswerMatch needs the column {self.column!r} beside each prompt, as in "
                f'{{"prompt": "6*7=", {self.column!r}: "42"}}.'
            )
        return [self._score(text, answer) for text, answer in zip(completions, columns[self.column], strict=True)]

    def _score(self, completion: str, answer: object) -> float | None:
        if answer is None:
            return None
        if not isinstance(answer, str):
            raise TypeError(f"AnswerMatch needs answers of text, got {answer!r} of type {type(answer).__name__}.")
        text, expected = completion.strip(), answer.strip()
        if not self.partial or text == expected:
            return float(text == expected)
        n_right = sum(given == right for given, right in zip(text, expected, strict=False))
        return n_right / max(len(text), len(expected))
