"""Ratings in a file: which rows of it, and what it calls its columns."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.joining import text_key
from textgym.training.declaring import PlainData, Settings, setting

if TYPE_CHECKING:
    from textgym.rewards.learned import Feedback, Preference, Rating, Split


@dataclass(frozen=True)
class RatingsFile(Settings):
    """A file of ratings, as `textgym.rewards.learned.read_feedback` reads it."""

    file: str | None = setting(None, "A .jsonl, .csv or .tsv file; null for none.")
    columns: PlainData = setting(None, "What it calls a field: {completion: text}.")  # noqa: RUF009 (a field)
    only: PlainData = setting(None, "Take the rows that have these values: {domain: movie}.")  # noqa: RUF009

    def __post_init__(self) -> None:
        """Check that what belongs to the file is a mapping."""
        super().__post_init__()
        for name in ("columns", "only"):
            if not isinstance(getattr(self, name), Mapping | None):
                raise ValueError(f"ratings.{name} must be a mapping, got {getattr(self, name)!r}.")

    def read(self) -> "Feedback":
        """Read the file; without one there is no feedback.

        Raises:
            ValueError: If a row cannot be used.
            FileNotFoundError: If there is no such file.
        """
        from textgym.rewards.learned import Feedback, read_feedback

        if self.file is None:
            return Feedback()
        return read_feedback(self.file, columns=self.columns, only=self.only)


def split_by_hash(feedback: "Feedback", share: float) -> "Split":
    """Split feedback by a hash of its texts, so that a rated text, or a pair, is on the same side wherever it is found.

    Args:
        feedback: Ratings and preferences.
        share: Nearly that share of either is on the first side.

    Returns:
        The first side as `training`, the other as `held_out`.
    """
    from textgym.rewards.learned import Feedback, Split

    sides = [
        Feedback(
            tuple(one for one in feedback.ratings if (hash_of(one) < share) == is_first),
            tuple(one for one in feedback.preferences if (hash_of(one) < share) == is_first),
        )
        for is_first in (True, False)
    ]
    return Split(*sides)


def hash_of(one: "Rating | Preference") -> float:
    """Return a number from 0 to 1 that the text decides, or the two of a pair.

    Case, white space, and where the prompt ends and the completion begins make no difference.
    """
    from textgym.rewards.learned import Rating

    completions = [one.completion] if isinstance(one, Rating) else [one.chosen, one.rejected]
    text = "\n".join(sorted(text_key(one.prompt, completion) for completion in completions))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
