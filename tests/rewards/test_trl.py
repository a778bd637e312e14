"""Rewards of the installed TRL plug in: those for plain text as they are, others through `Conversational`."""

from typing import Any

import pytest

from textgym.reward_protocol import RewardResult, resolve_reward, score_completions
from textgym.rewards import Conversational, Keywords, as_reward, build_reward, reward_to_data

trl_rewards = pytest.importorskip("trl.rewards", reason="TRL is not installed; it is part of the extra dev")

THOUGHTFUL = "<think>\nThe sea is deep.\n</think>\nIt is deep."


def score(reward: Any, *completions: str, ids: Any = None) -> RewardResult:
    return score_completions(reward, ["Q"] * len(completions), completions, {}, ids or [[1]] * len(completions))


def test_a_conversational_reward_reads_messages() -> None:
    by_trl = trl_rewards.think_format_reward([[{"role": "assistant", "content": text}] for text in (THOUGHTFUL, "no")])
    result = score(Conversational(trl_rewards.think_format_reward), THOUGHTFUL, "no")
    assert result == RewardResult([1.0, 0.0], {"think_format_reward": [1.0, 0.0]}, [None, None])
    assert result.scores == by_trl


def test_it_is_named_in_plain_data_and_added_to_others() -> None:
    spec = {"conversational": {"reward": "trl.rewards:think_format_reward"}, "weight": 2}
    reward = resolve_reward(spec)
    assert reward == 2 * Conversational(trl_rewards.think_format_reward)
    assert score(Keywords(["deep"]) + reward, THOUGHTFUL).terms == {"keywords": [1.0], "think_format_reward": [1.0]}
    assert build_reward(reward_to_data(Conversational(trl_rewards.think_format_reward))) == Conversational(
        "trl.rewards:think_format_reward"
    )


def test_rewards_that_read_token_ids_need_no_wrapper() -> None:
    made = {"trl.rewards:get_soft_overlong_punishment": {"max_completion_len": 8, "soft_punish_cache": 4}}
    result = score(build_reward(made), "a", "b", "c", ids=[[1] * 4, [1] * 6, [1] * 9])
    assert result.scores == [0.0, -0.5, -1.0]


def test_an_object_of_trls_is_a_term_under_its_own_name() -> None:
    penalty = trl_rewards.get_repetition_penalty_reward(ngram_size=2, max_penalty=-1.0)
    result = score(2 * as_reward(penalty), "a", "b", ids=[[5, 5, 5, 5, 5], [1, 2, 3, 4]])
    assert result == RewardResult([-1.5, 0.0], {"repetition_penalty_reward": [-0.75, 0.0]}, [None, None])
