"""A whole PPO iteration, rollout and update, against plain Stable-Baselines3 with the same network, and TRL."""

from collections.abc import Callable
from dataclasses import replace

import stable_baselines3
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from textgym.agents import PPO, GPT2Policy, TextGenVecEnv
from textgym.agents.token_rules import token_rules

from .inputs import Setting, make_model, make_task
from .measurement import Case, Contestant, timed
from .trl_trainers import NOT_INSTALLED, TRAINERS, TRLIteration, has_trl


def make_ours(setting: Setting, with_reference: bool) -> PPO:
    """Make TextGym's PPO; one call of `learn` with a rollout's tokens is one iteration."""
    return PPO(
        "GPT2Policy",
        TextGenVecEnv(setting.num_envs, make_task(setting)),
        n_steps=setting.new_tokens,
        batch_size=setting.batch_size,
        n_epochs=1,
        reference="initial" if with_reference else None,
        decode_rows=setting.num_envs,
        policy_kwargs={"model": make_model(setting)},
        seed=0,
        device="cpu",
    )


def make_plain(setting: Setting) -> stable_baselines3.PPO:
    """Make Stable-Baselines3's PPO on the same network, weights and hyper-parameters, with the faster `VecEnv`."""
    task = make_task(setting)
    ours = make_ours(setting, with_reference=False)
    return stable_baselines3.PPO(
        GPT2Policy,
        TextGenVecEnv(setting.num_envs, task),
        learning_rate=ours.learning_rate,
        n_steps=setting.new_tokens,
        batch_size=setting.batch_size,
        n_epochs=1,
        gamma=ours.gamma,
        gae_lambda=ours.gae_lambda,
        policy_kwargs={"model": make_model(setting), "token_rules": token_rules(task)},
        seed=0,
        device="cpu",
    )


def learn_one_iteration(algorithm: OnPolicyAlgorithm, n_tokens: int) -> int:
    """Run one rollout and its update.

    Returns:
        The tokens generated.
    """
    before = algorithm.num_timesteps
    algorithm.learn(n_tokens, reset_num_timesteps=False)
    return algorithm.num_timesteps - before


def iteration_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return a case against plain Stable-Baselines3, and one against TRL too, whose trainers step once a rollout."""

    def make() -> Case:
        algorithms: dict[str, OnPolicyAlgorithm] = {
            "TextGym PPO, reference KL": make_ours(setting, with_reference=True),
            "TextGym PPO, no reference": make_ours(setting, with_reference=False),
            "SB3 PPO, same network, no reference": make_plain(setting),
        }
        return Case("whole PPO iteration", "tokens", _sizes(setting), _learning(algorithms, setting))

    def make_against_trl() -> Case:
        # One minibatch, so that each side takes one optimiser step on all completions.
        whole = replace(setting, batch_size=setting.rollout_tokens)
        algorithms: dict[str, OnPolicyAlgorithm] = {
            "TextGym PPO, reference KL": make_ours(whole, with_reference=True),
            "SB3 PPO, same network, no reference": make_plain(whole),
        }
        contestants = _learning(algorithms, whole)
        skipped = {} if has_trl() else {f"TRL {name}": NOT_INSTALLED for name in TRAINERS}
        if not skipped:
            contestants += [Contestant(f"TRL {name}, reference KL", TRLIteration(name, whole)) for name in TRAINERS]
        return Case("whole iteration of one optimiser step", "tokens", _sizes(whole), contestants, skipped)

    return [make, make_against_trl]


def _learning(algorithms: dict[str, OnPolicyAlgorithm], setting: Setting) -> list[Contestant]:
    return [
        Contestant(
            name,
            timed(lambda algorithm=algorithm: learn_one_iteration(algorithm, setting.rollout_tokens)),  # type: ignore[misc]
            isinstance(algorithm, PPO),
        )
        for name, algorithm in algorithms.items()
    ]


def _sizes(setting: Setting) -> dict[str, object]:
    return {"sizes": setting.describe(), "n_epochs": 1, "batch_size": setting.batch_size, "dtype": "float32"}
