"""Memory of stored transitions: bytes each in rollout and replay buffers, against Stable-Baselines3's."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, DictRolloutBuffer

from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.episode_replay import EpisodeReplay
from textgym.agents.flat_episodes import EpisodeRecord
from textgym.env import observation_space

from .inputs import Setting, make_task
from .measurement import Case, Contestant


def buffer_cases(setting: Setting) -> list[Callable[[], Case]]:
    """Return a case for rollout buffers and one for replay buffers, with the setting's longest completions."""
    longest = replace(setting, new_tokens=setting.long_tokens or setting.new_tokens)
    return [partial(_rollout, longest), partial(_replay, longest)]


def _rollout(setting: Setting) -> Case:
    space, actions = _spaces(setting)
    ours = EpisodeBuffer(setting.new_tokens, space, actions, device=setting.device, n_envs=setting.num_envs)
    ours.fill(make_records(setting))
    ours.estimate_returns()
    plain = DictRolloutBuffer(setting.new_tokens, space, actions, n_envs=setting.num_envs)
    return _compare("rollout buffer", setting, ours, plain)


def _replay(setting: Setting) -> Case:
    space, actions = _spaces(setting)
    ours = EpisodeReplay(setting.rollout_tokens, space, actions, device=setting.device, n_envs=setting.num_envs)
    ours.append(make_records(setting))
    plain = DictReplayBuffer(setting.rollout_tokens, space, actions, n_envs=setting.num_envs)
    return _compare("replay buffer", setting, ours, plain)


def _compare(name: str, setting: Setting, ours: object, plain: object) -> Case:
    # Stable-Baselines3 allocates for as many transitions as it is told, whether they are there yet or not.
    bytes_of = {"TextGym": stored_bytes(ours), "SB3": stored_bytes(plain)}
    contestants = [
        Contestant(f"{owner} {name}", partial(_share, size, setting.rollout_tokens), is_ours=owner == "TextGym")
        for owner, size in bytes_of.items()
    ]
    sizes: dict[str, object] = {"sizes": setting.describe(), "transitions": setting.rollout_tokens}
    return Case(name, "bytes a transition", sizes, contestants, is_lower_better=True)


def _share(size: int, number: int) -> float:
    return size / number


def make_records(setting: Setting) -> list[EpisodeRecord]:
    """Make an episode for each environment, all of full length."""
    zeros = torch.zeros(setting.new_tokens)
    prompt, completion = [0] * setting.prompt_tokens, [0] * setting.new_tokens
    return [EpisodeRecord(prompt, completion, zeros, zeros, zeros)] * setting.num_envs


def stored_bytes(buffer: object) -> int:
    """Add up the arrays and tensors that an object holds, those in its dicts too; shared memory counts once."""
    sizes: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, np.ndarray) and value.size:
            sizes[value.__array_interface__["data"][0]] = value.nbytes
        elif isinstance(value, torch.Tensor) and value.numel():
            sizes[value.data_ptr()] = value.nbytes
        elif isinstance(value, dict):
            for entry in value.values():
                visit(entry)

    visit(vars(buffer))
    return sum(sizes.values())


def _spaces(setting: Setting) -> tuple[spaces.Dict, spaces.Discrete]:
    return observation_space(make_task(setting)), spaces.Discrete(setting.vocab_size)
