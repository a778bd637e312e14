"""What people say in chats reaches the reward model: scores as ratings, rewritings as better than what they replace."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.cli.conftest import run_command
from tests.rlhf.conftest import write_config
from tests.rlhf.test_annotators import say_all
from tests.rlhf.test_comparisons import CONTRASTIVE
from textgym.feedback.chats import Answer, Answerer, close_chat, judge_turn, open_chat, say
from textgym.feedback.people import find_or_add
from textgym.feedback.store import FeedbackStore, ProjectSettings
from textgym.feedback.tables import Item
from textgym.rewards.learned import load_reward_model, read_feedback
from textgym.rlhf.chat_feedback import read_chats
from textgym.training.run_folder import read_json, read_json_lines

# What the model says, the score that it gets, and what it should have said.
SAID: tuple[tuple[str, int | None, str | None], ...] = (
    (" hm", 2, " hello"), (" yes", 5, None), (" no", None, " perhaps"), (" so", None, None), ("", None, " well"),
)  # fmt: skip


def answering(context: str, text: str) -> Answerer:
    """A model that goes on with a context in one way."""
    return lambda _, __: Answer(context, text)


def talk(place: Path, name: str = "Ada", said: tuple[tuple[str, int | None, str | None], ...] = SAID) -> None:
    """Have a conversation in which each answer is judged."""
    store = FeedbackStore(place)
    with store.writing() as session:
        person = find_or_add(session, name).id
        chat = open_chat(session, person, "m").id
    for number, (text, score, rewriting) in enumerate(said):
        turn = say(store, person, chat, number, f"{number}?", answering(f"{number}?", text))
        with store.writing() as session:
            judge_turn(session, person, turn.id, {"score": score, "rewriting": rewriting})
    with store.writing() as session:
        close_chat(session, person, chat)
    store.close()


def test_a_rewriting_is_preferred_or_rated_best(tmp_path: Path) -> None:
    place = tmp_path / "s.db"
    FeedbackStore(place, ProjectSettings(1, 7)).close()
    talk(place)
    as_pairs = read_feedback(read_chats(str(place), as_pairs=True))
    assert [(one.prompt, one.completion, one.ratings, one.raters) for one in as_pairs.ratings] == [
        ("0?", " hm", (2.0,), ("Ada",)),
        ("1?", " yes", (5.0,), ("Ada",)),
    ]
    assert [(one.prompt, one.chosen, one.rejected, one.rater) for one in as_pairs.preferences] == [
        ("0?", " hello", " hm", "Ada"),
        ("2?", " perhaps", " no", "Ada"),
    ]
    alone = read_feedback(read_chats(str(place), as_pairs=False))
    assert not alone.preferences
    assert {one.completion: one.rating for one in alone.ratings} == {
        " hm": 2, " yes": 5, " hello": 7, " perhaps": 7, " well": 7,
    }  # fmt: skip


def test_whoever_judges_an_answer_again_has_the_last_word(tmp_path: Path) -> None:
    """The model answers one day as it should have the other day, and then gets another score than the best."""
    place = tmp_path / "s.db"
    FeedbackStore(place, ProjectSettings(1, 7)).close()
    for said in (
        (" hm", None, " hello"),
        (" hello", 6, None),
        (" hello", 4, " hm"),
        (" ay", 1, None),
        (" ay", 3, None),
    ):
        talk(place, said=(said,))
    alone = read_feedback(read_chats(str(place), as_pairs=False))
    assert {one.completion: one.rating for one in alone.ratings} == {" hm": 7, " hello": 4, " ay": 3}
    as_pairs = read_feedback(read_chats(str(place), as_pairs=True))
    assert {one.completion: one.rating for one in as_pairs.ratings} == {" hello": 4, " ay": 3}
    assert [(one.chosen, one.rejected) for one in as_pairs.preferences] == [(" hm", " hello")]


def test_what_was_asked_goes_before_what_was_said_of_the_same_text_in_a_chat(workplace: Path, tiny_model: Path) -> None:
    write_config(workplace, tiny_model, annotators={"people": {"per_item": 1}}, rounds=1)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    store = workplace / "loop/feedback.db"
    n_rated = say_all(store, "Anna")
    feedback = FeedbackStore(store)
    with feedback.reading() as session:
        item = session.scalars(select(Item)).first()
    assert item is not None
    with feedback.writing() as session:
        person = find_or_add(session, "Anna").id
        chat = open_chat(session, person, "m").id
    turn = say(feedback, person, chat, 0, "?", answering(item.prompt, item.completion_a))
    for score in (1, 5):
        with feedback.writing() as session:
            judge_turn(session, person, turn.id, {"score": score})
    feedback.close()
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert load_reward_model(workplace / "loop/round-1/reward_model").record["n_ratings"] == n_rated


@pytest.mark.parametrize("learns_from_pairs", [False, True])
def test_each_round_learns_what_was_said_in_chats_by_then(
    workplace: Path, tiny_model: Path, learns_from_pairs: bool
) -> None:
    changes: dict[str, Any] = CONTRASTIVE if learns_from_pairs else {}
    write_config(workplace, tiny_model, **changes, annotators={"people": {"per_item": 1}})
    first = run_command("rlhf", "loop.yaml")
    assert f"Open the page by: textgym label loop/feedback.db --model {tiny_model}\n" in first.output
    store = workplace / "loop/feedback.db"
    talk(store)
    n_rated = [say_all(store, "Anna")]
    second = run_command("rlhf", "loop.yaml")
    assert second.exit_code == 3, second.output
    assert "Open the page by: textgym label loop/feedback.db --model loop/round-1/run\n" in second.output
    talk(store, "Bo", ((" ay", 1, None),))
    n_rated.append(say_all(store, "Anna"))
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output

    n_chats = [len(read_json_lines(workplace / f"loop/round-{number}/chats.jsonl")) for number in (1, 2)]
    assert n_chats == ([4, 5] if learns_from_pairs else [5, 6])
    n_preferences = 2 if learns_from_pairs else 0
    for number, n in ((1, n_rated[0]), (2, sum(n_rated))):
        record = load_reward_model(workplace / f"loop/round-{number}/reward_model").record
        assert record["n_ratings"] == n + n_chats[number - 1] - n_preferences
        assert record["n_preferences"] == n_preferences
        judgement = read_json(workplace / f"loop/round-{number}/judgement.json")
        n_rewritten = 2 if learns_from_pairs else 3
        assert judgement["chats"] == {"score": 1 + number, "rewriting": n_rewritten}
    page = (workplace / "loop/report.html").read_text(encoding="utf-8")
    assert f"From chats the reward model of round 2 learned 3 rated and {n_rewritten} rewritten answers." in page


def test_where_nobody_has_chatted_nothing_is_added(workplace: Path, tiny_model: Path) -> None:
    write_config(workplace, tiny_model, annotators={"people": {"per_item": 1}}, rounds=1)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    n_rated = say_all(workplace / "loop/feedback.db", "Anna")
    assert run_command("rlhf", "loop.yaml").exit_code == 0
    assert read_json_lines(workplace / "loop/round-1/chats.jsonl") == []
    assert load_reward_model(workplace / "loop/round-1/reward_model").record["n_ratings"] == n_rated
    assert "From chats" not in (workplace / "loop/report.html").read_text(encoding="utf-8")
