"""The tables of a feedback store: items, the people who judge them, who was given what, and what was said."""

from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

Kind: TypeAlias = Literal["rate", "compare", "chat"]
KINDS: tuple[Kind, ...] = ("rate", "compare", "chat")
Quality: TypeAlias = Literal["good", "fair", "bad"]
Preference: TypeAlias = Literal["a", "b", "tie", "both_bad"]
# What a column of whole numbers holds in every database.
LARGEST_INTEGER = 2**31 - 1


class UtcDateTime(TypeDecorator[datetime]):
    """A moment; SQLite forgets time zones, so that one is kept for every database: UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what is stored."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return what was stored, with its time zone."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """The base of all tables; constraints have names that every database gives alike."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime,
        str: Text,
        Kind: String(8),
        Quality: String(8),
        Preference: String(8),
    }


class Project(Base):
    """The one row that says how this store's items are judged."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    least_score: Mapped[int] = mapped_column(default=1)
    most_score: Mapped[int] = mapped_column(default=5)
    instructions: Mapped[str] = mapped_column(default="")
    examples: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list, server_default="[]")
    secret: Mapped[str]


class Annotator(Base):
    """A person who judges, by name."""

    __tablename__ = "annotators"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str | None]
    is_owner: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class Item(Base):
    """Something to be judged: one completion, two of them, or a subject to talk with the model about.

    A check item is one whose right answer is known; everybody gets it, and nobody is told. `n_taken` counts the places
    that assignments hold; who gives or frees one changes it in the same transaction.
    """

    __tablename__ = "items"
    __table_args__ = (
        CheckConstraint("n_people >= 1", name="n_people"),
        CheckConstraint("kind IN ('rate', 'compare', 'chat')", name="kind"),
        Index("ix_items_queue", "kind", "is_check", "priority", "id"),
        # The queue: what has places left, in the order in which it is given out.
        Index(
            "ix_items_waiting",
            "kind",
            "is_check",
            text("priority DESC"),
            "id",
            sqlite_where=text("n_taken < n_people"),
            postgresql_where=text("n_taken < n_people"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[Kind]
    prompt: Mapped[str]
    completion_a: Mapped[str] = mapped_column(default="")
    completion_b: Mapped[str] = mapped_column(default="")
    n_people: Mapped[int] = mapped_column(default=1)
    n_taken: Mapped[int] = mapped_column(default=0, server_default="0")
    priority: Mapped[int] = mapped_column(default=0)
    is_check: Mapped[bool] = mapped_column(default=False)
    expected: Mapped[str] = mapped_column(default="")
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]

    assignments: Mapped[list["Assignment"]] = relationship(back_populates="item")


class Assignment(Base):
    """That a person was given an item.

    The two unique constraints are the rules of the queue, kept by the database itself: nobody gets an item twice,
    and one of its places, 0 to n_people − 1, is held by one person. Check items, skipped ones, and those that were
    left lying have no place (NULL, which is unequal to any other).
    """

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("item_id", "annotator_id"),
        UniqueConstraint("item_id", "place"),
        CheckConstraint("state IN ('open', 'decided', 'skipped')", name="state"),
        Index("ix_assignments_annotator", "annotator_id", "state"),
        Index("ix_assignments_ended", "annotator_id", "ended_at"),
        Index(
            "ix_assignments_open",
            "given_at",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    place: Mapped[int | None]
    is_swapped: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(8), default="open")
    given_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    item: Mapped[Item] = relationship(back_populates="assignments")
    annotator: Mapped[Annotator] = relationship()
    rating: Mapped["Rating | None"] = relationship(cascade="all, delete-orphan")
    comparison: Mapped["Comparison | None"] = relationship(cascade="all, delete-orphan")
    skip: Mapped["Skip | None"] = relationship(cascade="all, delete-orphan")


class Rating(Base):
    """What a person said of one completion; a score, a quality, or both."""

    __tablename__ = "ratings"
    __table_args__ = (CheckConstraint("score IS NOT NULL OR quality IS NOT NULL", name="says_something"),)

    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    score: Mapped[int | None]
    quality: Mapped[Quality | None]
    comment: Mapped[str] = mapped_column(default="")


class Comparison(Base):
    """Which of two completions a person prefers, whichever side each was shown on; sureness 1 to 3."""

    __tablename__ = "comparisons"
    __table_args__ = (CheckConstraint("preference IN ('a', 'b', 'tie', 'both_bad')", name="preference"),)

    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    preference: Mapped[Preference]
    sureness: Mapped[int | None]
    comment: Mapped[str] = mapped_column(default="")


class Skip(Base):
    """Why a person did not judge an item."""

    __tablename__ = "skips"

    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    reason: Mapped[str]
    comment: Mapped[str] = mapped_column(default="")


class Chat(Base):
    """A conversation of a person with the model, on an item's subject or on any."""

    __tablename__ = "chats"
    __table_args__ = (
        Index(
            "uq_chats_open", "annotator_id", unique=True,
            sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"), unique=True)
    model: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    annotator: Mapped[Annotator] = relationship()
    assignment: Mapped[Assignment | None] = relationship()
    turns: Mapped[list["Turn"]] = relationship(order_by="Turn.number", cascade="all, delete-orphan")


class Turn(Base):
    """What a person said, what the model answered, and what the person made of it.

    `context` is the text that the model completed, so that (context, rewriting) is a demonstration.
    """

    __tablename__ = "turns"
    __table_args__ = (UniqueConstraint("chat_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id"))
    number: Mapped[int]
    said: Mapped[str]
    context: Mapped[str]
    answer: Mapped[str]
    score: Mapped[int | None]
    rewriting: Mapped[str | None]
    created_at: Mapped[datetime]
