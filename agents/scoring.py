"""Teacher-forced passes over the episodes of a buffer."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .chunking import in_chunks
from .episode_buffer import EpisodeBuffer
from .flat_episodes import FlatEpisodes
from .host_copies import to_device
from .kl import exact_kl
from .language_policy import LanguagePolicy
from .micro_batches import row_slices
from .policy import GPT2Policy
from .ranges import joined_ranges, starts_of
from .sampling import restrict_to_top
from .text_passes import PackedTexts
from .token_statistics import token_statistics
from .trunk import POSITIONS_PER_PASS

# Of decisions whose distributions are compared at once, which takes several tensors of this size.
LOGITS_PER_COMPARISON = 1 << 20
LOGITS_PER_COMPARISON_ON_GPU = 1 << 26
# Positions that are packed together; on the CPU the trunk cuts them into passes, texts that begin alike side by side.
POSITIONS_PER_BATCH = 8192
POSITIONS_PER_BATCH_ON_GPU = 65_536


class TokenScores(NamedTuple):
    """What a policy says of N generated tokens, shape (N,) each."""

    values: Tensor
    log_prob: Tensor


class Divergence(NamedTuple):
    """How far a policy is from its reference at N generated tokens, shape (N,) each.

    Attributes:
        kl: KL(policy ‖ reference) of the next token, exact over the vocabulary, in nats.
        ref_log_prob: Log-probability of the token under the reference.
    """

    kl: Tensor
    ref_log_prob: Tensor


@torch.no_grad()
def score_tokens(
    policy: GPT2Policy, buffer: FlatEpisodes, first_episode: int = 0, tokens_per_batch: int | None = None
) -> TokenScores:
    """Score a buffer's generated tokens, in the buffer's order.

    Args:
        policy: The policy.
        buffer: Filled with episodes.
        first_episode: Episodes before this one are left out.
        tokens_per_batch: Positions that are packed together, padding included; None for 8,192 on the CPU and 65,536
            elsewhere.

    Returns:
        Values and log-probabilities of all generated tokens from that episode on.
    """
    values = torch.empty(_tokens_from(buffer, first_episode), device=buffer.device)
    log_prob = torch.empty_like(values)
    for packed, index in _batches(buffer, first_episode, tokens_per_batch):
        new_values, log_prob[index], _ = policy.evaluate_tokens(packed, packed.chosen)
        values[index] = new_values[:, 0]
    return TokenScores(values, log_prob)


@torch.no_grad()
def log_prob_of_tokens(policy: GPT2Policy, buffer: FlatEpisodes) -> Tensor:
    """Return the log-probabilities that `score_tokens` gives, and nothing else, shape (tokens,)."""
    if type(policy)._evaluate is not GPT2Policy._evaluate:
        return score_tokens(policy, buffer).log_prob
    log_prob = torch.empty(buffer.n_tokens, device=buffer.device)
    for packed, index in _batches(buffer, 0, policy.micro_batch_size):
        hidden, n_generated = policy.decisions(packed)
        candidates = policy.stored_candidates(packed, hidden, n_generated)
        log_prob[index] = policy.log_prob_of(hidden, n_generated, packed.chosen, candidates)
    return log_prob


def score_ahead(policy: GPT2Policy, buffer: EpisodeBuffer) -> TokenScores:
    """Score a buffer's generated tokens as `score_tokens` does, by the pass that an update of all of them begins with.

    See `GPT2Policy.evaluate_ahead`.
    """
    episodes = buffer.longest_first(np.arange(len(buffer.lengths)))
    values, log_prob, _ = policy.evaluate_ahead(buffer.packed(episodes))
    index = buffer.token_index(episodes)
    return TokenScores(*(torch.empty_like(log_prob).index_copy_(0, index, part) for part in (values[:, 0], log_prob)))


@torch.no_grad()
def compare_policies(
    policy: GPT2Policy,
    reference: GPT2Policy,
    buffer: FlatEpisodes,
    tokens_per_batch: int | None = None,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Divergence:
    """Compare the distributions that two policies give the next token, at each of a buffer's generated ones.

    Distributions are those that tokens are sampled from: at the policies' temperature, over the tokens that the
    environment allows and, of the policy alone, over its candidates and the most probable tokens, so that the cut
    counts as distance. Both policies read whole episodes, also in bfloat16, so that one without candidates has no
    divergence from itself. The logits of a few decisions are held at a time.

    Args:
        policy: The policy.
        reference: What it is compared with, of the same vocabulary.
        buffer: Filled with episodes.
        tokens_per_batch: Positions that are packed together, padding included; None for 8,192 on the CPU and 65,536
            elsewhere.
        top_k: The policy is cut down to so many tokens, see `restrict_to_top`.
        top_p: Likewise.

    Returns:
        Divergence at each token, in the buffer's order.
    """

    def of_rows(
        hidden: Tensor, ref_hidden: Tensor, n_generated: Tensor, actions: Tensor, candidates: Tensor | None
    ) -> tuple[Tensor, ...]:
        # The reference chooses among all tokens, whatever the policy is cut down to.
        ref_logits = reference.decision_logits(ref_hidden, n_generated)
        logits = policy.decision_logits(hidden, n_generated, candidates)
        if top_k is not None or top_p is not None:
            logits = restrict_to_top(logits, top_k, top_p).clamp(min=torch.finfo(logits.dtype).min)
        return exact_kl(logits, ref_logits), token_statistics(ref_logits, actions)[0]

    kl = torch.empty(buffer.n_tokens, device=buffer.device)
    ref_log_prob = torch.empty_like(kl)
    most = LOGITS_PER_COMPARISON if buffer.device.type == "cpu" else LOGITS_PER_COMPARISON_ON_GPU
    rows_per_chunk = max(1, most // policy.vocab_size)
    for packed, index in _batches(buffer, 0, tokens_per_batch):
        (hidden, n_generated), (ref_hidden, _) = policy.decisions(packed), reference.decisions(packed)
        candidates = policy.stored_candidates(packed, hidden, n_generated)
        kl[index], ref_log_prob[index] = in_chunks(
            of_rows, rows_per_chunk, hidden, ref_hidden, n_generated, packed.chosen, candidates
        )
    return Divergence(kl, ref_log_prob)


@torch.no_grad()
def probable_tokens(
    policy: LanguagePolicy, buffer: FlatEpisodes, k: int, first_episode: int = 0, tokens_per_batch: int | None = None
) -> Tensor:
    """Find the k most probable tokens at the place of each generated one, in the buffer's order.

    Args:
        policy: Says what is probable.
        buffer: Filled with episodes.
        k: Number of tokens, at most the vocabulary's.
        first_episode: Episodes before this one are left out.
        tokens_per_batch: Positions that are packed together, padding included; None for 8,192 on the CPU and 65,536
            elsewhere.

    Returns:
        Token ids, int32, shape (generated tokens from that episode on, k).
    """

    def of_rows(hidden: Tensor, n_generated: Tensor) -> tuple[Tensor]:
        return (policy.decision_logits(hidden, n_generated).topk(k).indices.int(),)

    token_ids = torch.empty((_tokens_from(buffer, first_episode), k), dtype=torch.int32, device=buffer.device)
    for packed, index in _batches(buffer, first_episode, tokens_per_batch):
        (token_ids[index],) = in_chunks(of_rows, policy.rows_per_chunk, *policy.decisions(packed))
    return token_ids


def _tokens_from(buffer: FlatEpisodes, first_episode: int) -> int:
    return int(buffer.lengths[first_episode:].sum())


def _batches(
    buffer: FlatEpisodes, first_episode: int, tokens_per_batch: int | None
) -> Iterator[tuple[PackedTexts, Tensor]]:
    """Yield packed batches, longest first, and where their tokens are among those from the first episode on."""
    n_before = int(buffer.lengths[:first_episode].sum())
    sizes = (buffer.prompt_lengths + buffer.lengths)[first_episode:]
    order = np.argsort(-sizes, kind="stable")
    most = tokens_per_batch or (POSITIONS_PER_BATCH if buffer.device.type == "cpu" else POSITIONS_PER_BATCH_ON_GPU)
    for rows in row_slices(sizes[order].tolist(), most):
        episodes = order[rows] + first_episode
        yield buffer.packed(episodes), buffer.token_index(episodes) - n_before


@torch.no_grad()
def frozen_hidden_of(policy: GPT2Policy, buffer: FlatEpisodes, tokens_per_batch: int | None = None) -> Tensor:
    """Compute once what a policy's frozen layers make of a buffer's tokens, prompts included, shape (tokens, D).

    Policy, critic and reference all stand on these layers, and each epoch passes through them again.

    Args:
        policy: A policy that has frozen layers.
        buffer: Filled with episodes.
        tokens_per_batch: Positions a forward pass, padding included; None for 1,024 on the CPU and 65,536 elsewhere.
    """
    sizes = buffer.prompt_lengths + buffer.lengths
    starts = starts_of(sizes)
    result = torch.empty((len(buffer.token_ids), policy.width), device=buffer.device)
    order = np.argsort(-sizes, kind="stable")
    most = tokens_per_batch or (POSITIONS_PER_PASS if buffer.device.type == "cpu" else POSITIONS_PER_BATCH_ON_GPU)
    for rows in row_slices(sizes[order].tolist(), most):
        packed = buffer.packed(order[rows])
        hidden = policy.frozen_hidden_states(packed["input_ids"])
        index = torch.from_numpy(joined_ranges(starts[order[rows]], sizes[order[rows]]))
        result[to_device(index, buffer.device)] = hidden[packed["attention_mask"]]
    return result
