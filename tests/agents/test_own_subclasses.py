"""Subclasses of a user's: of policies, whose changes count wherever tokens are drawn or scored, and of algorithms."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from tests.agents.test_persistence import assert_equal_weights
from tests.agents.tiny import exactly, language_model, letter_task
from textgym.agents import A2C, DQN, GRPO, PPO, REINFORCE, GPT2Policy, GPT2QPolicy, TextGenVecEnv
from textgym.agents.finite_updates import NonFiniteError


class LeansToA(GPT2Policy):
    """Adds a number that learns to the logit of the first token."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lean = torch.nn.Parameter(torch.tensor(0.5))
        self.optimizer.add_param_group({"params": [self.lean]})

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return the logits with the number added."""
        logits = super().decision_logits(hidden, n_generated, candidates)
        return torch.cat([logits[:, :1] + self.lean, logits[:, 1:]], dim=1)


class ComparesProbabilities(BaseCallback):
    """Looks how far the update's first log-probabilities are from those that tokens were drawn by."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        (batch,) = model.rollout_buffer.get(10_000)
        with torch.no_grad():
            _, log_prob, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
        self.gap = float((log_prob - batch.old_log_prob).abs().max())


@pytest.mark.parametrize("kind", [PPO, A2C, GRPO])
def test_logits_that_a_policy_changes_are_drawn_from_and_learned_from(kind: Any) -> None:
    task = letter_task(completions_per_prompt=2)
    settings = {"policy_kwargs": {"model": language_model()}, "learning_rate": 1e-2, "seed": 0, "device": "cpu"}
    model = kind(LeansToA, TextGenVecEnv(2, task), n_steps=40, **settings)
    compares = ComparesProbabilities()
    model.learn(60, callback=compares)
    assert compares.gap < 1e-4
    assert float(model.policy.lean.detach()) != 0.5


@pytest.mark.parametrize("name", ["forward", "get_distribution", "predict_values"])
def test_what_would_be_passed_over_is_refused(name: str) -> None:
    policy = type("Mine", (GPT2Policy,), {name: lambda *_: None})
    message = (
        f"Mine.{name} would be passed over, since tokens are drawn and scored for whole episodes; override "
        "decision_logits, choose or values_of instead, or train with plain stable_baselines3."
    )
    with pytest.raises(TypeError, match=exactly(message)):
        PPO(policy, TextGenVecEnv(2, letter_task()))


def test_of_a_value_based_policy_too() -> None:
    policy = type("Mine", (GPT2QPolicy,), {"forward": lambda *_: None})
    with pytest.raises(TypeError, match=r"^Mine\.forward would be passed over, .* episodes; train with plain stable"):
        DQN(policy, TextGenVecEnv(2, letter_task()))


def test_the_reference_has_a_policys_own_parameters_as_they_were_before_training(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"policy_kwargs": {"model": language_model()}, "learning_rate": 1e-2, "seed": 0}
    model: Any = PPO(LeansToA, TextGenVecEnv(2, letter_task()), n_steps=40, **settings).learn(120)
    assert float(model.policy.lean.detach()) != 0.5
    model.save(tmp_path / "saved.zip")
    loaded: Any = PPO.load(tmp_path / "saved.zip", env=TextGenVecEnv(2, letter_task()), reference=language_model())
    references: list[Any] = [each.find_reference() for each in (model, loaded)]
    assert [float(each.policy.lean) for each in references] == [0.5, 0.5]
    assert float(loaded.policy.lean.detach()) == float(model.policy.lean.detach())


class WithPhase(PPO):
    """PPO with a phase of its own, which spoils the weights."""

    def train(self) -> None:
        """Learn as PPO does, and then from nothing that is finite."""
        super().train()
        self.policy.optimizer.zero_grad()
        (self.policy.value_net.bias.sum() * torch.nan).backward()
        self.policy.optimizer.step()


def test_a_phase_of_a_subclass_is_watched_too() -> None:
    settings: dict[str, Any] = {"policy_kwargs": {"model": language_model()}, "n_steps": 20, "device": "cpu"}
    model = WithPhase("GPT2Policy", TextGenVecEnv(2, letter_task()), **settings)
    with pytest.raises(NonFiniteError):
        model.learn(30)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


class MyPPO(PPO):
    """PPO with a setting of its own."""

    def __init__(self, *args: Any, strength: float = 1.0, **kwargs: Any) -> None:
        self.strength = strength
        super().__init__(*args, **kwargs)


def saved_ppo(path: Path) -> PPO:
    kwargs = {"model": language_model()}
    model = PPO("GPT2Policy", TextGenVecEnv(2, letter_task()), n_steps=20, policy_kwargs=kwargs, device="cpu").learn(30)
    model.save(path)
    return model


def test_a_subclass_goes_on_with_what_its_base_has_saved(tmp_path: Path) -> None:
    model = saved_ppo(tmp_path / "base.zip")
    mine = MyPPO.load(tmp_path / "base.zip", device="cpu", strength=3.0)
    assert_equal_weights(model, mine)
    assert (type(mine), mine.strength) == (MyPPO, 3.0)
    mine.save(tmp_path / "mine.zip")
    assert MyPPO.load(tmp_path / "mine.zip").strength == 3.0
    with pytest.raises(ValueError, match=r"mine\.zip was saved by MyPPO; load it by MyPPO\.load\.$"):
        PPO.load(tmp_path / "mine.zip")


def test_a_class_of_ours_does_not_go_on_with_what_its_base_has_saved(tmp_path: Path) -> None:
    kwargs = {"model": language_model()}
    A2C("GPT2Policy", TextGenVecEnv(2, letter_task()), policy_kwargs=kwargs).save(tmp_path / "a2c.zip")
    with pytest.raises(ValueError, match=r"a2c\.zip was saved by A2C; load it by A2C\.load\.$"):
        REINFORCE.load(tmp_path / "a2c.zip")


def test_a_subclass_may_fix_its_policy(tmp_path: Path) -> None:
    class Fixed(PPO):
        def __init__(self, env: Any = None, model: Any = None, **kwargs: Any) -> None:
            kwargs = {"policy_kwargs": {"model": model}, **kwargs, "policy": "GPT2Policy"}
            super().__init__(env=env, **kwargs)

    model = Fixed(TextGenVecEnv(2, letter_task()), language_model(), n_steps=20, device="cpu").learn(30)
    model.save(tmp_path / "fixed.zip")
    assert_equal_weights(model, Fixed.load(tmp_path / "fixed.zip", device="cpu"))


def test_a_copy_of_an_algorithm_learns_as_the_original() -> None:
    kwargs = {"model": language_model()}
    model = PPO(
        "GPT2Policy", TextGenVecEnv(2, letter_task()), n_steps=20, policy_kwargs=kwargs, seed=0, device="cpu",
    )  # fmt: skip
    model.learn(30)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        each.learn(60, reset_num_timesteps=False)
    assert_equal_weights(model, twin)
