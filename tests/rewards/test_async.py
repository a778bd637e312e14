"""Async rewards are awaited, several of them together, and slow rewards work while text is generated."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.agents.tiny import language_model, letter_policy, letter_task
from textgym.agents import DQN, PPO, sequence_algorithm
from textgym.agents.generation import generate_episodes
from textgym.agents.judging import EPISODES_PER_REWARD_CALL, judge_episodes
from textgym.env import TextGenEnv
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


class Meeting:
    """A reward whose first batch is judged only once a later episode has been generated.

    One that generation waited for would never be released; the time limit only makes that a failure.
    """

    def __init__(self) -> None:
        self.released = threading.Event()
        self.has_begun = threading.Event()
        self.threads: set[int] = set()
        self.n_judged = 0

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        self.threads.add(threading.get_ident())
        self.has_begun.set()
        if not self.released.wait(30):
            raise TimeoutError("generation waits for the reward")
        self.n_judged += len(completions)
        return [0.0] * len(completions)

    def watch(self, episodes: Iterator[Any], n_episodes: int) -> Iterator[Any]:
        """Pass episodes on; release the reward with the last one, which begins only once a batch is being judged."""
        for number, episode in enumerate(episodes, 1):
            if number == n_episodes:
                assert self.has_begun.wait(30), "the reward waits for generation to end"
                assert self.n_judged == 0
                self.released.set()
            yield episode


def test_a_slow_reward_works_while_text_is_generated() -> None:
    reward = Meeting()
    task = letter_task(reward=reward)
    n_episodes = 2 * EPISODES_PER_REWARD_CALL + 1
    generated = generate_episodes(letter_policy(task), task, range(n_episodes), seed=3)
    judged = judge_episodes(task, reward.watch(generated, n_episodes))
    assert [item.episode.number for item in judged] == list(range(n_episodes))
    assert len(reward.threads) == 1
    assert threading.get_ident() not in reward.threads


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_learning_overlaps_with_a_slow_reward_and_waits_for_it_before_it_uses_the_rewards(
    algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = Meeting()
    n_episodes = 0
    used: list[int] = []

    def generate(policy: Any, task: Any, numbers: range, **options: Any) -> Iterator[Any]:
        nonlocal n_episodes
        n_episodes = len(numbers)
        episodes = generate_episodes(policy, task, numbers, **options)
        return ([episode] for episode in reward.watch(episodes, n_episodes))

    def use(self: Any, *arguments: Any) -> Any:
        used.append(reward.n_judged)
        return original(self, *arguments)

    name = "_pay" if algorithm is PPO else "_store"
    original = getattr(algorithm, name)
    monkeypatch.setattr(sequence_algorithm, "generate_looks", generate)
    monkeypatch.setattr(algorithm, name, use)
    n_tokens = 8 * (2 * EPISODES_PER_REWARD_CALL + 1)
    size = {"n_steps": n_tokens} if algorithm is PPO else {"train_freq": n_tokens, "learning_starts": n_tokens}
    env = TextGenEnv(letter_task(reward=reward))
    algorithm("GPT2Policy", env, policy_kwargs={"model": language_model()}, seed=0, **size).learn(1)
    assert n_episodes > 2 * EPISODES_PER_REWARD_CALL
    assert used == [n_episodes]
