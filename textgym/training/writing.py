"""Completions of a person's own prompts, written as in training and evaluation."""

from collections.abc import Sequence
from typing import Any

from textgym.agents import GPT2Policy, Sampling, generate_episodes
from textgym.agents.token_rules import token_rules
from textgym.agents.vec_env import TextGenVecEnv
from textgym.models import load_language_model, load_tokenizer
from textgym.task import TextTask

from .model_folder import find_model
from .settings import TrainSettings


def write_completions(
    model: str,
    prompts: Sequence[str],
    settings: TrainSettings,
    *,
    n: int = 1,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Complete prompts of any length that the model has room for.

    Args:
        model: A run folder, a model folder, a hub name or `"bundled"`.
        prompts: What to go on with.
        settings: The run's, which give budget, temperature and rules where no other are given.
        n: Completions of each prompt.
        max_new_tokens: Token budget of a completion; None for the settings'.
        temperature: Divides the logits; None for the settings'.
        top_k: Choose among so many tokens; None for all.
        top_p: Choose among the fewest tokens of this probability; None for all.
        greedy: Always take the likeliest token.
        seed: Decides the random numbers.

    Returns:
        Prompt and completion, n of each prompt in order.

    Raises:
        ValueError: If the model cannot be found, a prompt is empty, or a number is out of range.
    """
    source = find_model(model)
    tokenizer = load_tokenizer(source)
    options = settings.task
    budget = options.max_new_tokens if max_new_tokens is None else max_new_tokens
    longest = max([len(ids) for ids in tokenizer(list(prompts))["input_ids"]], default=1)
    task = TextTask(
        tokenizer,
        list(prompts),
        _no_reward,
        max_prompt_tokens=max(1, longest),
        max_new_tokens=budget,
        min_new_tokens=min(options.min_new_tokens, budget),
        stop=options.stop,
        banned_token_ids=options.banned_token_ids,
        allowed_token_ids=options.allowed_token_ids,
        completions_per_prompt=n,
        prompt_order="sequential",
    )
    env = TextGenVecEnv(1, task)
    policy = GPT2Policy(
        env.observation_space,
        env.action_space,
        _no_learning,
        model=load_language_model(source),
        temperature=_temperature(settings) if temperature is None else temperature,
        token_rules=token_rules(task),
    )
    policy.set_training_mode(False)
    sampling = Sampling(greedy, top_k, top_p)
    episodes = generate_episodes(policy, task, range(n * len(task.prompts)), seed=seed, sampling=sampling)
    return [(episode.text.prompt.text, episode.text.text) for episode in episodes]


def _temperature(settings: TrainSettings) -> float:
    return float(settings.algorithm.constructor_arguments()["policy_kwargs"]["temperature"])


def _no_reward(completions: Sequence[str], **columns: Any) -> list[float]:
    return [0.0 for _ in completions]


def _no_learning(progress_remaining: float) -> float:
    return 0.0
