"""What a person says of an item: written once, said again without doubling, skipped with a reason, taken back."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from .queue import give_up_place, hold_person, keep_place, take_place_again
from .store import utc_now
from .tables import Assignment, Comparison, Item, Kind, Preference, Project, Quality, Rating, Skip

Choice: TypeAlias = Literal["left", "right", "tie", "both_bad"]
Reason: TypeAlias = Literal["unclear", "language", "offensive", "expertise", "other"]
LONGEST_TEXT = 20_000
QUALITY_VALUES: dict[Quality, float] = {"good": 1.0, "fair": 0.0, "bad": -1.0}
SURENESS = (1, 2, 3)


class StateError(ValueError):
    """What a person asks for does not fit what was said before."""


@dataclass(frozen=True)
class RatingAnswer:
    """What a person says of one completion: a score, a quality, or both.

    Attributes:
        score: On the project's scale.
        quality: In a word.
        comment: Freely.
    """

    score: int | None = None
    quality: Quality | None = None
    comment: str = ""


@dataclass(frozen=True)
class ComparisonAnswer:
    """Which of two completions a person prefers.

    Attributes:
        choice: The side that it was shown on, or neither.
        sureness: 1 (a guess) to 3 (sure); None where nothing was said.
        comment: Freely.
    """

    choice: Choice
    sureness: int | None = None
    comment: str = ""


def rate(session: Session, annotator_id: int, assignment_id: int, answer: RatingAnswer) -> Assignment:
    """Write what a person says of a completion; what was said of it before is replaced.

    Raises:
        ValueError: If the answer is not one, or this person was not given this item.
        StateError: If the item was skipped.
    """
    assignment = _own(session, annotator_id, assignment_id, "rate")
    project = session.get_one(Project, 1)
    if answer.score is None and answer.quality is None:
        raise ValueError("a rating needs a score or a quality, got neither.")
    if answer.score is not None and not project.least_score <= answer.score <= project.most_score:
        raise ValueError(f"score must be {project.least_score} to {project.most_score}, got {answer.score}.")
    if answer.quality is not None and answer.quality not in get_args(Quality):
        raise ValueError(f"quality must be one of {', '.join(get_args(Quality))}, got {answer.quality!r}.")
    found = assignment.rating or Rating()
    found.score, found.quality, found.comment = answer.score, answer.quality, check_text(answer.comment)
    assignment.rating = found
    return _decide(session, assignment)


def compare(session: Session, annotator_id: int, assignment_id: int, answer: ComparisonAnswer) -> Assignment:
    """Write which completion a person prefers; what was said before is replaced.

    Raises:
        ValueError: If the answer is not one, or this person was not given this item.
        StateError: If the item was skipped.
    """
    assignment = _own(session, annotator_id, assignment_id, "compare")
    if answer.choice not in get_args(Choice):
        raise ValueError(f"choice must be one of {', '.join(get_args(Choice))}, got {answer.choice!r}.")
    if answer.sureness is not None and answer.sureness not in SURENESS:
        raise ValueError(f"sureness must be 1, 2 or 3, got {answer.sureness}.")
    found = assignment.comparison or Comparison()
    found.preference = to_preference(answer.choice, assignment.is_swapped)
    found.sureness, found.comment = answer.sureness, check_text(answer.comment)
    assignment.comparison = found
    return _decide(session, assignment)


def skip(session: Session, annotator_id: int, assignment_id: int, reason: Reason, comment: str = "") -> Assignment:
    """Write that a person does not judge an item, and why; their place goes to somebody else.

    Raises:
        ValueError: If the reason is unknown, or this person was not given this item.
        StateError: If the item was judged already.
    """
    assignment = _own(session, annotator_id, assignment_id)
    if reason not in get_args(Reason):
        raise ValueError(f"reason must be one of {', '.join(get_args(Reason))}, got {reason!r}.")
    if assignment.state == "decided":
        raise StateError("This item was judged already; undo that first.")
    assignment.skip = assignment.skip or Skip()
    assignment.skip.reason, assignment.skip.comment = reason, check_text(comment)
    assignment.state, assignment.ended_at = "skipped", utc_now()
    give_up_place(assignment)
    session.flush()
    return assignment


def last_ended(session: Session, annotator_id: int, kind: Kind) -> Assignment | None:
    """Return the assignment that a person judged or skipped last, which is the one that undo takes back."""
    return session.scalar(
        select(Assignment)
        .join(Item)
        .where(Assignment.annotator_id == annotator_id, Item.kind == kind, Assignment.state != "open")
        .order_by(Assignment.ended_at.desc(), Assignment.id.desc())
        .limit(1)
    )


def undo(session: Session, annotator_id: int, assignment_id: int) -> Assignment:
    """Take back what a person said of an item, and lay it open before them again; said twice, it is done once.

    Args:
        session: A writing session.
        annotator_id: The person.
        assignment_id: What they judged or skipped.

    Returns:
        What lies open again.

    Raises:
        ValueError: If this person was not given this item.
        StateError: If the item was skipped, and enough others have it now.
    """
    assignment = _own(session, annotator_id, assignment_id)
    if assignment.state == "skipped" and not take_place_again(session, assignment):
        raise StateError("What you skipped has gone to somebody else.")
    assignment.rating = assignment.comparison = assignment.skip = None
    assignment.state, assignment.given_at, assignment.ended_at = "open", utc_now(), None
    session.flush()
    return assignment


def what_was_said(assignment: Assignment) -> RatingAnswer | ComparisonAnswer | None:
    """Return a judgement as its person has made it; None where there is none."""
    if assignment.rating is not None:
        rating = assignment.rating
        return RatingAnswer(rating.score, rating.quality, rating.comment)
    if assignment.comparison is not None:
        said = assignment.comparison
        return ComparisonAnswer(to_choice(said.preference, assignment.is_swapped), said.sureness, said.comment)
    return None


def to_preference(choice: Choice, is_swapped: bool) -> Preference:
    """Return which of an item's completions stood on the chosen side; `is_swapped` says that b stood left."""
    if choice in ("tie", "both_bad"):
        return choice
    return "a" if (choice == "left") != is_swapped else "b"


def to_choice(preference: Preference, is_swapped: bool) -> Choice:
    """Return the side on which the preferred completion stands; the reverse of `to_preference`."""
    if preference in ("tie", "both_bad"):
        return preference
    return "left" if (preference == "a") != is_swapped else "right"


def word_score(quality: Quality, least_score: int, most_score: int) -> float:
    """Return what a word alone counts as on a scale: its best, middle or worst.

    >>> word_score("fair", 1, 4)
    2.5
    """
    half = (most_score - least_score) / 2
    return least_score + half + half * QUALITY_VALUES[quality]


def check_text(text: str, longest: int | None = LONGEST_TEXT) -> str:
    """Return a text that every database can keep.

    Args:
        text: The text.
        longest: Characters that it may have; None for any number.

    Raises:
        ValueError: If it is too long, or holds a NUL or half a surrogate pair.
    """
    if longest is not None and len(text) > longest:
        raise ValueError(f"a text must have at most {longest:,} characters, got {len(text):,}.")
    if "\0" in text:
        raise ValueError("a text must not hold the character NUL.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a text must be Unicode: {error}.") from error
    return text


def _own(session: Session, annotator_id: int, assignment_id: int, kind: Kind | None = None) -> Assignment:
    hold_person(session, annotator_id)
    assignment = session.get(Assignment, assignment_id, with_for_update={"of": Assignment})
    if assignment is None or assignment.annotator_id != annotator_id:
        raise ValueError(f"There is no item {assignment_id} before you.")
    if kind is not None and assignment.item.kind != kind:
        raise ValueError(f"The item before you is to {assignment.item.kind}, not to {kind}.")
    return assignment


def _decide(session: Session, assignment: Assignment) -> Assignment:
    if assignment.state == "skipped":
        raise StateError("You have skipped this item; undo that first.")
    # Sent once more after a broken connection, it keeps its place in the order of undoing.
    if assignment.state == "open":
        keep_place(session, assignment)
        assignment.state, assignment.ended_at = "decided", utc_now()
    session.flush()
    return assignment
