"""What happens between a request and its answer: another window, another process, another password."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.feedback.conftest import add_items
from tests.feedback.test_queue import assert_places_are_counted, given, leave_lying, person
from tests.feedback.test_server import visit
from textgym.feedback.chats import Answer, Exchange, close_chat, judge_turn, open_chat, say
from textgym.feedback.judgements import StateError
from textgym.feedback.people import find_or_add, give_password
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Assignment, Project, Turn


def chatting(store: FeedbackStore, who: int) -> int:
    with store.writing() as session:
        return open_chat(session, who, "echo").id


def answer(exchanges: list[Exchange], said: str) -> Answer:
    return Answer(said, f" to {said}")


def after(act: Callable[[], object]) -> Callable[[list[Exchange], str], Answer]:
    """A model that does something else before it writes."""

    def act_and_answer(exchanges: list[Exchange], said: str) -> Answer:
        act()
        return Answer(said, " too late")

    return act_and_answer


def test_a_new_password_ends_what_the_old_one_began(sqlite_store: FeedbackStore) -> None:
    with sqlite_store.writing() as session:
        password = give_password(find_or_add(session, "Ada"))
    with visit(sqlite_store, needs_password=True, name=None) as client:
        assert client.post("/api/sign-in", json={"name": "Ada", "password": password}).status_code == 200
        assert client.get("/api/next?kind=rate").status_code == 200
        with sqlite_store.writing() as session:
            give_password(find_or_add(session, "Ada"))
        assert client.get("/api/next?kind=rate").status_code == 401


def test_two_processes_that_read_and_then_write_one_file_wait_for_each_other(tmp_path: Path) -> None:
    """Each has a store of its own, as another process would, whose lock the other does not see."""
    stores = [FeedbackStore(tmp_path / "feedback.db") for _ in range(2)]

    def add_a_word(store: FeedbackStore) -> None:
        with store.writing() as session:
            project = session.get_one(Project, 1)
            time.sleep(0.1)
            project.instructions += "word "

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(add_a_word, stores))
    assert stores[0].project().instructions == "word word "
    for store in stores:
        store.close()


def test_a_turn_that_is_sent_again_while_the_model_writes_has_one_answer(store: FeedbackStore) -> None:
    ada = person(store, "Ada")
    chat = chatting(store, ada)
    first = say(store, ada, chat, 0, "Hi", after(lambda: say(store, ada, chat, 0, "Hi", answer)))
    assert first.answer == " to Hi"
    with store.reading() as session:
        assert list(session.scalars(select(Turn.id))) == [first.id]


def test_an_answer_to_what_was_rewritten_meanwhile_is_refused(store: FeedbackStore) -> None:
    ada = person(store, "Ada")
    chat = chatting(store, ada)
    first = say(store, ada, chat, 0, "Hi", answer)

    def rewrite() -> None:
        with store.writing() as session:
            judge_turn(session, ada, first.id, {"rewriting": " Hello"})

    with pytest.raises(StateError, match="This conversation has gone on elsewhere"):
        say(store, ada, chat, 1, "And?", after(rewrite))
    with store.reading() as session:
        assert list(session.scalars(select(Turn.id))) == [first.id]


def test_who_ends_a_conversation_that_was_left_lying_has_the_place_again_if_it_is_free(store: FeedbackStore) -> None:
    add_items(store, 2, "chat")
    ada, bo, cy, di = (person(store, name) for name in ("Ada", "Bo", "Cy", "Di"))
    chatting(store, ada)
    chat = chatting(store, bo)
    say(store, bo, chat, 0, "Hi", answer)
    with store.reading() as session:
        subjects = list(session.scalars(select(Assignment.id)))
    leave_lying(store, *subjects)
    assert given(store, cy, "chat") is not None
    with store.writing() as session:
        close_chat(session, bo, chat)
    assert_places_are_counted(store)
    assert given(store, di, "chat") is None


def test_who_asks_for_one_kind_frees_nothing_of_another(store: FeedbackStore) -> None:
    add_items(store, 1)
    add_items(store, 1, "compare")
    ada, bo = person(store, "Ada"), person(store, "Bo")
    rated, compared = given(store, ada), given(store, ada, "compare")
    assert rated is not None
    assert compared is not None
    leave_lying(store, rated[0], compared[0])
    assert given(store, bo) is not None
    with store.reading() as session:
        assert session.get_one(Assignment, rated[0]).place is None
        assert session.get_one(Assignment, compared[0]).place == 0
