"""What one round takes over from those before it: texts that were asked, answers, and the scale of scores."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import Result

from tests.rlhf.conftest import write_config
from tests.rlhf.test_annotators import say_all
from textgym.feedback.judgements import RatingAnswer, rate, skip
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.rewards.learned import load_reward_model
from textgym.rlhf import loop as loop_module
from textgym.rlhf.annotator_settings import PeopleAnnotators
from textgym.rlhf.annotators import Pair, Text, WaitingForPeople
from textgym.rlhf.loop import Loop
from textgym.rlhf.people import PeopleRaters
from textgym.rlhf.settings import read_loop_settings
from textgym.training.run_folder import read_json_lines

ASKED = ("completions.jsonl", "feedback.jsonl", "pairs.jsonl", "preferences.jsonl")


def people_of(folder: Path, enough: float = 1.0) -> PeopleRaters:
    settings = PeopleAnnotators(per_item=1, enough=enough)
    return PeopleRaters(settings, str(folder / "feedback.db"), "go on", lambda: "bundled")


def ask(people: PeopleRaters, texts: list[Text]) -> set[str]:
    """Ask, have one person answer, and return of which completions the answers are."""
    with pytest.raises(WaitingForPeople):
        people.rate(texts, 0)
    say_all(Path(people.place), "Anna")
    return {row["completion"] for row in people.rate(texts, 0)}


def test_scores_of_every_round_are_scaled_on_the_first_models_texts(finished_loop: tuple[Path, Result]) -> None:
    loop, _ = finished_loop
    texts = read_json_lines(loop / "round-1/completions.jsonl")
    columns = ([row["prompt"] for row in texts], [row["completion"] for row in texts])
    for number in (1, 2):
        scores = np.array(load_reward_model(loop / f"round-{number}/reward_model").score(*columns))
        assert scores.mean() == pytest.approx(0.0, abs=1e-6)
        assert scores.std() == pytest.approx(1.0, abs=1e-6)


def test_a_round_by_people_has_only_answers_to_its_own_texts(tmp_path: Path) -> None:
    people = people_of(tmp_path)
    assert ask(people, [Text("p", "one"), Text("p", "two")]) == {"one", "two"}
    assert ask(people, [Text("p", "three")]) == {"three"}


def test_what_one_person_skips_and_another_judges_is_not_given_up(tmp_path: Path) -> None:
    people = people_of(tmp_path)
    texts = [Text("p", "one"), Text("p", "two")]
    with pytest.raises(WaitingForPeople):
        people.rate(texts, 0)
    store = FeedbackStore(people.place)
    with store.writing() as session:
        for name in ("Anna", "王"):
            person = find_or_add(session, name).id
            given = next_assignment(session, person, "rate")
            assert given is not None
            assert given.item.completion_a == "one"
            if name == "Anna":
                skip(session, person, given.id, "unclear")
            else:
                rate(session, person, given.id, RatingAnswer(3))
    store.close()
    with pytest.raises(WaitingForPeople, match="1 of 2 completions are rated"):
        people.rate(texts, 0)


def test_what_was_asked_in_one_round_is_not_asked_in_the_next(
    workplace: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that writes the same in each round, and no reward model that could choose."""
    letters = "abcdefghijkl"
    texts = [Text("The sea", letter) for letter in letters]
    pairs = [Pair("The sea", one, other) for one, other in pairwise(letters)]
    monkeypatch.setattr(loop_module, "write_candidates", lambda *_: texts)
    monkeypatch.setattr(loop_module, "write_pairs", lambda *_: pairs)
    monkeypatch.setattr(loop_module, "load_reward_model", lambda *_: None)
    feedback = {"completions": 6, "candidates": 12, "comparisons": 5, "selection": "random"}
    contrastive = {"kind": "linear_preferences", "settings": {"min_gap": 0.1}}
    rater = {"reward": {"reward": {"length_window": {"minimum": 5, "maximum": 9}}}}
    path = write_config(workplace, tiny_model, feedback=feedback, reward_model=contrastive, annotators=rater)
    loop = Loop(read_loop_settings(path), Console(quiet=True))
    for step in loop.steps():
        if step.output.name in ASKED:
            step.output.parent.mkdir(parents=True, exist_ok=True)
            step.act()
    rated, compared = [], []
    for number in (1, 2):
        one = loop.folder.round(number)
        rated.append({row["completion"] for row in read_json_lines(one.completions) if row["is_asked"]})
        compared.append({Pair.of(row) for row in read_json_lines(one.pairs)})
    assert [len(asked) for asked in (*rated, *compared)] == [6, 6, 5, 5]
    assert rated[0].isdisjoint(rated[1])
    assert compared[0].isdisjoint(compared[1])
