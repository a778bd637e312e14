"""A rollout of whole episodes, each token stored once, handed to Stable-Baselines3's `train` as packed minibatches."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from .advantages import AdvantageEstimator, generalized_advantages
from .flat_episodes import EpisodeRecord, FlatEpisodes
from .host_copies import to_device
from .text_passes import PackedTexts


class EpisodeBuffer(FlatEpisodes, RolloutBuffer):
    """Rollout buffer of ragged episodes.

    It takes the place of Stable-Baselines3's RolloutBuffer: the same constructor, and `get` yields the same samples,
    but observations are packed batches for `GPT2Policy.evaluate_actions`, and a minibatch is a set of whole episodes.

    Args:
        buffer_size: Steps a row that a rollout aims at; with `n_envs` gives the tokens aimed at.
        observation_space: The environment's.
        action_space: The environment's.
        device: Where the episodes are kept.
        gae_lambda: See `generalized_advantages`.
        gamma: Likewise.
        n_envs: Rows of the environment.
        seed: Decides the order of minibatches, together with the number of calls of `get`.

    Attributes:
        estimator: What estimates advantages; at first `generalized_advantages`.
        ref_log_prob: Log-probability of each token under a reference, until KL is charged; None where there is none.
        sampled_log_prob: That under the policy when it was sampled, likewise; None where it is `old_log_prob`.
    """

    # A minibatch has at least this many.
    episodes_per_batch: ClassVar[int] = 1
    # Tensors, one entry a token, where the parent keeps arrays of n_steps × n_envs.
    rewards: Tensor  # type: ignore[assignment]
    advantages: Tensor  # type: ignore[assignment]
    ref_log_prob: Tensor | None
    sampled_log_prob: Tensor | None

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "cpu",
        gae_lambda: float = 0.95,
        gamma: float = 1.0,
        n_envs: int = 1,
        seed: int = 0,
    ) -> None:
        self.n_shuffles = 0
        self.seed = seed
        self.estimator: AdvantageEstimator = partial(generalized_advantages, gamma=gamma, gae_lambda=gae_lambda)
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    def forget(self) -> None:
        """Drop all episodes."""
        super().forget()
        self.ref_log_prob = self.sampled_log_prob = None
        self.forget_batch()

    def forget_batch(self) -> None:
        """Drop the packed batch of all episodes, which is kept for the next time that it is asked for."""
        self._batch: tuple[np.ndarray, PackedTexts] | None = None

    def keep_frozen_hidden(self, hidden: Tensor | None) -> None:
        """Keep what the policy's frozen layers make of the tokens, shape (tokens, D); None for nothing."""
        self.frozen_hidden = hidden
        self.forget_batch()

    def reset(self) -> None:
        """Forget all episodes."""
        self.forget()
        empty = torch.empty(0, device=self.device)
        self.old_log_prob, self.old_values = empty, empty
        self.advantages, self.target_returns = empty, empty
        self.full = False
        self.pos = 0

    # Stable-Baselines3's `train` reads these two as arrays of all transitions, for the explained variance.

    @property
    def values(self) -> np.ndarray:
        """Values before each token, on the host, where Stable-Baselines3 computes the explained variance."""
        return self.old_values.cpu().numpy()

    @values.setter
    def values(self, _: object) -> None:
        """Ignore the arrays that the parent's methods would store."""

    @property
    def returns(self) -> np.ndarray:
        """Returns of each token, on the host."""
        return self.target_returns.cpu().numpy()

    @returns.setter
    def returns(self, _: object) -> None:
        """Ignore the arrays that the parent's methods would store."""

    def fill(self, episodes: Sequence[EpisodeRecord]) -> None:
        """Take a rollout's episodes.

        Raises:
            ValueError: If there is none, an episode has no tokens, or its parts differ in length.
        """
        if not episodes:
            raise ValueError("A rollout needs at least one episode, got none.")
        self.forget()
        self.append(episodes)
        # Generated ones are there already, replayed ones are not.
        self.old_log_prob = torch.cat([episode.log_prob.to(self.device) for episode in episodes])
        self.old_values = torch.cat([episode.values.to(self.device) for episode in episodes])
        self.full = True
        self.pos = self.buffer_size

    def pay(self, rewards: Sequence[Tensor]) -> None:
        """Give the tokens of all episodes their rewards, a tensor of shape (T,) each.

        Raises:
            ValueError: If there is not one for each token.
        """
        paid = torch.cat([*rewards])
        if len(paid) != self.n_tokens:
            raise ValueError(f"There must be a reward for each of {self.n_tokens} tokens, got {len(paid)}.")
        self.rewards = to_device(paid, self.device)

    def estimate_returns(self) -> None:
        """Estimate advantages and returns from the rewards, which may have been changed since `fill`.

        A return, which the critic learns, is advantage plus value.
        """
        # By index rather than by mask, whose size the host would have to ask the device for.
        is_token = np.arange(self.lengths.max()) < self.lengths[:, None]
        places = to_device(torch.from_numpy(is_token.ravel().nonzero()[0]), self.device)
        rewards, values = (
            part.new_zeros(is_token.size).index_copy_(0, places, part).view(is_token.shape)
            for part in (self.rewards, self.old_values)
        )  # (B, T) each
        self.advantages = self.estimator(rewards, values).flatten()[places]
        self.target_returns = self.advantages + self.old_values

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:  # type: ignore[override]
        """Yield minibatches of whole episodes in random order.

        Args:
            batch_size: Tokens a minibatch, nearly, and no fewer than the longest episode has; None for the whole
                rollout. Each call yields the same number of minibatches.

        Yields:
            Samples whose observations are a packed batch and whose other fields have shape (tokens,).

        Raises:
            ValueError: If the buffer has not been filled.
        """
        if not self.full:
            raise ValueError("The buffer is empty; fill it with a rollout's episodes first.")
        order = np.random.default_rng((self.seed, self.n_shuffles)).permutation(len(self.lengths))
        self.n_shuffles += 1
        n_batches = self.n_minibatches(batch_size)
        # An episode goes to the minibatch in which its middle token falls.
        ends = self.lengths[order].cumsum()
        batch = ((ends - self.lengths[order] / 2) * n_batches / self.n_tokens).astype(int)
        for number in range(n_batches):
            # In order, so that the minibatch is the same each time where there is one.
            yield self.samples(np.sort(order[batch == number]))

    def n_minibatches(self, batch_size: int | None) -> int:
        """Return the number of minibatches of about so many tokens; None for all of a rollout's."""
        # A minibatch that is wider than the longest episode is never empty, nor a single token; and so on for more.
        most = self.n_tokens // (self.episodes_per_batch * int(self.lengths.max()) + 1)
        return 1 if batch_size is None else max(1, min(round(self.n_tokens / batch_size), most))

    def samples(self, episodes: np.ndarray) -> RolloutBufferSamples:
        """Pack the given episodes, by number, longest first."""
        episodes = self.longest_first(episodes)
        observations = self.packed(episodes)
        index = self.token_index(episodes)
        return RolloutBufferSamples(
            observations=observations,  # type: ignore[arg-type]
            actions=observations.chosen,
            old_values=self.old_values[index],
            old_log_prob=self.old_log_prob[index],
            advantages=self.advantages[index],
            returns=self.target_returns[index],
        )

    def packed(self, episodes: np.ndarray) -> PackedTexts:
        """Pack episodes as `FlatEpisodes` does; the last batch of all of them is kept."""
        if len(episodes) < len(self.lengths):
            return super().packed(episodes)
        if self._batch is None or not np.array_equal(self._batch[0], episodes):
            self._batch = episodes, super().packed(episodes)
        return self._batch[1]

    def longest_first(self, episodes: np.ndarray) -> np.ndarray:
        """Sort episodes, given by number, so that a packed batch's rows come longest first."""
        return episodes[np.argsort(-(self.prompt_lengths + self.lengths)[episodes], kind="stable")]
