"""The best episodes so far, kept to be learned from again: a rare success is not forgotten after one update."""

from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .flat_episodes import EpisodeRecord
from .judging import JudgedEpisode

# A few successes among many episodes that are merely good have to be heard.
MAX_COPIES = 4


class _Kept(NamedTuple):
    peak: float
    number: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    rewards: list[float]
    candidates: Tensor | None


def discounted_sums(rewards: Tensor, gamma: float) -> list[float]:
    """Return Σ γ^t r_t over the first t + 1 tokens of an episode, for each t; rewards have shape (T,)."""
    return list(accumulate(reward * gamma**step for step, reward in enumerate(rewards.tolist())))


class EpisodeArchive:
    """The episodes with the highest discounted sums of rewards, at most two a prompt, the younger first among equals.

    An on-policy algorithm sees each episode in one update only. Where the reward is a rare combination of tokens, one
    update's small step is lost before the combination is sampled again. Replayed, with probabilities and values
    computed anew, it is taken until the critic expects its return (Oh et al. 2018, arXiv:1806.05635, self-imitation
    learning, here through the algorithm's own clipped loss).

    What counts is the highest sum that an episode reaches on its way, if that is above 0, and of its tokens only those
    up to there are replayed: with potential shaping, the beginning of a success is learned from too, and not how it was
    lost. Where nothing was gained the whole episode counts: what comes before a penalty is no success.

    Args:
        capacity: Number of episodes.
        per_prompt: Number of episodes of one prompt, so that the archive is not variations of one text.
    """

    def __init__(self, capacity: int = 64, per_prompt: int = 2) -> None:
        self.capacity = capacity
        self.per_prompt = per_prompt
        self._kept: list[_Kept] = []

    def __len__(self) -> int:
        """Return the number of episodes kept."""
        return len(self._kept)

    def add(self, judged: list[JudgedEpisode], gamma: float = 1.0, *, as_a_whole: bool = False) -> None:
        """Keep those of a rollout's episodes that are among the best.

        Args:
            judged: The episodes.
            gamma: Discount factor of the algorithm.
            as_a_whole: Never keep a beginning alone, which is another action where a completion is one.
        """
        for item in judged:
            text = item.episode.text
            sums = discounted_sums(item.rewards, gamma)
            peak = max(sums)
            if as_a_whole or peak <= 0:
                peak, end = sums[-1], len(sums)
            else:
                end = sums.index(peak) + 1
            candidates = None if item.episode.candidates is None else item.episode.candidates[:end].cpu()
            rewards = item.rewards[:end].tolist()
            self._kept.append(
                _Kept(peak, item.episode.number, text.prompt.token_ids, text.token_ids[:end], rewards, candidates)
            )
        self._kept.sort(key=lambda kept: (-kept.peak, -kept.number))
        counts: dict[tuple[int, ...], int] = {}
        best: list[_Kept] = []
        for kept in self._kept:
            counts[kept.prompt_ids] = counts.get(kept.prompt_ids, 0) + 1
            if counts[kept.prompt_ids] <= self.per_prompt and len(best) < self.capacity:
                best.append(kept)
        self._kept = best

    def sample(self, count: int, baseline: float, generator: np.random.Generator) -> list[EpisodeRecord]:
        """Draw episodes with probabilities in proportion to what counts of each, above a baseline.

        Args:
            count: Number of episodes; fewer where so few are above the baseline that one would come more than
                `MAX_COPIES` times on average.
            baseline: What the policy often reaches by now; worse episodes have nothing to teach.
            generator: Decides which.

        Returns:
            Records whose values and log-probabilities are 0 and have to be computed anew.
        """
        excess = np.array([max(kept.peak - baseline, 0.0) for kept in self._kept])
        count = min(count, MAX_COPIES * int((excess > 0).sum()))
        if count == 0:
            return []
        chosen = generator.choice(len(self._kept), size=count, p=excess / excess.sum())
        records = []
        for index in sorted(chosen.tolist()):
            kept = self._kept[index]
            unknown = torch.zeros(len(kept.token_ids))
            rewards = torch.tensor(kept.rewards)
            records.append(EpisodeRecord(kept.prompt_ids, kept.token_ids, rewards, unknown, unknown, kept.candidates))
        return records
