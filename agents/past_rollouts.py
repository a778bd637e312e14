"""Several rollouts, kept to be learned from together."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .episode_buffer import EpisodeBuffer


class _Rollout(NamedTuple):
    prompt_lengths: np.ndarray
    lengths: np.ndarray
    tensors: dict[str, Tensor]


class PastRollouts:
    """What buffers have held, on the host, about 28 bytes a token; it pickles with the algorithm, which can resume."""

    NAMES = ("token_ids", "rewards", "old_log_prob", "old_values", "advantages", "target_returns")

    def __init__(self) -> None:
        self._rollouts: list[_Rollout] = []

    def __len__(self) -> int:
        """Return the number of rollouts."""
        return len(self._rollouts)

    def add(self, buffer: EpisodeBuffer) -> None:
        """Keep what a buffer holds."""
        tensors = {name: getattr(buffer, name).cpu() for name in self.NAMES}
        self._rollouts.append(_Rollout(buffer.prompt_lengths, buffer.lengths, tensors))

    def joined(self, buffer: EpisodeBuffer) -> EpisodeBuffer:
        """Return a buffer like the given one that holds the episodes of all rollouts, in order."""
        result = copy.copy(buffer)
        result.reset()
        for name in self.NAMES:
            parts = [rollout.tensors[name].to(buffer.device) for rollout in self._rollouts]
            setattr(result, name, torch.cat(parts))
        result.prompt_lengths = np.concatenate([rollout.prompt_lengths for rollout in self._rollouts])
        result.lengths = np.concatenate([rollout.lengths for rollout in self._rollouts])
        result.full = True
        return result

    def clear(self) -> None:
        """Forget all rollouts."""
        self._rollouts.clear()
