"""Environment alone: steps a second with random actions, against one Python object an environment."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from textgym.env import TextGenEnv
from textgym.task import TextTask
from textgym.vector import TextGenVectorEnv

from .inputs import Setting, make_prompts, make_tokenizer, share_of_vowels
from .measurement import Case, Contestant
from .usual_environment import UsualTextEnv


def make_open_task(setting: Setting) -> TextTask:
    """Make a task that allows every token at any time."""
    return TextTask(
        make_tokenizer(setting.vocab_size),
        make_prompts(16, setting.prompt_tokens),
        share_of_vowels,
        max_prompt_tokens=setting.prompt_tokens,
        max_new_tokens=setting.new_tokens,
    )


def environment_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return a case of one environment by itself, and one for each number of environments side by side."""

    def make_single() -> Case:
        task = make_open_task(setting)
        contestants = [
            Contestant("TextGym Env", _stepping(TextGenEnv(task), setting.seconds), is_ours=True),
            Contestant("the usual way, Env", _stepping(UsualTextEnv(task), setting.seconds)),
        ]
        return Case("environment alone, Env", "steps/s", _sizes(setting, 1), contestants)

    def make(num_envs: int) -> Case:
        task = make_open_task(setting)
        usual = [partial(UsualTextEnv, task)] * num_envs
        contestants = [
            Contestant("TextGym make_vec", _stepping_all(TextGenVectorEnv(num_envs, task), setting.seconds), True),
            Contestant("the usual way, SyncVectorEnv", _stepping_all(SyncVectorEnv(usual), setting.seconds)),
        ]
        skipped = {}
        if num_envs <= setting.most_processes:
            of_processes = AsyncVectorEnv(usual, context=_quick_to_fork())
            contestants.append(
                Contestant("the usual way, AsyncVectorEnv", _stepping_all(of_processes, setting.seconds))
            )
        else:
            reason = f"one process an environment, here for {setting.most_processes} environments at most"
            skipped["the usual way, AsyncVectorEnv"] = reason
        name = f"environment alone, {num_envs} environments"
        return Case(name, "steps/s", _sizes(setting, num_envs), contestants, skipped)

    return [make_single, *(partial(make, num_envs) for num_envs in setting.environment_counts)]


def _quick_to_fork() -> str:
    """Return a start method whose processes share what has been imported once, without the parent's threads."""
    multiprocessing.set_forkserver_preload([UsualTextEnv.__module__])
    return "forkserver"


# Gymnasium has these from 1.4 on. Their annotations say int; a fraction of a second serves as well.


def _stepping(env: gymnasium.Env[Any, Any], seconds: float) -> Callable[[], float]:
    from gymnasium.utils.performance import benchmark_step

    return lambda: benchmark_step(env, seconds, seed=0)  # type: ignore[arg-type]


def _stepping_all(env: VectorEnv[Any, Any, Any], seconds: float) -> Callable[[], float]:
    from gymnasium.utils.performance import benchmark_vector_step

    return lambda: benchmark_vector_step(env, seconds, seed=0)  # type: ignore[arg-type]


def _sizes(setting: Setting, num_envs: int) -> dict[str, object]:
    return {
        "num_envs": num_envs,
        "vocab_size": setting.vocab_size,
        "prompt_tokens": setting.prompt_tokens,
        "new_tokens": setting.new_tokens,
    }
