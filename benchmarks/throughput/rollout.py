"""Rollout alone: TextGym's decoding against `generate` of transformers, at equal completion lengths."""

from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from textgym.agents import GPT2Policy, TextGenVecEnv, generate_episodes
from textgym.agents.token_rules import token_rules
from textgym.task import TextTask

from .inputs import Setting, make_model, make_task
from .measurement import Case, Contestant, timed

# What transformers offers for a decoder on one device without offloading.
CACHES = ("dynamic", "static")


class Decoding:
    """TextGym's rollout; each call generates the episodes that follow those of the call before."""

    def __init__(self, setting: Setting, task: TextTask, model: GPT2LMHeadModel) -> None:
        env = TextGenVecEnv(1, task)
        self.policy = GPT2Policy(
            env.observation_space, env.action_space, _no_learning, model=model, token_rules=token_rules(task)
        )
        self.policy.set_training_mode(False)
        self.task, self.num_rows, self.n_episodes = task, setting.num_envs, 0

    def __call__(self) -> int:
        """Generate one episode a row and return the number of tokens."""
        numbers = range(self.n_episodes, self.n_episodes + self.num_rows)
        self.n_episodes += self.num_rows
        episodes = generate_episodes(self.policy, self.task, numbers, seed=0, num_rows=self.num_rows)
        return sum(len(episode.text.token_ids) for episode in episodes)


class Generate:
    """`generate` of transformers, told of no end of sequence, so that it neither bans one nor looks for one."""

    def __init__(self, setting: Setting, task: TextTask, model: GPT2LMHeadModel, cache: str) -> None:
        self.model = model
        self.prompts = torch.tensor([prompt.token_ids for prompt in task.prompts])
        self.config = GenerationConfig(
            do_sample=True,
            top_k=0,
            max_new_tokens=setting.new_tokens,
            min_new_tokens=None,
            pad_token_id=task.pad_token_id,
            cache_implementation=cache,
        )
        self.model.generation_config = GenerationConfig(pad_token_id=task.pad_token_id)

    def __call__(self) -> int:
        """Generate one completion a prompt and return the number of tokens."""
        output = self.model.generate(  # type: ignore[misc]
            self.prompts, attention_mask=torch.ones_like(self.prompts), generation_config=self.config
        )
        return int(output[:, self.prompts.shape[1] :].numel())


def rollout_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return a case for the setting's rows, and one for four times as many."""

    def make(num_rows: int) -> Case:
        sized = replace(setting, num_envs=num_rows)
        task, model = make_task(sized), make_model(sized)
        contestants = [Contestant("TextGym generate_episodes", timed(Decoding(sized, task, model)), is_ours=True)]
        for cache in CACHES:
            generate = Generate(sized, task, make_model(sized), cache)
            contestants.append(Contestant(f"transformers generate, {cache} cache", timed(generate)))
        sizes = {"sizes": sized.describe(), "dtype": "float32"}
        return Case(f"rollout alone, {num_rows} rows", "tokens", sizes, contestants)

    return [lambda num_rows=num_rows: make(num_rows) for num_rows in (setting.num_envs, 4 * setting.num_envs)]  # type: ignore[misc]


def _no_learning(progress_remaining: float) -> float:
    return 0.0
