"""What people have said in chats, as a loop's reward model learns from it: scores as ratings, rewritings as better."""

from collections.abc import Mapping
from typing import Any

from textgym.feedback.chat_judgements import rated_answers, rewritten_answers
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Project

from .annotators import subject_of


def read_chats(place: str, *, as_pairs: bool) -> list[Mapping[str, Any]]:
    """Return what people have said so far of answers in the chats of a store.

    Args:
        place: The store; it must be there.
        as_pairs: A rewriting is a preference, before the answer that was rewritten; else it is rated with the best
            score of the store's scale, for models that learn from ratings alone.

    Returns:
        Rows of `textgym.rewards.learned.read_feedback`, one a subject; `said` is "score" or "rewriting". Where somebody
        judges the same answer to the same words again, the last judgement counts, and a score before a rewriting's.
    """
    store = FeedbackStore(place, must_exist=True)
    try:
        with store.reading() as session:
            best = session.get_one(Project, 1).most_score
            rows: list[Mapping[str, Any]] = []
            for one in rewritten_answers(session):
                row = {"prompt": one.context, "rater": one.rater, "said": "rewriting"}
                if not as_pairs:
                    rows.append({**row, "completion": one.rewriting, "rating": best})
                elif one.answer.strip():
                    rows.append({**row, "chosen": one.rewriting, "rejected": one.answer})
            rows += [
                {"prompt": one.context, "completion": one.answer, "rating": one.score, "rater": one.rater,
                 "said": "score"}
                for one in rated_answers(session)
            ]  # fmt: skip
    finally:
        store.close()
    return list({subject_of(row): row for row in rows}.values())
