"""A value-based algorithm twice, with the same transitions: ours, and plain Stable-Baselines3's or sb3-contrib's.

The replay of the plain one is filled by its own `add` with the single contexts that the environment gives when the same
tokens are played in it. Nothing of ours takes part in it but the environment and the network on single contexts.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from transformers import PretrainedConfig

from tests.agents.tiny import language_model
from textgym.agents import TextGenVecEnv
from textgym.agents.episode_replay import EpisodeReplay
from textgym.agents.off_policy import SequenceOffPolicyAlgorithm
from textgym.env import TextGenEnv
from textgym.task import TextTask

LEARNING_RATE = 1e-3
TOLERANCE = 1e-6 + 0.01 * LEARNING_RATE
SETTINGS: dict[str, Any] = {
    "learning_rate": LEARNING_RATE,
    "gamma": 0.95,
    "batch_size": 40,
    "max_grad_norm": 0.5,
    "learning_starts": 0,
    "seed": 0,
    "device": "cpu",
}


class QCase(NamedTuple):
    """A pair of algorithms that hold the same transitions."""

    ours: SequenceOffPolicyAlgorithm
    plain: OffPolicyAlgorithm

    @property
    def replay(self) -> EpisodeReplay:
        """Ours' replay."""
        assert self.ours.replay_buffer is not None
        return self.ours.replay_buffer


class ScriptedReplay(DictReplayBuffer):
    """Stable-Baselines3's replay, made to sample given transitions."""

    script: Iterator[np.ndarray]

    def sample(self, batch_size: int, env: Any = None) -> DictReplayBufferSamples:  # type: ignore[override]
        indices = next(self.script)
        assert len(indices) == batch_size
        return self._get_samples(indices, env)


def make_q_case(
    task: TextTask,
    ours_class: type[SequenceOffPolicyAlgorithm],
    plain_class: type[OffPolicyAlgorithm],
    *,
    config: PretrainedConfig | None = None,
    policy_kwargs: dict[str, Any] | None = None,
    **settings: Any,
) -> QCase:
    """Let ours collect a rollout, and replay it into the plain one.

    Args:
        task: With prompts in sequence, so that the environment gives them in ours' order.
        ours_class: The class that is tested.
        plain_class: Whose update it must make.
        config: The network; None for `gpt2_config`.
        policy_kwargs: Arguments of both policies but the model.
        **settings: Arguments of both.
    """
    settings = {**SETTINGS, **settings}
    of_ours = {"train_freq": 100, "exploration": settings.pop("exploration", "reference")}
    # Which random weights end texts at unequal lengths depends on the version of transformers that draws them.
    for seed in range(200):
        arguments = {"model": language_model(config, seed), **(policy_kwargs or {})}
        ours = ours_class("GPT2Policy", TextGenVecEnv(3, task), policy_kwargs=arguments, **of_ours, **settings)
        awaken(ours)
        collect(ours)
        assert ours.replay_buffer is not None
        replay: EpisodeReplay = ours.replay_buffer
        if len(set(replay.lengths.tolist())) > 2:
            break
    assert len(set(replay.lengths.tolist())) > 2, "the episodes are to be of unequal length"

    env = TextGenEnv(task)
    plain = plain_class(
        ours_class.policy_aliases["GPT2Policy"], env, replay_buffer_class=ScriptedReplay,
        buffer_size=replay.n_tokens,
        policy_kwargs={**arguments, "token_rules": ours.network.token_rules}, **settings,
    )  # fmt: skip
    plain.policy.load_state_dict(ours.policy.state_dict())
    for tokens in generated_tokens(replay):
        play(plain, env, tokens)
    for algorithm in (ours, plain):
        algorithm.set_logger(configure(None, []))
    return QCase(ours, plain)


def awaken(ours: SequenceOffPolicyAlgorithm) -> None:
    """Give heads that start at 0 random weights, and the target network others than the learning one has."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in ours.policy.named_parameters():
            if not parameter.any() or "target" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def collect(ours: SequenceOffPolicyAlgorithm) -> None:
    """Collect one rollout, without the rest of `learn`."""
    _, callback = ours._setup_learn(1_000, None)
    assert ours.env is not None
    assert ours.replay_buffer is not None
    freq: Any = ours.train_freq
    assert ours.collect_rollouts(ours.env, callback or CallbackList([]), freq, ours.replay_buffer).continue_training


def generated_tokens(replay: EpisodeReplay) -> list[list[int]]:
    """Read each episode's generated tokens from the flat storage, by hand."""
    tokens = replay.token_ids.tolist()
    episodes, start = [], 0
    for prompt_length, length in zip(replay.prompt_lengths, replay.lengths, strict=True):
        episodes.append(tokens[start + prompt_length : start + prompt_length + length])
        start += int(prompt_length + length)
    return episodes


def play(plain: OffPolicyAlgorithm, env: TextGenEnv, tokens: list[int]) -> None:
    """Play an episode in the environment, and let Stable-Baselines3 store what it sees."""
    observation, _ = env.reset()
    for step, token in enumerate(tokens):
        before = {key: array[None] for key, array in observation.items()}
        observation, reward, terminated, _, _ = env.step(token)
        after = {key: array[None] for key, array in observation.items()}
        assert terminated == (step == len(tokens) - 1)
        buffer: Any = plain.replay_buffer
        buffer.add(before, after, np.array([token]), np.array([reward]), np.array([terminated]), [{}])


def train_both(case: QCase, gradient_steps: int = 1) -> float:
    """Update both, and return the greatest difference between their parameters, in units of the tolerance."""
    before = [tensor.clone() for tensor in case.ours.policy.state_dict().values()]
    seen: list[np.ndarray] = []
    transitions = case.replay.transitions
    ends = case.replay.lengths.cumsum()

    def watched(episodes: np.ndarray, selected: np.ndarray) -> Any:
        numbers = [np.arange(ends[item] - case.replay.lengths[item], ends[item]) for item in episodes]
        seen.append(np.concatenate(numbers)[selected])
        return transitions(episodes, selected)

    case.replay.transitions = watched  # type: ignore[method-assign]
    case.ours.train(gradient_steps, case.ours.batch_size)
    buffer: Any = case.plain.replay_buffer
    buffer.script = iter(seen)
    case.plain.train(gradient_steps, case.plain.batch_size)
    ours, plain = case.ours.policy.state_dict(), case.plain.policy.state_dict()
    assert ours.keys() == plain.keys()
    moved = max(float((now - then).abs().max()) for now, then in zip(ours.values(), before, strict=True))
    assert moved > 0.9 * LEARNING_RATE, "an update that changes nothing proves nothing"
    return max(float((ours[name] - plain[name]).abs().max()) for name in ours) / TOLERANCE


def logged_loss(algorithm: OffPolicyAlgorithm) -> float:
    """Return the mean loss of the last update."""
    return float(algorithm.logger.name_to_value["train/loss"])
