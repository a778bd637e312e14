"""Stores to test with: a SQLite file, and a real PostgreSQL server of our own where one is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from textgym.feedback.store import MIGRATIONS, FeedbackStore, _make_engine, utc_now
from textgym.feedback.tables import Item, Kind

# A user of the server who has to give a password, once somebody makes them.
WITH_PASSWORD = "ada"
SERVER_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as the tests, on a free port of the loopback address."""
    path = os.pathsep.join([*map(str, SERVER_FOLDERS), os.environ["PATH"]])
    initdb, server = shutil.which("initdb", path=path), shutil.which("pg_ctl", path=path)
    if initdb is None or server is None:
        pytest.skip("there is no PostgreSQL server: neither initdb nor pg_ctl is installed")
    # PostgreSQL refuses to run as root; its Debian package brings a user of its own.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="textgym-postgresql-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = folder / "data", folder / "log"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    make: list[str | Path] = [
        initdb,
        "--pgdata",
        data,
        "--auth=trust",
        "--username=textgym",
        "--encoding=UTF8",
        "--no-locale",
    ]
    subprocess.run(make, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    rules = data / "pg_hba.conf"
    rules.write_text(f"host all {WITH_PASSWORD} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    start: list[str | Path] = [server, "start", "--wait", "--pgdata", data, "--log", log, "--options", options]
    subprocess.run(start, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    yield f"postgresql://textgym@127.0.0.1:{port}/postgres"
    stop: list[str | Path] = [server, "stop", "--mode=immediate", "--pgdata", data]
    subprocess.run(stop, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a new store can be made, with each database."""
    if request.param == "sqlite":
        yield str(tmp_path / "feedback.db")
        return
    import psycopg

    url: str = request.getfixturevalue("postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    yield url


@pytest.fixture
def store(place: str) -> Iterator[FeedbackStore]:
    """An empty store, with each database."""
    opened = FeedbackStore(place)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[FeedbackStore]:
    """An empty store in a file."""
    opened = FeedbackStore(tmp_path / "feedback.db")
    yield opened
    opened.close()


@contextmanager
def older_store(place: str, version: str) -> Iterator[Connection]:
    """Make a store as it was at one step of its tables, and give its connection."""
    engine = _make_engine(place, must_exist=False)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        fill(connection, "projects", [{"id": 1, "least_score": 1, "most_score": 5, "instructions": "", "secret": "s"}])
        yield connection
    engine.dispose()


def fill(connection: Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Put rows into a table that is as it was once, whatever it is now."""
    columns = ", ".join(rows[0])
    values = ", ".join(f":{name}" for name in rows[0])
    connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), rows)


def add_items(store: FeedbackStore, n_items: int, kind: Kind = "rate", people: int = 1) -> None:
    """Put items into a store whose texts are their numbers from 0."""
    with store.writing() as session:
        for number in range(n_items):
            completion_b = f"{number} b" if kind == "compare" else ""
            session.add(
                Item(
                    kind=kind, prompt=f"prompt {number}", completion_a=f"{number} a", completion_b=completion_b,
                    n_people=people, digest=f"{kind} {number}", created_at=utc_now(),
                )
            )  # fmt: skip
