"""A whole PPO iteration, rollout and update, against plain Stable-Baselines3 with the same network, and TRL."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm

from textgym.agents import PPO, GPT2Policy, TextGenVecEnv
from textgym.agents.token_rules import token_rules

from .inputs import Setting, make_model, make_task
from .measurement import Case, Contestant, timed
from .trl_trainers import NOT_INSTALLED, TRAINERS, TRLIteration, has_trl

# TRL's trainers compare completions of one prompt.
COMPLETIONS_PER_PROMPT = 4


def make_ours(setting: Setting, with_reference: bool) -> PPO:
    """Make TextGym's PPO; one call of `learn` with a rollout's tokens is one iteration."""
    return PPO(
        "GPT2Policy",
        TextGenVecEnv(setting.num_envs, make_task(setting)),
        n_steps=setting.new_tokens,
        batch_size=setting.batch_size,
        n_epochs=setting.n_epochs,
        reference="initial" if with_reference else None,
        decode_rows=setting.num_envs,
        policy_kwargs={"model": make_model(setting), "autocast": setting.autocast},
        seed=0,
        device=setting.device,
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
        n_epochs=setting.n_epochs,
        gamma=ours.gamma,
        gae_lambda=ours.gae_lambda,
        policy_kwargs={
            "model": make_model(setting),
            "token_rules": token_rules(task),
            "autocast": setting.autocast,
        },
        seed=0,
        device=setting.device,
    )


def learn_one_iteration(algorithm: BaseAlgorithm, n_tokens: int) -> int:
    """Run one rollout and its update.

    Returns:
        The tokens generated.
    """
    before = algorithm.num_timesteps
    algorithm.learn(n_tokens, reset_num_timesteps=False)
    return algorithm.num_timesteps - before


def iteration_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return cases against plain Stable-Baselines3 and against TRL, whose trainers take one step an epoch.

    Plain Stable-Baselines3 is measured on the CPU alone: a GPU's large minibatch of whole contexts has no room in it.
    """
    cases = [partial(_against_plain, "whole PPO iteration", setting)] if setting.device == "cpu" else []
    if setting.long_tokens is not None:
        # At this length an iteration of the plain one takes minutes.
        longer = replace(setting, new_tokens=setting.long_tokens)
        cases.append(partial(_against_plain, "whole PPO iteration, long completions", longer, most_repeats=1))
    cases.append(partial(_against_trl, "whole iteration of one optimiser step", setting, TRAINERS))
    if setting.with_gpt2_shape:
        gpt2 = replace(setting, n_layer=12, n_embd=768, n_head=12, vocab_size=50257, num_envs=8)
        name = "whole iteration of one optimiser step, GPT-2 124M"
        cases.append(partial(_against_trl, name, gpt2, TRAINERS[:1], most_repeats=2))
    return cases  # type: ignore[return-value]


def _against_plain(name: str, setting: Setting, most_repeats: int | None = None) -> Case:
    contestants = [
        learning("TextGym PPO, reference KL", make_ours(setting, with_reference=True), setting),
        learning("TextGym PPO, no reference", make_ours(setting, with_reference=False), setting),
        learning("SB3 PPO, same network, no reference", make_plain(setting), setting, most_repeats),
    ]
    return Case(name, "tokens/s", _sizes(setting), contestants)


def _against_trl(name: str, setting: Setting, trainers: Sequence[str], most_repeats: int | None = None) -> Case:
    # One minibatch, so that each side takes one optimiser step an epoch on all completions.
    group = min(COMPLETIONS_PER_PROMPT, setting.num_envs)
    whole = replace(setting, batch_size=setting.rollout_tokens, completions_per_prompt=group)
    ours = make_ours(whole, with_reference=True)
    contestants = [learning("TextGym PPO, reference KL", ours, whole, most_repeats)]
    skipped = {}
    for trainer in trainers:
        if has_trl():
            name_of_it = f"TRL {trainer}, reference KL"
            contestants.append(Contestant(name_of_it, TRLIteration(trainer, whole), most_repeats=most_repeats))
        else:
            skipped[f"TRL {trainer}"] = NOT_INSTALLED
    if skipped and setting.device == "cpu":
        contestants.append(learning("SB3 PPO, same network, no reference", make_plain(whole), whole, 1))
    alone = contestants[0].name if len(contestants) == 1 else None
    return Case(name, "tokens/s", _sizes(whole), contestants, skipped, compared_with=alone)


def learning(name: str, algorithm: BaseAlgorithm, setting: Setting, most_repeats: int | None = None) -> Contestant:
    """Return a contestant whose work is an iteration of an algorithm."""
    work = partial(learn_one_iteration, algorithm, setting.rollout_tokens)
    return Contestant(name, timed(work, setting.seconds), name.startswith("TextGym"), most_repeats=most_repeats)


def _sizes(setting: Setting) -> dict[str, object]:
    return {
        "sizes": setting.describe(),
        "n_epochs": setting.n_epochs,
        "batch_size": setting.batch_size,
        "dtype": setting.precision,
    }
