"""From whatever a user passes as environment down to its task, honouring the wrappers that only watch."""

import time
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import torch
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from textgym.completion import TextGenCompletionEnv, TextGenCompletionVectorEnv
from textgym.env import TextEnv
from textgym.task import TextTask
from textgym.vector import TextGenVectorEnv

from .vec_env import TextGenVecEnv

# What makes two tasks the same, but for tensors, tokenizer and reward.
LENGTHS = ("max_prompt_tokens", "max_new_tokens", "min_new_tokens")
COMPARED = ("prompts", *LENGTHS, "stop", "completions_per_prompt", "prompt_order")
PASSIVE_WRAPPERS = (OrderEnforcing, PassiveEnvChecker, Monitor)
EpisodeLog: TypeAlias = Monitor | ResultsWriter


class TextEnvironment(NamedTuple):
    """What the sequence path needs of an environment.

    Attributes:
        task: Prompts, rules and reward.
        row_logs: For each row the monitors around it, and the files of those around all rows, to which the row's
            episodes are written.
    """

    task: TextTask
    row_logs: list[list[EpisodeLog]]


def find_text_environment(env: VecEnv) -> TextEnvironment:
    """Look through the wrappers of a vectorized environment for its task.

    Raises:
        ValueError: If it is not a TextGym environment, a wrapper would be bypassed, or rows differ in their task.
    """
    logs: list[EpisodeLog] = []
    while isinstance(env, VecEnvWrapper):
        # A subclass may do more than watch.
        if type(env) is not VecMonitor:
            raise _bypassed(env)
        if env.results_writer is not None:
            logs.append(env.results_writer)
        env = env.venv
    if isinstance(env, TextGenVecEnv):
        return TextEnvironment(env.task, [logs])
    if isinstance(env, DummyVecEnv):
        found = [_unwrap(member) for member in env.envs]
        _check_one_task([member.task for member, _ in found])
        return TextEnvironment(found[0][0].task, [[*logs, *member_logs] for _, member_logs in found])
    raise _not_textgym(env)


def as_text_environment(env: Any) -> VecEnv:
    """Turn an environment of any kind into a Stable-Baselines3 VecEnv over a TextGym task.

    Args:
        env: A TextGym id, Env, VectorEnv or VecEnv, wrapped or not; a single Env gets a Monitor if it has none, as in
            Stable-Baselines3.

    Raises:
        ValueError: If it is none of these, or a wrapper would be bypassed.
    """
    if isinstance(env, str):
        env = gym.make(env)
    if isinstance(env, TextGenVectorEnv):
        return TextGenVecEnv(env.num_envs, env.task)
    if isinstance(env, TextGenCompletionVectorEnv):
        return DummyVecEnv([partial(TextGenCompletionEnv, env.task) for _ in range(env.num_envs)])
    if isinstance(env, gym.vector.VectorWrapper):
        raise _bypassed(env)
    if isinstance(env, gym.Env):
        _unwrap(env)
        monitored = env if is_wrapped(env, Monitor) else Monitor(env)
        return DummyVecEnv([lambda: monitored])
    if isinstance(env, VecEnv):
        find_text_environment(env)
        return env
    raise _not_textgym(env)


def _unwrap(env: gym.Env[Any, Any]) -> tuple[TextEnv[Any], list[EpisodeLog]]:
    base = env.unwrapped
    if not isinstance(base, TextEnv):
        raise _not_textgym(base)
    logs: list[EpisodeLog] = []
    while isinstance(env, gym.Wrapper):
        if type(env) not in PASSIVE_WRAPPERS:
            raise _bypassed(env)
        if isinstance(env, Monitor):
            logs.append(env)
        env = env.env
    return base, logs


def _check_one_task(tasks: list[TextTask]) -> None:
    """Raise ValueError if rows play different tasks, of which all but the first would be ignored."""
    first = tasks[0]
    for row, task in enumerate(tasks):
        differing = [name for name in COMPARED if getattr(task, name) != getattr(first, name)]
        if not torch.equal(task.is_allowed, first.is_allowed):
            differing.append("allowed tokens")
        if task.tokenizer is not first.tokenizer and task.tokenizer.get_vocab() != first.tokenizer.get_vocab():
            differing.append("tokenizer")
        # Rows made by one function hold equal rewards as different objects; how a reward is made stands in its repr.
        if task.reward is not first.reward and repr(task.reward) != repr(first.reward):
            differing.append("reward")
        if differing:
            raise ValueError(
                f"The rows of a VecEnv must play one task, but row {row} differs from row 0 in {', '.join(differing)}. "
                "Make all rows from one task, TextGenVecEnv(n, task); prompts may be mixed in it."
            )


def _bypassed(wrapper: object) -> ValueError:
    return ValueError(
        f"The wrapper {type(wrapper).__name__} would be bypassed, because whole episodes are generated from the task "
        "below it. Change the task instead (reward, prompts, banned tokens, budgets), or train with plain "
        "stable_baselines3 and policy=GPT2Policy, which steps through every wrapper."
    )


def _not_textgym(env: object) -> ValueError:
    return ValueError(
        "Expected 'TextGen-v0' or 'TextGenCompletion-v0', or an environment made from one by gym.make, gym.make_vec "
        f"(without vectorization_mode) or TextGenVecEnv, got {type(env).__name__}. Train other environments with "
        "plain stable_baselines3."
    )


def write_episode(logs: list[EpisodeLog], info: dict[str, Any]) -> None:
    """Tell monitors an episode's return, length and time, and their files also what they ask of its info."""
    row = {**info, **info["episode"]}
    for log in logs:
        writer: ResultsWriter | None
        if isinstance(log, Monitor):
            log.episode_returns.append(row["r"])
            log.episode_lengths.append(row["l"])
            log.episode_times.append(row["t"])
            log.total_steps += row["l"]
            writer = log.results_writer
        else:
            writer = log
        if writer is not None:
            writer.write_row({key: row[key] for key in writer.logger.fieldnames if key in row})


def episode_statistics(rewards: list[float], started: float) -> dict[str, float]:
    """Return what `Monitor` reports of an episode: return `r`, length `l`, seconds since the start `t`."""
    return {"r": round(sum(rewards), 6), "l": len(rewards), "t": round(time.time() - started, 6)}
