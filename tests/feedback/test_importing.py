"""Importing: nothing half done, options honoured or refused, columns that are mistyped, many rows, two at once."""

import json
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from tests.feedback.conftest import add_items
from tests.feedback.test_files import read_rows, write_rows
from tests.feedback.test_queue import assert_places_are_counted
from textgym.feedback.exporting import export_file
from textgym.feedback.importing import ImportRefusedError, import_file, import_into
from textgym.feedback.judgements import RatingAnswer, rate, skip, undo
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Item

ITEM = {"prompt": "p", "completion": "c"}


def judge_one(store: FeedbackStore) -> None:
    with store.writing() as session:
        anna = find_or_add(session, "Anna")
        given = next_assignment(session, anna.id, "rate")
        assert given is not None
        rate(session, anna.id, given.id, RatingAnswer(3))


def test_a_refused_file_leaves_no_store_behind(place: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [ITEM, {**ITEM, "score": 7}])
    with pytest.raises(ImportRefusedError, match="line 2: score must be 1 to 5, got 7"):
        import_into(place, path)
    assert not (tmp_path / "feedback.db").exists()
    imported = import_into(place, path, scale=(1, 9))
    assert (imported.items, imported.n_judgements) == ({"rate": 1}, 1)
    store = FeedbackStore(place, must_exist=True)
    assert (store.project().least_score, store.project().most_score) == (1, 9)
    store.close()


def test_the_scale_of_a_store_is_changed_until_judging_has_begun(
    store: FeedbackStore, place: str, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "in.jsonl", [ITEM])
    import_into(place, path, scale=(-4, 4), instructions="Be kind.")
    judge_one(store)
    import_into(place, path, scale=(-4, 4))
    import_into(place, path, instructions="Be fair.")
    more = write_rows(tmp_path / "more.jsonl", [{"prompt": "q", "completion": "d"}])
    with pytest.raises(
        ValueError, match="the store's scale is -4 to 4 and cannot become 1 to 5, since judging has begun"
    ):
        import_into(place, more, scale=(1, 5), instructions="No.")
    project = store.project()
    assert (project.least_score, project.most_score, project.instructions) == (-4, 4, "Be fair.")
    with store.reading() as session:
        assert len(list(session.scalars(select(Item)))) == 1


def test_people_and_priority_are_changed_for_items_that_are_there(store: FeedbackStore, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [ITEM, {"prompt": "q", "completion": "d", "priority": 4}])
    import_file(store, path)
    assert import_file(store, path, people=3).n_changed == 2
    same = import_file(store, path)
    assert (same.n_changed, same.n_repeated) == (0, 2)
    assert import_file(store, write_rows(tmp_path / "first.jsonl", [{**ITEM, "priority": 9}])).n_changed == 1
    with store.reading() as session:
        assert [(one.n_people, one.priority) for one in session.scalars(select(Item).order_by(Item.id))] == [
            (3, 9),
            (3, 4),
        ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [({"quality": "bad"}, "bad"), ({"label": True}, "good"), ({"score": 2, "quality": "bad"}, "2")],
)
def test_the_right_answer_of_a_check_item_may_be_a_word(
    store: FeedbackStore, tmp_path: Path, said: dict[str, Any], expected: str
) -> None:
    imported = import_file(store, write_rows(tmp_path / "in.jsonl", [{**ITEM, **said}]), are_checks=True)
    assert imported.unused_columns == ()
    with store.reading() as session:
        assert list(session.scalars(select(Item.expected))) == [expected]


def test_a_check_item_without_a_right_answer_is_refused(store: FeedbackStore, tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        import_file(store, write_rows(tmp_path / "in.jsonl", [ITEM]), are_checks=True)
    assert caught.value.problems == [
        (1, "a check item needs its right answer: a score, a quality or label, a preference, or chosen and rejected")
    ]


def test_every_row_that_cannot_be_used_is_named_by_its_line(store: FeedbackStore, tmp_path: Path) -> None:
    rows = [{**ITEM, "completion": f"c{place}", "score": 3 if place == 30 else 9} for place in range(40)]
    with pytest.raises(ImportRefusedError) as caught:
        import_file(store, write_rows(tmp_path / "in.jsonl", rows))
    assert str(caught.value).splitlines()[-2:] == [
        "  line 20: score must be 1 to 5, got 9",
        "  and 19 more, in lines 21-30, 32-40",
    ]


def test_a_check_item_has_one_right_answer(store: FeedbackStore, tmp_path: Path) -> None:
    import_file(store, write_rows(tmp_path / "in.jsonl", [{**ITEM, "score": 1}]), are_checks=True)
    with pytest.raises(ImportRefusedError, match="line 1: this check item has another right answer already, 1"):
        import_file(store, write_rows(tmp_path / "in.jsonl", [{**ITEM, "score": 5}]), are_checks=True)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**ITEM, "priority": 2**31}, "priority must be -2147483647 to 2147483647, got 2147483648"),
        ({**ITEM, "priority": "1e300"}, "priority must be -2147483647 to 2147483647, got 1"),
        ({**ITEM, "score": 1, "rating": 2}, "score and rating are two names of the same, got 1 and 2"),
        ({**ITEM, "label": True, "quality": "bad"}, "label True says good, and quality bad"),
        ({**ITEM, "quality": "fine"}, "quality must be good, fair or bad, got 'fine'"),
        ({**ITEM, "label": [1]}, "label must be true or false, got [1]"),
        ({**ITEM, "comment": "hm"}, "has a comment, but no score, label or quality that it belongs to"),
        ({**ITEM, "preference": "a"}, "preference says nothing of completion; leave it empty, or give what it belongs"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "score": 3}, "score says nothing of chosen and rejected"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "sureness": 4}, "sureness must be 1, 2 or 3, got 4"),
        ({"prompt": "p", "completion_a": "a", "completion_b": "b", "sureness": 2}, "sureness, but no preference"),
        ({**ITEM, "chosen": "a", "rejected": "b"}, "has both completion and chosen, which are items of two kinds"),
        ({**ITEM, "score": 3, "rater": "x" * 70}, "a name must have 1 to 60 printable characters"),
    ],
)  # fmt: skip
def test_what_a_row_says_in_vain_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        import_into(str(tmp_path / "s.db"), write_rows(tmp_path / "in.jsonl", [row]))
    assert problem in str(caught.value)


def test_mistyped_columns_are_named_with_the_nearest_match(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [{**ITEM, "lable": True, "Score ": 3, "id": 4}])
    message = (
        f"{path}: There is no column 'lable'. Did you mean 'label'? There is no column 'Score '. Did you mean 'score'? "
        "Nothing was imported; rename it, or take it out."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        import_into(str(tmp_path / "s.db"), path)
    assert not (tmp_path / "s.db").exists()


def test_columns_that_say_more_of_a_text_are_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"source": "web", "date": "today", "id": 1, "prompt_id": 2, "completion_model": "m", "rating_time": 3}
    write_rows(tmp_path / "in.jsonl", [{**ITEM, **more}])
    result = run_command("feedback", "import", "s.db", "in.jsonl")
    assert result.output == (
        "New items: 1 to rate; new judgements: 0; rows already there: 0.\n"
        "Columns not used: source, date, id, prompt_id, completion_model, rating_time.\n"
    )


def test_a_table_may_hold_items_of_every_kind(tmp_path: Path) -> None:
    names = ("prompt", "completion", "score", "completion_a", "completion_b", "preference")
    cells = [("p", "c", "4", "", "", ""), ("p", "", "", "x", "y", "b"), ("p", "", "", "", "", "")]
    path = write_rows(tmp_path / "in.csv", [dict(zip(names, row, strict=True)) for row in cells])
    imported = import_into(str(tmp_path / "s.db"), path)
    assert (imported.items, imported.n_judgements) == ({"rate": 1, "compare": 1, "chat": 1}, 2)


@pytest.mark.parametrize(
    "options",
    [
        ("--people", 1001), ("--scale", 10**10, 10**10 + 4), ("--rater", " "), ("--checks", "--people", 2),
        ("--checks", "--rater", "Ada"),
    ],
)  # fmt: skip
def test_an_option_out_of_range_is_one_line_and_makes_no_store(tmp_path: Path, options: tuple[Any, ...]) -> None:
    write_rows(tmp_path / "in.jsonl", [ITEM])
    result = run_command("feedback", "import", tmp_path / "s.db", tmp_path / "in.jsonl", *options)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert not (tmp_path / "s.db").exists()


def test_files_imported_at_once_go_in_one_after_the_other(place: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"{number}", "completion": "c", "score": 3, "rater": f"r {number % 7}"} for number in range(300)]
    path = write_rows(tmp_path / "in.jsonl", rows)
    FeedbackStore(place).close()
    results: list[Any] = []

    def put_in() -> None:
        results.append(import_into(place, path))

    threads = [Thread(target=put_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.n_judgements for one in results) == [0, 0, 0, 300]
    assert sorted(one.n_repeated for one in results) == [0, 300, 300, 300]


def test_an_import_and_people_at_work_do_not_wait_for_each_other_for_ever(store: FeedbackStore, tmp_path: Path) -> None:
    """Each of five people takes item after item, while judgements of the same items by the same people come in."""
    add_items(store, 40, people=5)
    names = [f"person {number}" for number in range(5)]
    with store.writing() as session:
        numbers = [find_or_add(session, name).id for name in names]
    done: list[int] = []

    def work(number: int) -> None:
        count = 0
        while True:
            with store.writing() as session:
                given = next_assignment(session, number, "rate")
                if given is None:
                    break
                rate(session, number, given.id, RatingAnswer(2))
            count += 1
        done.append(count)

    threads = [Thread(target=work, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for turn in range(10):
        rows = [{"prompt": f"new {turn} {name}", "completion": "c", "score": 4, "rater": name} for name in names]
        import_file(store, write_rows(tmp_path / "in.jsonl", rows), people=1)
    for thread in threads:
        thread.join()
    assert done == [40] * 5
    assert_places_are_counted(store)
    export_file(store, tmp_path / "out.jsonl", "ratings")
    assert len(read_rows(tmp_path / "out.jsonl")) == 40 * 5 + 10 * 5


def test_who_frees_a_place_and_an_import_do_not_wait_for_each_other_for_ever(
    store: FeedbackStore, tmp_path: Path
) -> None:
    """Each needs the person and the item; locked in two orders, PostgreSQL ends one of them as a deadlock."""
    add_items(store, 1)
    with store.writing() as session:
        ada = find_or_add(session, "Ada").id
        given = next_assignment(session, ada, "rate")
        assert given is not None
        skip(session, ada, given.id, "unclear")
    imported: list[Any] = []
    path = write_rows(tmp_path / "in.jsonl", [{**ITEM, "score": 3, "rater": "Ada"}])
    thread = Thread(target=lambda: imported.append(import_file(store, path)))
    with store.writing() as session:
        undo(session, ada, given.id)
        thread.start()
        time.sleep(0.5)  # until the import waits for what this person holds
        skip(session, ada, given.id, "other")
    thread.join()
    assert imported[0].n_judgements == 1
    assert_places_are_counted(store)


def test_one_name_signed_in_twice_at_once_is_one_person(store: FeedbackStore) -> None:
    found: list[tuple[int, bool]] = []

    def enter(name: str) -> None:
        with store.writing() as session:
            person = find_or_add(session, name)
            found.append((person.id, person.is_owner))
            session.execute(text("SELECT 1"))
            time.sleep(0.05)

    threads = [Thread(target=enter, args=(name,)) for name in ("Ada", "Bo", "Ada", "Bo", "Ada", "Cy")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({number for number, _ in found}) == 3
    assert len({number for number, is_owner in found if is_owner}) == 1


def test_many_rows_are_imported_with_few_statements(tmp_path: Path) -> None:
    """5,000 ratings sent to the database one by one took over ten times as long."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    path = tmp_path / "in.jsonl"
    rows = ({"prompt": f"{number}", "completion": "word " * 30, "score": 3, "rater": "Ada"} for number in range(5000))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert import_into(str(tmp_path / "s.db"), path).n_judgements == 5000
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert any("INSERT INTO items" in statement for statement in statements)
    assert len(statements) < 500
