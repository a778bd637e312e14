"""Environment alone: steps a second with random actions, against one Python object an environment."""

from collections.abc import Callable
from functools import partial
from typing import Any

from gymnasium.vector import SyncVectorEnv, VectorEnv

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
    """Return a case for each number of environments."""

    def make(num_envs: int) -> Case:
        task = make_open_task(setting)
        usual = SyncVectorEnv([partial(UsualTextEnv, task)] * num_envs)
        contestants = [
            Contestant("TextGym make_vec", _stepping(TextGenVectorEnv(num_envs, task), setting.seconds), is_ours=True),
            Contestant("the usual way, SyncVectorEnv", _stepping(usual, setting.seconds)),
        ]
        sizes = {
            "num_envs": num_envs,
            "vocab_size": setting.vocab_size,
            "prompt_tokens": setting.prompt_tokens,
            "new_tokens": setting.new_tokens,
        }
        return Case(f"environment alone, {num_envs} environments", "steps", sizes, contestants)

    return [lambda num_envs=num_envs: make(num_envs) for num_envs in setting.environment_counts]  # type: ignore[misc]


def _stepping(env: VectorEnv[Any, Any, Any], seconds: float) -> Callable[[], float]:
    # Gymnasium has it from 1.4 on.
    from gymnasium.utils.performance import benchmark_vector_step

    # The annotation says int; a fraction of a second serves as well.
    return lambda: benchmark_vector_step(env, seconds, seed=0)  # type: ignore[arg-type]
