"""MaskablePPO's own: masks from outside, sb3-contrib's evaluation, nothing stored, and its errors."""

from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.vec_env import VecMonitor

from tests.agents.tiny import exactly, language_model, letter_task
from tests.agents.twins import collect
from textgym.agents import MaskablePPO, TextGenVecEnv
from textgym.env import TextGenEnv
from textgym.task import TextTask

RULES = {"banned_token_ids": [0, 4, 5], "min_new_tokens": 2}


def algorithm(task: TextTask | None = None, **settings: Any) -> MaskablePPO:
    defaults = {"n_steps": 20, "n_epochs": 1, "batch_size": 30, "seed": 0, "device": "cpu"}
    env = VecMonitor(TextGenVecEnv(3, letter_task(**RULES) if task is None else task))
    return MaskablePPO("GPT2Policy", env, **{**defaults, "policy_kwargs": {"model": language_model()}, **settings})


def test_the_policy_allows_what_the_environment_allows() -> None:
    model, env = algorithm(), TextGenEnv(letter_task(**RULES))
    observation, _ = env.reset(seed=0)
    for token in (1, 2, 3):
        obs, _ = model.policy.obs_to_tensor(observation)
        probabilities: Any = model.policy.get_distribution(obs).distribution.probs  # type: ignore[union-attr]
        np.testing.assert_array_equal(probabilities[0].detach() > 0, env.action_masks())
        observation = env.step(token)[0]


def test_masks_from_outside_forbid_besides_what_the_rules_do() -> None:
    model = algorithm()
    env = TextGenVecEnv(200, letter_task(**RULES))
    observation: dict[str, np.ndarray] = env.reset()  # type: ignore[assignment]
    masks = np.ones((200, 12), dtype=bool)
    masks[:, [1, 2, 3]] = False
    actions, _ = model.predict(observation, action_masks=masks)
    assert set(actions.tolist()) <= {6, 7, 8, 9, 10}
    assert len(set(actions.tolist())) > 2
    one = {key: array[0] for key, array in observation.items()}
    only = np.arange(12) == 9
    assert model.predict(one, action_masks=only)[0] == 9
    assert model.predict(one, action_masks=only, deterministic=True)[0] == 9
    obs, _ = model.policy.obs_to_tensor(observation)
    sampled, _, log_prob = model.policy(obs, action_masks=masks)
    assert set(sampled.tolist()) <= {6, 7, 8, 9, 10}
    again = model.policy.evaluate_actions(obs, sampled, action_masks=masks)[1]
    torch.testing.assert_close(again, log_prob)
    assert set(model.predict(observation, top_k=1)[0].tolist()) == set(
        model.predict(observation, deterministic=True)[0].tolist()
    )


def test_no_masks_are_stored() -> None:
    model = algorithm()
    collect(model)
    batch: Any = next(model.rollout_buffer.get(None))
    assert batch.action_masks is None
    sizes = [value.numel() for value in vars(model.rollout_buffer).values() if isinstance(value, torch.Tensor)]
    assert max(sizes) <= 2 * model.rollout_buffer.n_tokens


def test_sb3_contribs_own_evaluation_and_callback_work() -> None:
    env = VecMonitor(TextGenVecEnv(2, letter_task(**RULES)))
    assert get_action_masks(env).shape == (2, 12)
    model = algorithm()
    callback = MaskableEvalCallback(env, eval_freq=15, n_eval_episodes=2, verbose=0, warn=False)
    model.learn(60, callback=callback)
    assert np.isfinite(callback.last_mean_reward)
    assert np.isfinite(evaluate_policy(model, env, n_eval_episodes=2, warn=False)[0])


def test_learning_without_masks_is_an_error() -> None:
    message = (
        "use_masking must be True: the policy never samples a token that the environment forbids. To allow all tokens, "
        "make the environment without banned_token_ids and min_new_tokens."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm().learn(10, use_masking=False)
