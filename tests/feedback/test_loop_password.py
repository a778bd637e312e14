"""A loop whose people are asked through a database with a password: the password is in none of its files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from tests.feedback.conftest import WITH_PASSWORD
from tests.rlhf.conftest import write_config
from textgym.feedback.judgements import RatingAnswer, rate
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore

PASSWORD = "s3cret"


@pytest.fixture
def locked(postgresql: str) -> Iterator[str]:
    """The URL of an empty database, without the password that it takes to open it."""
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"CREATE DATABASE locked OWNER {WITH_PASSWORD}")
        yield postgresql.replace("textgym@", f"{WITH_PASSWORD}@").replace("/postgres", "/locked")
        connection.execute("DROP DATABASE locked WITH (FORCE)")
        connection.execute(f"DROP ROLE {WITH_PASSWORD}")


def rate_all(place: str) -> None:
    store = FeedbackStore(place)
    with store.writing() as session:
        person = find_or_add(session, "Anna")
        while (given := next_assignment(session, person.id, "rate")) is not None:
            rate(session, person.id, given.id, RatingAnswer(1 + len(given.item.completion_a) % 5))
    store.close()


def files_with(word: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@pytest.mark.parametrize("form", ["user", "query"])
def test_the_password_is_in_no_file_and_comes_from_elsewhere_when_the_loop_goes_on(
    locked: str, form: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    user = f"{WITH_PASSWORD}@"
    url = locked.replace(user, f"{WITH_PASSWORD}:{PASSWORD}@") if form == "user" else f"{locked}?password={PASSWORD}"
    write_config(tmp_path, tiny_model, rounds=1, annotators={"people": {"store": url}})
    waiting = run_command("rlhf", "loop.yaml")
    assert waiting.exit_code == 3, waiting.output
    assert PASSWORD not in waiting.output + waiting.stderr
    assert files_with(PASSWORD, tmp_path / "loop") == []
    assert files_with(locked, tmp_path / "loop") == [tmp_path / "loop/config.yaml"]

    refused = run_command("rlhf", "loop/config.yaml")
    assert refused.exit_code == 2
    assert "no password supplied. Its password may be in the URL, in the environment variable PGPASSWORD, or in " in (
        refused.stderr
    )
    monkeypatch.setenv("PGPASSWORD", "wrong")
    wrong = run_command("rlhf", "loop/config.yaml")
    assert "password authentication failed" in wrong.stderr
    assert "PGPASSWORD" in wrong.stderr

    rate_all(url)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    done = run_command("rlhf", "loop/config.yaml")
    assert done.exit_code == 0, done.output
    # The settings with the password in the URL are the same loop's.
    assert run_command("rlhf", "loop.yaml").exit_code == 0
    assert files_with(PASSWORD, tmp_path / "loop") == []
    assert (tmp_path / "loop/report.html").is_file()
