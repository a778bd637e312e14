"""The page's server: who may do what, and that what is asked twice is done once."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from tests.cli.conftest import run_command
from tests.feedback.conftest import add_items
from tests.feedback.serving import echo, served
from textgym.feedback.chats import Answer, Exchange
from textgym.feedback.pages import PAGE
from textgym.feedback.people import find_or_add, give_password
from textgym.feedback.server import PageOptions, make_app
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Annotator, Item, Rating, Skip, Turn


def visit(store: FeedbackStore, *, needs_password: bool = False, name: str | None = "Ada") -> TestClient:
    """Return a browser without scripts, in which a person has signed in."""
    app = make_app(store, PageOptions(echo, "echo", needs_password))
    client = TestClient(app, base_url="http://localhost")
    if name is not None:
        assert client.post("/api/sign-in", json={"name": name}).status_code == 200
    return client


@pytest.fixture
def ada(sqlite_store: FeedbackStore) -> Iterator[TestClient]:
    """Ada's browser."""
    with visit(sqlite_store) as client:
        yield client


def test_pages_send_strangers_to_sign_in_and_requests_are_refused(sqlite_store: FeedbackStore) -> None:
    with visit(sqlite_store, name=None) as client:
        for path in ("/rate", "/compare", "/chat", "/owner"):
            assert client.get(path, follow_redirects=False).headers["location"] == "/sign-in"
        assert client.get("/api/next?kind=rate").status_code == 401
        assert client.post("/api/ratings", json={"assignment": 1, "score": 1}).status_code == 401


def test_the_page_is_reached_by_each_way_of_writing_the_loopback_address(sqlite_store: FeedbackStore) -> None:
    app = make_app(sqlite_store, PageOptions(echo, "echo", other_names=("127.1.2.3",)))
    for host in ("localhost", "127.0.0.1:80", "[::1]:8000", "127.1.2.3:8000"):
        assert TestClient(app, base_url="http://localhost").get("/sign-in", headers={"host": host}).status_code == 200
    answer = TestClient(app, base_url="http://localhost").get("/sign-in", headers={"host": "[2001:db8::1]:8000"})
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "0:0:0:0:0:0:0:1"])
def test_the_loopback_address_needs_no_passwords_however_it_is_written(
    sqlite_store: FeedbackStore, tmp_path: Path, host: str
) -> None:
    with served(tmp_path / "feedback.db", "--host", host) as page, closing(page.person("Ada")) as ada:
        assert ada.get("/api/next?kind=rate").status_code == 200


def test_a_model_folder_that_is_not_there_is_said_before_anybody_chats(tmp_path: Path) -> None:
    result = run_command("label", tmp_path / "s.db", "--model", "runs/films/round-9/run", "--no-browser")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: there is no folder runs/films/round-9/run with a model to answer in chats; see --model.\n"
    )
    assert not (tmp_path / "s.db").exists()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_command("label", tmp_path / "s.db", "--port", port)
    assert result.exit_code == 2
    assert result.stderr == (f"Error: another program uses port {port} of 127.0.0.1; choose another one by --port.\n")


def test_a_number_beyond_any_is_refused(ada: TestClient) -> None:
    for path, body in (
        ("ratings", {"assignment": 2**63, "score": 1}), ("ratings", {"assignment": 1, "score": 10**30}),
        ("comparisons", {"assignment": -(2**63), "choice": "tie"}), ("skips", {"assignment": 2**31, "reason": "other"}),
        ("undo", {"assignment": 2**64}), ("chat/turns", {"chat": 2**63, "number": 0, "said": "Hi"}),
        ("chat/judgements", {"turn": 2**63, "score": 1}), ("chat/close", {"chat": 2**63}),
        ("chat/undo", {"chat": 2**63, "what": "close"}), ("chat/skip", {"chat": 2**63, "reason": "other"}),
    ):  # fmt: skip
        assert ada.post(f"/api/{path}", json=body).status_code == 422, path
    cookies = {name: f"{10**30}.{'0' * 64}" for name in ada.cookies if name != "textgym_language"}
    stranger = TestClient(ada.app, base_url="http://localhost", cookies=cookies)
    assert stranger.get("/api/next?kind=rate").status_code == 401


def test_a_store_that_cannot_be_written_is_said_and_what_was_sent_may_be_sent_again(
    sqlite_store: FeedbackStore, ada: TestClient
) -> None:
    add_items(sqlite_store, 1)
    given = ada.get("/api/next?kind=rate").json()["assignment"]
    with sqlite_store.engine.connect() as connection:
        connection.execute(text("PRAGMA query_only = ON"))
    refused = ada.post("/api/ratings", json={"assignment": given, "score": 1})
    assert (refused.status_code, refused.json()["detail"]) == (
        503, f"The feedback store {sqlite_store.place} cannot be used: attempt to write a readonly database."
    )  # fmt: skip
    with sqlite_store.engine.connect() as connection:
        connection.execute(text("PRAGMA query_only = OFF"))
    assert ada.post("/api/ratings", json={"assignment": given, "score": 1}).status_code == 200


def test_a_forged_cookie_is_refused(ada: TestClient) -> None:
    ((name, value),) = [(name, value) for name, value in ada.cookies.items() if name != "textgym_language"]
    number, _, signature = value.partition(".")
    for forged in (f"{int(number) + 1}.{signature}", f"{number}.{'0' * 64}", "", "x.y"):
        answer = TestClient(ada.app, base_url="http://localhost", cookies={name: forged}).get("/api/next?kind=rate")
        assert answer.status_code == 401


def test_with_passwords_a_name_is_not_enough(sqlite_store: FeedbackStore) -> None:
    with sqlite_store.writing() as session:
        password = give_password(find_or_add(session, "Ada"))
    with visit(sqlite_store, needs_password=True, name=None) as client:
        for name, tried in (("Ada", ""), ("Ada", "guess"), ("Bo", password)):
            answer = client.post("/api/sign-in", json={"name": name, "password": tried})
            assert (answer.status_code, answer.json()) == (401, {"detail": "Name and password do not fit."})
        assert client.post("/api/sign-in", json={"name": "Ada", "password": password}).status_code == 200
        assert client.get("/api/next?kind=rate").status_code == 200
    with sqlite_store.reading() as session:
        assert password not in str(session.scalar(select(Annotator.password_hash)))
        assert session.scalar(select(func.count(Annotator.id))) == 1


def test_the_owners_overview_is_for_the_owner(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    assert "Krippendorff" in ada.get("/owner").text
    with visit(sqlite_store, name="Bo") as bo:
        assert bo.get("/owner", follow_redirects=False).headers["location"] == "/rate"
        assert "/owner" not in bo.get("/rate").text


def test_another_sites_name_for_this_machine_is_refused(ada: TestClient) -> None:
    assert ada.get("/rate", headers={"host": "evil.example"}).status_code == 400


def test_nothing_but_the_pages_own_scripts_may_run(ada: TestClient) -> None:
    policy = ada.get("/rate").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe" not in policy


def test_instructions_are_shown_as_text(sqlite_store: FeedbackStore) -> None:
    with sqlite_store.writing() as session:
        session.connection().exec_driver_sql("UPDATE projects SET instructions = '<script>alert(1)</script>'")
    with visit(sqlite_store) as client:
        page = client.get("/rate").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_nobody_is_told_which_item_is_a_check(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 12)
    with sqlite_store.writing() as session:
        checks = [session.get_one(Item, 11), session.get_one(Item, 12)]
        for item in checks:
            item.is_check, item.expected = True, "1"
    shown = []
    while (item_shown := ada.get("/api/next?kind=rate").json())["assignment"] is not None:
        shown.append(item_shown)
        ada.post("/api/ratings", json={"assignment": item_shown["assignment"], "score": 1})
    assert any(one["prompt"] in ("prompt 10", "prompt 11") for one in shown)
    assert {tuple(one) for one in shown} == {
        ("assignment", "progress", "undoable", "undoable_said", "prompt", "completions")
    }


def test_a_rating_that_is_sent_twice_is_there_once(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 2)
    rating = {"assignment": ada.get("/api/next?kind=rate").json()["assignment"], "score": 4, "comment": "好"}
    answers = [ada.post("/api/ratings", json=rating) for _ in range(3)]
    assert [(one.status_code, one.json()) for one in answers] == [(200, {})] * 3
    assert ada.get("/api/next?kind=rate").json()["progress"] == {"n_done": 1, "n_left": 1}
    with sqlite_store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Rating)) == 1


def test_what_is_wrong_is_said(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 1)
    given = ada.get("/api/next?kind=rate").json()["assignment"]
    assert ada.post("/api/undo", json={"assignment": None}).json() == {"detail": "There is nothing to undo."}
    answer = ada.post("/api/ratings", json={"assignment": given, "score": 9})
    assert (answer.status_code, answer.json()) == (422, {"detail": "score must be 1 to 5, got 9."})
    assert ada.post("/api/ratings", json={"assignment": given, "quality": "superb"}).status_code == 422
    assert ada.post("/api/ratings", json={"assignment": given + 1, "score": 1}).status_code == 422


def test_what_undo_would_take_from_the_store_is_with_the_page_before(
    sqlite_store: FeedbackStore, ada: TestClient
) -> None:
    add_items(sqlite_store, 2)
    given = ada.get("/api/next?kind=rate").json()["assignment"]
    said = {"score": 2, "quality": "bad", "comment": "dull"}
    ada.post("/api/ratings", json={"assignment": given, **said})
    after = ada.get("/api/next?kind=rate").json()
    assert (after["undoable"], after["undoable_said"]) == (given, said)
    undone = ada.post("/api/undo", json={"assignment": given}).json()
    assert (undone["assignment"], undone["undoable"], undone["undoable_said"]) == (given, None, None)


def test_an_undo_that_is_sent_twice_takes_back_one_judgement(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 2)
    for score in (1, 2):
        shown = ada.get("/api/next?kind=rate").json()
        ada.post("/api/ratings", json={"assignment": shown["assignment"], "score": score})
    last = ada.get("/api/next?kind=rate").json()["undoable"]
    answers = [ada.post("/api/undo", json={"assignment": last}).json() for _ in range(2)]
    assert [one["assignment"] for one in answers] == [last, last]
    with sqlite_store.reading() as session:
        assert list(session.scalars(select(Rating.score))) == [1]


def test_nobody_undoes_what_another_said(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 1)
    given = ada.get("/api/next?kind=rate").json()["assignment"]
    ada.post("/api/ratings", json={"assignment": given, "score": 1})
    with visit(sqlite_store, name="Bo") as bo:
        assert bo.post("/api/undo", json={"assignment": given}).status_code == 422
    with sqlite_store.reading() as session:
        assert list(session.scalars(select(Rating.score))) == [1]


def test_a_chat_is_answered_scored_rewritten_and_closed(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 1, "chat")
    chat = ada.get("/api/chat").json()
    assert (chat["subject"], chat["turns"]) == ("prompt 0", [])
    first = ada.post("/api/chat/turns", json={"chat": chat["chat"], "number": 0, "said": "Hi"}).json()
    assert first["answer"] == " echo 0 of Hi"
    judged = ada.post("/api/chat/judgements", json={"turn": first["id"], "score": 2, "rewriting": "there"}).json()
    assert (judged["score"], judged["rewriting"]) == (2, " there")
    ada.post("/api/chat/turns", json={"chat": chat["chat"], "number": 1, "said": "So?"})
    with sqlite_store.reading() as session:
        # The model goes on from the answer that it ought to have given.
        assert list(session.scalars(select(Turn.context).order_by(Turn.id))) == ["Hi", "Hi there\nSo?"]
    assert len(ada.get("/api/chat").json()["turns"]) == 2
    assert ada.post("/api/chat/close", json={"chat": chat["chat"]}).status_code == 200
    after = ada.get("/api/chat").json()
    assert (after["subject"], after["turns"], after["progress"]) == ("", [], {"n_done": 1, "n_left": 0})


def test_a_chat_is_taken_back_step_by_step_and_each_step_once(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 2, "chat")
    chat = ada.get("/api/chat").json()["chat"]
    first, second = (
        ada.post("/api/chat/turns", json={"chat": chat, "number": number, "said": "Hi"}).json()["id"]
        for number in range(2)
    )
    ada.post("/api/chat/judgements", json={"turn": second, "score": 2, "rewriting": "there"})
    ada.post("/api/chat/close", json={"chat": chat})
    empty = ada.get("/api/chat").json()
    assert (empty["subject"], empty["progress"]) == ("prompt 1", {"n_done": 1, "n_left": 1})

    def take_back(what: str, turn: int | None = None, where: int = chat) -> Any:
        # Each is sent twice, as after a broken connection.
        answers = [ada.post("/api/chat/undo", json={"chat": where, "what": what, "turn": turn}) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        return answers[0].json()

    opened = take_back("close", where=empty["chat"])
    assert (opened["chat"], opened["subject"], opened["progress"]) == (chat, "prompt 0", {"n_done": 0, "n_left": 2})
    judged = take_back("judgement", second)["turns"]
    assert [(turn["id"], turn["score"], turn["rewriting"]) for turn in judged] == [
        (first, None, None), (second, None, None)
    ]  # fmt: skip
    assert [turn["id"] for turn in take_back("turn", second)["turns"]] == [first]
    assert take_back("turn", first)["turns"] == []
    assert take_back("close") == {"detail": "There is nothing to undo."}
    # The conversations that were taken back can be had after all.
    for subject in ("prompt 0", "prompt 1", ""):
        now = ada.get("/api/chat").json()
        assert now["subject"] == subject
        ada.post("/api/chat/turns", json={"chat": now["chat"], "number": 0, "said": "Hi"})
        ada.post("/api/chat/close", json={"chat": now["chat"]})


def test_a_subject_is_skipped_with_a_reason_and_taken_up_again(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 2, "chat")
    chat = ada.get("/api/chat").json()["chat"]
    ada.post("/api/chat/turns", json={"chat": chat, "number": 0, "said": "Hi"})
    why = {"chat": chat, "reason": "offensive", "comment": "no"}
    assert ada.post("/api/chat/skip", json={**why, "reason": "dull"}).status_code == 422
    # Sent twice, as after a broken connection.
    assert [ada.post("/api/chat/skip", json=why).status_code for _ in range(2)] == [200, 200]
    after = ada.get("/api/chat").json()
    assert (after["subject"], after["progress"]) == ("prompt 1", {"n_done": 0, "n_left": 1})
    with sqlite_store.reading() as session:
        assert [(one.reason, one.comment) for one in session.scalars(select(Skip))] == [("offensive", "no")]
    undone = ada.post("/api/chat/undo", json={"chat": after["chat"], "what": "close"}).json()
    assert (undone["subject"], undone["progress"], len(undone["turns"])) == ("prompt 0", {"n_done": 0, "n_left": 2}, 1)
    with sqlite_store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Skip)) == 0


def test_a_skipped_subject_goes_to_somebody_else(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    add_items(sqlite_store, 1, "chat")
    chat = ada.get("/api/chat").json()["chat"]
    ada.post("/api/chat/skip", json={"chat": chat, "reason": "unclear"})
    free = ada.get("/api/chat").json()
    assert free["subject"] == ""
    assert ada.post("/api/chat/skip", json={"chat": free["chat"], "reason": "unclear"}).json() == {
        "detail": "This conversation has no subject to skip; begin a new one instead."
    }
    with visit(sqlite_store, name="Bo") as bo:
        assert bo.get("/api/chat").json()["subject"] == "prompt 0"
        assert bo.post("/api/chat/skip", json={"chat": chat, "reason": "unclear"}).status_code == 422
    refused = ada.post("/api/chat/undo", json={"chat": free["chat"], "what": "close"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "What you skipped has gone to somebody else.")


def test_a_chat_that_went_on_in_another_window_is_not_taken_back(ada: TestClient) -> None:
    chat = ada.get("/api/chat").json()["chat"]
    turns = [
        ada.post("/api/chat/turns", json={"chat": chat, "number": number, "said": "Hi"}).json()["id"]
        for number in range(2)
    ]
    for body in ({"what": "turn", "turn": turns[0]}, {"what": "close"}):
        refused = ada.post("/api/chat/undo", json={"chat": chat, **body})
        assert (refused.status_code, refused.json()["detail"]) == (
            409, "This conversation has gone on elsewhere; reload the page."
        )  # fmt: skip
    assert len(ada.get("/api/chat").json()["turns"]) == 2


def test_something_said_again_after_a_broken_connection_is_answered_once(
    sqlite_store: FeedbackStore, ada: TestClient
) -> None:
    chat = ada.get("/api/chat").json()["chat"]
    message = {"chat": chat, "number": 0, "said": "Hi"}
    answers = [ada.post("/api/chat/turns", json=message).json() for _ in range(2)]
    assert answers[0] == answers[1]
    elsewhere = ada.post("/api/chat/turns", json={**message, "said": "Another window"})
    assert elsewhere.status_code == 409
    with sqlite_store.reading() as session:
        assert session.scalar(select(func.count(Turn.id))) == 1


def test_ratings_are_saved_while_the_model_writes(sqlite_store: FeedbackStore) -> None:
    add_items(sqlite_store, 1)
    asked, may_answer = Event(), Event()

    def slow(exchanges: list[Exchange], said: str) -> Answer:
        asked.set()
        assert may_answer.wait(60)
        return Answer(said, "at last")

    app = make_app(sqlite_store, PageOptions(slow, "slow"))
    with TestClient(app, base_url="http://localhost") as client:
        client.post("/api/sign-in", json={"name": "Ada"})
        chat = client.get("/api/chat").json()["chat"]
        message = {"chat": chat, "number": 0, "said": "Hi"}
        talking = Thread(target=lambda: client.post("/api/chat/turns", json=message))
        talking.start()
        assert asked.wait(60)
        given = client.get("/api/next?kind=rate").json()["assignment"]
        assert client.post("/api/ratings", json={"assignment": given, "score": 1}).status_code == 200
        may_answer.set()
        talking.join()


def test_what_was_taken_back_while_the_model_wrote_is_not_gone_on_with(sqlite_store: FeedbackStore) -> None:
    """And the message may be sent again: the conversation has no gap."""
    undo: list[Callable[[], Any]] = []

    def interrupted(exchanges: list[Exchange], said: str) -> Answer:
        while undo:
            undo.pop()()
        return Answer(said, f" to {said}")

    with TestClient(make_app(sqlite_store, PageOptions(interrupted, "slow")), base_url="http://localhost") as client:
        client.post("/api/sign-in", json={"name": "Ada"})
        chat = client.get("/api/chat").json()["chat"]

        def say(number: int, said: str) -> Any:
            return client.post("/api/chat/turns", json={"chat": chat, "number": number, "said": said})

        first, second = say(0, "one").json(), say(1, "two").json()
        undo.append(lambda: client.post("/api/chat/undo", json={"chat": chat, "what": "turn", "turn": second["id"]}))
        assert say(2, "three").status_code == 409
        assert [turn["said"] for turn in client.get("/api/chat").json()["turns"]] == ["one"]
        # Another thing is said in its place meanwhile.
        undo.append(lambda: say(1, "two otherwise"))
        assert say(1, "two again").status_code == 409
        assert say(2, "three").json()["answer"] == " to three"
        turns = client.get("/api/chat").json()["turns"]
        assert [(turn["number"], turn["said"]) for turn in turns] == [(0, "one"), (1, "two otherwise"), (2, "three")]
        assert turns[0] == first


def test_a_gap_that_an_older_version_has_left_in_a_chat_is_gone_on_from(
    sqlite_store: FeedbackStore, ada: TestClient
) -> None:
    chat = ada.get("/api/chat").json()["chat"]
    for number in range(3):
        ada.post("/api/chat/turns", json={"chat": chat, "number": number, "said": f"{number}"})
    with sqlite_store.writing() as session:
        session.delete(session.scalars(select(Turn).where(Turn.number == 1)).one())
    again = ada.post("/api/chat/turns", json={"chat": chat, "number": 3, "said": "so"})
    assert again.json()["answer"] == " echo 2 of so"


def test_a_score_leaves_a_rewriting_and_a_rewriting_a_score(ada: TestClient) -> None:
    """As from two tabs, neither of which knows what the other has said."""
    chat = ada.get("/api/chat").json()["chat"]
    turn = ada.post("/api/chat/turns", json={"chat": chat, "number": 0, "said": "Hi"}).json()["id"]

    def judge(**said: Any) -> tuple[Any, Any]:
        answer = ada.post("/api/chat/judgements", json={"turn": turn, **said}).json()
        return answer["score"], answer["rewriting"]

    assert judge(rewriting="there") == (None, " there")
    assert judge(score=4) == (4, " there")
    assert judge(rewriting=None) == (4, None)
    assert judge(score=None, rewriting="here") == (None, " here")


def test_an_answer_that_was_taken_back_is_not_judged_by_its_number(ada: TestClient) -> None:
    chat = ada.get("/api/chat").json()["chat"]
    old = ada.post("/api/chat/turns", json={"chat": chat, "number": 0, "said": "Hi"}).json()
    ada.post("/api/chat/undo", json={"chat": chat, "what": "turn", "turn": old["id"]})
    new = ada.post("/api/chat/turns", json={"chat": chat, "number": 0, "said": "Another thing"}).json()
    assert new["id"] == old["id"], "SQLite gives it again"
    seen = {"turn": old["id"], "created_at": old["created_at"]}
    for path, body in (("judgements", {"score": 5}), ("undo", {"chat": chat, "what": "turn"})):
        refused = ada.post(f"/api/chat/{path}", json={**seen, **body})
        assert (refused.status_code, refused.json()["detail"]) == (
            409, "This conversation has gone on elsewhere; reload the page."
        )  # fmt: skip
    assert ada.get("/api/chat").json()["turns"] == [new]
    judged = ada.post("/api/chat/judgements", json={"turn": new["id"], "created_at": new["created_at"], "score": 5})
    assert judged.json()["score"] == 5


def test_nobody_reads_or_changes_another_persons_chat(sqlite_store: FeedbackStore, ada: TestClient) -> None:
    chat = ada.get("/api/chat").json()["chat"]
    turn = ada.post("/api/chat/turns", json={"chat": chat, "number": 0, "said": "Hi"}).json()["id"]
    with visit(sqlite_store, name="Bo") as bo:
        assert bo.post("/api/chat/turns", json={"chat": chat, "number": 1, "said": "Hi"}).status_code == 422
        assert bo.post("/api/chat/judgements", json={"turn": turn, "score": 1}).status_code == 422
        assert bo.post("/api/chat/close", json={"chat": chat}).status_code == 422
        undoing = {"chat": chat, "what": "turn", "turn": turn}
        assert bo.post("/api/chat/undo", json=undoing).status_code == 422


def test_english_and_chinese_have_the_same_words() -> None:
    words = json.loads((PAGE / "words.json").read_text(encoding="utf-8"))

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    assert shape(words["en"]) == shape(words["zh"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_word_of_every_page_is_there(ada: TestClient, language: str) -> None:
    for path in ("rate", "compare", "chat", "owner", "sign-in"):
        page = ada.get(f"/{path}?language={language}").text
        # What Jinja shows where a word has the name of a method, or none.
        assert "built-in" not in page
        assert "<summary></summary>" not in page


@pytest.mark.parametrize(("header", "word"), [("zh-CN,zh;q=0.9", "评分"), ("en-GB", "Rate"), ("fr", "Rate")])
def test_the_browsers_language_is_spoken(ada: TestClient, header: str, word: str) -> None:
    ada.cookies.delete("textgym_language")
    assert f">{word}</a>" in ada.get("/rate", headers={"accept-language": header}).text
    assert ">Rate</a>" in ada.get("/rate?language=en", headers={"accept-language": "zh"}).text
