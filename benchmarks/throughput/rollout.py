"""Rollout alone: TextGym's decoding against `generate` of transformers, at equal and at unequal lengths."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from textgym.agents import GPT2Policy, TextGenVecEnv, generate_episodes
from textgym.agents.token_rules import token_rules
from textgym.task import TextTask

from .inputs import Setting, end_texts_at_random, make_model, make_task, make_unequal_task
from .limits import bandwidth_limit
from .measurement import Case, Contestant, timed

# What transformers offers for a decoder on one device without offloading.
CACHES = ("dynamic", "static")
ROUNDS_OF_UNEQUAL_LENGTHS = 3


class Decoding:
    """TextGym's rollout; each call generates the episodes that follow those of the call before."""

    def __init__(self, setting: Setting, task: TextTask, model: GPT2LMHeadModel, rounds: int = 1) -> None:
        env = TextGenVecEnv(1, task)
        self.policy = GPT2Policy(
            env.observation_space,
            env.action_space,
            _no_learning,
            model=model,
            token_rules=token_rules(task),
            autocast=setting.autocast,
        ).to(setting.device)
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
        # Weights in the precision itself are faster than autocast, which converts them at every step.
        self.model, self.rounds = model.to(setting.device, getattr(torch, setting.precision)), rounds  # type: ignore[arg-type]
        prompts = [prompt.token_ids for prompt in task.prompts[: setting.num_envs]]
        self.prompts = torch.tensor(prompts, device=setting.device)
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
        output = self.model.generate(
            self.prompts, attention_mask=torch.ones_like(self.prompts), generation_config=self.config
        )
        completions = output[:, self.prompts.shape[1] :]
        if self.eos_token_id is None:
            return int(completions.numel())
        n_ends_before = (completions == self.eos_token_id).long().cumsum(dim=1).roll(1, dims=1)
        n_ends_before[:, 0] = 0
        return int((n_ends_before == 0).sum())


def rollout_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return cases of equal lengths, for each number of rows, and one of unequal lengths."""
    equal = [partial(_equal, replace(setting, num_envs=num_rows)) for num_rows in setting.rollout_rows]
    long_tokens = 5 * setting.new_tokens if setting.device == "cpu" else setting.new_tokens
    unequal = replace(setting, num_envs=setting.rollout_rows[-1], new_tokens=long_tokens)
    return [*equal, partial(_unequal, unequal)]


def _equal(setting: Setting) -> Case:
    task = make_task(setting)
    sizes: dict[str, object] = {"sizes": setting.describe(), "dtype": setting.precision}
    contestants = _contestants(setting, task, lambda: make_model(setting), rounds=1)
    if setting.device != "cpu":
        contestants.append(Contestant("limit of memory bandwidth", partial(bandwidth_limit, setting), is_limit=True))
    return Case(f"rollout alone, {setting.num_envs} rows", "tokens/s", sizes, contestants)


def _unequal(setting: Setting) -> Case:
    task = make_unequal_task(setting, setting.num_envs)
    mean_length = setting.new_tokens // 3
    contestants = _contestants(
        setting,
        task,
        lambda: end_texts_at_random(make_model(setting), mean_length),
        ROUNDS_OF_UNEQUAL_LENGTHS,
        most_repeats=3,
    )
    sizes = {
        "sizes": setting.describe(),
        "lengths": f"{task.min_new_tokens} to {task.max_new_tokens}, an end in 1 of {mean_length} tokens",
        "completions": ROUNDS_OF_UNEQUAL_LENGTHS * setting.num_envs,
        "dtype": setting.precision,
    }
    return Case(f"rollout alone, {setting.num_envs} rows, unequal lengths", "tokens/s", sizes, contestants)


def _contestants(
    setting: Setting,
    task: TextTask,
    new_model: Callable[[], GPT2LMHeadModel],
    rounds: int,
    most_repeats: int | None = None,
) -> list[Contestant]:
    ours = Decoding(setting, task, new_model(), rounds)
    measure = timed(ours, setting.seconds)
    contestants = [Contestant("TextGym generate_episodes", measure, is_ours=True, most_repeats=most_repeats)]
    for cache in CACHES:
        generate = Generate(setting, task, new_model(), cache, rounds)
        name = f"transformers generate, {cache} cache"
        contestants.append(Contestant(name, timed(generate, setting.seconds), most_repeats=most_repeats))
    return contestants


def _no_learning(progress_remaining: float) -> float:
    return 0.0
