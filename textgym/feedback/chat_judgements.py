"""What people made of a model's answers in chats: scores as ratings, rewritings as preferences and demonstrations."""

from typing import NamedTuple

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from .tables import Annotator, Chat, Turn


class RatedAnswer(NamedTuple):
    """A model's answer with a person's score; `context` is the text that the model went on with."""

    context: str
    answer: str
    score: int
    rater: str


class RewrittenAnswer(NamedTuple):
    """A model's answer, and what a person would have had in its place."""

    context: str
    answer: str
    rewriting: str
    rater: str


def rated_answers(session: Session) -> list[RatedAnswer]:
    """Return the scores of answers, in the order in which they were written.

    Where the model has given one person the same answer again, what was said of it last counts. An answer that says
    nothing is left out, since there is no text to be rated.
    """
    said: dict[tuple[str, str, str], RatedAnswer] = {}
    for turn, rater in session.execute(_judged()):
        if turn.score is not None and turn.answer.strip():
            key = (turn.context, turn.answer, rater)
            said.pop(key, None)
            said[key] = RatedAnswer(turn.context, turn.answer, turn.score, rater)
    return list(said.values())


def rewritten_answers(session: Session) -> list[RewrittenAnswer]:
    """Return the answers that were rewritten to another text, likewise; one that says nothing can be rewritten, too."""
    said: dict[tuple[str, frozenset[str], str], RewrittenAnswer] = {}
    for turn, rater in session.execute(_judged()):
        if turn.rewriting is not None and turn.rewriting != turn.answer:
            # One text for the other and later the other for the one: of the two only the last can be meant.
            key = (turn.context, frozenset((turn.answer, turn.rewriting)), rater)
            said.pop(key, None)
            said[key] = RewrittenAnswer(turn.context, turn.answer, turn.rewriting, rater)
    return list(said.values())


def demonstrations(session: Session) -> list[tuple[str, str]]:
    """Return contexts and answers as people have rewritten them, in order."""
    return [(turn.context, turn.rewriting) for turn, _ in session.execute(_judged()) if turn.rewriting is not None]


def _judged() -> Select[Turn, str]:
    is_judged = or_(Turn.score.is_not(None), Turn.rewriting.is_not(None))
    return select(Turn, Annotator.name).select_from(Turn).join(Chat).join(Annotator).where(is_judged).order_by(Turn.id)
