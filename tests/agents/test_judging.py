"""Scores laid upon tokens: at the end, where they are earned, and in the order of episodes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.tiny import letter_policy, letter_task, share_of_a
from textgym.agents.generation import generate_episodes
from textgym.agents.judging import EPISODES_PER_REWARD_CALL, JudgedEpisode, judge_episodes
from textgym.agents.self_imitation import MAX_COPIES, EpisodeArchive, discounted_sums
from textgym.reward_protocol import RewardError
from textgym.rewards import Keywords, PotentialShaping
from textgym.task import TextTask


def judged(task: TextTask, n_episodes: int, **arguments: Any) -> list[JudgedEpisode]:
    """Episodes of an untrained policy, judged."""
    episodes = generate_episodes(letter_policy(task), task, range(n_episodes), seed=3)
    return list(judge_episodes(task, episodes, **arguments))


def test_without_shaping_the_last_token_is_paid_the_whole_score() -> None:
    """And no other token anything."""
    for item in judged(letter_task(), 20):
        assert item.rewards[-1] == pytest.approx(item.judgement.score)
        assert not item.rewards[:-1].any()


def test_shaped_rewards_are_the_score_of_each_prefix_less_that_of_the_one_before() -> None:
    """They telescope: their sum is the score, whatever the text."""
    task = letter_task()
    for item in judged(task, 20, potential_shaping=True):
        ids = item.episode.text.token_ids
        texts = [task.completion_text(ids[:length]) for length in range(1, len(ids) + 1)]
        scores = share_of_a([""] * len(texts), texts)
        expected = [scores[0], *(after - before for before, after in pairwise(scores))]
        assert item.rewards.tolist() == pytest.approx(expected)
        assert float(item.rewards.sum()) == pytest.approx(item.judgement.score)


def test_a_rewards_own_potential_is_paid_back_at_the_end() -> None:
    """ "a" begins the phrase "a b", which letters written together never hold: half its worth on the way, 0 in all."""
    task = letter_task(reward=Keywords(["a b"]))
    rewards = [item.rewards for item in judged(task, 60, potential_shaping=True)]
    assert any(reward.max() == 0.5 for reward in rewards)
    assert all(float(reward.sum()) == pytest.approx(0.0) for reward in rewards)


def test_batches_follow_the_order_of_episodes() -> None:
    """Whatever the order in which they were finished, the reward sees them by number."""
    seen: list[list[str]] = []

    def remember(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
        seen.append(list(completions))
        return [0.0] * len(prompts)

    items = judged(letter_task(reward=remember), 2 * EPISODES_PER_REWARD_CALL + 3)
    assert [item.episode.number for item in items] == list(range(2 * EPISODES_PER_REWARD_CALL + 3))
    assert [len(batch) for batch in seen] == [EPISODES_PER_REWARD_CALL, EPISODES_PER_REWARD_CALL, 3]
    assert [text for batch in seen for text in batch] == [item.episode.text.text for item in items]


def test_a_reward_that_fails_in_the_worker_stops_the_rollout() -> None:
    """The error comes out where the episodes are asked for."""

    def fail(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
        raise RuntimeError("out of order")

    with pytest.raises(RewardError, match="out of order"):
        judged(letter_task(reward=fail), 3)


def test_the_archive_keeps_the_best_episodes_and_at_most_two_a_prompt() -> None:
    """The younger of equals first; the order in which they come makes no difference to what is kept."""
    items = judged(letter_task(), 40)
    archive = EpisodeArchive(capacity=5, per_prompt=2)
    archive.add(items[:25])
    archive.add(items[25:])
    best: list[JudgedEpisode] = []
    for item in sorted(items, key=lambda item: (-item.judgement.score, -item.episode.number)):
        same = [kept for kept in best if kept.episode.text.prompt == item.episode.text.prompt]
        if len(same) < 2 and len(best) < 5:
            best.append(item)
    records = archive.sample(99, -1.0, np.random.default_rng(0))
    assert len(archive) == 5
    assert len(records) == 5 * MAX_COPIES
    assert {tuple(record.token_ids) for record in records} == {item.episode.text.token_ids for item in best}


def test_few_successes_are_heard_among_many_episodes_that_are_merely_good() -> None:
    """One of 10 episodes is worth 1, the others 0.1; above a baseline of 0.05 that is 0.95 against 9 times 0.05."""
    episodes = judged(letter_task(prompts=["a"], completions_per_prompt=1), 10)
    items = []
    for index, item in enumerate(episodes):
        rewards = torch.zeros(len(item.episode.text.token_ids))
        rewards[-1] = 1.0 if index == 3 else 0.1
        items.append(item._replace(rewards=rewards))
    archive = EpisodeArchive(per_prompt=10)
    archive.add(items)
    records = archive.sample(40, 0.05, np.random.default_rng(0))
    share = sum(record.token_ids == items[3].episode.text.token_ids for record in records) / len(records)
    assert 0.5 < share < 0.85


def test_an_episode_is_replayed_up_to_where_it_was_worth_most() -> None:
    """What came after, here the loss of what a promising beginning had earned, is not taught."""
    (item,) = judged(letter_task(min_new_tokens=4), 1)
    rewards = torch.zeros(len(item.episode.text.token_ids))
    rewards[1], rewards[-1] = 0.5, -0.5
    archive = EpisodeArchive()
    archive.add([item._replace(rewards=rewards)])
    record, *_ = archive.sample(1, 0.0, np.random.default_rng(0))
    assert tuple(record.token_ids) == item.episode.text.token_ids[:2]
    assert record.rewards.tolist() == [0.0, 0.5]
    archive = EpisodeArchive()
    archive.add([item._replace(rewards=rewards)], as_a_whole=True)
    record, *_ = archive.sample(1, -1.0, np.random.default_rng(0))
    assert tuple(record.token_ids) == item.episode.text.token_ids


def test_the_archive_teaches_nothing_that_the_policy_often_reaches() -> None:
    """Episodes at or below the baseline are not drawn."""
    archive = EpisodeArchive()
    archive.add(judged(letter_task(), 10))
    assert archive.sample(4, 100.0, np.random.default_rng(0)) == []


@pytest.mark.parametrize("shift", [0.0, -8.0])
def test_the_archive_keeps_whole_episodes_where_nothing_is_paid_before_a_bad_end(shift: float) -> None:
    """The tokens before a penalty, which had cost nothing yet, are no success."""

    def reward(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        return [score + shift for score in share_of_a(prompts, completions)]

    items = judged(letter_task(reward=reward), 40)
    archive = EpisodeArchive(capacity=5)
    archive.add(items)
    best = sorted((item.judgement.score for item in items), reverse=True)
    records = archive.sample(99, shift - 1.0, np.random.default_rng(0))
    whole = {item.episode.text.token_ids: item.judgement.score for item in items}
    assert {tuple(record.token_ids) for record in records} <= whole.keys()
    assert max(float(record.rewards.sum()) for record in records) == pytest.approx(best[0], abs=1e-5)
    for record in records:
        assert float(record.rewards.sum()) == pytest.approx(whole[tuple(record.token_ids)], abs=1e-5)


def test_the_archive_compares_discounted_sums() -> None:
    """At a gamma below 1 shaped rewards sum to less than the score, the more the better a text begins."""
    gamma = 0.5
    items = judged(letter_task(min_new_tokens=8), 40, potential_shaping=True, gamma=gamma)
    archive = EpisodeArchive(capacity=1)
    archive.add(items, gamma)
    reached = [discounted_sums(item.rewards, gamma) for item in items]
    for sums, item in zip(reached, items, strict=True):
        length = len(item.rewards)
        assert sums[-1] == pytest.approx(gamma ** (length - 1) * item.judgement.score, abs=1e-5)
    best = max(range(40), key=lambda number: max(reached[number]))
    (record,) = archive.sample(1, 0.0, np.random.default_rng(0))
    assert tuple(record.token_ids) == items[best].episode.text.token_ids[: len(record.token_ids)]


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_where_a_completion_is_one_action_its_score_is_paid_whatever_its_shaping(gamma: float) -> None:
    task = letter_task(reward=PotentialShaping(share_of_a, gamma))
    for item in judged(task, 10, gamma=gamma, is_one_action=True):
        assert float(item.rewards.sum()) == pytest.approx(item.judgement.score)
        assert not item.rewards[:-1].any()
