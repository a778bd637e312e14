"""Open a feedback store, a SQLite file or a PostgreSQL database, and read or write it in transactions."""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from .places import HOW_TO_MAKE, hide_password, read_place
from .tables import Project

MIGRATIONS = Path(__file__).parent / "migrations"
WAIT_SECONDS = 30
# Any number that no other program on the same database server takes.
POSTGRESQL_LOCK = 7_305_021
FARTHEST_SCORE = 100


class StoreUnavailableError(OSError):
    """The database has gone, is full, may not be written, or was locked by others for too long."""


@dataclass(frozen=True)
class ProjectSettings:
    """How a new store's items are judged.

    Attributes:
        least_score: Lowest score.
        most_score: Highest score.
        instructions: What raters read at the side of the page, as plain text; "" for the page's own words.
        examples: What they see beside their work, as `examples.read_examples` reads it.

    Raises:
        ValueError: If the scale has fewer than 2 or more than 11 scores, or one beyond −100 to 100.
    """

    least_score: int = 1
    most_score: int = 5
    instructions: str = ""
    examples: Sequence[dict[str, Any]] = ()

    def __post_init__(self) -> None:
        """Check the scale."""
        if not 1 <= self.most_score - self.least_score <= 10:
            raise ValueError(
                f"the scale must have 2 to 11 scores, such as 1 to 5 or -4 to 4, got {self.least_score} to "
                f"{self.most_score}."
            )
        if not -FARTHEST_SCORE <= self.least_score < self.most_score <= FARTHEST_SCORE:
            raise ValueError(
                f"scores must be {-FARTHEST_SCORE} to {FARTHEST_SCORE}, got {self.least_score} to {self.most_score}."
            )


class FeedbackStore:
    """Items, people and judgements, in one database.

    The tables are made, or brought up to date, when the store is opened.

    Args:
        place: A SQLite file, or a URL such as `postgresql://user@host/database`.
        settings: For a new store; one that exists keeps its own.
        must_exist: Refuse to make a new store.
        first: Done in the very transaction that opens the store: where it fails, the store is not made, or is as it
            was.

    Attributes:
        place: Where it is, as it may be shown: without a password.

    Raises:
        ValueError: If there is no store at that place and one must exist, the place cannot be opened, or a newer
            version of TextGym has written the store.
    """

    def __init__(
        self,
        place: str | Path,
        settings: ProjectSettings = ProjectSettings(),
        *,
        must_exist: bool = False,
        first: Callable[[Session], None] | None = None,
    ) -> None:
        self.place = hide_password(str(place))
        self.engine = _make_engine(str(place), must_exist)
        self._turn = threading.Lock()
        self._writing_engine = self.engine.execution_options(is_writing=True)
        try:
            with self._writing_engine.begin() as connection:
                _bring_up_to_date(connection, self.place, settings, must_exist, first)
        except DatabaseError as error:
            self.close()
            raise ValueError(f"{self.place} cannot be opened as a feedback store: {_cause(error)}.") from error
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one state of the store, and writes nothing.

        Raises:
            StoreUnavailableError: If the database cannot be reached or read.
        """
        with self._reachable(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session whose changes are committed, all together, when the block is left; none of them on an error.

        Once the block is left, they outlive a crash of the process and of the machine.

        Raises:
            StoreUnavailableError: If the database cannot be reached or written.
        """
        # SQLite has one writer, and lets the others try again until one of many has had bad luck for too long; in one
        # process they wait in a line instead.
        turn = self._turn if self.engine.dialect.name == "sqlite" else nullcontext()
        with (
            self._reachable(),
            turn,
            Session(self._writing_engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def project(self) -> Project:
        """Return how this store's items are judged."""
        with self.reading() as session:
            return session.get_one(Project, 1)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise StoreUnavailableError(f"The feedback store {self.place} cannot be used: {_cause(error)}.") from error


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def _make_engine(place: str, must_exist: bool) -> Engine:
    url = read_place(place, must_exist=must_exist)
    try:
        if url.get_backend_name() == "postgresql":
            # One that the server has closed, when it was started anew, is replaced.
            return create_engine(url, pool_size=20, max_overflow=40, pool_pre_ping=True)
        engine = create_engine(url, pool_size=20, max_overflow=40, connect_args={"timeout": WAIT_SECONDS})
    except NoSuchModuleError as error:
        raise ValueError(f"{hide_password(place)!r} names no feedback store: {error}.") from error
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _cause(error: DatabaseError) -> str:
    """Return what the database itself says, without SQL and its values, which may be anybody's words."""
    said = " ".join(str(error.orig).split()).rstrip(".")
    if "no password supplied" in said or "password authentication failed" in said:
        return f"{said}. Its password may be in the URL, in the environment variable PGPASSWORD, or in ~/.pgpass"
    return said


def _set_up_sqlite(connection: Any, record: Any) -> None:
    """Leave transactions to SQLAlchemy, and have what is committed on the disk before commit returns."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Begin; a writer queues at once, since SQLite cannot turn a reader into a writer."""
    is_writing = connection.get_execution_options().get("is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _bring_up_to_date(
    connection: Connection,
    place: str,
    settings: ProjectSettings,
    must_exist: bool,
    first: Callable[[Session], None] | None,
) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({POSTGRESQL_LOCK})"))
    tables = inspect(connection).get_table_names()
    if "projects" not in tables and (must_exist or tables):
        what = "holds other tables." if tables else f"is empty; {HOW_TO_MAKE.format(place=place)}"
        raise ValueError(f"{place} is no feedback store: the database {what}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if "alembic_version" in tables:
        (version,) = connection.execute(text("SELECT version_num FROM alembic_version")).one()
        known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
        if version not in known:
            raise ValueError(
                f"The feedback store {place} was written by a newer version of TextGym (its tables are at step "
                f"{version!r}); install that version."
            )
    command.upgrade(config, "head")
    with Session(connection) as session:
        if session.get(Project, 1) is None:
            session.add(
                Project(id=1, secret=secrets.token_hex(32), **{**vars(settings), "examples": list(settings.examples)})
            )
            session.flush()
        if first is not None:
            first(session)
            session.flush()
