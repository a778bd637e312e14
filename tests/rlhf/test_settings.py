"""A loop's settings: what is wrong is named, with what was probably meant."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.agents.tiny import exactly
from textgym.rewards.learned import Feedback
from textgym.rlhf.annotators import RatingRow, Text
from textgym.rlhf.folder import LoopFolder
from textgym.rlhf.reward_learning import learn
from textgym.rlhf.settings import LoopSettings, read_loop_settings
from textgym.training.algorithms import PPOSettings
from textgym.training.settings_file import write_settings

REWARD = {"reward": {"reward": "sentiment"}}
KINDS = "annotators must be one of reward, simulated, command, people, with settings of its own, such as "


def read(tmp_path: Path, **settings: Any) -> LoopSettings:
    path = tmp_path / "loop.yaml"
    path.write_text(yaml.safe_dump({"annotators": REWARD, **settings}), encoding="utf-8")
    return read_loop_settings(path)


def test_settings_come_back_from_what_is_written_of_them(tmp_path: Path) -> None:
    settings = read(tmp_path, training={"algorithm": {"kl_coef": 0.5}}, reward_model={"ratings": {"file": "a.csv"}})
    (tmp_path / "again.yaml").write_text(write_settings(settings), encoding="utf-8")
    assert read_loop_settings(tmp_path / "again.yaml") == settings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"total_tokens": 5}, "There is no setting 'total_tokens'. Did you mean 'training.total_tokens'?"),
        ({"round": 5}, "There is no setting 'round'. Did you mean 'rounds'?"),
        ({"annotators": None}, f"{KINDS}{{reward: {{reward: sentiment}}}}; got None."),
        (
            {"annotators": {"peple": {"store": "postgresql://ada:secret@db/x"}}},
            f"{KINDS}{{reward: {{reward: sentiment}}}}; got the keys peple.",
        ),
        ({"annotators": {"reward": None}}, "annotators.reward.reward is missing."),
        ({"annotators": {"simulated": {"kind": "network"}}}, "annotators.simulated.ratings is missing."),
        ({"annotators": {"people": {"per_itm": 2}}},
         "There is no setting 'annotators.people.per_itm'. Did you mean 'annotators.people.per_item'?"),
        ({"training": {"kl_coef": 1}}, "training: There is no setting 'kl_coef'. Did you mean 'algorithm.kl_coef'?"),
        ({"training": {"task": {"reward": "x"}}}, "training.task.reward is given by the loop itself; leave it out."),
        ({"training": [1]}, "training must be a mapping of settings of textgym train, got [1]."),
        ({"feedback": {"candidates": 3}},
         "feedback.candidates must be at least feedback.completions (200), got 3."),
        ({"reward_model": {"ensemble": None}},
         ("feedback.selection 'disagreement' needs reward_model.ensemble, the number of models that may disagree; give "
         "it, or choose 'random'.")),
        ({"reward_model": {"augment": {"exchange": "gender"}}},
         "reward_model.augment must be a list of counterfactuals, got {'exchange': 'gender'}."),
        ({"reward_model": {"augment": [{"exchange": "names", "change": 1}]}},
         ("A counterfactual must change one thing, got {'change': 1, 'exchange': 'names'}; expected for example "
          "{exchange: gender}, {oppose: sentiment}, {take_out: [Python], change: -1}.")),
        ({"warm_start": {"epochs": 3}}, "warm_start must have data, a file of demonstrations, got {'epochs': 3}."),
        ({"warm_start": {"data": "a", "epoch": 3}}, "warm_start has no option 'epoch'. Did you mean 'epochs'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=exactly(f"{tmp_path / 'loop.yaml'}: {problem}")):
        read(tmp_path, **settings)


def test_training_takes_all_settings_and_gets_what_the_loop_decides(tmp_path: Path) -> None:
    settings = read(tmp_path, training={"algorithm": {"kl_coef": 0.5}, "total_tokens": 9}, prompts=["a"])
    training = settings.train_settings(model="m", seed=4, reward="r", reference="f")
    assert training.algorithm == PPOSettings(kl_coef=0.5, reference="f")
    assert (training.model, training.seed, training.total_tokens) == ("m", 4, 9)
    assert (training.task.reward, training.task.prompts, training.eval_prompts) == ("r", ["a"], ["a"])
    by_values = read(tmp_path, training={"algorithm": "DQN"})
    assert by_values.train_settings(model="m", seed=4, reference="f").algorithm.name == "DQN"


def test_only_rounds_and_the_number_waited_for_may_change(tmp_path: Path) -> None:
    folder = LoopFolder(tmp_path / "loop")
    people = {"people": {"per_item": 2}}
    folder.open(read(tmp_path, annotators=people))
    folder.warm_start.mkdir()
    folder.open(read(tmp_path, annotators={"people": {"per_item": 2, "enough": 0.5}}, rounds=9))
    with pytest.raises(ValueError, match=r"begun with other settings \(annotators: see "):
        folder.open(read(tmp_path, annotators={"people": {"per_item": 3}}))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    settings = read(tmp_path)
    with pytest.raises(ValueError, match="is not empty, and no loop's folder; name another one"):
        LoopFolder(tmp_path).open(settings)
    # What a call leaves that was killed at once.
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop/config.yaml.partial").write_text("out", encoding="utf-8")
    LoopFolder(tmp_path / "loop").open(settings)


def test_feedback_is_augmented(tmp_path: Path) -> None:
    settings = read(tmp_path, reward_model={"augment": [{"exchange": {"sea": "lake"}}]})
    rows: list[RatingRow] = [
        {"prompt": "A", "completion": text, "rating": rating, "rater": "anna"}
        for text, rating in (("the sea", 1.0), ("a hill", 2.0), ("a lake", 3.0))
    ]
    texts = [Text("A", "the sea"), Text("A", "a hill")]
    model = learn(settings.reward_model, Feedback(), rows, texts, Console(quiet=True))
    assert model.record["n_ratings"] == 5
