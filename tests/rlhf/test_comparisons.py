"""Comparisons in the loop: who prefers what, what is learned of it, and that the loop goes on at these steps."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from tests.rlhf.conftest import SETTINGS, write_config
from tests.rlhf.test_annotators import write_ratings
from tests.rlhf.test_loop import kill_at
from tests.sameness import assert_same_file
from textgym.feedback.judgements import ComparisonAnswer, compare
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.rewards.learned import Feedback, Preference, Rating, load_reward_model
from textgym.rlhf.annotators import AnnotatorsError, Pair, preferences_of
from textgym.rlhf.coded_raters import CodedRaters, Scale
from textgym.rlhf.command_raters import CommandRaters
from textgym.rlhf.ratings_file import split_by_hash
from textgym.training.run_folder import read_json, read_json_lines

PAIRS = [Pair("A ", "lovely film", "film"), Pair("B ", "x", "scenery"), Pair("B ", "same", "form")]
CONTRASTIVE: dict[str, Any] = {
    "reward_model": {"kind": "linear_preferences", "ensemble": 2, "settings": {"min_gap": 0.1}},
    "training": {**SETTINGS["training"], "total_tokens": 40},
}
CHOOSES_THE_SHORTER = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    a, b = len(row["completion_a"]), len(row["completion_b"])
    print(json.dumps({"id": row["id"], "choice": "tie" if a == b else "a" if a < b else "b", "rater": "ruler"}))
"""


def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def test_a_reward_prefers_what_it_scores_higher_and_ties_are_no_preference() -> None:
    said = CodedRaters(length, 1, 0.0).compare(PAIRS, seed=0)
    assert [row["preference"] for row in said] == ["a", "b", "tie"]
    assert [(row["chosen"], row["rejected"], row["rater"]) for row in preferences_of(said)] == [
        ("lovely film", "film", "rater 1"),
        ("scenery", "x", "rater 1"),
    ]


def test_simulated_raters_err_each_for_themselves() -> None:
    raters = CodedRaters(length, 200, 3.0, scale=Scale(1, 20))
    said = preferences_of(raters.compare([PAIRS[0], PAIRS[2]], seed=0))
    for_the_longer = [row["chosen"] == "lovely film" for row in said if row["prompt"] == "A "]
    assert 0.85 < sum(for_the_longer) / len(for_the_longer) < 1
    for_the_first = [row["chosen"] == "same" for row in said if row["prompt"] == "B "]
    assert 0.3 < sum(for_the_first) / len(for_the_first) < 0.7


def test_a_command_chooses_and_has_to_judge_each_pair(tmp_path: Path) -> None:
    (tmp_path / "raters.py").write_text(CHOOSES_THE_SHORTER, encoding="utf-8")
    raters = CommandRaters(f"{shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / 'raters.py'))}")
    assert [(row["preference"], row["rater"]) for row in raters.compare(PAIRS, seed=0)] == [
        ("b", "ruler"),
        ("a", "ruler"),
        ("tie", "ruler"),
    ]
    line = '{"id": 0, "choice": "c"}'
    (tmp_path / "raters.py").write_text(f"print({line!r})", encoding="utf-8")
    with pytest.raises(
        AnnotatorsError,
        match=exactly(
            f"Line 1 of the annotators' command {raters.command!r} must be an object with an id from 0 to 2 and a "
            f'choice of a, b or tie, such as {{"id": 0, "choice": "a"}}, got {line!r}.'
        ),
    ):
        raters.compare(PAIRS, seed=0)
    (tmp_path / "raters.py").write_text("""print('{"id": 0, "choice": "a"}')""", encoding="utf-8")
    with pytest.raises(
        AnnotatorsError,
        match=exactly(
            f"The annotators' command {raters.command!r} must judge each pair, but said nothing of 2 of 3; the first "
            "has id 1."
        ),
    ):
        raters.compare(PAIRS, seed=0)


def test_a_loop_learns_from_ratings_and_comparisons_and_goes_on_where_it_was_killed(
    workplace: Path, tiny_model: Path
) -> None:
    changes = {**CONTRASTIVE, "feedback": {"completions": 6, "candidates": 8, "comparisons": 5}}
    write_config(workplace, tiny_model, **changes)
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    n_pairs = n_preferences = 0
    for number in (1, 2):
        one = workplace / f"loop/round-{number}"
        preferences = read_json_lines(one / "preferences.jsonl")
        n_pairs += len(read_json_lines(one / "pairs.jsonl"))
        n_preferences += len(preferences)
        assert load_reward_model(one / "reward_model").record["n_preferences"] == n_preferences
    model = load_reward_model(workplace / "loop/round-1/reward_model")
    prompts = [row["prompt"] for row in preferences]
    chosen, rejected = (model.score(prompts, [row[side] for row in preferences]) for side in ("chosen", "rejected"))
    right = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(chosen, rejected, strict=True)]
    judged = [read_json(workplace / f"loop/round-{number}/judgement.json")["comparisons"] for number in (1, 2)]
    assert sum(one["n_asked"] for one in judged) == n_pairs == 10
    assert (judged[0]["accuracy"], judged[1]["accuracy"]) == (None, pytest.approx(sum(right) / len(right)))
    assert "comparisons foreseen" in (workplace / "loop/report.html").read_text(encoding="utf-8")

    write_config(workplace, tiny_model, **changes, output="killed/loop")
    for name in ("pairs.jsonl", "preferences.jsonl"):
        kill_at(f"round-2/{name}")
    again = run_command("rlhf", "loop.yaml")
    assert again.exit_code == 0, again.output
    assert "Round 1" not in again.output
    assert "to compare" in again.output
    for name in ("pairs.jsonl", "preferences.jsonl", "judgement.json", "evaluation.json"):
        assert_same_file(workplace / "loop/round-2" / name, workplace / "killed/loop/round-2" / name)


JUDGES_BOTH = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if "completion" in row:
        print(json.dumps({"id": row["id"], "rating": -len(row["completion"])}))
    else:
        a, b = len(row["completion_a"]), len(row["completion_b"])
        print(json.dumps({"id": row["id"], "choice": "tie" if a == b else "a" if a < b else "b"}))
"""


def compared(loop: Path, number: int) -> list[dict[str, Any]]:
    """Check that a round has learned from all preferences so far and trained; return its preferences."""
    one = loop / f"round-{number}"
    so_far = [read_json_lines(loop / f"round-{n}/preferences.jsonl") for n in range(1, number + 1)]
    assert load_reward_model(one / "reward_model").record["n_preferences"] == sum(map(len, so_far))
    assert read_json(one / "evaluation.json")["after"]["tokens"] >= 40
    asked = read_json_lines(one / "pairs.jsonl")
    texts = {(row["prompt"], frozenset((row["completion_a"], row["completion_b"]))) for row in asked}
    assert len(texts) == len(asked) == 5
    assert {(row["prompt"], frozenset((row["chosen"], row["rejected"]))) for row in so_far[-1]} <= texts
    return so_far[-1]


def test_a_loop_whose_command_rates_and_compares(workplace: Path, tiny_model: Path) -> None:
    (workplace / "raters.py").write_text(JUDGES_BOTH, encoding="utf-8")
    write_config(
        workplace, tiny_model, **CONTRASTIVE, feedback={"completions": 4, "candidates": 6, "comparisons": 5},
        annotators={"command": {"command": f"{shlex.quote(sys.executable)} raters.py"}},
    )  # fmt: skip
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    for number in (1, 2):
        said = compared(workplace / "loop", number)
        assert said
        assert all(len(row["chosen"]) < len(row["rejected"]) for row in said)
        assert {row["rater"] for row in said} == {"command"}
        feedback = read_json_lines(workplace / f"loop/round-{number}/feedback.jsonl")
        assert [row["rating"] for row in feedback] == [-len(row["completion"]) for row in feedback]
    page = (workplace / "loop/report.html").read_text(encoding="utf-8")
    assert '<th class="number">mean rating</th>' in page
    assert "true score" not in page.lower()
    judgement = read_json(workplace / "loop/round-2/judgement.json")
    assert judgement["comparisons"]["n_preferences"] == len(said)
    assert 0 <= judgement["comparisons"]["accuracy"] <= 1


def test_a_loop_whose_simulated_raters_compare(workplace: Path, tiny_model: Path) -> None:
    """The raters rest on a network, fitted on ratings; the reward model on words, and on pairs alone."""
    file = write_ratings(workplace / "ratings.jsonl")
    network = {"backbone": str(tiny_model), "epochs": 1, "max_tokens": 60}
    simulated = {"ratings": vars(file), "kind": "network", "settings": network, "per_item": 3}
    write_config(
        workplace, tiny_model, **CONTRASTIVE, feedback={"completions": None, "comparisons": 5},
        annotators={"simulated": simulated},
    )  # fmt: skip
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    raters = {row["rater"] for number in (1, 2) for row in compared(workplace / "loop", number)}
    assert raters <= {"rater 1", "rater 2", "rater 3"}
    assert len(raters) > 1
    evaluations = [read_json(workplace / f"loop/round-{number}/evaluation.json") for number in (1, 2)]
    page = (workplace / "loop/report.html").read_text(encoding="utf-8")
    assert '<th class="number">true score</th>' in page
    assert '<th class="number">mean rating</th>' not in page
    assert evaluations[1]["before"]["true_score"] == pytest.approx(evaluations[0]["after"]["true_score"])


def test_people_compare_through_the_store_and_nothing_is_rated(workplace: Path, tiny_model: Path) -> None:
    write_config(
        workplace, tiny_model, **CONTRASTIVE, rounds=1, feedback={"completions": None, "comparisons": 6},
        annotators={"people": {"per_item": 1}},
    )  # fmt: skip
    waiting = run_command("rlhf", "loop.yaml")
    assert waiting.exit_code == 3, waiting.output
    assert "Waiting for people: 0 of 6 pairs are compared, each by 1." in waiting.output
    store = FeedbackStore(workplace / "loop/feedback.db")
    with store.writing() as session:
        person = find_or_add(session, "Anna")
        while (given := next_assignment(session, person.id, "compare")) is not None:
            compare(session, person.id, given.id, ComparisonAnswer("left"))
    store.close()
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    one = workplace / "loop/round-1"
    assert len(read_json_lines(one / "preferences.jsonl")) == 6
    assert not (one / "completions.jsonl").exists()
    assert load_reward_model(one / "reward_model").record["n_preferences"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"feedback": {"completions": 8, "comparisons": 4}},
            (
                "feedback.comparisons needs a reward model that learns from pairs, got reward_model.kind 'ridge'; "
                "choose linear_preferences, or network with settings: {objective: preferences}."
            ),
        ),
        (
            {"feedback": {"completions": None}},
            "feedback must have completions, comparisons, or both; both are null.",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(
    workplace: Path, tiny_model: Path, changes: dict[str, Any], message: str
) -> None:
    write_config(workplace, tiny_model, **changes)
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert refused.stderr == f"Error: loop.yaml: {message}\n"
    assert not (workplace / "loop").exists()


def test_a_split_by_hash_keeps_each_rating_and_each_preference_on_one_side() -> None:
    ratings = tuple(Rating("", f"text {number}", (1.0,)) for number in range(40))
    preferences = tuple(Preference("", f"text {number}", f"other {number}") for number in range(40))
    split = split_by_hash(Feedback(ratings, preferences), 0.5)
    for side in split:
        assert 5 < len(side.preferences) < 35
    assert {*split.training.preferences, *split.held_out.preferences} == set(preferences)
    assert len(split.training) + len(split.held_out) == 80
    turned = Feedback(preferences=tuple(Preference("", one.rejected, one.chosen) for one in preferences))
    assert [one.rejected for one in split_by_hash(turned, 0.5).training.preferences] == [
        one.chosen for one in split.training.preferences
    ]
