"""One update on the sequence path equals plain Stable-Baselines3's on the same episodes, parameter by parameter.

Ours: `textgym.agents.PPO` collects a rollout and updates on it. The other side: `stable_baselines3.PPO` itself, whose
buffer is filled by its own `add` with the single contexts that the environment gives when the same tokens are replayed
in it, one decision a forward pass, and whose advantages are its own. Nothing of ours takes part in it but the
environment and `GPT2Policy` on single contexts.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples
from transformers import PretrainedConfig

from tests.agents.tiny import gpt2_config, language_model, letter_task, llama_config, single_context, waken_critic
from textgym.agents import PPO, GPT2Policy, TextGenVecEnv
from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.token_rules import TokenRules
from textgym.env import TextGenEnv
from textgym.task import TextTask

pytestmark = pytest.mark.equality

LEARNING_RATE = 1e-3
TOLERANCE = 1e-6 + 0.01 * LEARNING_RATE
SETTINGS = {"learning_rate": LEARNING_RATE, "gamma": 0.95, "gae_lambda": 0.9, "ent_coef": 0.01, "seed": 0}


class Case(NamedTuple):
    """A pair of algorithms that hold the same episodes, and where each episode's transitions begin in the plain one."""

    ours: PPO
    plain: stable_baselines3.PPO
    starts: np.ndarray


class ScriptedBuffer(DictRolloutBuffer):
    """Stable-Baselines3's buffer, made to yield given transitions as minibatches, epoch by epoch."""

    script: Iterator[list[np.ndarray]]

    def get(self, batch_size: int | None = None) -> Iterator[DictRolloutBufferSamples]:  # type: ignore[override]
        list(super().get(None))  # flattens the arrays
        for indices in next(self.script):
            yield self._get_samples(indices)


def make_case(task: TextTask, config: PretrainedConfig | None = None, **settings: Any) -> Case:
    """Let ours collect a rollout, and replay it into plain Stable-Baselines3."""
    temperature = settings.pop("temperature", 1.0)
    settings = {**SETTINGS, "n_epochs": 4, **settings}
    batch_size = settings.pop("batch_size", 10_000)
    # Which random weights end texts at unequal lengths depends on the version of transformers that draws them.
    for seed in range(20):
        policy_kwargs = {"model": language_model(config, seed), "temperature": temperature}
        ours = PPO(
            "GPT2Policy", TextGenVecEnv(3, task), n_steps=80, batch_size=batch_size, reference=None, device="cpu",
            policy_kwargs=policy_kwargs, **settings,
        )  # fmt: skip
        waken_critic(ours.policy)
        collect(ours)
        buffer = ours.rollout_buffer
        lengths = buffer.lengths
        if len(set(lengths.tolist())) > 2:
            break
    assert len(set(lengths.tolist())) > 2, "the episodes are to be of unequal length"

    banned = tuple((~task.is_allowed).nonzero()[:, 0].tolist())
    rules = TokenRules(banned, task.min_new_tokens, task.eos_token_id if task.min_new_tokens else None)
    env = TextGenEnv(task)
    n_tokens = int(lengths.sum())
    plain = stable_baselines3.PPO(
        GPT2Policy, env, n_steps=n_tokens, batch_size=n_tokens, device="cpu",
        rollout_buffer_class=ScriptedBuffer, policy_kwargs={**policy_kwargs, "token_rules": rules}, **settings,
    )  # fmt: skip
    plain.policy.load_state_dict(ours.policy.state_dict())
    replay(plain, env, generated_tokens(buffer))
    for algorithm in (ours, plain):
        algorithm.set_logger(configure(None, []))
    starts = np.concatenate([[0], lengths.cumsum()])
    return Case(ours, plain, starts)


def collect(ours: PPO) -> None:
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


def replay(plain: stable_baselines3.PPO, env: TextGenEnv, episodes: list[list[int]]) -> None:
    """Play the tokens in the environment, and let Stable-Baselines3 store what it sees."""
    buffer, policy = plain.rollout_buffer, plain.policy
    policy.set_training_mode(False)
    terminated = False
    for tokens in episodes:
        observation, _ = env.reset()
        for step, token in enumerate(tokens):
            batch = {key: torch.as_tensor(array)[None] for key, array in observation.items()}
            with torch.no_grad():
                values, log_prob, _ = policy.evaluate_actions(batch, torch.tensor([token]))
            stored = {key: array[None] for key, array in observation.items()}
            observation, reward, terminated, _, _ = env.step(token)
            buffer.add(
                stored,  # type: ignore[arg-type]
                np.array([token]),
                np.array([reward]),
                np.array([step == 0]),
                values,
                log_prob,
            )
            assert terminated == (step == len(tokens) - 1)
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


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one_minibatch": ({}, {}),
    "several_minibatches": ({}, {"batch_size": 30}),
    "clipped_values": ({}, {"batch_size": 40, "clip_range_vf": 0.05, "normalize_advantage": False}),
    "temperature": ({}, {"temperature": 0.6, "batch_size": 40}),
    "banned_tokens": ({"banned_token_ids": [0, 4, 5]}, {"batch_size": 40}),
    "min_new_tokens": ({"min_new_tokens": 3}, {"batch_size": 40}),
    "all_rules_and_a_llama": (
        {"min_new_tokens": 2, "banned_token_ids": [3]},
        {"temperature": 1.4, "batch_size": 40, "config": llama_config()},
    ),
    "a_gpt2_with_dropout_in_its_configuration": (
        {},
        {"config": gpt2_config(attn_pdrop=0.3, embd_pdrop=0.3, resid_pdrop=0.3)},
    ),
    "a_llama_with_dropout_in_its_configuration": ({}, {"config": llama_config(attention_dropout=0.3)}),
}


@pytest.mark.parametrize(("arguments", "settings"), CASES.values(), ids=CASES)
def test_an_update_equals_plain_sb3(arguments: dict[str, Any], settings: dict[str, Any]) -> None:
    case = make_case(letter_task(prompt_order="sequential", **arguments), **settings)
    n_minibatches = len(list(case.ours.rollout_buffer.get(case.ours.batch_size)))
    assert (n_minibatches > 2) == ("batch_size" in settings)
    case.ours.rollout_buffer.n_shuffles = 0
    assert train_both(case) <= 1


def test_the_buffers_hold_the_same_numbers() -> None:
    """Rewards, values, log-probabilities, advantages and returns, each computed in its own way."""
    case = make_case(letter_task(prompt_order="sequential"))
    ours, plain = case.ours.rollout_buffer, case.plain.rollout_buffer
    for name, tensor, array in (
        ("rewards", ours.rewards, plain.rewards),
        ("values", ours.old_values, plain.values),
        ("log_prob", ours.old_log_prob, plain.log_probs),
        ("advantages", ours.advantages, plain.advantages),
        ("returns", ours.target_returns, plain.returns),
    ):
        np.testing.assert_allclose(tensor.numpy(), array.flatten(), atol=2e-5, err_msg=name)


def test_the_single_contexts_are_those_of_the_document() -> None:
    """The plain side's observations, written out by hand from the environment's docstring."""
    task = letter_task(prompt_order="sequential")
    case = make_case(task)
    stored = case.plain.rollout_buffer.observations
    row = 0
    for number, tokens in enumerate(generated_tokens(case.ours.rollout_buffer)):
        prompt = task.prompts[number % len(task.prompts)].token_ids
        for step in range(len(tokens)):
            for key, array in single_context(task, prompt, tokens[:step]).items():
                np.testing.assert_array_equal(stored[key][row, 0], array)
            row += 1


def shifted_decisions(buffer: EpisodeBuffer, shift: int) -> None:
    samples = buffer.samples

    def shifted(episodes: np.ndarray) -> RolloutBufferSamples:
        batch = samples(episodes)
        observations: Any = batch.observations
        is_decision = observations["is_decision"].clone()
        for row in range(len(is_decision)):
            if shift > 0 or not is_decision[row, 0]:
                is_decision[row] = is_decision[row].roll(shift)
        observations = {**observations, "is_decision": is_decision}
        return batch._replace(observations=observations)

    buffer.samples = shifted  # type: ignore[method-assign]


def later_decisions(buffer: EpisodeBuffer) -> None:
    """Decide one position too late: at the chosen token rather than before it."""
    shifted_decisions(buffer, 1)


def earlier_decisions(buffer: EpisodeBuffer) -> None:
    """Decide one position too early, where the prompt has more than one token."""
    shifted_decisions(buffer, -1)


def later_advantages(buffer: EpisodeBuffer) -> None:
    """Give each token the advantage of the one before it."""
    buffer.advantages = buffer.advantages.roll(1)


def later_log_probs(buffer: EpisodeBuffer) -> None:
    """Give each token the old log-probability of the one before it."""
    buffer.old_log_prob = buffer.old_log_prob.roll(1)


def lost_end(buffer: EpisodeBuffer) -> None:
    """Let the advantages run on over the ends of episodes, as if the rollout were one episode."""
    lengths, buffer.lengths = buffer.lengths, np.array([buffer.lengths.sum()])
    buffer.estimate_returns()
    buffer.lengths = lengths


@pytest.mark.parametrize("mistake", [later_decisions, earlier_decisions, later_advantages, later_log_probs, lost_end])
def test_an_off_by_one_makes_the_comparison_fail(mistake: Callable[[EpisodeBuffer], None]) -> None:
    case = make_case(letter_task(prompt_order="sequential"), batch_size=40, n_epochs=2)
    mistake(case.ours.rollout_buffer)
    assert train_both(case) > 10
