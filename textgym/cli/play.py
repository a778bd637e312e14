"""`textgym play`: be the policy yourself, one completion at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textgym.joining import spaced
from textgym.training.settings_file import read_settings

from .errors import checked_input, refuse
from .libraries import silence_libraries
from .options import add_settings, given_settings
from .own_modules import find_own_modules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from textgym.completion import TextGenCompletionEnv
    from textgym.task import TextTask

SETTINGS = (
    "model",
    "seed",
    *(
        f"task.{name}"
        for name in ("name", "prompts", "reward", "max_prompt_tokens", "max_new_tokens", "min_new_tokens", "stop")
    ),
    *(f"task.{name}" for name in ("banned_token_ids", "allowed_token_ids", "prompt_order", "truncate_prompts")),
)


def play(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of settings, as of textgym train.")
    ] = None,
    **options: Any,
) -> None:
    """Be the policy yourself: complete prompts in the terminal, and see what the reward makes of it.

    Each line that you type is one completion; the same environment, reward and token budget judge it as judge a
    model. An empty line, the end of the input or Ctrl-C ends the game.
    """
    find_own_modules()
    with checked_input():
        settings = read_settings(config, given_settings(context, options))
        silence_libraries()
        env = _make_env(settings)
    _play(env, settings.seed)


add_settings(play, SETTINGS)


def _make_env(settings: Any) -> "TextGenCompletionEnv":
    from textgym.completion import TextGenCompletionEnv
    from textgym.reward_protocol import resolve_reward
    from textgym.training.model_folder import find_model

    options = settings.task
    return TextGenCompletionEnv(
        tokenizer=find_model(settings.model),
        prompts=options.prompts,
        reward=resolve_reward(options.reward),
        max_prompt_tokens=options.max_prompt_tokens,
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens,
        stop=options.stop,
        banned_token_ids=options.banned_token_ids,
        allowed_token_ids=options.allowed_token_ids,
        prompt_order=options.prompt_order,
        truncate_prompts=options.truncate_prompts,
    )


def _play(env: "TextGenCompletionEnv", seed: int) -> None:
    from rich.console import Console
    from rich.text import Text

    from textgym.rendering import PROMPT_STYLE, print_episode
    from textgym.reward_protocol import RewardError
    from textgym.training.report import describe_reward

    console = Console()
    console.print(Text(f"The reward is {describe_reward(env.task.reward)}."), soft_wrap=True)
    console.print(f"You have {env.task.max_new_tokens} tokens. An empty line ends the game.\n", highlight=False)
    scores = []
    env.reset(seed=seed)
    while True:
        prompt = env.core.texts([0])[0][0]
        console.print(Text(prompt, PROMPT_STYLE), soft_wrap=True)
        try:
            text = input("… ")
        except (EOFError, KeyboardInterrupt):
            text = ""
        if not text:
            break
        try:
            action = to_action(env.task, prompt, text)
        except ValueError as error:
            console.print(Text(f"{error}\n"), soft_wrap=True)
            continue
        try:
            *_, info = env.step(action)
        except RewardError as error:
            refuse(str(error))
        print_episode(info)
        if "forbidden_action" in info:
            console.print(Text(_forbidden(env.task, action)), soft_wrap=True)
        console.print()
        scores.append(info["score"])
        env.reset()
    if scores:
        console.print(f"\nmean score {sum(scores) / len(scores):.3f} of {len(scores)} completions", highlight=False)


def _forbidden(task: "TextTask", action: "npt.NDArray[np.int64]") -> str:
    """Say what the task forbids in an action that was played."""
    token_ids = [token for token in dict.fromkeys(action.tolist()) if not task.is_allowed[token]]
    typed = [repr(task.tokenizer.decode([token])) for token in token_ids if token != task.eos_token_id]
    if typed:
        return f"forbidden, so left out: {', '.join(typed)}"
    if task.is_allowed[task.eos_token_id]:
        return f"the end is forbidden before {task.min_new_tokens} tokens"
    return "the end is forbidden"


def to_action(task: "TextTask", prompt: str, text: str) -> "npt.NDArray[np.int64]":
    """Return what a person typed as an action: its tokens, cut to the budget, then the end of the sequence.

    A space is put between prompt and text where a word would otherwise run into another; not in Chinese or Japanese.

    Raises:
        ValueError: If the vocabulary lacks a character of it.
    """
    import numpy as np

    from textgym.models import encode_texts

    (token_ids,) = encode_texts(task.tokenizer, [spaced(prompt, text)], "completion")
    action = np.full(task.max_new_tokens, task.eos_token_id)
    kept = token_ids[: task.max_new_tokens]
    action[: len(kept)] = kept
    return action
