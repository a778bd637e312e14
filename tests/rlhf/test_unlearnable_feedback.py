"""Where a reward model cannot learn from what was said, nothing is lost, and the same command goes on once it can."""

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from tests.rlhf.conftest import SETTINGS, write_config
from tests.rlhf.test_comparisons import CHOOSES_THE_SHORTER, CONTRASTIVE, PAIRS
from textgym.cli.rlhf import rlhf
from textgym.feedback.judgements import ComparisonAnswer, RatingAnswer, compare, rate
from textgym.feedback.people import find_or_add
from textgym.feedback.queue import next_assignment
from textgym.feedback.store import FeedbackStore
from textgym.feedback.tables import Assignment
from textgym.models import BUNDLED_MODEL_FOLDER
from textgym.rewards.learned import load_reward_model, read_feedback
from textgym.rlhf.annotator_settings import SimulatedAnnotators
from textgym.rlhf.annotators import AnnotatorsError
from textgym.rlhf.command_raters import CommandRaters
from textgym.rlhf.learnable import without_twins
from textgym.rlhf.settings import read_loop_settings
from textgym.training.run_folder import read_json_lines

STORE = Path("loop/feedback.db")
FEEDBACK = Path("loop/round-1/feedback.jsonl")
REWARD_MODEL = Path("loop/round-1/reward_model")
SHORT: dict[str, Any] = {"rounds": 1, "training": {**SETTINGS["training"], "total_tokens": 16}}
PEOPLE: dict[str, Any] = {**SHORT, "annotators": {"people": {"per_item": 1}}}
COMMAND: dict[str, Any] = {**SHORT, "annotators": {"command": {"command": f"{shlex.quote(sys.executable)} raters.py"}}}
RATES = """
import json, sys
from pathlib import Path
Path("calls").open("a").write("called\\n")
for line in sys.stdin:
    one = json.loads(line)
    print(json.dumps({{"id": one["id"], "rating": {rating}}}))
"""


def judge_all(act: Callable[[Any, int, Assignment], Any]) -> int:
    """Judge whatever lies in the loop's store, and what Anna has judged already anew; return how much that is."""
    store = FeedbackStore(STORE)
    with store.writing() as session:
        person = find_or_add(session, "Anna").id
        given = list(session.scalars(select(Assignment).where(Assignment.annotator_id == person)))
        for one in given:
            act(session, person, one)
        n_judged = len(given)
        for kind in ("rate", "compare"):
            while (other := next_assignment(session, person, kind)) is not None:
                act(session, person, other)
                n_judged += 1
    store.close()
    return n_judged


def rate_all(score_of: Callable[[str], int]) -> int:
    return judge_all(
        lambda session, person, one: rate(
            session, person, one.id, RatingAnswer(score_of(one.item.completion_a), None, "")
        )
    )


def compare_all(choice: Any) -> int:
    return judge_all(lambda session, person, one: compare(session, person, one.id, ComparisonAnswer(choice)))


def n_calls() -> int:
    return len(Path("calls").read_text(encoding="utf-8").splitlines())


def test_people_who_rate_everything_alike_may_change_that(workplace: Path, tiny_model: Path) -> None:
    write_config(workplace, tiny_model, **PEOPLE)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    n_rated = rate_all(lambda text: 3)
    for _ in range(2):
        refused = run_command("rlhf", "loop.yaml")
        assert refused.exit_code == 2
        assert refused.stderr == (
            f"Error: The reward model of round 1 cannot learn from {n_rated} ratings and 0 preferences. A "
            f"RidgeRewardModel learned nothing from the {n_rated} ratings and pairs: it gives all their texts the same "
            "score. Give more feedback, that differs.\n"
            "Change answers at the page (textgym label loop/feedback.db); or change reward_model in the settings: "
            "another kind, other arguments, or ratings to begin with.\n"
            "Then go on by: textgym rlhf loop.yaml\n"
        )
    rate_all(lambda text: 1 + len(text) % 5)
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert len({row["rating"] for row in read_json_lines(FEEDBACK)}) > 1
    assert load_reward_model(REWARD_MODEL).record["n_ratings"] == n_rated


def test_people_may_rate_more_until_it_can_be_learned_from(workplace: Path, tiny_model: Path) -> None:
    changes: dict[str, Any] = {**PEOPLE, "annotators": {"people": {"per_item": 1, "enough": 0.5}}}
    write_config(workplace, tiny_model, **changes)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    store = FeedbackStore(STORE)
    with store.writing() as session:
        person = find_or_add(session, "Anna").id
        for _ in range(4):
            given = next_assignment(session, person, "rate")
            assert given is not None
            rate(session, person, given.id, RatingAnswer(3, None, ""))
    store.close()
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert "; or have more rated: raise annotators.people.enough, now 0.5; or change" in refused.stderr
    write_config(workplace, tiny_model, **PEOPLE)
    waiting = run_command("rlhf", "loop.yaml")
    assert waiting.exit_code == 3
    assert "Waiting for people: 4 of 8 completions are rated" in waiting.output
    assert rate_all(lambda text: 1 + len(text) % 5) == 8
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert len(read_json_lines(FEEDBACK)) == 8


def test_people_who_find_both_bad_in_each_pair_may_change_that(workplace: Path, tiny_model: Path) -> None:
    changes = {**CONTRASTIVE, **PEOPLE, "feedback": {"completions": None, "comparisons": 6}}
    write_config(workplace, tiny_model, **changes)
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    assert compare_all("both_bad") == 6
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert (
        "The reward model of round 1 cannot learn from 0 ratings and 0 preferences. A model of pref" in refused.stderr
    )
    assert "Change answers at the page (textgym label loop/feedback.db)" in refused.stderr
    assert compare_all("left") == 6
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert load_reward_model(REWARD_MODEL).record["n_preferences"] == 6


@pytest.mark.parametrize(
    ("unfit", "rating"),
    [({"kind": "tree", "ensemble": 2}, "len(one['completion'])"),
     ({"kind": "linear_preferences", "ensemble": 2}, "len(one['completion']) / 1000")],
)  # fmt: skip
def test_another_reward_model_may_be_named_and_nobody_is_asked_again(
    workplace: Path, tiny_model: Path, unfit: dict[str, Any], rating: str
) -> None:
    (workplace / "raters.py").write_text(RATES.format(rating=rating), encoding="utf-8")
    write_config(workplace, tiny_model, **COMMAND, reward_model=unfit)
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert "Mend the annotators' command, which is then asked again; or change reward_model in the" in refused.stderr
    assert n_calls() == 1
    said = FEEDBACK.read_bytes()
    write_config(workplace, tiny_model, **COMMAND)
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert load_reward_model(REWARD_MODEL / "member-0").kind == "ridge"
    assert n_calls() == 1
    assert FEEDBACK.read_bytes() == said


def test_a_command_that_is_mended_is_asked_again_by_whatever_name(workplace: Path, tiny_model: Path) -> None:
    (workplace / "raters.py").write_text(RATES.format(rating=3), encoding="utf-8")
    write_config(workplace, tiny_model, **COMMAND)
    for calls in (1, 2):
        assert "cannot learn from 8 ratings" in run_command("rlhf", "loop.yaml").stderr
        assert n_calls() == calls
    (workplace / "better.py").write_text(RATES.format(rating="len(one['completion'])"), encoding="utf-8")
    annotators = {"command": {"command": COMMAND["annotators"]["command"]["command"].replace("raters", "better")}}
    write_config(workplace, tiny_model, **{**COMMAND, "annotators": annotators})
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert [row["rating"] for row in read_json_lines(FEEDBACK)] == [
        len(row["completion"]) for row in read_json_lines(FEEDBACK)
    ]


def test_a_command_whose_raters_have_no_names_writes_nothing_and_is_called_again(
    workplace: Path, tiny_model: Path
) -> None:
    two = "for rating in (1, 2):\n        print(json.dumps({'id': one['id'], 'rating': rating}))\n    print("
    program = RATES.format(rating="1")
    (workplace / "raters.py").write_text(program.replace("print(", two, 1), encoding="utf-8")
    write_config(workplace, tiny_model, **COMMAND)
    refused = run_command("rlhf", "loop.yaml")
    command = COMMAND["annotators"]["command"]["command"]
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: Line 2 of the annotators' command {command!r} says otherwise of id 0 than line 1, both of the rater "
        '\'command\'; of several raters each line must have its rater\'s name, such as "rater": "anna".\n'
    )
    assert not FEEDBACK.exists()
    (workplace / "raters.py").write_text(RATES.format(rating="len(one['completion'])"), encoding="utf-8")
    assert run_command("rlhf", "loop.yaml").exit_code == 0


def test_a_command_that_contradicts_itself_on_a_pair_is_an_error_and_one_that_repeats_itself_is_none(
    tmp_path: Path,
) -> None:
    twice = CHOOSES_THE_SHORTER.replace("    print(", "    for _ in range(2): print(")
    raters = CommandRaters(f"{shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / 'raters.py'))}")
    (tmp_path / "raters.py").write_text(twice, encoding="utf-8")
    assert len(raters.compare(PAIRS, seed=0)) == 2 * len(PAIRS)
    lines = ['{"id": 0, "choice": "a"}', '{"id": 0, "choice": "tie"}']
    (tmp_path / "raters.py").write_text(f"print({lines[0]!r})\nprint({lines[1]!r})", encoding="utf-8")
    with pytest.raises(
        AnnotatorsError,
        match=exactly(
            f"Line 2 of the annotators' command {raters.command!r} says otherwise of id 0 than line 1, both of the "
            'rater \'command\'; of several raters each line must have its rater\'s name, such as "rater": "anna".'
        ),
    ):
        raters.compare(PAIRS, seed=0)


def test_once_a_reward_model_has_learned_it_stays_the_same(workplace: Path, tiny_model: Path) -> None:
    (workplace / "raters.py").write_text(RATES.format(rating="len(one['completion'])"), encoding="utf-8")
    write_config(workplace, tiny_model, **COMMAND)
    assert run_command("rlhf", "loop.yaml").exit_code == 0
    write_config(workplace, tiny_model, **COMMAND, reward_model={"kind": "tree"})
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "Error: The loop in loop was begun with other settings (reward_model: see loop/config.yaml); name another "
        "output, or give those. Only rounds, annotators.people.enough and annotators.command.command may be changed; "
        "until a reward model has been trained reward_model, feedback.selection and annotators.reward (its noise and "
        "number, too); and until there is loop/round-1/run training and eval_prompts.\n"
    )
    write_config(workplace, tiny_model, **PEOPLE)
    assert "begun with other settings (annotators: see " in run_command("rlhf", "loop.yaml").stderr


def test_texts_that_white_space_alone_tells_apart_are_learned_from_once() -> None:
    rows: list[Mapping[str, Any]] = [
        {"prompt": "A", "completion": " b", "rating": 1, "rater": "anna"},
        {"prompt": "A", "completion": "b", "rating": 2, "rater": "anna"},
        {"prompt": "A", "completion": "b", "rating": 3, "rater": "bo"},
        {"prompt": "A", "chosen": "b", "rejected": "b ", "rater": "anna"},
        {"prompt": "A", "chosen": "b", "rejected": "c", "rater": "anna"},
        {"prompt": "A", "chosen": "c\n", "rejected": "b", "rater": "anna"},
    ]
    assert without_twins(rows) == [rows[0], rows[2], rows[4]]
    feedback = read_feedback(without_twins(rows))
    assert (feedback.ratings[0].ratings, len(feedback.preferences)) == ((1.0, 3.0), 1)


def helped_settings() -> list[dict[str, Any]]:
    """The settings that the help shows, with each line that is commented out in the place of what it may replace."""
    blocks = re.findall(r"```\n(.*?)```", inspect.getdoc(rlhf) or "", re.DOTALL)
    example = yaml.safe_load(blocks[0])
    shown = [example, *({**example, **yaml.safe_load(block)} for block in blocks[1:])]
    for indent, line in re.findall(r"^( *)# (.*)$", blocks[0], re.MULTILINE):
        shown.append({**example, **({"annotators": yaml.safe_load(line)} if indent else yaml.safe_load(line))})
    return shown


def test_the_examples_in_the_help_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = helped_settings()
    assert {next(iter(one["annotators"])) for one in shown} == {"people", "reward", "command", "simulated"}
    assert any("warm_start" in one for one in shown)
    assert any("comparisons" in one["feedback"] for one in shown)
    for one in shown:
        (tmp_path / "loop.yaml").write_text(yaml.safe_dump(one), encoding="utf-8")
        read_loop_settings(tmp_path / "loop.yaml")


def test_simulated_people_and_reward_model_may_both_be_left_to_the_defaults(tmp_path: Path) -> None:
    annotators = {"simulated": {"ratings": {"file": "ratings.csv"}}}
    (tmp_path / "loop.yaml").write_text(yaml.safe_dump({"annotators": annotators}), encoding="utf-8")
    assert read_loop_settings(tmp_path / "loop.yaml").reward_model.kind == "ridge"


def test_the_bundled_model_is_the_same_backbone_by_its_folder(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(BUNDLED_MODEL_FOLDER)
    for name in (BUNDLED_MODEL_FOLDER, link):
        for theirs, ours in (("bundled", str(name)), (str(name), "bundled")):
            settings = SimulatedAnnotators(kind="network", settings={"backbone": theirs})
            with pytest.raises(ValueError, match=f"both rest on {re.escape(str(BUNDLED_MODEL_FOLDER.resolve()))}"):
                settings.check_against("network", {"backbone": ours})
    with pytest.raises(ValueError, match="must not share a backbone"):
        SimulatedAnnotators(kind="network").check_against("network", {"backbone": str(BUNDLED_MODEL_FOLDER)})


def test_a_reward_that_rates_everything_alike_may_be_another_one(workplace: Path, tiny_model: Path) -> None:
    def write(reward: Any) -> None:
        write_config(workplace, tiny_model, **{**SHORT, "annotators": {"reward": {"reward": reward, "per_item": 1}}})

    write({"length_window": {"minimum": 500, "maximum": 600, "margin": 1}})
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert "cannot learn from" in refused.stderr
    assert {row["rating"] for row in read_json_lines(FEEDBACK)} == {0.0}
    write("my_rewards:few_letters")
    done = run_command("rlhf", "loop.yaml")
    assert done.exit_code == 0, done.output
    assert len({row["rating"] for row in read_json_lines(FEEDBACK)}) > 1
