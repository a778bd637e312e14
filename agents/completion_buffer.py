"""A rollout in which a whole completion is one decision."""

from typing import ClassVar

import numpy as np
import torch
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from .episode_buffer import EpisodeBuffer
from .host_copies import to_device


class CompletionBuffer(EpisodeBuffer):
    """An `EpisodeBuffer` for `GPT2CompletionPolicy`: samples have one entry an episode instead of one a token.

    Rewards are summed, log-probabilities too, and the value is that before the first token. Sizes of rollouts and
    minibatches still count tokens, which are what takes memory and time.
    """

    # For one completion advantages have no standard deviation.
    episodes_per_batch: ClassVar[int] = 2

    @property
    def values(self) -> np.ndarray:
        """Value of each prompt, on the host."""
        return self._first(self.old_values).cpu().numpy()

    @values.setter
    def values(self, _: object) -> None:
        """Ignore the arrays that the parent's methods would store."""

    def estimate_returns(self) -> None:
        """Estimate the advantage and return of each completion; see `EpisodeBuffer.estimate_returns`."""
        values = self._first(self.old_values)
        self.advantages = self.estimator(self._sums(self.rewards)[:, None], values[:, None])[:, 0]
        self.target_returns = self.advantages + values

    def samples(self, episodes: np.ndarray) -> RolloutBufferSamples:
        """Pack the given episodes, by number, longest first."""
        episodes = self.longest_first(episodes)
        observations = self.packed(episodes)
        index = to_device(torch.from_numpy(episodes), self.device)
        return RolloutBufferSamples(
            observations=observations,  # type: ignore[arg-type]
            actions=observations.chosen,
            old_values=self._first(self.old_values)[index],
            old_log_prob=self._sums(self.old_log_prob)[index],
            advantages=self.advantages[index],
            returns=self.target_returns[index],
        )

    def _first(self, tokens: Tensor) -> Tensor:
        """Return the entry of each episode's first token."""
        return tokens[to_device(torch.from_numpy(self.lengths.cumsum() - self.lengths), self.device)]

    def _sums(self, tokens: Tensor) -> Tensor:
        """Add up the entries of each episode's tokens."""
        return torch.stack([part.sum() for part in tokens.split(self.lengths.tolist())])
