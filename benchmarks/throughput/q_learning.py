"""A whole iteration of DQN, collection and learning, against plain Stable-Baselines3 with the same network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import stable_baselines3

from textgym.agents import DQN, TextGenVecEnv
from textgym.agents.q_policy import GPT2QPolicy
from textgym.agents.token_rules import token_rules

from .inputs import Setting, make_model, make_task
from .iteration import learning
from .measurement import Case


def make_ours(setting: Setting) -> DQN:
    """Make TextGym's DQN; one call of `learn` with a rollout's tokens is one iteration."""
    return DQN(
        "GPT2Policy",
        TextGenVecEnv(setting.num_envs, make_task(setting)),
        train_freq=setting.rollout_tokens,
        reference=None,
        exploration="uniform",
        decode_rows=setting.num_envs,
        policy_kwargs={"model": make_model(setting)},
        **_shared(setting),
    )


def make_plain(setting: Setting) -> stable_baselines3.DQN:
    """Make Stable-Baselines3's DQN on the same network, weights and hyper-parameters."""
    task = make_task(setting)
    return stable_baselines3.DQN(
        GPT2QPolicy,
        TextGenVecEnv(setting.num_envs, task),
        # Counts steps of the vector environment where ours counts tokens.
        train_freq=setting.new_tokens,
        policy_kwargs={"model": make_model(setting), "token_rules": token_rules(task)},
        **_shared(setting),
    )


def _shared(setting: Setting) -> dict[str, Any]:
    return {
        "learning_rate": 1e-4,
        "buffer_size": 8 * setting.rollout_tokens,
        "learning_starts": 0,
        "batch_size": setting.batch_size,
        "gradient_steps": max(1, setting.rollout_tokens // setting.batch_size),
        "gamma": 1.0,
        "target_update_interval": setting.rollout_tokens,
        # A share of tokens that is explored costs no network in either.
        "exploration_initial_eps": 0.02,
        "exploration_final_eps": 0.02,
        "max_grad_norm": 1.0,
        "seed": 0,
        "device": setting.device,
    }


def q_learning_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return the case."""
    return [partial(_make, setting)]


def _make(setting: Setting) -> Case:
    shared = _shared(setting)
    sizes = {
        "sizes": setting.describe(),
        "batch_size": setting.batch_size,
        "gradient_steps": shared["gradient_steps"],
        "dtype": "float32",
    }
    contestants = [
        learning("TextGym DQN", make_ours(setting), setting),
        learning("SB3 DQN, same network", make_plain(setting), setting, most_repeats=3),
    ]
    return Case("whole DQN iteration", "tokens/s", sizes, contestants)
