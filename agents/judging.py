"""Rewards of generated episodes: scored by a worker in order, and laid upon the tokens."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.episodes import FinishedEpisode, Judgement
from textgym.reward_protocol import StepReward
from textgym.shaping import pay_where_earned
from textgym.task import TextTask

from .flat_episodes import EpisodeRecord
from .generation import GeneratedEpisode

EPISODES_PER_REWARD_CALL = 32


class JudgedEpisode(NamedTuple):
    """An episode, what the reward makes of it, and the rewards of its T tokens, shape (T,)."""

    episode: GeneratedEpisode
    judgement: Judgement
    rewards: Tensor


def to_record(episode: GeneratedEpisode, rewards: Tensor) -> EpisodeRecord:
    """Return what the learner keeps of an episode of T tokens, whose rewards have shape (T,)."""
    return EpisodeRecord(
        episode.prompt.token_ids,
        episode.token_ids,
        rewards,
        episode.values,
        episode.log_prob,
        episode.candidates,
    )


def judge_episodes(
    task: TextTask,
    episodes: Iterable[GeneratedEpisode],
    potential_shaping: bool = False,
    gamma: float = 1.0,
    *,
    is_one_action: bool = False,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[JudgedEpisode]:
    """Score episodes in batches, in a worker, while the next ones are generated.

    Batches follow the order of episodes, never that of arrival, so that a run repeats exactly.

    Args:
        task: Gives the reward.
        episodes: Episodes in order.
        potential_shaping: Pay the score where it is earned: a token's reward is the potential of the text that ends
            with it, less that of the text before it. Potential is what the reward sees in an unfinished text (see
            `textgym.reward_protocol.PotentialReward`), by default its score, and that of a finished one is its score,
            so at gamma 1 the rewards still sum to the score, and at any gamma the best policy stays the best (Ng et
            al. 1999; see `textgym.shaping.shaped_rewards`). The reward judges every prefix. An episode for which it
            gives token rewards keeps those.
        gamma: Discount factor of the algorithm that asks.
        is_one_action: Pay each score at the last token, also where the reward gives token rewards: their sum is what
            counts where a completion is one action, and shaped for a gamma below 1 they have another one.
        meanwhile: Is called once the worker has been given all episodes, however many it has judged.

    Yields:
        Judged episodes in the same order.

    Raises:
        RewardError: If the reward fails; generation then stops.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reward") as worker:
        jobs = deque[Future[list[JudgedEpisode]]]()
        for batch in _batches(episodes, EPISODES_PER_REWARD_CALL):
            jobs.append(worker.submit(_judge, task, batch, potential_shaping, gamma, is_one_action))
            while jobs and jobs[0].done():
                yield from jobs.popleft().result()
        if meanwhile is not None:
            meanwhile()
        for job in jobs:
            yield from job.result()


def _batches(episodes: Iterable[GeneratedEpisode], size: int) -> Iterator[list[GeneratedEpisode]]:
    batch: list[GeneratedEpisode] = []
    for episode in episodes:
        batch.append(episode)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _judge(
    task: TextTask, episodes: list[GeneratedEpisode], potential_shaping: bool, gamma: float, is_one_action: bool
) -> list[JudgedEpisode]:
    judgements = task.score([episode.text for episode in episodes])
    if potential_shaping:
        texts = [episode.text for episode in episodes]
        judgements = pay_where_earned(task, texts, judgements, task.potentials, gamma)
    rewards = _token_rewards(task, [episode.text for episode in episodes], judgements, is_one_action)
    return [JudgedEpisode(*parts) for parts in zip(episodes, judgements, rewards, strict=True)]


def _token_rewards(
    task: TextTask, episodes: list[FinishedEpisode], judgements: list[Judgement], is_one_action: bool
) -> list[Tensor]:
    """Pay each score at the last token, or spread as the reward says, and step rewards where they fall."""
    lengths = [len(episode.token_ids) for episode in episodes]
    paid = np.zeros(sum(lengths))
    for end, length, judgement in zip(accumulate(lengths), lengths, judgements, strict=True):
        if judgement.token_rewards is None or is_one_action:
            paid[end - 1] = judgement.score
        else:
            paid[end - length : end] = judgement.token_rewards
    rewards = list(torch.from_numpy(paid).float().split(lengths))
    if isinstance(task.reward, StepReward):
        for episode, earned in zip(episodes, rewards, strict=True):
            prefixes = [task.completion_text(episode.token_ids[: end + 1]) for end in range(len(earned))]
            earned += torch.tensor(task.step_rewards([episode.prompt] * len(earned), prefixes))
    return rewards
