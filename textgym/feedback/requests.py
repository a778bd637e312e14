"""What the page sends and gets: the bodies of requests and answers."""

from typing import Annotated, Any, TypeAlias

from pydantic import AwareDatetime, BaseModel, Field

from .chats import ChatStep, TurnJudgement
from .judgements import LONGEST_TEXT, Choice, Reason, what_was_said
from .queue import Progress
from .tables import LARGEST_INTEGER, Assignment, Chat, Quality, Turn

# A number that a column holds; a larger one is no number of anything.
Number: TypeAlias = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]


class SignInBody(BaseModel):
    """A name, and a password where one is needed."""

    name: str = Field(max_length=200)
    password: str = Field(default="", max_length=200)


class RatingBody(BaseModel):
    """What is said of one completion."""

    assignment: Number
    score: Number | None = None
    quality: Quality | None = None
    comment: str = Field(default="", max_length=LONGEST_TEXT)


class ComparisonBody(BaseModel):
    """Which of two completions is preferred."""

    assignment: Number
    choice: Choice
    sureness: Number | None = None
    comment: str = Field(default="", max_length=LONGEST_TEXT)


class SkipBody(BaseModel):
    """Why an item is not judged."""

    assignment: Number
    reason: Reason
    comment: str = Field(default="", max_length=LONGEST_TEXT)


class UndoBody(BaseModel):
    """Which judgement is taken back; none where the page knows of none."""

    assignment: Number | None


class SayBody(BaseModel):
    """What is said to the model."""

    chat: Number
    number: Number
    said: str = Field(max_length=LONGEST_TEXT)


class TurnBody(BaseModel):
    """What is made of an answer; what is left out stays as it was."""

    turn: Number
    created_at: AwareDatetime | None = None
    score: Number | None = None
    rewriting: str | None = Field(default=None, max_length=LONGEST_TEXT)

    def judgement(self) -> TurnJudgement:
        """Return what was given."""
        given: TurnJudgement = {}
        if "score" in self.model_fields_set:
            given["score"] = self.score
        if "rewriting" in self.model_fields_set:
            given["rewriting"] = self.rewriting
        return given


class CloseBody(BaseModel):
    """Which conversation is over."""

    chat: Number


class ChatSkipBody(BaseModel):
    """Why a conversation's subject is passed by."""

    chat: Number
    reason: Reason
    comment: str = Field(default="", max_length=LONGEST_TEXT)


class ChatUndoBody(BaseModel):
    """Which step of a conversation is taken back."""

    chat: Number
    what: ChatStep
    turn: Number | None = None
    created_at: AwareDatetime | None = None


def item_answer(assignment: Assignment | None, progress: Progress, undoable: Assignment | None) -> dict[str, Any]:
    """Return an item as the page shows it: texts in the order in which they stand, and never whether it is a check.

    Args:
        assignment: The item; None where nothing is left.
        progress: How far the person has come.
        undoable: What undo would take back. What was said of it goes along, so that the page has put it by before the
            store loses it.
    """
    said = None if undoable is None else what_was_said(undoable)
    answer: dict[str, Any] = {
        "assignment": None, "progress": progress._asdict(), "undoable": None if undoable is None else undoable.id,
        "undoable_said": None if said is None else vars(said),
    }  # fmt: skip
    if assignment is None:
        return answer
    item = assignment.item
    texts = [item.completion_a, item.completion_b] if item.kind == "compare" else [item.completion_a]
    answer |= {"assignment": assignment.id, "prompt": item.prompt}
    answer["completions"] = texts[::-1] if assignment.is_swapped else texts
    return answer


def turn_answer(turn: Turn) -> dict[str, Any]:
    """Return a turn as the page shows it."""
    names = ("id", "number", "said", "answer", "score", "rewriting")
    return {name: getattr(turn, name) for name in names} | {"created_at": turn.created_at.isoformat()}


def chat_answer(chat: Chat, progress: Progress) -> dict[str, Any]:
    """Return a conversation as the page shows it."""
    subject = chat.assignment.item.prompt if chat.assignment is not None else ""
    turns = [turn_answer(turn) for turn in chat.turns]
    return {"chat": chat.id, "subject": subject, "turns": turns, "progress": progress._asdict()}
