"""Teacher-forced passes over the episodes of a buffer."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .flat_episodes import FlatEpisodes
from .language_policy import LanguagePolicy
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
    values = torch.empty(_tokens_from(buffer, first_episode), device=buffer.device)
    log_prob = torch.empty_like(values)
    for packed, index in _batches(buffer, first_episode, tokens_per_batch):
        actions = packed["input_ids"][:, 1:][packed["is_decision"][:, :-1]]
        new_values, log_prob[index], _ = policy.evaluate_tokens(packed, actions)
        values[index] = new_values[:, 0]
    return TokenScores(values, log_prob)


@torch.no_grad()
def probable_tokens(
    policy: LanguagePolicy, buffer: FlatEpisodes, k: int, first_episode: int = 0, tokens_per_batch: int = 1024
) -> Tensor:
    """Find the k most probable tokens at the place of each generated one, in the buffer's order.

    Args:
        policy: Says what is probable.
        buffer: Filled with episodes.
        k: Number of tokens, at most the vocabulary's.
        first_episode: Episodes before this one are left out.
        tokens_per_batch: Positions a forward pass, padding included.

    Returns:
        Token ids, int32, shape (generated tokens from that episode on, k).
    """
    token_ids = torch.empty((_tokens_from(buffer, first_episode), k), dtype=torch.int32, device=buffer.device)
    for packed, index in _batches(buffer, first_episode, tokens_per_batch):
        logits = policy.decision_logits(*policy.decisions(packed))
        token_ids[index] = logits.topk(k).indices.int()
    return token_ids


def _tokens_from(buffer: FlatEpisodes, first_episode: int) -> int:
    return int(buffer.lengths[first_episode:].sum())


def _batches(
    buffer: FlatEpisodes, first_episode: int, tokens_per_batch: int
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Yield packed batches, longest first, and where their tokens are among those from the first episode on."""
    n_before = int(buffer.lengths[:first_episode].sum())
    sizes = (buffer.prompt_lengths + buffer.lengths)[first_episode:]
    order = np.argsort(-sizes, kind="stable")
    for rows in row_slices(sizes[order].tolist(), tokens_per_batch):
        episodes = order[rows] + first_episode
        yield buffer.packed(episodes), buffer.token_index(episodes) - n_before


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
