"""Where an update begins with the pass that scores a rollout, there is one such pass, and weights come out alike."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from tests.agents.test_forward_record import BetweenRolloutAndUpdate
from tests.agents.tiny import gpt2_config, language_model, letter_task, waken_critic
from textgym.agents import A2C, GRPO, NLPO, PPG, PPO, RLOO, GPT2Policy, MaskablePPO, TextGenVecEnv, on_policy
from textgym.agents.scoring import score_ahead, score_tokens
from textgym.completion import TextGenCompletionVectorEnv

BFLOAT16 = {"autocast": "bfloat16"}
WHOLE = {"batch_size": 200, "n_epochs": 2}
GROUPS = {"completions_per_prompt": 4}


def make(kind: Any, of_task: dict[str, Any], **settings: Any) -> Any:
    of_policy = {"model": language_model(gpt2_config()), **settings.pop("policy_kwargs", BFLOAT16)}
    model = kind(
        "GPT2Policy",
        TextGenVecEnv(4, letter_task(**of_task)),
        n_steps=15,
        learning_rate=1e-2,
        seed=0,
        device="cpu",
        policy_kwargs=of_policy,
        **settings,
    )
    waken_critic(model.policy)
    return model


def learned(model: Any, callback: BaseCallback | None = None) -> list[Tensor]:
    """Return the weights after two iterations of about 60 tokens each, or three."""
    model.learn(90, callback=callback)
    assert model.policy.memory.first_pass is None
    return [parameter.detach() for parameter in model.policy.parameters()]


@pytest.fixture(name="passes")
def _passes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list of the policy's passes over packed batches: whether each had gradients."""
    passes: list[bool] = []
    evaluate = GPT2Policy._evaluate

    def noted(policy: GPT2Policy, obs: Any, actions: Tensor) -> Any:
        # The reference has no optimiser, and a single decision is what is looked at after an update.
        if policy.optimizer is not None and len(actions) > 1:
            passes.append(torch.is_grad_enabled())
        return evaluate(policy, obs, actions)

    monkeypatch.setattr(GPT2Policy, "_evaluate", noted)
    return passes


SETTINGS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "PPO": (PPO, {}, WHOLE),
    "A2C": (A2C, {}, {}),
    "groups": (PPO, GROUPS, WHOLE),
    "RLOO": (RLOO, GROUPS, {}),
    "GRPO": (GRPO, GROUPS, WHOLE),
    "NLPO": (NLPO, {}, WHOLE),
    "PPG": (PPG, {}, {**WHOLE, "n_policy_iterations": 2, "n_aux_epochs": 1}),
    "MaskablePPO": (MaskablePPO, {}, WHOLE),
    "frozen layers": (A2C, {}, {"policy_kwargs": {**BFLOAT16, "frozen_layers": 1}}),
    "separate critic": (A2C, {}, {"policy_kwargs": {"critic": "separate"}}),
    "checkpoints": (A2C, {}, {"policy_kwargs": {**BFLOAT16, "gradient_checkpointing": True}}),
}


@pytest.mark.equality
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("kind", "of_task", "settings"), SETTINGS.values(), ids=SETTINGS)
def test_weights_after_an_update_are_those_of_two_passes(
    kind: Any, of_task: dict[str, Any], settings: dict[str, Any], passes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = learned(make(kind, of_task, **settings))
    n_updates = settings.get("n_epochs", 1)
    n_iterations = len(passes) // n_updates
    assert passes == [True] * (n_updates * n_iterations)
    passes.clear()
    monkeypatch.setattr(on_policy, "score_ahead", score_tokens)
    expected = learned(make(kind, of_task, **settings))
    assert passes == [False, *[True] * n_updates] * n_iterations
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 30, "n_epochs": 1},
        {**WHOLE, "self_imitation": 0.5},
        {**WHOLE, "policy_kwargs": {**BFLOAT16, "micro_batch_size": 20}},
    ],
    ids=["several minibatches", "replayed episodes", "micro-batches"],
)
def test_a_rollout_is_scored_apart_where_an_update_begins_otherwise(
    settings: dict[str, Any], passes: list[bool]
) -> None:
    learned(make(PPO, {}, **settings))
    assert not passes[0]


def test_in_float32_decoding_has_scored_a_rollout_already(passes: list[bool]) -> None:
    learned(make(A2C, {}, policy_kwargs={}))
    assert all(passes)


def change_data(model: A2C) -> None:
    """Change weights in a way that PyTorch does not count."""
    for parameter in model.policy.parameters():
        parameter.data += 0.01


def change_an_entry(model: A2C) -> None:
    """Not one of those that a look at few of them would begin with."""
    model.policy.value_net.weight.data[0, 1] += 0.1


def change_temperature(model: A2C) -> None:
    model.policy.temperature *= 0.9


@pytest.mark.parametrize("change", [change_data, change_an_entry, change_temperature])
def test_what_was_changed_since_makes_the_pass_worthless(change: Callable[[A2C], None], passes: list[bool]) -> None:
    model = make(A2C, {})
    learned(model, BetweenRolloutAndUpdate(change))
    # Scored with gradients, to no avail, and evaluated once more.
    assert len(passes) == 2 * model._n_updates


def fail(_: A2C) -> None:
    raise RuntimeError("no disk left")


def test_an_error_before_the_update_leaves_nothing_behind() -> None:
    model = make(A2C, {})
    with pytest.raises(RuntimeError, match="no disk left"):
        model.learn(60, callback=BetweenRolloutAndUpdate(fail))
    assert model.policy.memory.first_pass is None


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_whole_completions_learn_from_it_too(kind: Any, passes: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for score in (score_ahead, score_tokens):
        monkeypatch.setattr(on_policy, "score_ahead", score)
        env = TextGenCompletionVectorEnv(4, letter_task())
        settings = {"batch_size": 200, "n_epochs": 1} if kind is PPO else {}
        of_policy = {"model": language_model(gpt2_config()), **BFLOAT16}
        model = kind("GPT2CompletionPolicy", env, n_steps=15, seed=0, device="cpu", policy_kwargs=of_policy, **settings)
        passes.clear()
        results.append(learned(model))
        assert passes.count(False) == (0 if score is not score_tokens else model._n_updates)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_it_belongs_to_one_batch_and_goes_into_no_copy(passes: list[bool]) -> None:
    model = make(A2C, {})
    learned(model)
    batch = model.rollout_buffer.packed(np.arange(3))
    other = model.rollout_buffer.packed(np.arange(3))
    values, log_prob, _ = model.policy.evaluate_ahead(batch)
    assert not values.requires_grad
    assert copy.deepcopy(model.policy).memory.first_pass is None
    assert pickle.loads(pickle.dumps(model.policy)).memory.first_pass is None
    passes.clear()
    with torch.no_grad():
        model.policy.evaluate_actions(batch, batch.chosen)
    assert model.policy.evaluate_actions(other, other.chosen)[1].requires_grad
    assert passes == [False, True]
    assert model.policy.memory.first_pass is None
    model.policy.evaluate_ahead(batch)
    passes.clear()
    again = model.policy.evaluate_actions(batch, batch.chosen)
    assert not passes
    assert again[1].requires_grad
    assert torch.equal(again[1].detach(), log_prob)
