"""What a loop asks of its annotators, whoever they are, and what it gets."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

# prompt, completion, rating, rater and, where there is one, comment: a row of `textgym.rewards.learned.read_feedback`.
RatingRow: TypeAlias = Mapping[str, Any]
# prompt, chosen, rejected and, where there is one, rater: the other row that it reads.
PreferenceRow: TypeAlias = Mapping[str, Any]


class Text(NamedTuple):
    """A prompt and what was written after it."""

    prompt: str
    completion: str


class Pair(NamedTuple):
    """A prompt and two texts that were written after it."""

    prompt: str
    completion_a: str
    completion_b: str

    def preferred(self, first: bool, rater: str = "") -> PreferenceRow:
        """Return that the first completion is the better one, or else the second."""
        chosen, rejected = self[1:] if first else self[:0:-1]
        return {"prompt": self.prompt, "chosen": chosen, "rejected": rejected, "rater": rater}


def subject_of(row: Mapping[str, Any]) -> Hashable:
    """Return what a row judges and by whom: two of one subject that differ would contradict each other."""
    judged = frozenset((row["chosen"], row["rejected"])) if "chosen" in row else row["completion"]
    return row["prompt"], judged, row.get("rater")


class WaitingForPeople(Exception):  # noqa: N818 (not an error)
    """There are not enough ratings yet; says how to give them, and how to go on."""


class AnnotatorsError(Exception):
    """Annotators have failed, or said what cannot be used; the loop stays where it was."""


class Annotators(Protocol):
    """Who rates completions."""

    def describe(self) -> str:
        """Return who they are, in a few words."""
        ...

    def rate(self, texts: Sequence[Text], seed: int) -> list[RatingRow]:
        """Return the ratings of N texts, at least one rating of each unless people skip some.

        Args:
            texts: Length N, all different.
            seed: Decides what is drawn.

        Raises:
            WaitingForPeople: If people have not said enough.
            AnnotatorsError: If a command fails, or says what cannot be used.
        """
        ...

    def compare(self, pairs: Sequence[Pair], seed: int) -> list[PreferenceRow]:
        """Return which completions of N pairs are preferred; a tie is no row. Raises as `rate` does."""
        ...

    def true_scores(self, texts: Sequence[Text]) -> list[float] | None:
        """Return what the annotators would say of each of N texts on the average; None where nobody knows."""
        ...
