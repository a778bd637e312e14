"""One update on the sequence path equals plain Stable-Baselines3's on the same episodes, parameter by parameter."""

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from tests.agents.tiny import gpt2_config, letter_task, llama_config, single_context
from tests.agents.twins import Case, generated_tokens, make_case, train_both
from textgym.agents import A2C, GRPO, PPO, REINFORCE, RLOO
from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.task import TextTask

pytestmark = [pytest.mark.equality, pytest.mark.usefixtures("way")]

ONE_BATCH = 10_000


def ppo_case(task: TextTask, *, batch_size: int = ONE_BATCH, **settings: Any) -> Case:
    """Make a pair of PPOs, of which ours may split each epoch into minibatches."""
    settings = {"n_epochs": 4, "gamma": 0.95, "gae_lambda": 0.9, **settings}
    return make_case(task, PPO, stable_baselines3.PPO, ours_alone={"batch_size": batch_size}, **settings)


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
def test_an_update_of_ppo_equals_plain_sb3(arguments: dict[str, Any], settings: dict[str, Any]) -> None:
    case = ppo_case(letter_task(prompt_order="sequential", **arguments), **settings)
    n_minibatches = len(list(case.ours.rollout_buffer.get(settings.get("batch_size", ONE_BATCH))))
    assert (n_minibatches > 2) == ("batch_size" in settings)
    case.ours.rollout_buffer.n_shuffles = 0
    assert train_both(case) <= 1


A2C_CASES: dict[str, dict[str, Any]] = {
    "adam": {"plain_alone": {"use_rms_prop": False}},
    "rms_prop": {"use_rms_prop": True, "rms_prop_eps": 1e-3},
    "normalized_advantages": {"plain_alone": {"use_rms_prop": False}, "normalize_advantage": True},
    "a_llama": {"plain_alone": {"use_rms_prop": False}, "config": llama_config(), "temperature": 1.4},
}


@pytest.mark.parametrize("settings", A2C_CASES.values(), ids=A2C_CASES)
def test_an_update_of_a2c_equals_plain_sb3(settings: dict[str, Any]) -> None:
    """The whole rollout is one minibatch, and there is one step."""
    task = letter_task(prompt_order="sequential", min_new_tokens=2)
    case = make_case(task, A2C, stable_baselines3.A2C, gamma=0.95, gae_lambda=0.9, **settings)
    assert train_both(case) <= 1


def by_hand(baseline: str, returns: list[float], group_size: int) -> list[float]:
    """Compute each completion's advantage with a pencil."""
    advantages = []
    for number, own in enumerate(returns):
        first = number - number % group_size
        group = returns[first : first + group_size]
        if baseline == "none":
            advantages.append(own)
        elif baseline == "moving_average":
            advantages.append(own - statistics.mean(returns))
        elif baseline == "leave_one_out":
            others = [value for place, value in enumerate(group) if first + place != number]
            advantages.append(own - statistics.mean(others))
        else:
            advantages.append((own - statistics.mean(group)) / (statistics.stdev(group) + 1e-4))
    return advantages


CRITIC_FREE: dict[str, tuple[Any, Any, str, dict[str, Any]]] = {
    "REINFORCE_none": (REINFORCE, stable_baselines3.A2C, "none", {"baseline": "none"}),
    "REINFORCE_moving_average": (REINFORCE, stable_baselines3.A2C, "moving_average", {}),
    "REINFORCE_group": (REINFORCE, stable_baselines3.A2C, "group_normalized", {"baseline": "group_normalized"}),
    "RLOO": (RLOO, stable_baselines3.A2C, "leave_one_out", {}),
    "GRPO": (GRPO, stable_baselines3.PPO, "group_normalized", {"batch_size": 60}),
}


@pytest.mark.parametrize(("ours", "plain", "baseline", "ours_alone"), CRITIC_FREE.values(), ids=CRITIC_FREE)
def test_an_update_without_a_critic_equals_plain_sb3_with_advantages_by_hand(
    ours: Any, plain: Any, baseline: str, ours_alone: dict[str, Any]
) -> None:
    task = letter_task(prompt_order="sequential", completions_per_prompt=3)
    plain_alone = {"vf_coef": 0.0, **({"normalize_advantage": False} if ours is GRPO else {"use_rms_prop": False})}
    settings: dict[str, Any] = {"n_epochs": 3} if ours is GRPO else {}
    case = make_case(task, ours, plain, ours_alone=ours_alone, plain_alone=plain_alone, **settings)
    buffer: Any = case.plain.rollout_buffer
    returns = [float(buffer.rewards[start:stop].sum()) for start, stop in pairwise(case.starts)]
    assert len(returns) % 3 == 0
    buffer.advantages = np.repeat(by_hand(baseline, returns, 3), np.diff(case.starts))[:, None].astype(np.float32)
    assert train_both(case) <= 1


def test_the_buffers_hold_the_same_numbers() -> None:
    """Rewards, values, log-probabilities, advantages and returns, each computed in its own way."""
    case = ppo_case(letter_task(prompt_order="sequential"))
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
    case = ppo_case(task)
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
    case = ppo_case(letter_task(prompt_order="sequential"), batch_size=40, n_epochs=2)
    mistake(case.ours.rollout_buffer)
    assert train_both(case) > 10
