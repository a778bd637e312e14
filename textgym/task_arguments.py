"""The arguments that every environment takes to make its task."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from .prompts import PromptSource
from .reward_protocol import RewardSpec
from .task import TextTask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TaskArguments(TypedDict, total=False):
    """Keyword arguments of `TextTask`, where they are documented; each has a default."""

    tokenizer: "str | Path | PreTrainedTokenizerBase | None"
    prompts: PromptSource
    reward: RewardSpec
    max_prompt_tokens: int
    max_new_tokens: int
    min_new_tokens: int
    stop: str | Sequence[str]
    banned_token_ids: Iterable[int]
    allowed_token_ids: Iterable[int] | None
    completions_per_prompt: int
    prompt_order: Literal["random", "sequential"]
    truncate_prompts: Literal["left"] | None


def resolve_task(task: TextTask | None, arguments: TaskArguments, defaults: TaskArguments | None = None) -> TextTask:
    """Return a given task, or make one from arguments.

    Args:
        task: A task that several environments may share; None to make one.
        arguments: What to make it from.
        defaults: What goes before the defaults of `TextTask`.

    Raises:
        TypeError: If `task` is no TextTask, comes together with arguments, or an argument is unknown.
    """
    names = list(TaskArguments.__annotations__)
    for name in arguments:
        if name == "max_episode_steps":
            raise TypeError(
                "There is no argument 'max_episode_steps': an episode ends after max_new_tokens steps at the latest. "
                "gymnasium.make, and make_vec with vectorization_mode='sync', cut episodes off by a wrapper."
            )
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {names}."
            raise TypeError(f"There is no argument {name!r}; {hint}")
    if task is None:
        merged: TaskArguments = {**(defaults or TaskArguments()), **arguments}
        return TextTask(**merged)
    if not isinstance(task, TextTask):
        raise TypeError(f"task must be a TextTask, got {task!r}.")
    if arguments:
        raise TypeError(f"Give either task or what it is made from, got both task and {list(arguments)}.")
    return task
