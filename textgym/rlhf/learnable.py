"""Which answers a reward model can learn from, and what can be done where it learns nothing from them."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from textgym.feedback.places import hide_password
from textgym.rewards.learned import FeedbackError
from textgym.shell_words import as_typed

from .annotator_settings import AnnotatorSettings, CommandAnnotators, PeopleAnnotators, RewardAnnotators
from .annotators import subject_of

TEXTS = ("prompt", "completion", "chosen", "rejected")


class UnlearnableFeedbackError(ValueError):
    """A reward model cannot learn from a round's feedback; says what can be done, and the loop stays where it was."""


def without_twins(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the ratings and preferences that are of different texts to a reader.

    A language model writes texts that differ in the white space around them alone. Of such twins, where somebody was
    asked about both, the first answer counts; no preference is left between the two.
    """
    kept: dict[Hashable, Hashable] = {_stripped(row): subject_of(row) for row in reversed(rows)}
    return [
        row
        for row in rows
        if kept[_stripped(row)] == subject_of(row)
        and ("chosen" not in row or row["chosen"].strip() != row["rejected"].strip())
    ]


def _stripped(row: Mapping[str, Any]) -> Hashable:
    return subject_of({**row, **{name: row[name].strip() for name in TEXTS if name in row}})


def explain(
    error: ValueError, number: int, said: tuple[int, int], chosen: AnnotatorSettings, store: str, command: str
) -> str:
    """Say why a round's reward model learns nothing, and what can be done.

    Args:
        error: What the reward model says.
        number: The round's.
        said: How many ratings and how many preferences there are so far.
        chosen: Who rates.
        store: Where people's feedback store is.
        command: What goes on with the loop.
    """
    problem = str(error)
    if isinstance(error, FeedbackError) and error.bad_rows:
        problem = f"{len(error.bad_rows)} of the answers cannot be used; the first {error.bad_rows[0].problem}."
    remedies = []
    if isinstance(chosen, PeopleAnnotators):
        remedies.append(f"change answers at the page (textgym label {as_typed(hide_password(store))})")
        if chosen.enough < 1:
            remedies.append(f"have more rated: raise annotators.people.enough, now {chosen.enough:g}")
    elif isinstance(chosen, CommandAnnotators):
        remedies.append("mend the annotators' command, which is then asked again")
    elif isinstance(chosen, RewardAnnotators):
        remedies.append("mend the annotators' reward, which is then asked again")
    if number == 1:
        remedies.append("change reward_model in the settings: another kind, other arguments, or ratings to begin with")
    elif not remedies:
        remedies.append("begin another loop")
    return (
        f"The reward model of round {number} cannot learn from {said[0]:,} ratings and {said[1]:,} preferences. "
        f"{problem}\n{_capital('; or '.join(remedies))}.\nThen go on by: {command}"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
