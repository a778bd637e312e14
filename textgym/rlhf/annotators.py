"""What a loop asks of its annotators, whoever they are, and what it gets."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from textgym.feedback.tables import Preference

# prompt, completion, rating, rater and, where there is one, comment: a row of `textgym.rewards.learned.read_feedback`.
RatingRow: TypeAlias = Mapping[str, Any]
# prompt, chosen, rejected and, where there is one, rater: the other row that it reads.
PreferenceRow: TypeAlias = Mapping[str, Any]
# prompt, completion_a, completion_b, preference ("a", "b", "tie" or "both_bad") and rater: what one rater says of two.
ComparisonRow: TypeAlias = Mapping[str, Any]


class Text(NamedTuple):
    """A prompt and what was written after it."""

    prompt: str
    completion: str


class Pair(NamedTuple):
    """A prompt and two texts that were written after it."""

    prompt: str
    completion_a: str
    completion_b: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Pair":
        """Return the pair that a row is about, whatever else it says."""
        return cls(*(row[name] for name in cls._fields))

    def compared(self, preference: Preference, rater: str) -> ComparisonRow:
        """Return what a rater says of this pair."""
        return {**self._asdict(), "preference": preference, "rater": rater}


def preferences_of(rows: Iterable[ComparisonRow]) -> list[PreferenceRow]:
    """Return what a reward model learns from comparisons: of a tie, or of two bad completions, nothing."""
    preferences: list[PreferenceRow] = []
    for row in rows:
        texts = Pair.of(row)[1:]
        if row["preference"] in ("a", "b"):
            chosen, rejected = texts if row["preference"] == "a" else texts[::-1]
            said = {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, "rater": row["rater"]}
            preferences.append(said)
    return preferences


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

    def compare(self, pairs: Sequence[Pair], seed: int) -> list[ComparisonRow]:
        """Return what each rater says of each of N pairs, ties as well. Raises as `rate` does."""
        ...

    def true_scores(self, texts: Sequence[Text]) -> list[float] | None:
        """Return what the annotators would say of each of N texts on the average; None where nobody knows."""
        ...
