"""Rewards are asked one batch after the other, their answers come in order, and belong to whoever asked."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.agents.tiny import letter_policy, letter_task
from tests.fakes import score_each_token
from textgym.agents.generation import GeneratedEpisode, generate_episodes
from textgym.agents.judging import EPISODES_PER_REWARD_CALL, judge_episodes
from textgym.rewards import Cached, Clip, PotentialShaping, as_reward


def length(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


class Held:
    """Judges once it may."""

    def __init__(self) -> None:
        self.may_judge = threading.Event()
        self.has_judged = threading.Event()

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        self.may_judge.wait(10)
        self.has_judged.set()
        return [0.0] * len(completions)


def test_episodes_come_in_order_where_an_early_batch_is_done_after_a_later_one_has_begun() -> None:
    n_episodes = 3 * EPISODES_PER_REWARD_CALL
    reward = Held()
    task = letter_task(reward=reward)
    generated = list(generate_episodes(letter_policy(task), task, range(n_episodes), seed=3))

    def until_the_first_is_judged() -> Iterator[GeneratedEpisode]:
        for number, episode in enumerate(generated, start=1):
            if number == 2 * EPISODES_PER_REWARD_CALL:
                reward.may_judge.set()
                reward.has_judged.wait(10)
                time.sleep(0.1)
            yield episode

    judged = judge_episodes(task, until_the_first_is_judged())
    assert [item.episode.number for item in judged] == [episode.number for episode in generated]


def test_a_served_reward_judges_one_batch_at_a_time() -> None:
    httpx = pytest.importorskip("httpx", reason="needs the extra dev")
    serving = pytest.importorskip("textgym.rewards.serving", reason="needs the extra serve")
    running, most = 0, 0

    def slow(completions: Sequence[str], **columns: Any) -> list[float]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return [0.0] * len(completions)

    async def post_together() -> list[int]:
        app = serving.make_app(slow, "token")
        transport, headers = httpx.ASGITransport(app), {"authorization": "Bearer token"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            batch = {"prompts": ["p"], "completions": ["c"]}
            answers = await asyncio.gather(*(client.post("/", json=batch) for _ in range(4)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(post_together()) == [200] * 4
    assert most == 1


def test_what_is_promised_of_a_clipped_reward_is_clipped() -> None:
    clipped = Clip(as_reward(length), 1.0, 3.0)
    assert clipped.potentials(["p"] * 3, ["", "ab", "abcdef"]) == [1.0, 2.0, 3.0]


def test_a_constant_is_not_promised_on_the_way() -> None:
    shaped = 2 * PotentialShaping(as_reward(length)) + 5
    assert shaped.shaping_potentials(["p"] * 2, ["", "ab"]) == [0.0, 4.0]
    assert shaped.potentials(["p"] * 2, ["", "ab"]) == [5.0, 9.0]


def test_what_somebody_does_with_remembered_token_rewards_is_not_remembered() -> None:
    reward = Cached(score_each_token)
    for _ in range(3):
        one, other = reward.evaluate(["p"] * 2, ["abc"] * 2, completion_ids=[[1, 2, 3]] * 2).token_rewards
        assert one == other == [0.5, 1.0, 1.5]
        assert one is not None
        one[0] = 99.0
        assert other == [0.5, 1.0, 1.5]
