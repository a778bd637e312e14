"""A replay of whole episodes, each token stored once, that gives Stable-Baselines3's `train` packed minibatches."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

from .flat_episodes import EpisodeRecord, FlatEpisodes
from .host_copies import to_device
from .text_passes import PackedTexts


class EpisodeReplay(FlatEpisodes, ReplayBuffer):
    """Replay buffer of ragged episodes.

    It takes the place of Stable-Baselines3's ReplayBuffer: `sample` gives the same fields, but observations are packed
    batches for `GPT2QNetwork`, and the transitions of a minibatch are those of whole episodes, drawn with replacement;
    of the last one only so many that there are `batch_size` in all.

    Args:
        buffer_size: Generated tokens that are kept; the oldest episodes make room.
        observation_space: The environment's.
        action_space: The environment's.
        device: Where the episodes are kept.
        n_envs: Rows of the environment; the number of tokens does not depend on them.
        optimize_memory_usage: Must be False: each token is stored once as it is.
        seed: Decides the minibatches, together with the number of those before.
        n_steps: Rewards that are summed before the value of the state that follows them is trusted.
        gamma: Discount of a reward, and of that value, for each step.

    Raises:
        ValueError: If `buffer_size` or `n_steps` is below 1, or `optimize_memory_usage` is set.
    """

    rewards: Tensor  # type: ignore[assignment]
    # Stable-Baselines3 asks on loading; the token budget is an end like any other.
    handle_timeout_termination = False

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        *,
        seed: int = 0,
        n_steps: int = 1,
        gamma: float = 1.0,
    ) -> None:
        for name, value in (("buffer_size", buffer_size), ("n_steps", n_steps)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage must be False: each token is stored once as it is.")
        # ReplayBuffer's own constructor allocates an array of whole contexts.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs)
        self.seed = seed
        self.n_steps = n_steps
        self.gamma = gamma
        self.n_samples = 0
        self.reset()

    def reset(self) -> None:
        """Forget all episodes."""
        self.forget()
        self.considered: Tensor | None = None
        self.full = False
        self.pos = 0

    def size(self) -> int:
        """Return the number of transitions, which are the generated tokens."""
        return self.n_tokens

    def add(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse single transitions."""
        raise ValueError("EpisodeReplay keeps whole episodes, not single transitions; use append([EpisodeRecord(…)]).")

    def append(self, episodes: Sequence[EpisodeRecord]) -> None:
        """Keep more episodes, and drop the oldest ones beyond `buffer_size` tokens; one is always kept.

        Raises:
            ValueError: If one has no tokens, or its parts differ in length.
        """
        super().append(episodes)
        newer = self.lengths[::-1].cumsum()
        n_kept = max(1, int(np.searchsorted(newer, self.buffer_size, side="right")))
        self.full = self.full or n_kept < len(self.lengths)
        n_dropped = len(self.lengths) - n_kept
        n_tokens = int(self.lengths[:n_dropped].sum())
        self.token_ids = self.token_ids[int(self.prompt_lengths[:n_dropped].sum()) + n_tokens :].clone()
        self.rewards = self.rewards[n_tokens:].clone()
        self.lengths, self.prompt_lengths = self.lengths[n_dropped:], self.prompt_lengths[n_dropped:]

    def append_considered(self, token_ids: Tensor) -> None:
        """Keep the tokens that are considered in the place of each generated one, shape (tokens appended last, k)."""
        before = token_ids[:0] if self.considered is None else self.considered
        self.considered = torch.cat([before, token_ids])[-self.n_tokens :].clone()

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Draw transitions of whole episodes.

        Args:
            batch_size: Their number N.
            env: Not used; Stable-Baselines3 normalises with it.

        Returns:
            Samples whose observations are packed batches, and whose other fields have shape (N, 1).

        Raises:
            ValueError: If there is no episode.
        """
        if not len(self.lengths):
            raise ValueError("The replay is empty; append a rollout's episodes first.")
        generator = np.random.default_rng((self.seed, self.n_samples))
        self.n_samples += 1
        drawn = generator.integers(len(self.lengths), size=batch_size)
        ends = self.lengths[drawn].cumsum()
        episodes = drawn[: int(np.searchsorted(ends, batch_size)) + 1]
        n_total = int(ends[len(episodes) - 1])
        is_dropped = np.zeros(n_total, dtype=np.bool_)
        n_last = self.lengths[episodes[-1]]
        is_dropped[n_total - generator.permutation(n_last)[: n_total - batch_size] - 1] = True
        # Longest first, as `LanguagePolicy` wants its rows; a stable sort of steps takes the marks along.
        order = np.argsort(-(self.prompt_lengths + self.lengths)[episodes], kind="stable")
        marks = np.split(is_dropped, ends[: len(episodes) - 1])
        is_kept = ~np.concatenate([marks[number] for number in order])
        return self.transitions(episodes[order], is_kept.nonzero()[0])

    def transitions(self, episodes: np.ndarray, selected: np.ndarray) -> ReplayBufferSamples:
        """Pack transitions of the given episodes.

        Args:
            episodes: Their numbers, longest first; one may occur more than once.
            selected: Which of their decisions, counted episode by episode, shape (N,).
        """
        lengths = self.lengths[episodes]
        first = np.repeat(lengths.cumsum() - lengths, lengths)[selected]
        step = selected - first
        length = np.repeat(lengths, lengths)[selected]
        step_after = np.minimum(step + self.n_steps, length)
        index = self.token_index(episodes)
        packed = self.packed(episodes)
        actions = packed.chosen
        # Several networks forward them.
        observations = PackedTexts(packed, selected=self._tensor(selected), n_generated=self._tensor(step))
        next_observations = PackedTexts(
            packed,
            # The state after a token is where it stands.
            is_decision=packed["is_decision"].roll(1, dims=1),
            selected=self._tensor(first + step_after - 1),
            n_generated=self._tensor(step_after),
        )
        if self.considered is not None:
            # An ended episode has no next token; its value is multiplied by 0.
            following = first + np.minimum(step_after, length - 1)
            next_observations["considered"] = self.considered[index[self._tensor(following)]]
        return ReplayBufferSamples(
            observations=observations,  # type: ignore[arg-type]
            actions=actions[observations["selected"]][:, None],
            next_observations=next_observations,  # type: ignore[arg-type]
            dones=self._tensor(step_after == length).float()[:, None],
            rewards=self._summed_rewards(index, selected, length - step)[:, None],
            discounts=self._tensor(self.gamma ** (step_after - step)).float()[:, None],
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the device out, so that another machine can load the file."""
        tensors = {name: getattr(self, name) for name in ("token_ids", "rewards", "considered")}
        on_cpu = {name: None if tensor is None else tensor.cpu() for name, tensor in tensors.items()}
        return {**self.__dict__, **on_cpu, "device": torch.device("cpu")}

    def move_to(self, device: torch.device) -> None:
        """Put everything on a device."""
        self.device = device
        self.token_ids, self.rewards = self.token_ids.to(device), self.rewards.to(device)
        self.considered = None if self.considered is None else self.considered.to(device)

    def _summed_rewards(self, index: Tensor, selected: np.ndarray, n_left: np.ndarray) -> Tensor:
        """Sum the discounted rewards of up to `n_steps` tokens, of which `n_left` are left in the episode."""
        rewards = self.rewards[index]
        total = torch.zeros(len(selected), device=self.device)
        for ahead in range(min(self.n_steps, int(n_left.max()))):
            is_inside = self._tensor(ahead < n_left)
            position = self._tensor(np.where(ahead < n_left, selected + ahead, 0))
            total += self.gamma**ahead * rewards[position] * is_inside
        return total

    def _tensor(self, array: np.ndarray) -> Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(array)), self.device)
