"""People at the page in a real browser: Chromium rates, compares, chats, undoes, reloads, and uses keys alone."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

from tests.feedback.conftest import add_items
from tests.feedback.serving import served_here
from textgym.feedback.project import change_project
from textgym.feedback.store import FeedbackStore, utc_now
from textgym.feedback.tables import Assignment, Comparison, Item, Kind, Rating, Skip, Turn

pytestmark = pytest.mark.slow
DESKTOP, PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 844}
MILLISECONDS = 60_000
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> **bold** [link](javascript:alert(1)) "
    "</p></article><h1>Owned</h1> {{ 7 * 7 }} \u202egnp.exe \N{PILE OF POO} " + "long" * 200
)


@pytest.fixture
def server(sqlite_store: FeedbackStore) -> Iterator[str]:
    """The address of an empty store's page, whose answers in chats are echoes."""
    with served_here(sqlite_store) as address:
        yield address


Enter = Callable[..., Page]


@pytest.fixture
def enter(browser: Browser, server: str) -> Iterator[Enter]:
    """Open the page as a person of a name, in a browser of their own."""
    contexts = []

    def open_page(name: str = "Ada", *, language: str = "en", size: dict[str, int] = DESKTOP) -> Page:
        context = browser.new_context(locale=language, viewport={"width": size["width"], "height": size["height"]})
        context.set_default_timeout(MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.goto(server)
        page.locator("[name=name]").fill(name)
        page.keyboard.press("Enter")
        page.wait_for_url("**/rate")
        return page

    expect.set_options(timeout=MILLISECONDS)
    yield open_page
    for context in contexts:
        context.close()


def picture(page: Page, name: str) -> None:
    """Keep a screenshot where $TEXTGYM_SCREENSHOTS says, for people to look at."""
    folder = os.environ.get("TEXTGYM_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def at(page: Page, tab: str) -> None:
    """Go to another tab, and wait until it has something to show."""
    page.goto(page.url.rsplit("/", 1)[0] + f"/{tab}")
    expect(page.locator("#count")).not_to_be_empty()


def add(store: FeedbackStore, **columns: object) -> None:
    with store.writing() as session:
        session.add(Item(digest=str(columns), created_at=utc_now(), **columns))


def scores(store: FeedbackStore) -> list[int | None]:
    with store.reading() as session:
        return list(session.scalars(select(Rating.score).order_by(Rating.assignment_id)))


def test_a_person_rates_with_keys_alone_and_undoes(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 3)
    page = enter()
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    page.keyboard.press("Enter")
    expect(page.locator("#error")).to_have_text("Choose a score or a word first.")
    for key in ("4", "g", "c"):
        page.keyboard.press(key)
    page.keyboard.type("good, 1 bug")  # letters and digits that are keys elsewhere
    picture(page, "rate-desktop")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    expect(page.locator("#state")).to_have_text("Saved")
    expect(page.locator("#count")).to_have_text("1 done, 2 left")
    page.keyboard.press("u")
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    expect(page.locator("[name=score][value='4']")).to_be_checked()
    expect(page.locator("[name=comment]")).to_have_value("good, 1 bug")
    assert scores(sqlite_store) == []
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    page.keyboard.press("s")
    expect(page.locator("#skip-dialog")).to_be_visible()
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text("prompt 2")
    assert scores(sqlite_store) == [2]
    with sqlite_store.reading() as session:
        assert list(session.scalars(select(Skip.reason))) == ["offensive"]
        (rating,) = session.scalars(select(Rating))
        assert (rating.quality, rating.comment) == ("good", "good, 1 bug")


def test_a_person_compares_and_the_sides_are_told_apart(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 4, "compare")
    page = enter()
    at(page, "compare")
    wanted = []
    for number in range(4):
        expect(page.locator("#prompt")).to_have_text(f"prompt {number}")
        left = page.locator("[data-completion='0']").text_content()
        wanted.append("a" if left == f"{number} a" else "b")
        page.keyboard.press("a")
        page.keyboard.press("3")
        expect(page.locator("[data-side=A]")).to_have_class("card chosen")
        if number == 0:
            picture(page, "compare-desktop")
        page.keyboard.press("Enter")
    expect(page.locator("#nothing")).to_be_visible()
    with sqlite_store.reading() as session:
        said = session.execute(
            select(Comparison.preference, Comparison.sureness).order_by(Comparison.assignment_id)
        ).all()
    assert [tuple(row) for row in said] == [(preference, 3) for preference in wanted]


def test_arrows_move_how_sure_somebody_is_and_leave_the_choice(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 1, "compare")
    page = enter()
    at(page, "compare")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[name=choice][value=left]")).to_be_checked()
    page.locator("[name=sureness][value='2']").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[name=sureness][value='3']")).to_be_checked()
    expect(page.locator("[name=choice][value=left]")).to_be_checked()
    expect(page.locator("[data-side=A]")).to_have_class("card chosen")
    page.locator("[name=choice][value=left]").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[name=choice][value=left]")).to_be_checked()


def test_two_tabs_of_one_chat_take_nothing_from_each_other(sqlite_store: FeedbackStore, enter: Enter) -> None:
    page = enter()
    at(page, "chat")
    page.locator("[name=said]").fill("Hello")
    page.locator("[name=said]").press("Enter")
    expect(page.locator(".answer")).to_have_text("echo 0 of Hello")
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(".rewrite").click()
    other.locator(".rewriting textarea").fill("A better one")
    other.locator(".rewriting textarea").press("Control+Enter")
    expect(other.locator(".rewritten")).to_have_text("A better one")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#state")).to_have_text("Saved")
    expect(page.locator(".rewritten")).to_have_text("A better one")
    with sqlite_store.reading() as session:
        (turn,) = session.scalars(select(Turn))
        assert (turn.score, turn.rewriting) == (2, " A better one")


def test_a_person_chats_scores_and_rewrites(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add(sqlite_store, kind="chat", prompt="the sea")
    page = enter()
    at(page, "chat")
    expect(page.locator("#subject")).to_contain_text("the sea")
    page.keyboard.press("m")
    page.keyboard.type("Hello n1")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_text("echo 0 of Hello n1")
    expect(page.locator("[name=said]")).to_have_value("")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#state")).to_have_text("Saved")
    page.keyboard.press("r")
    page.keyboard.press("Control+a")
    page.keyboard.type("world")
    page.reload()  # in the middle of a rewriting
    expect(page.locator(".rewriting textarea")).to_have_value("world")
    page.locator(".rewriting textarea").press("Control+Enter")
    expect(page.locator(".rewritten")).to_have_text("world")
    picture(page, "chat-desktop")
    with sqlite_store.reading() as session:
        (turn,) = session.scalars(select(Turn))
        assert (turn.said, turn.score, turn.rewriting) == ("Hello n1", 2, " world")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#count")).to_have_text("1 done, 0 left")
    page.keyboard.press("Escape")
    page.keyboard.press("u")  # goes back to the conversation,
    expect(page.locator(".rewritten")).to_have_text("world")
    expect(page.locator("#count")).to_have_text("0 done, 1 left")
    page.keyboard.press("u")  # takes score and rewriting back,
    expect(page.locator(".rewritten")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("Taken back")
    expect(page.locator(".turn [type=radio]:checked")).to_have_count(0)
    page.keyboard.press("u")  # and what was said, which may then be said otherwise
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("[name=said]")).to_have_value("Hello n1")
    page.keyboard.press("u")
    expect(page.locator("#error")).to_have_text("There is nothing to undo.")


def test_a_subject_is_skipped_with_keys_alone_and_a_free_conversation_is_not(
    sqlite_store: FeedbackStore, enter: Enter
) -> None:
    add(sqlite_store, kind="chat", prompt="the sea")
    page = enter()
    at(page, "chat")
    page.keyboard.press("m")
    page.keyboard.type("so it ")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.locator("#skip-dialog")).to_be_visible()
    picture(page, "skip-desktop")
    page.keyboard.press("Escape")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    expect(page.locator("[name=said]")).to_have_value("so it ")
    for key in ("s", "4", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#subject")).to_be_hidden()
    expect(page.locator("#skip")).to_be_hidden()
    expect(page.locator("[name=said]")).to_have_value("")
    page.keyboard.press("s")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    with sqlite_store.reading() as session:
        assert list(session.scalars(select(Skip.reason))) == ["expertise"]
    page.keyboard.press("u")
    expect(page.locator("#subject")).to_contain_text("the sea")


def test_nothing_that_was_typed_is_lost_by_a_reload(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 2)
    page = enter()
    page.locator("[name=comment]").fill("half a thou")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.reload()
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    expect(page.locator("[name=comment]")).to_have_value("half a thou")
    expect(page.locator("[name=quality][value=bad]")).to_be_checked()
    at(page, "chat")
    page.locator("[name=said]").fill("not yet sent")
    page.reload()
    expect(page.locator("[name=said]")).to_have_value("not yet sent")


def skips(store: FeedbackStore) -> list[tuple[str, str]]:
    with store.reading() as session:
        return [(one.reason, one.comment) for one in session.scalars(select(Skip))]


@pytest.mark.parametrize("tab", ["rate", "chat"])
def test_why_something_is_skipped_survives_a_reload(sqlite_store: FeedbackStore, enter: Enter, tab: Kind) -> None:
    add_items(sqlite_store, 2, tab)
    page = enter()
    at(page, tab)
    shown = page.locator("#subject .text" if tab == "chat" else "#prompt")
    comment = page.locator("[name=skip-comment]")
    expect(shown).to_have_text("prompt 0")
    page.keyboard.press("s")
    page.keyboard.press("5")
    comment.fill("half a sen")
    page.reload()
    expect(page.locator("#skip-dialog")).to_be_visible()
    expect(page.locator("[name=reason][value=other]")).to_be_checked()
    expect(comment).to_have_value("half a sen")
    comment.fill("half a sentence")
    page.keyboard.press("Escape")  # thought better of it, and yet again
    page.reload()
    expect(shown).to_have_text("prompt 0")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    page.keyboard.press("s")
    expect(comment).to_have_value("half a sentence")
    comment.press("Enter")
    expect(shown).to_have_text("prompt 1")
    assert skips(sqlite_store) == [("other", "half a sentence")]
    page.keyboard.press("u")
    expect(shown).to_have_text("prompt 0")
    page.reload()
    expect(shown).to_have_text("prompt 0")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    page.keyboard.press("s")
    expect(comment).to_have_value("half a sentence")
    page.locator("#skip-dialog [value=cancel]").click()
    page.keyboard.press("s")
    expect(comment).to_have_value("")


@pytest.mark.parametrize("tab", ["rate", "chat"])
def test_a_skip_that_did_not_get_through_before_a_reload_is_asked_again(
    sqlite_store: FeedbackStore, enter: Enter, tab: Kind
) -> None:
    add_items(sqlite_store, 2, tab)
    page = enter()
    at(page, tab)
    shown = page.locator("#subject .text" if tab == "chat" else "#prompt")
    expect(shown).to_have_text("prompt 0")
    page.context.set_offline(True)
    page.keyboard.press("s")
    page.keyboard.press("4")
    page.locator("[name=skip-comment]").fill("law")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("No connection: not saved yet, trying again…")
    page.context.set_offline(False)
    page.route("**/api/skips", lambda route: route.abort())
    page.route("**/api/chat/skip", lambda route: route.abort())
    page.reload()
    expect(page.locator("[name=skip-comment]")).to_have_value("law")
    assert skips(sqlite_store) == []
    page.unroute("**/api/skips")
    page.unroute("**/api/chat/skip")
    page.locator("[name=skip-comment]").press("Enter")
    expect(shown).to_have_text("prompt 1")
    assert skips(sqlite_store) == [("expertise", "law")]


@pytest.mark.parametrize("tab", ["rate", "compare"])
def test_what_was_taken_back_survives_a_reload_and_a_lost_answer(
    sqlite_store: FeedbackStore, enter: Enter, tab: Kind
) -> None:
    add_items(sqlite_store, 2, tab)
    page = enter()
    at(page, tab)
    # Long before it is wanted: a request right after it can go past it.
    answers: list[str] = []

    def lose_first(route: Route) -> None:
        answers.append(route.fetch().text())
        if len(answers) == 1:
            route.abort()
        else:
            route.fulfill(body=answers[-1], content_type="application/json")

    page.route("**/api/undo", lose_first)
    chosen = "[name=score][value='4']" if tab == "rate" else "[name=choice][value=left]"
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    page.locator("[name=comment]").fill("a long thought")
    page.keyboard.press("Escape")
    page.keyboard.press("4" if tab == "rate" else "a")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    page.keyboard.press("u")
    for is_reloaded in (False, True):
        if is_reloaded:
            page.reload()
        expect(page.locator("#prompt")).to_have_text("prompt 0")
        expect(page.locator("[name=comment]")).to_have_value("a long thought")
        expect(page.locator(chosen)).to_be_checked()
    assert len(answers) == 2
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    page.reload()
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    expect(page.locator("[name=comment]")).to_have_value("")


def test_what_is_taken_back_in_a_chat_can_be_had_again(sqlite_store: FeedbackStore, enter: Enter) -> None:
    page = enter()
    at(page, "chat")
    page.locator("[name=said]").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(1)
    rewriting = page.locator(".rewriting textarea")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    rewriting.fill("world")
    rewriting.press("Control+Enter")
    expect(page.locator(".rewritten")).to_have_text("world")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.locator(".rewritten")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("Taken back")
    page.keyboard.press("r")
    expect(rewriting).to_have_value("world")
    page.reload()
    expect(rewriting).to_have_value("world")
    # What is being typed is not replaced by what was kept before.
    rewriting.fill("world, again")
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    expect(page.locator("#state")).to_have_text("Saved")
    page.keyboard.press("u")
    expect(page.locator("#state")).to_have_text("Taken back")
    expect(rewriting).to_have_value("world, again")
    page.locator("[name=said]").fill("And then?")
    page.keyboard.press("Escape")
    page.keyboard.press("u")  # takes back what was said, which stands before what was typed since
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("[name=said]")).to_have_value("Hello\nAnd then?")


@pytest.mark.parametrize(
    ("scale", "given", "hints"),
    [
        ((0, 10), {"0": 0, "5": 5, "9": 9, "ArrowLeft": 10}, ["10 ← →"]),
        ((1, 10), {"1": 1, "9": 9, "0": 10}, ["10 0"]),
        ((-4, 4), {"1": -4, "5": 0, "9": 4}, ["−4 1", "−3 2", "−2 3", "−1 4", "0 5", "1 6", "2 7", "3 8", "4 9"]),
        ((-5, 5), {"1": -5, "0": 4, "ArrowLeft": 5}, ["5 ← →"]),
    ],
)  # fmt: skip
def test_a_key_gives_the_score_that_the_button_says(
    sqlite_store: FeedbackStore, enter: Enter, scale: tuple[int, int], given: dict[str, int], hints: list[str]
) -> None:
    with sqlite_store.writing() as session:
        change_project(session, scale=scale)
    add_items(sqlite_store, len(given))
    page = enter()
    for number, (key, score) in enumerate(given.items()):
        expect(page.locator("#prompt")).to_have_text(f"prompt {number}")
        page.keyboard.press(key)
        expect(page.locator("[name=score]:checked")).to_have_value(str(score))
        picture(page, f"rate-keys{scale[0]}")
        page.keyboard.press("Enter")
    expect(page.locator("#nothing")).to_be_visible()
    assert scores(sqlite_store) == list(given.values())
    shown = page.locator("#scores label span").filter(has=page.locator("kbd")).all_text_contents()
    assert [one for one in shown if one in hints] == hints
    at(page, "chat")
    page.locator("[name=said]").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(1)
    page.keyboard.press("Escape")
    for key, score in given.items():
        if len(key) == 1:
            page.keyboard.press(key)
            expect(page.locator(".turn [type=radio]:checked")).to_have_value(str(score))
    expect(page.locator("#state")).to_have_text("Saved")


def turn_score(store: FeedbackStore) -> int | None:
    with store.reading() as session:
        return session.scalar(select(Turn.score))


def test_arrows_reach_every_score(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 1)
    page = enter()
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    for key, score in (*[("ArrowRight", score) for score in (1, 2, 3, 4, 5, 5)], ("ArrowLeft", 4)):
        page.keyboard.press(key)
        expect(page.locator("[name=score]:checked")).to_have_value(str(score))
    page.keyboard.press("Enter")
    expect(page.locator("#nothing")).to_be_visible()
    at(page, "chat")
    page.locator("[name=said]").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(1)
    page.keyboard.press("Escape")
    for _ in range(4):  # quicker than each is saved
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".turn [type=radio]:checked")).to_have_value("3")
    until = time.monotonic() + MILLISECONDS / 1000
    while turn_score(sqlite_store) != 3:
        assert time.monotonic() < until
        page.wait_for_timeout(50)
    expect(page.locator(".turn [type=radio]:checked")).to_have_value("3")


def test_a_dropped_connection_is_said_and_the_rating_sent_when_it_is_back(
    sqlite_store: FeedbackStore, enter: Enter
) -> None:
    add_items(sqlite_store, 2)
    page = enter()
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    page.context.set_offline(True)
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("No connection: not saved yet, trying again…")
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    assert scores(sqlite_store) == []
    page.context.set_offline(False)
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    assert scores(sqlite_store) == [5]


def test_what_is_shown_while_a_rating_is_on_its_way_is_what_is_saved(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 2)
    page = enter()
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    page.context.set_offline(True)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("No connection: not saved yet, trying again…")
    for key in ("5", "c", "x"):
        page.keyboard.press(key)
    expect(page.locator("[name=score][value='3']")).to_be_checked()
    expect(page.locator("[name=comment]")).to_have_value("")
    page.context.set_offline(False)
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    assert scores(sqlite_store) == [3]
    page.keyboard.press("4")
    expect(page.locator("[name=score][value='4']")).to_be_checked()


def test_an_item_that_was_half_judged_is_skipped_with_keys_alone(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 2)
    page = enter()
    expect(page.locator("#prompt")).to_have_text("prompt 0")
    for key in ("4", "s", "2", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#prompt")).to_have_text("prompt 1")
    assert scores(sqlite_store) == []
    with sqlite_store.reading() as session:
        assert list(session.scalars(select(Skip.reason))) == ["language"]


def test_a_draft_stays_with_the_store_that_it_was_written_for(
    tmp_path: Path, sqlite_store: FeedbackStore, enter: Enter
) -> None:
    add_items(sqlite_store, 1)
    page = enter()
    page.locator("[name=comment]").fill("of the first store")
    other = FeedbackStore(tmp_path / "other.db")
    add_items(other, 1)
    kept = page.evaluate("({ ...localStorage })")
    with served_here(other) as address:
        page.goto(address)
        page.locator("[name=name]").fill("Ada")
        page.keyboard.press("Enter")
        page.wait_for_url("**/rate")
        host, first = page.evaluate("location.host"), page.url
        # As if this store had been served at the first one's address.
        page.evaluate(
            "([kept, host]) => Object.entries(kept).forEach(([key, value]) => "
            "localStorage.setItem(key.replace(/(?<=^textgym )\\S+/, host), value))",
            [kept, host],
        )
        page.goto(first)
        expect(page.locator("#prompt")).to_have_text("prompt 0")
        expect(page.locator("[name=comment]")).to_have_value("")


def test_what_is_typed_or_scored_while_the_model_writes_is_kept(sqlite_store: FeedbackStore, enter: Enter) -> None:
    page = enter()
    at(page, "chat")
    page.locator("[name=said]").fill("one")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(1)
    held: list[Route] = []
    # Playwright marks its handlers, which a built-in method does not let it.
    page.route("**/api/chat/turns", lambda route: held.append(route))  # noqa: PLW0108
    page.locator("[name=said]").fill("two")
    page.keyboard.press("Enter")
    expect(page.locator("[name=said]")).to_have_value("")
    page.keyboard.type("three")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    expect(page.locator("#state")).to_have_text("The model is writing…")
    held[0].continue_()
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator("#state")).to_have_text("Saved")
    expect(page.locator("[name=said]")).to_have_value("three")
    page.unroute("**/api/chat/turns")
    page.reload()
    expect(page.locator("[name=said]")).to_have_value("three")
    expect(page.locator(".turn").first.locator("[value='4']")).to_be_checked()


def test_what_was_sent_and_has_no_answer_comes_back(sqlite_store: FeedbackStore, enter: Enter) -> None:
    page = enter()
    at(page, "chat")
    page.route("**/api/chat/turns", lambda _: None)
    page.locator("[name=said]").fill("one")
    page.keyboard.press("Enter")
    expect(page.locator("[name=said]")).to_have_value("")
    page.keyboard.type("two")
    page.reload()
    expect(page.locator("[name=said]")).to_have_value("one\ntwo")


def test_two_people_at_once_are_given_different_items(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add_items(sqlite_store, 2)
    ada, bo = enter("Ada"), enter("Bo")
    expect(ada.locator("#prompt")).to_have_text("prompt 0")
    expect(bo.locator("#prompt")).to_have_text("prompt 1")
    for page in (ada, bo):
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        expect(page.locator("#nothing")).to_be_visible()
    ada.goto(ada.url.replace("/rate", "/owner"))
    expect(ada.locator("table").first).to_contain_text("2 / 2")
    picture(ada, "owner-desktop")
    with sqlite_store.reading() as session:
        assert len(set(session.scalars(select(Assignment.annotator_id)))) == 2


def test_a_hostile_completion_is_only_text(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add(sqlite_store, kind="rate", prompt=HOSTILE, completion_a=HOSTILE)
    add(sqlite_store, kind="compare", prompt=HOSTILE, completion_a=HOSTILE, completion_b="fine")
    add(sqlite_store, kind="chat", prompt=HOSTILE)
    page = enter(size=PHONE)
    errors: list[str] = []
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    for tab in ("rate", "compare", "chat"):
        at(page, tab)
        expect(page.locator("#subject .text" if tab == "chat" else "#prompt")).to_have_text(HOSTILE)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script, main h1").count() == 0
        # A word without end does not make the page wider than the phone.
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("text=7 * 7").count() == 1
    assert errors == []


def test_the_page_speaks_chinese(sqlite_store: FeedbackStore, enter: Enter) -> None:
    add(sqlite_store, kind="rate", prompt="今天的天气", completion_a="非常好，适合出门。")
    page = enter("小明", language="zh-CN")
    expect(page.locator("#save")).to_have_text("保存")
    page.locator("[name=comment]").fill("写得不错")
    picture(page, "rate-chinese")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#error")).to_have_text("请先选择分数或“好、一般、差”。")
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#nothing")).to_have_text("这里没有您要做的了，谢谢！")
    with sqlite_store.reading() as session:
        assert list(session.scalars(select(Rating.comment))) == ["写得不错"]


def test_the_owners_overview_is_readable_on_a_phone(sqlite_store: FeedbackStore, enter: Enter) -> None:
    page = enter("Annegret", size=PHONE)
    page.goto(page.url.replace("/rate", "/owner"))
    heights = page.locator("tbody th").evaluate_all("cells => cells.map((one) => one.offsetHeight)")
    assert len(heights) == 4
    assert max(heights) < 50  # one line
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    names = page.locator("tbody th").last
    before = names.bounding_box()
    page.locator(".scroll").last.evaluate("table => table.scrollLeft = 1000")
    assert names.bounding_box() == before


def test_everything_is_in_reach_on_a_phone(sqlite_store: FeedbackStore, enter: Enter) -> None:
    words = " was made by people who love the sea, and it shows in every picture of it. " * 3
    add(sqlite_store, kind="rate", prompt="The film", completion_a=words)
    add(sqlite_store, kind="compare", prompt="The film", completion_a=words, completion_b=" was dull.")
    page = enter(size=PHONE)
    for tab in ("rate", "compare", "chat"):
        at(page, tab)
        if tab == "chat":
            page.locator("[name=said]").fill("Hello")
            page.locator("#send").click()
            expect(page.locator(".answer")).not_to_be_empty()
        else:
            expect(page.locator("#prompt")).to_have_text("The film")
            assert page.locator("#save").bounding_box() is not None
        picture(page, f"{tab}-phone")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        small = page.locator("main label:visible span").evaluate_all(
            "spans => spans.filter((one) => one.offsetHeight < 32).length"
        )
        assert small == 0
    at(page, "rate")
    page.locator("[name=score][value='4']").check()
    page.locator("#save").click()
    expect(page.locator("#nothing")).to_be_visible()
    assert scores(sqlite_store) == [4]
