"""What stays behind a save, an evaluation with other weights, and a rollout: nothing that was not there before."""

from pathlib import Path

import pytest
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.agents.test_persistence import algorithm
from tests.agents.tiny import language_model, letter_policy, letter_task
from textgym.agents import PPO
from textgym.env import TextGenEnv
from textgym.training.initial_weights import with_initial_share


def test_figures_that_a_file_has_taken_along_are_not_logged_again_by_the_one_that_was_saved(tmp_path: Path) -> None:
    model = algorithm(reference=None).learn(20)
    assert "train/loss" in model.logger.name_to_value
    model.save(tmp_path / "saved.zip")
    loaded = PPO.load(tmp_path / "saved.zip", env=model.get_env(), device="cpu")
    for each, is_logged in ((loaded, True), (loaded, False), (model, False)):
        each._setup_learn(1, None)
        assert ("train/loss" in each.logger.name_to_value) == is_logged


def test_episodes_are_dealt_to_the_monitors_of_the_rows_in_turn() -> None:
    monitors = [Monitor(TextGenEnv(letter_task())) for _ in range(3)]
    env = DummyVecEnv([lambda monitor=monitor: monitor for monitor in monitors])  # type: ignore[misc]
    model = PPO(
        "GPT2Policy", env, n_steps=30, n_epochs=1, seed=3, device="cpu", reference=None,
        policy_kwargs={"model": language_model()},
    ).learn(30)  # fmt: skip
    lengths = model.rollout_buffer.lengths.tolist()
    assert len(lengths) > 6
    for row, monitor in enumerate(monitors):
        assert monitor.get_episode_lengths() == lengths[row::3]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_trained_weights_are_back_bit_by_bit_after_an_evaluation_that_fails_or_not(
    tmp_path: Path, share: float
) -> None:
    language_model(seed=1).save_pretrained(tmp_path / "initial")
    policy = letter_policy(letter_task(), language_model(seed=2))
    trained = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    initial = language_model(seed=1).state_dict()
    with with_initial_share(policy, str(tmp_path / "initial"), share):
        for name, tensor in policy.language_model.state_dict().items():
            expected = (1 - share) * trained[f"language_model.{name}"] + share * initial[name]
            torch.testing.assert_close(tensor, expected)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in policy.state_dict().items())
    with (
        pytest.raises(RuntimeError, match="no judgement"),
        with_initial_share(policy, str(tmp_path / "initial"), share),
    ):
        raise RuntimeError("no judgement today")
    assert all(torch.equal(tensor, trained[name]) for name, tensor in policy.state_dict().items())
