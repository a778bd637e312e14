"""Teacher-forced passes over the episodes of a buffer."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .flat_episodes import FlatEpisodes
from .micro_batches import row_slices
from .policy import GPT2Policy


class TokenScores(NamedTuple):
    """What a policy says of N generated tokens, shape (N,) each."""

    values: Tensor
    log_prob: Tensor


@torch.no_grad()
def score_tokens(
    policy: GPT2Policy, buffer: FlatEpisodes, first_episode: int = 0, tokens_per_batch: int = 1024
) -> TokenScores:
    """Score a buffer's generated tokens, in the buffer's order.

    Args:
        policy: The policy.
        buffer: Filled with episodes.
        first_episode: Episodes before this one are left out.
        tokens_per_batch: Positions a forward pass, padding included.

    Returns:
        Values and log-probabilities of all generated tokens from that episode on.
    """
    n_before = int(buffer.lengths[:first_episode].sum())
    values = torch.empty(buffer.n_tokens - n_before, device=buffer.device)
    log_prob = torch.empty_like(values)
    sizes = (buffer.prompt_lengths + buffer.lengths)[first_episode:]
    order = np.argsort(-sizes, kind="stable")
    while len(order):
        count = max(1, tokens_per_batch // int(sizes[order[0]]))
        episodes, order = order[:count] + first_episode, order[count:]
        packed = buffer.packed(episodes)
        actions = packed["input_ids"][:, 1:][packed["is_decision"][:, :-1]]
        index = buffer.token_index(episodes) - n_before
        new_values, log_prob[index], _ = policy.evaluate_tokens(packed, actions)
        values[index] = new_values[:, 0]
    return TokenScores(values, log_prob)


@torch.no_grad()
def frozen_hidden_of(policy: GPT2Policy, buffer: FlatEpisodes, tokens_per_batch: int = 1024) -> Tensor:
    """Compute once what a policy's frozen layers make of a buffer's tokens, prompts included, shape (tokens, D).

    Policy, critic and reference all stand on these layers, and each epoch passes through them again.
    """
    sizes = buffer.prompt_lengths + buffer.lengths
    starts = sizes.cumsum() - sizes
    result = torch.empty((len(buffer.token_ids), policy.width), device=buffer.device)
    order = np.argsort(-sizes, kind="stable")
    for rows in row_slices(sizes[order].tolist(), tokens_per_batch):
        packed = buffer.packed(order[rows])
        hidden = policy.frozen_hidden_states(packed["input_ids"])
        index = torch.from_numpy(
            np.concatenate([np.arange(starts[one], starts[one] + sizes[one]) for one in order[rows]])
        )
        result[index.to(buffer.device)] = hidden[packed["attention_mask"]]
    return result
