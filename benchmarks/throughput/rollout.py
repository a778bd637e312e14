"""Rollout alone: TextGym's decoding against `generate` of transformers, at equal and at unequal lengths."""

from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from textgym.agents import GPT2Policy, TextGenVecEnv, generate_episodes
from textgym.agents.token_rules import token_rules
from textgym.task import TextTask

from .inputs import Setting, end_texts_at_random, make_model, make_task, make_unequal_task
from .measurement import Case, Contestant, timed

# What transformers offers for a decoder on one device without offloading.
CACHES = ("dynamic", "static")
ROUNDS_OF_UNEQUAL_LENGTHS = 3


class Decoding:
    """TextGym's rollout; each call generates the episodes that follow those of the call before."""

    def __init__(self, setting: Setting, task: TextTask, model: GPT2LMHeadModel, rounds: int = 1) -> None:
        env = TextGenVecEnv(1, task)
        self.policy = GPT2Policy(
            env.observation_space, env.action_space, _no_learning, model=model, token_rules=token_rules(task)
        )
        self.policy.set_training_mode(False)
        self.task, self.num_rows, self.rounds, self.n_episodes = task, setting.num_envs, rounds, 0

    def __call__(self) -> int:
        """Generate `rounds` episodes a row and return the number of tokens."""
        numbers = range(self.n_episodes, self.n_episodes + self.rounds * self.num_rows)
        self.n_episodes += self.rounds * self.num_rows
        episodes = generate_episodes(self.policy, self.task, numbers, seed=0, num_rows=self.num_rows)
        return sum(len(episode.text.token_ids) for episode in episodes)


class Generate:
    """`generate` of transformers, in as many batches as there are rounds, each as long as its longest completion.

    Where the task bans the end of sequence, it is told of none, so that it neither bans one nor looks for one.
    """

    def __init__(self, setting: Setting, task: TextTask, model: GPT2LMHeadModel, cache: str, rounds: int = 1) -> None:
        self.model, self.rounds = model, rounds
        self.prompts = torch.tensor([prompt.token_ids for prompt in task.prompts[: setting.num_envs]])
        self.eos_token_id = task.eos_token_id if task.is_allowed[task.eos_token_id] else None
        self.config = GenerationConfig(
            do_sample=True,
            top_k=0,
            max_new_tokens=setting.new_tokens,
            min_new_tokens=task.min_new_tokens or None,
            eos_token_id=self.eos_token_id,
            pad_token_id=task.pad_token_id,
            cache_implementation=cache,
        )
        self.model.generation_config = GenerationConfig(pad_token_id=task.pad_token_id)

    def __call__(self) -> int:
        """Generate the completions and return the number of tokens up to their ends."""
        return sum(self._generate() for _ in range(self.rounds))

    def _generate(self) -> int:
        output = self.model.generate(  # type: ignore[misc]
            self.prompts, attention_mask=torch.ones_like(self.prompts), generation_config=self.config
        )
        completions = output[:, self.prompts.shape[1] :]
        if self.eos_token_id is None:
            return int(completions.numel())
        n_ends_before = (completions == self.eos_token_id).long().cumsum(dim=1).roll(1, dims=1)
        n_ends_before[:, 0] = 0
        return int((n_ends_before == 0).sum())


def rollout_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return cases of equal lengths, for the setting's rows and four times as many, and one of unequal lengths."""

    def make(num_rows: int) -> Case:
        sized = replace(setting, num_envs=num_rows)
        task = make_task(sized)
        sizes = {"sizes": sized.describe(), "dtype": "float32"}
        contestants = _contestants(sized, task, lambda: make_model(sized), rounds=1)
        return Case(f"rollout alone, {num_rows} rows", "tokens", sizes, contestants)

    def make_unequal() -> Case:
        sized = replace(setting, num_envs=4 * setting.num_envs, new_tokens=5 * setting.new_tokens)
        task = make_unequal_task(sized, sized.num_envs)
        mean_length = sized.new_tokens // 3
        contestants = _contestants(
            sized, task, lambda: end_texts_at_random(make_model(sized), mean_length), ROUNDS_OF_UNEQUAL_LENGTHS
        )
        sizes = {
            "sizes": sized.describe(),
            "lengths": f"{task.min_new_tokens} to {task.max_new_tokens}, an end in 1 of {mean_length} tokens",
            "completions": ROUNDS_OF_UNEQUAL_LENGTHS * sized.num_envs,
            "dtype": "float32",
        }
        return Case(f"rollout alone, {sized.num_envs} rows, unequal lengths", "tokens", sizes, contestants)

    equal = [lambda num_rows=num_rows: make(num_rows) for num_rows in (setting.num_envs, 4 * setting.num_envs)]
    return [*equal, make_unequal]


def _contestants(
    setting: Setting, task: TextTask, new_model: Callable[[], GPT2LMHeadModel], rounds: int
) -> list[Contestant]:
    ours = Decoding(setting, task, new_model(), rounds)
    contestants = [Contestant("TextGym generate_episodes", timed(ours), is_ours=True)]
    for cache in CACHES:
        generate = Generate(setting, task, new_model(), cache, rounds)
        contestants.append(Contestant(f"transformers generate, {cache} cache", timed(generate)))
    return contestants


def _no_learning(progress_remaining: float) -> float:
    return 0.0
