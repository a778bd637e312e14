"""An algorithm twice, with the same episodes: ours, and plain Stable-Baselines3's, which knows nothing of sequences.

Ours collects a rollout and updates on it. The buffer of the plain one is filled by its own `add` with the single
contexts that the environment gives when the same tokens are replayed in it, one decision a forward pass, and its
advantages are its own. Nothing of ours takes part in it but the environment and `GPT2Policy` on single contexts.
"""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import stable_baselines3
import torch
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples
from transformers import PretrainedConfig

from tests.agents.tiny import language_model, waken_critic
from textgym.agents import PPO, GPT2CompletionPolicy, GPT2Policy, TextGenVecEnv
from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.on_policy import SequenceOnPolicyAlgorithm
from textgym.agents.token_rules import NO_RULES, TokenRules
from textgym.completion import TextGenCompletionEnv, TextGenCompletionVectorEnv
from textgym.env import TextEnv, TextGenEnv
from textgym.task import TextTask

LEARNING_RATE = 1e-3
TOLERANCE = 1e-6 + 0.01 * LEARNING_RATE
SETTINGS = {"learning_rate": LEARNING_RATE, "ent_coef": 0.01, "seed": 0}


class Case(NamedTuple):
    """A pair of algorithms that hold the same episodes, and where each episode's transitions begin in the plain one."""

    ours: SequenceOnPolicyAlgorithm
    plain: OnPolicyAlgorithm
    starts: np.ndarray


class ScriptedBuffer(DictRolloutBuffer):
    """Stable-Baselines3's buffer, made to yield given transitions as minibatches, epoch by epoch."""

    script: Iterator[list[np.ndarray]]

    def get(self, batch_size: int | None = None) -> Iterator[DictRolloutBufferSamples]:  # type: ignore[override]
        list(super().get(None))  # flattens the arrays
        for indices in next(self.script):
            yield self._get_samples(indices)


class ScriptedMaskableBuffer(ScriptedBuffer, MaskableDictRolloutBuffer):  # type: ignore[misc]
    """The same of sb3-contrib's buffer, which also keeps the environment's masks."""


def make_case(
    task: TextTask,
    ours_class: type[SequenceOnPolicyAlgorithm] = PPO,
    plain_class: type[OnPolicyAlgorithm] = stable_baselines3.PPO,
    *,
    plain_policy: type[GPT2Policy] = GPT2Policy,
    plain_buffer: type[ScriptedBuffer] = ScriptedBuffer,
    config: PretrainedConfig | None = None,
    temperature: float = 1.0,
    ours_alone: dict[str, Any] | None = None,
    plain_alone: dict[str, Any] | None = None,
    by_completion: bool = False,
    **settings: Any,
) -> Case:
    """Let ours collect a rollout, and replay it into plain Stable-Baselines3.

    Args:
        task: With prompts in sequence, so that the environment gives them in ours' order.
        ours_class: The class that is tested.
        plain_class: Whose update it must make.
        plain_policy: The plain one's policy.
        plain_buffer: The plain one's buffer; where it keeps masks, the policy knows the rules from them alone.
        config: The network; None for `gpt2_config`.
        temperature: Of both policies.
        ours_alone: Arguments of ours that the plain one does not have, or has otherwise.
        plain_alone: Likewise.
        by_completion: An action is a whole completion.
        **settings: Arguments of both.
    """
    known = inspect.signature(plain_class).parameters
    settings = {**{name: value for name, value in SETTINGS.items() if name in known}, **settings}
    # Which random weights end texts at unequal lengths depends on the version of transformers that draws them.
    for seed in range(20):
        policy_kwargs = {"model": language_model(config, seed), "temperature": temperature}
        rows: Any = TextGenCompletionVectorEnv(3, task) if by_completion else TextGenVecEnv(3, task)
        ours = ours_class(
            "GPT2CompletionPolicy" if by_completion else "GPT2Policy", rows, n_steps=80, reference=None, device="cpu",
            policy_kwargs=policy_kwargs, **{**settings, **(ours_alone or {})},
        )  # fmt: skip
        waken_critic(ours.policy)
        collect(ours)
        buffer = ours.rollout_buffer
        lengths = buffer.lengths
        if len(set(lengths.tolist())) > 2:
            break
    assert len(set(lengths.tolist())) > 2, "the episodes are to be of unequal length"

    env: Any = TextGenCompletionEnv(task) if by_completion else TextGenEnv(task)
    sizes = np.ones_like(lengths) if by_completion else lengths
    n_actions = int(sizes.sum())
    if "batch_size" in known:
        settings["batch_size"] = n_actions
    banned = tuple((~task.is_allowed).nonzero()[:, 0].tolist())
    rules = TokenRules(banned, task.min_new_tokens, task.eos_token_id if task.min_new_tokens else None)
    policy_kwargs = {**policy_kwargs, "token_rules": rules if plain_buffer is ScriptedBuffer else NO_RULES}
    policy_kwargs["critic"] = ours.policy.critic
    if by_completion:
        policy_kwargs["eos_token_id"] = task.eos_token_id
    plain = plain_class(
        GPT2CompletionPolicy if by_completion else plain_policy, env, n_steps=n_actions, device="cpu",
        rollout_buffer_class=plain_buffer, policy_kwargs=policy_kwargs, **{**settings, **(plain_alone or {})},
    )  # fmt: skip
    plain.policy.load_state_dict(ours.policy.state_dict())
    actions: list[list[Any]] = [list(tokens) for tokens in generated_tokens(buffer)]
    if by_completion:
        actions = [[padded_action(task, tokens)] for tokens in actions]
    replay(plain, env, actions)
    for algorithm in (ours, plain):
        algorithm.set_logger(configure(None, []))
    starts = np.concatenate([[0], sizes.cumsum()])
    return Case(ours, plain, starts)


def collect(ours: SequenceOnPolicyAlgorithm) -> None:
    """Collect one rollout, without the rest of `learn`."""
    _, callback = ours._setup_learn(1, None)
    assert ours.env is not None
    assert ours.collect_rollouts(ours.env, callback or CallbackList([]), ours.rollout_buffer, ours.n_steps)


def generated_tokens(buffer: EpisodeBuffer) -> list[list[int]]:
    """Read each episode's generated tokens from the flat storage, by hand."""
    tokens = buffer.token_ids.tolist()
    episodes, start = [], 0
    for prompt_length, length in zip(buffer.prompt_lengths, buffer.lengths, strict=True):
        episodes.append(tokens[start + prompt_length : start + prompt_length + length])
        start += int(prompt_length + length)
    return episodes


def padded_action(task: TextTask, tokens: list[int]) -> np.ndarray:
    """Return a completion as an action, with the end-of-sequence token behind it."""
    return np.array([*tokens, *[task.eos_token_id] * (task.max_new_tokens - len(tokens))])


def replay(plain: OnPolicyAlgorithm, env: TextEnv[Any], episodes: list[list[Any]]) -> None:
    """Play each episode's actions in the environment, and let Stable-Baselines3 store what it sees."""
    buffer, policy = plain.rollout_buffer, plain.policy
    policy.set_training_mode(False)
    terminated = False
    for actions in episodes:
        observation, _ = env.reset()
        for step, action in enumerate(actions):
            batch = {key: torch.as_tensor(array)[None] for key, array in observation.items()}
            has_masks = isinstance(buffer, ScriptedMaskableBuffer)
            masks = {"action_masks": env.action_masks()[None]} if has_masks else {}
            with torch.no_grad():
                values, log_prob, _ = policy.evaluate_actions(batch, torch.as_tensor(np.array([action])), **masks)
            stored = {key: array[None] for key, array in observation.items()}
            observation, reward, terminated, _, _ = env.step(action)
            buffer.add(
                stored,  # type: ignore[arg-type]
                np.array([action]),
                np.array([reward]),
                np.array([step == 0]),
                values,
                log_prob,
                **masks,
            )
            assert terminated == (step == len(actions) - 1)
    buffer.compute_returns_and_advantage(last_values=torch.zeros(1), dones=np.array([terminated]))


def script_of(case: Case) -> Iterator[list[np.ndarray]]:
    """Yield, for each epoch, the transitions of the minibatches that our buffer yields in it."""
    buffer = case.ours.rollout_buffer
    seen: list[list[np.ndarray]] = []
    samples, get = buffer.samples, buffer.get

    def watched_samples(episodes: np.ndarray) -> Any:
        seen[-1].append(np.concatenate([np.arange(case.starts[item], case.starts[item + 1]) for item in episodes]))
        return samples(episodes)

    def watched_get(batch_size: int | None = None) -> Any:
        seen.append([])
        return get(batch_size)

    buffer.samples, buffer.get = watched_samples, watched_get  # type: ignore[method-assign]
    case.ours.train()
    return iter(seen)


def train_both(case: Case) -> float:
    """Update both, and return the greatest difference between their parameters, in units of the tolerance."""
    before = [tensor.clone() for tensor in case.ours.policy.state_dict().values()]
    case.plain.rollout_buffer.script = script_of(case)  # type: ignore[attr-defined]
    case.plain.train()
    ours, plain = case.ours.policy.state_dict(), case.plain.policy.state_dict()
    assert ours.keys() == plain.keys()
    moved = max(float((now - then).abs().max()) for now, then in zip(ours.values(), before, strict=True))
    assert moved > 0.9 * LEARNING_RATE, "an update that changes nothing proves nothing"
    return max(float((ours[name] - plain[name]).abs().max()) for name in ours) / TOLERANCE
