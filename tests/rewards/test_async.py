"""Async rewards are awaited, several of them together, and slow rewards work while text is generated."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.agents.tiny import letter_policy, letter_task
from textgym.agents.generation import generate_episodes
from textgym.agents.judging import EPISODES_PER_REWARD_CALL, judge_episodes
from textgym.reward_protocol import RewardError, score_completions
from textgym.rewards import Conversational, Keywords, Timed, as_reward

meeting: dict[str, asyncio.Event] = {}


async def first(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """Finishes only once the second has begun."""
    meeting["first"].set()
    await asyncio.wait_for(meeting["second"].wait(), 10)
    return [1.0] * len(completions)


async def second(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """Finishes only once the first has begun."""
    meeting["second"].set()
    await asyncio.wait_for(meeting["first"].wait(), 10)
    return [2.0] * len(completions)


async def sizes(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    async def one(text: str) -> float:
        await asyncio.sleep(0)
        return 1 / len(text)

    return list(await asyncio.gather(*map(one, completions)))


class Judge:
    """An object whose call is async."""

    async def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        return [float(len(text[0]["content"])) for text in completions]


@pytest.fixture
def meeting_point() -> None:
    meeting.update(first=asyncio.Event(), second=asyncio.Event())


@pytest.mark.usefixtures("meeting_point")
def test_async_terms_of_a_sum_are_awaited_together() -> None:
    """Each waits for the other: one after the other, they would never end."""
    reward = Keywords(["a"]) + as_reward(first) + 3 * Timed(second)
    result = score_completions(reward, ["Q"] * 2, ["a", "b"], {}, [[1], [2]])
    assert result.scores == [8.0, 7.0]
    assert list(result.terms) == ["keywords", "first", "second", "second_seconds"]


def test_an_async_function_alone_is_a_reward_wherever_it_is_called_from() -> None:
    assert score_completions(sizes, ["Q"], ["ab"], {}, [[1]]).scores == [0.5]

    async def in_a_notebook() -> list[float]:
        return score_completions(sizes, ["Q"], ["ab"], {}, [[1]]).scores

    assert asyncio.run(in_a_notebook()) == [0.5]
    assert score_completions(Conversational(Judge()), ["Q"], ["abc"], {}, [[1]]).scores == [3.0]


def test_an_async_reward_that_fails_shows_the_completion() -> None:
    with pytest.raises(RewardError, match="ZeroDivisionError") as caught:
        score_completions(sizes, ["Q"] * 3, ["a", "", "b"], {}, [[1]] * 3)
    assert "on completion 2 of 3" in str(caught.value)


def test_an_async_reward_that_would_wait_for_itself_says_so() -> None:
    async def nested(completions: Sequence[str], **columns: Any) -> list[float]:
        return score_completions(sizes, ["Q"], list(completions), {}, [[1]]).scores

    with pytest.raises(RewardError, match="called another one without await"):
        score_completions(nested, ["Q"], ["a"], {}, [[1]])


def test_a_slow_reward_works_while_text_is_generated() -> None:
    """The first batch is judged only after a later episode has been generated, which would otherwise never come."""
    goes_on = threading.Event()

    def slow(completions: Sequence[str], **columns: Any) -> list[float]:
        assert goes_on.wait(30), "generation waits for the reward"
        return [0.0] * len(completions)

    task = letter_task(reward=slow)
    n_episodes = 2 * EPISODES_PER_REWARD_CALL + 1

    def generated() -> Any:
        for number, episode in enumerate(generate_episodes(letter_policy(task), task, range(n_episodes), seed=3)):
            if number == n_episodes - 1:
                goes_on.set()
            yield episode

    start = time.monotonic()
    assert [item.episode.number for item in judge_episodes(task, generated())] == list(range(n_episodes))
    assert time.monotonic() - start < 30
