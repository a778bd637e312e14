"""What people said, exported and imported into an empty store, is what they said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import select

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from tests.feedback.test_files import read_rows, write_rows
from textgym.feedback.chats import Answer, Answerer, close_chat, judge_turn, open_chat, say, skip_chat
from textgym.feedback.exporting import Format, export_file, read_judgements
from textgym.feedback.importing import ImportRefusedError, import_file, import_into
from textgym.feedback.judgements import Choice, ComparisonAnswer, RatingAnswer, Reason, compare, rate, skip
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Item, Kind

# On a scale of four scores "fair" is between two of them.
SCALE = (1, 4)
RATINGS = (
    RatingAnswer(4), RatingAnswer(None, "good"), RatingAnswer(None, "fair"), RatingAnswer(None, "bad"),
    RatingAnswer(1, "good", "odd"), RatingAnswer(4, "good"), RatingAnswer(None, "bad", '“dull”,\nand "long"'),
)  # fmt: skip
COMPARISONS = tuple(
    ComparisonAnswer(choice, sureness, comment)
    for choice in get_args(Choice)
    for sureness, comment in ((None, ""), (3, "so, so"))
)
PEOPLE = ("Ada", "Bo", "王 芳")


def judge(store: FeedbackStore, name: str, kind: Kind, answers: tuple[Any, ...]) -> None:
    """Judge as many items as there are answers, in an order of the person's own; skip the rest, each for a reason."""
    reasons = iter(get_args(Reason))
    turned = answers[len(name) :] + answers[: len(name)]
    with store.writing() as session:
        person = find_or_add(session, name).id
        for answer in turned:
            given = next_assignment(session, person, kind)
            assert given is not None
            (rate if kind == "rate" else compare)(session, person, given.id, answer)
        while (given := next_assignment(session, person, kind)) is not None:
            skip(session, person, given.id, next(reasons), f"{name}: no")


def answering(context: str, text: str) -> Answerer:
    """A model that goes on with a context in one way."""
    return lambda _, __: Answer(context, text)


def talk(store: FeedbackStore, name: str) -> None:
    """Have answers that are scored, rewritten, both and neither, one that says nothing, and one that comes again."""
    judged: list[tuple[str, int | None, str | None]] = [
        (" one", 1, None), (" two", None, " better"), (" three", 4, " best"), (" four", None, None), ("", 2, " better"),
        (" again", 1, None),
    ]  # fmt: skip
    with store.writing() as session:
        person = find_or_add(session, name).id
        chat = open_chat(session, person, "m").id
    for number, (text, score, rewriting) in enumerate(judged):
        turn = say(store, person, chat, number, f"{number}?", answering(f"…{number}?", text))
        with store.writing() as session:
            judge_turn(session, person, turn.id, {"score": score, "rewriting": rewriting})
    with store.writing() as session:
        close_chat(session, person, chat)
        chat = open_chat(session, person, "m").id
    turn = say(store, person, chat, 0, "5?", answering("…5?", " again"))
    with store.writing() as session:
        judge_turn(session, person, turn.id, {"score": 4})
        skip_chat(session, person, chat, "language", "too")


@pytest.fixture
def judged_store(tmp_path: Path) -> Iterator[FeedbackStore]:
    """A store in which three people have said everything that can be said."""
    rows = [
        *({"prompt": "p", "completion": f"{number}"} for number in range(len(RATINGS) + len(get_args(Reason)))),
        *({"prompt": "p", "completion_a": f"{number}", "completion_b": "x"} for number in range(len(COMPARISONS) + 2)),
        {"prompt": "The sea"}, {"prompt": "大海"},
    ]  # fmt: skip
    import_into(str(tmp_path / "first.db"), write_rows(tmp_path / "rows.jsonl", rows), scale=SCALE, people=3)
    store = FeedbackStore(tmp_path / "first.db")
    for name in PEOPLE:
        judge(store, name, "rate", RATINGS)
        judge(store, name, "compare", COMPARISONS)
        talk(store, name)
    yield store
    store.close()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_all_that_was_said_goes_out_and_in_again(judged_store: FeedbackStore, tmp_path: Path, suffix: str) -> None:
    formats: tuple[Format, ...] = ("ratings", "comparisons", "skips")
    for name in formats:
        export_file(judged_store, tmp_path / f"{name}{suffix}", name)
        import_into(str(tmp_path / "second.db"), tmp_path / f"{name}{suffix}", scale=SCALE)
    second = FeedbackStore(tmp_path / "second.db")
    try:
        for name in (*formats, "labels", "preferences"):
            first, again = read_judgements(judged_store, name), read_judgements(second, name)
            assert sorted(map(repr, again)) == sorted(map(repr, first)), name
        said = {
            name: [import_file(second, tmp_path / f"{name}{suffix}").n_repeated, len(read_judgements(second, name))]
            for name in formats
        }
        # An answer in a chat that says nothing is left out, and one that came again counts once.
        n_ratings, n_comparisons = len(RATINGS) + 3, len(COMPARISONS) + 2
        assert said["ratings"] == [3 * n_ratings] * 2
        assert said["comparisons"] == [3 * n_comparisons] * 2
        assert said["skips"] == [3 * (len(get_args(Reason)) + 2 + 1)] * 2
        # What was skipped waits for somebody else.
        with second.writing() as session:
            person = find_or_add(session, "Dee").id
            assert next_assignment(session, person, "rate") is not None
    finally:
        second.close()


def test_a_score_that_a_word_counts_as_is_nobodys_score(judged_store: FeedbackStore) -> None:
    said = {(row["rating"], row["score"], row["quality"]) for row in read_judgements(judged_store, "ratings")}
    assert said >= {(4, None, "good"), (2.5, None, "fair"), (1, None, "bad"), (4, 4, "good"), (4, 4, None)}


def test_what_was_said_goes_in_again_where_it_came_from(judged_store: FeedbackStore, tmp_path: Path) -> None:
    """Ratings in chats become items, in the same store, too; nothing else is new."""
    for name, n_new in (("ratings", 3 * 3), ("comparisons", 3 * 2), ("skips", 0)):
        n_rows = export_file(judged_store, tmp_path / f"{name}.jsonl", name)  # type: ignore[arg-type]
        imported = import_file(judged_store, tmp_path / f"{name}.jsonl")
        assert (imported.n_judgements, imported.n_skips, imported.n_repeated) == (n_new, 0, n_rows - n_new)
        assert len(read_judgements(judged_store, name)) == n_rows  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"completion": "c", "score": 3, "reason": "unclear"}, "has both score and reason"),
        ({"completion": "c", "reason": "dull"}, "reason must be one of unclear, language, offensive, expertise, other"),
        ({"chosen": "a", "rejected": "b", "reason": "other"}, "reason says nothing of chosen and rejected"),
        ({"comment": "hm"}, "has a comment, but no reason that it belongs to"),
        # Beside an empty score a rating is the quality's number, or it is a score.
        ({"completion": "c", "score": "", "rating": 2.5, "quality": "good"}, "rating must be a whole number, got 2.5"),
    ],
)
def test_a_skip_that_cannot_be_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        import_into(str(tmp_path / "s.db"), write_rows(tmp_path / "in.jsonl", [{"prompt": "p", **row}]))
    assert problem in str(caught.value)


def test_a_rater_is_no_part_of_check_items(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": "c", "score": 3, "rater": "Ada"}])
    message = (
        "the right answers of check items are nobody's judgements; leave the rater out, or import the rows as "
        "judgements of items."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        import_into(str(tmp_path / "s.db"), path, are_checks=True, rater="Bo")
    assert not (tmp_path / "s.db").exists()
    assert import_into(str(tmp_path / "s.db"), path, are_checks=True).unused_columns == ("rater",)
    store = FeedbackStore(tmp_path / "s.db")
    with store.reading() as session:
        assert [item.expected for item in session.scalars(select(Item))] == ["3"]
    store.close()
    assert len(read_rows(path)) == 1


def test_a_rater_may_be_called_0_and_a_prompt_may_be_long(tmp_path: Path) -> None:
    context = "what was said before " * 2000
    rows = [{"prompt": context, "completion": " so", "score": number + 1, "rater": number} for number in range(3)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run_command("feedback", "import", tmp_path / "s.db", tmp_path / "in.jsonl", "--people", 3).exit_code == 0
    assert (
        run_command("feedback", "export", tmp_path / "s.db", tmp_path / "out.jsonl", "--format", "ratings").exit_code
        == 0
    )
    said = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {(row["rater"], row["rating"]) for row in said} == {("0", 1), ("1", 2), ("2", 3)}
    assert run_command("feedback", "import", tmp_path / "again.db", tmp_path / "out.jsonl").exit_code == 0
