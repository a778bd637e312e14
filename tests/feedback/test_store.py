"""Stores are made, brought up to date, and refused when they are something else."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select, text

from tests.cli.conftest import run_command
from tests.feedback.conftest import fill, older_store
from textgym.feedback.queue import progress
from textgym.feedback.store import FeedbackStore, ProjectSettings, StoreUnavailableError
from textgym.feedback.tables import Base, Item

NOW = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None).isoformat(" ")


def test_the_migrations_make_the_tables_that_the_code_has(store: FeedbackStore) -> None:
    # Of an index in descending order Alembic sees nothing in SQLite; the next test looks at its statement.
    is_sqlite = store.engine.dialect.name == "sqlite"
    options = {"include_object": lambda _, name, *__: not (is_sqlite and name == "ix_items_waiting")}
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []


def test_the_migrations_make_the_indices_that_the_code_has(sqlite_store: FeedbackStore, tmp_path: Path) -> None:
    made = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    Base.metadata.create_all(made)
    statements = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
    found = []
    for engine in (sqlite_store.engine, made):
        with engine.connect() as connection:
            found.append([tuple(row) for row in connection.execute(statements)])
    assert found[0] == found[1]
    assert [sql for name, sql in found[0] if name == "ix_items_waiting"] == [
        "CREATE INDEX ix_items_waiting ON items (kind, is_check, priority DESC, id) WHERE n_taken < n_people"
    ]
    made.dispose()


def test_a_store_from_before_places_were_counted_is_counted(place: str) -> None:
    """Two of the first item's three places are taken, the second's only one, and none of the third, a skipped one."""
    with older_store(place, "002") as connection:
        people = [{"id": number, "name": f"{number}", "is_owner": False, "created_at": NOW} for number in (1, 2)]
        fill(connection, "annotators", people)
        items = [
            {"id": number, "kind": "rate", "prompt": "p", "completion_a": "c", "completion_b": "", "n_people": n_people,
             "priority": 0, "is_check": False, "expected": "", "digest": f"{number}", "created_at": NOW}
            for number, n_people in ((1, 3), (2, 1), (3, 1))
        ]  # fmt: skip
        fill(connection, "items", items)
        given = ((1, 1, 0, "decided"), (1, 2, 1, "open"), (2, 1, 0, "decided"), (3, 1, None, "skipped"))
        assignments = [
            {"item_id": item, "annotator_id": who, "place": taken, "is_swapped": False, "state": state, "given_at": NOW}
            for item, who, taken, state in given
        ]
        fill(connection, "assignments", assignments)
    store = FeedbackStore(place)
    with store.reading() as session:
        assert list(session.scalars(select(Item.n_taken).order_by(Item.id))) == [2, 1, 0]
        assert progress(session, 1, "rate") == (2, 0)
        assert progress(session, 2, "rate") == (0, 2)
    store.close()


def test_a_store_that_is_opened_again_keeps_its_settings(place: str) -> None:
    FeedbackStore(place, ProjectSettings(-4, 4, "Be kind.")).close()
    store = FeedbackStore(place, must_exist=True)
    project = store.project()
    store.close()
    assert (project.least_score, project.most_score, project.instructions) == (-4, 4, "Be kind.")


def test_a_file_store_is_in_wal_mode_and_fully_synchronous(sqlite_store: FeedbackStore) -> None:
    with sqlite_store.reading() as session:
        pragmas = [session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert pragmas == ["wal", 2, 1]


def test_what_is_written_in_a_block_that_fails_is_not_there(store: FeedbackStore) -> None:
    def fail_half_way() -> None:
        with store.writing() as session:
            session.execute(text("UPDATE projects SET instructions = 'x'"))
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert store.project().instructions == ""


def test_a_missing_store_is_refused_where_one_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(ValueError, match=f"There is no feedback store {path}; make one by: textgym feedback import"):
        FeedbackStore(path, must_exist=True)
    assert not path.exists()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(ValueError, match="is no feedback store: the database holds other tables"):
        FeedbackStore(path)
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    connection.close()
    assert tables == ["songs"]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Not a database, but long enough to look like one. " * 40)
    with pytest.raises(ValueError, match="cannot be opened as a feedback store: file is not a database"):
        FeedbackStore(path)


def test_a_store_of_a_newer_version_is_refused(place: str) -> None:
    store = FeedbackStore(place)
    with store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '999'"))
    store.close()
    with pytest.raises(ValueError, match="was written by a newer version of TextGym"):
        FeedbackStore(place)


@pytest.mark.parametrize("place", ["mysql://x/y", "nosuch://x"])
def test_other_databases_are_refused(place: str) -> None:
    with pytest.raises(ValueError, match=r"expected a SQLite file or a postgresql:// URL|names no feedback store"):
        FeedbackStore(place)


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/films",
        "postgresql://127.0.0.1:1/films?user=ada&password=s3cret",
        "postgresql://ada:s3cret@x@127.0.0.1:1/films",
        "postgresql://ada:pa@s3cret:s3cret@127.0.0.1/films",
        "mysql://ada:s3cret@127.0.0.1/films",
        "nosuch://ada:s3cret@127.0.0.1/films",
    ],
)
def test_a_password_is_in_no_error(place: str) -> None:
    for arguments in (("stats",), ("export", "out.jsonl"), ("person", "Ada")):
        result = run_command("feedback", arguments[0], place, *arguments[1:])
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert "s3cret" not in result.output + result.stderr
    with pytest.raises(ValueError, match=r"feedback store|postgresql") as caught:
        FeedbackStore(place)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_password_is_in_nothing_that_an_open_store_shows(place: str) -> None:
    for url in (place.replace("textgym@", "textgym:s3cret@"), f"{place}?password=s3cret"):
        store = FeedbackStore(url)
        shown = f"{store.place} {store!r} {store.engine!r} {store.engine.url}"
        store.close()
        assert "s3cret" not in shown
        assert store.engine.url.password == "s3cret"


def test_a_store_whose_database_has_gone_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    store = FeedbackStore(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE projects")
    connection.close()
    with pytest.raises(
        StoreUnavailableError, match=f"The feedback store {path} cannot be used: no such table: projects"
    ):
        store.project()
    store.close()


def test_a_scale_of_one_score_is_refused() -> None:
    with pytest.raises(ValueError, match="the scale must have 2 to 11 scores"):
        ProjectSettings(3, 3)
