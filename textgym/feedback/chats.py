"""Conversations with the model: each turn is kept with the context it was written in, rated, and rewritten."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, TypedDict

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from textgym.joining import spaced

from .judgements import Reason, StateError, check_text, skip
from .queue import hold_person, keep_place, next_assignment, take_place_again
from .store import FeedbackStore, utc_now
from .tables import Assignment, Chat, Project, Turn

GONE_ON = "This conversation has gone on elsewhere; reload the page."


class Answer(NamedTuple):
    """What the model made of a conversation.

    Attributes:
        context: The text that it went on with.
        text: What it wrote.
    """

    context: str
    text: str


class Exchange(NamedTuple):
    """One turn of a conversation.

    Attributes:
        said: What the person said.
        answer: The model's answer, as the person rewrote it if they did.
    """

    said: str
    answer: str


class TurnJudgement(TypedDict, total=False):
    """What a person makes of an answer; what is not in it stays as it was.

    Attributes:
        score: On the project's scale; None takes it back.
        rewriting: A text that would have been better; None takes it back.
    """

    score: int | None
    rewriting: str | None


ChatStep: TypeAlias = Literal["judgement", "turn", "close"]
# From the conversation so far, and what is said now.
Answerer: TypeAlias = Callable[[list[Exchange], str], Answer]


def open_chat(session: Session, annotator_id: int, model: str) -> Chat:
    """Return the conversation that a person is in, else begin one, on the subject of an item where there is one."""
    # Two tabs of one person are answered one after the other, and are in one conversation.
    hold_person(session, annotator_id)
    found = session.scalar(_open(annotator_id))
    if found is not None:
        return found
    assignment = next_assignment(session, annotator_id, "chat")
    chat = Chat(annotator_id=annotator_id, assignment=assignment, model=model, started_at=utc_now(), turns=[])
    session.add(chat)
    session.flush()
    return chat


def say(store: FeedbackStore, annotator_id: int, chat_id: int, number: int, said: str, answerer: Answerer) -> Turn:
    """Say something and have it answered; said again after a broken connection, it is answered as before.

    No transaction is open while the model writes.

    Args:
        store: Where the conversation is.
        annotator_id: The person.
        chat_id: The conversation.
        number: The turn's, from 0; tells something said again from something new.
        said: What is said.
        answerer: The model.

    Raises:
        ValueError: If there is nothing said, or it is not this person's conversation.
        StateError: If the conversation is over, or has gone on in another window.
    """
    if not check_text(said).strip():
        raise ValueError("say something first.")
    with store.reading() as session:
        chat = _own(session, annotator_id, chat_id)
        known = _find(chat, number, said)
        if known is not None:
            return known
        exchanges = _exchanges(chat)
    answer = answerer(exchanges, said)
    with store.writing() as session:
        chat = _own(session, annotator_id, chat_id, is_locked=True)
        known = _find(chat, number, said)
        if known is not None:
            return known
        if _exchanges(chat) != exchanges:
            raise StateError(GONE_ON)
        context, text = (one.replace("\0", "\N{REPLACEMENT CHARACTER}") for one in answer)
        turn = Turn(chat_id=chat_id, number=number, said=said, context=context, answer=text, created_at=utc_now())
        session.add(turn)
        if chat.assignment is not None:
            # Its subject is not left lying.
            chat.assignment.given_at = utc_now()
        session.flush()
        return turn


def judge_turn(
    session: Session, annotator_id: int, turn_id: int, judgement: TurnJudgement, created_at: datetime | None = None
) -> Turn:
    """Write what a person makes of an answer.

    Args:
        session: A writing session.
        annotator_id: The person.
        turn_id: The turn.
        judgement: A score, a text that would have been better, or both.
        created_at: When the answer was written that the person sees; None where that is not known.

    Raises:
        ValueError: If the score is off the scale, or it is no turn of this person's.
        StateError: If the answer was taken back, and another has its number.
    """
    hold_person(session, annotator_id)
    turn = session.get(Turn, turn_id)
    if turn is None:
        raise ValueError(f"There is no answer {turn_id}.")
    _own(session, annotator_id, turn.chat_id, is_locked=True)
    if not _is_seen(turn, created_at):
        raise StateError(GONE_ON)
    if "score" in judgement:
        score, project = judgement["score"], session.get_one(Project, 1)
        if score is not None and not project.least_score <= score <= project.most_score:
            raise ValueError(f"score must be {project.least_score} to {project.most_score}, got {score}.")
        turn.score = score
    if "rewriting" in judgement:
        rewriting = judgement["rewriting"]
        turn.rewriting = spaced(turn.context, check_text(rewriting)) if rewriting and rewriting.strip() else None
    session.flush()
    return turn


def close_chat(session: Session, annotator_id: int, chat_id: int) -> None:
    """End a conversation; the item that gave its subject is then done, if anything was said."""
    hold_person(session, annotator_id)
    chat = _own(session, annotator_id, chat_id, is_locked=True)
    if chat.ended_at is not None or not chat.turns:
        return
    chat.ended_at = utc_now()
    if chat.assignment_id is not None:
        # Read anew, since its place may have been freed meanwhile.
        locked = {"of": Assignment}
        given = session.get_one(Assignment, chat.assignment_id, with_for_update=locked, populate_existing=True)
        if given.state == "open":
            keep_place(session, given)
            given.state, given.ended_at = "decided", utc_now()
    session.flush()


def skip_chat(session: Session, annotator_id: int, chat_id: int, reason: Reason, comment: str = "") -> None:
    """End a conversation whose subject a person passes by, and write why; their place goes to somebody else.

    What was said, scored and rewritten in it is kept.

    Raises:
        ValueError: If the reason is unknown, the conversation has no subject, or it is not this person's.
        StateError: If the conversation was ended as one about its subject.
    """
    hold_person(session, annotator_id)
    chat = _own(session, annotator_id, chat_id, is_locked=True)
    if chat.assignment_id is None:
        raise ValueError("This conversation has no subject to skip; begin a new one instead.")
    skip(session, annotator_id, chat.assignment_id, reason, comment)
    chat.ended_at = chat.ended_at or utc_now()
    session.flush()


def undo_in_chat(
    session: Session,
    annotator_id: int,
    chat_id: int,
    what: ChatStep,
    turn_id: int | None = None,
    created_at: datetime | None = None,
) -> Chat:
    """Take back the last step of a conversation; taken back again after a broken connection, it changes nothing more.

    Args:
        session: A writing session.
        annotator_id: The person.
        chat_id: The conversation that the person sees.
        what: "judgement" takes score and rewriting from an answer, "turn" takes back what was said with its answer, and
            "close" goes back from a conversation in which nothing has been said to the last one, closed or skipped.
        turn_id: The turn, which must be the conversation's last; None for "close".
        created_at: When the answer was written that the person sees; None where that is not known.

    Returns:
        The conversation that the person is then in.

    Raises:
        ValueError: If it is not this person's conversation.
        StateError: If there is nothing to take back, what was skipped has gone to somebody else, or the conversation
            has gone on in another window.
    """
    hold_person(session, annotator_id)
    chat = session.scalar(_open(annotator_id).with_for_update(of=Chat))
    if what == "close":
        return _reopen(session, annotator_id, chat_id, chat)
    if chat is None or chat.id != chat_id or (turn_id is not None and chat.turns and turn_id < chat.turns[-1].id):
        _own(session, annotator_id, chat_id)
        raise StateError(GONE_ON)
    if chat.turns and chat.turns[-1].id == turn_id:
        if not _is_seen(chat.turns[-1], created_at):
            raise StateError(GONE_ON)
        if what == "judgement":
            chat.turns[-1].score = chat.turns[-1].rewriting = None
        else:
            chat.turns.pop()
        session.flush()
    return chat


def _reopen(session: Session, annotator_id: int, chat_id: int, chat: Chat | None) -> Chat:
    """Go back from an empty conversation to the last that was ended; its item, if it has one, is open again."""
    if chat is not None and chat.id != chat_id:
        return chat
    if chat is None or chat.turns:
        _own(session, annotator_id, chat_id)
        raise StateError(GONE_ON)
    closed = select(Chat).where(Chat.annotator_id == annotator_id, Chat.ended_at.is_not(None))
    last = session.scalar(closed.order_by(Chat.ended_at.desc(), Chat.id.desc()).limit(1).with_for_update(of=Chat))
    if last is None:
        raise StateError("There is nothing to undo.")
    # A person is in one conversation at a time: the empty one goes before the other is opened.
    session.delete(chat)
    session.flush()
    last.ended_at = None
    given = last.assignment
    if given is not None and given.state != "open":
        if given.state == "skipped" and not take_place_again(session, given):
            raise StateError("What you skipped has gone to somebody else.")
        given.state, given.given_at, given.ended_at, given.skip = "open", utc_now(), None, None
    session.flush()
    return last


def _find(chat: Chat, number: int, said: str) -> Turn | None:
    """Return the turn that says this in this place; None where it would be the next.

    Raises:
        StateError: If it would not, or the conversation is over.
    """
    for turn in chat.turns:
        if turn.number == number and turn.said == said:
            return turn
    n_said = chat.turns[-1].number + 1 if chat.turns else 0
    if chat.ended_at is not None or number != n_said:
        raise StateError(GONE_ON)
    return None


def _exchanges(chat: Chat) -> list[Exchange]:
    return [Exchange(turn.said, _text(turn)) for turn in chat.turns]


def _is_seen(turn: Turn, created_at: datetime | None) -> bool:
    """Tell whether a turn is what a person sees: in SQLite the one after it has its number, once it is taken back."""
    return created_at is None or turn.created_at == created_at


def _text(turn: Turn) -> str:
    return turn.answer if turn.rewriting is None else turn.rewriting


def _open(annotator_id: int) -> Select[Chat]:
    mine = select(Chat).where(Chat.annotator_id == annotator_id, Chat.ended_at.is_(None))
    return mine.options(selectinload(Chat.turns), selectinload(Chat.assignment).selectinload(Assignment.item))


def _own(session: Session, annotator_id: int, chat_id: int, *, is_locked: bool = False) -> Chat:
    chosen = select(Chat).where(Chat.id == chat_id).options(selectinload(Chat.turns))
    chat = session.scalar(chosen.with_for_update(of=Chat) if is_locked else chosen)
    if chat is None or chat.annotator_id != annotator_id:
        raise ValueError(f"There is no conversation {chat_id} of yours.")
    return chat
