"""Random numbers that belong to an episode, and tokens drawn from logits."""

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import gpu_path
from .cpu_step import cpu_step
from .fused import fused

_PROMPT_STREAM = 1 << 63
# Tokens whose probabilities are added up as one number before one of them is drawn.
GROUP = 64
JUST_BELOW_ONE = 1 - 2**-52
# To find so many of the most probable tokens costs a quarter of sorting 4,096 and a thirteenth of sorting 50,257.
MOST_OFTEN_ENOUGH = 512


def episode_uniforms(seed: int, episodes: Sequence[int], max_new_tokens: int) -> np.ndarray:
    """Draw the random numbers that decide each of N episodes, one a token.

    They depend on nothing but seed and number of the episode, so that the same episodes come out of any batch size,
    order of refilling and device.

    Returns:
        Numbers in [0, 1), float32, shape (N, max_new_tokens).
    """
    uniforms = np.empty((len(episodes), max_new_tokens), dtype=np.float32)
    generator = _counter_generator(seed, 0)
    state: Any = generator.bit_generator.state
    for row, episode in zip(uniforms, episodes, strict=True):
        # As a generator with this key begins, which would take ten times as long to make.
        state["state"]["key"][1] = episode
        generator.bit_generator.state = state
        generator.random(out=row, dtype=np.float32)
    return uniforms


def prompt_generator(seed: int, group: int) -> np.random.Generator:
    """Return the generator that draws the prompt of a group of episodes."""
    return _counter_generator(seed, _PROMPT_STREAM + group)


def _counter_generator(seed: int, counter: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, counter], dtype=np.uint64)))


def draw_tokens(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row; see `draw_by_probability`.

    Args:
        logits: Unnormalised log-probabilities, shape (B, V).
        uniforms: Numbers in [0, 1), shape (B,).

    Returns:
        Token ids, shape (B,). A token of probability 0 is never drawn.
    """
    return draw_by_probability(torch.softmax(logits.float(), dim=-1), uniforms)


def draw_with_log_prob(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token a row, as `draw_tokens` does, and return the tokens and their log-probabilities, shape (B,) each.

    Args:
        logits: Unnormalised log-probabilities, float32, shape (B, V).
        uniforms: Numbers in [0, 1), shape (B,).
    """
    is_plain = not logits.requires_grad and not gpu_path.is_for_gpu(logits)
    on_cpu = cpu_step(logits.device, logits.dtype) if is_plain else None
    return _draw_with_log_prob(logits, uniforms) if on_cpu is None else on_cpu.draw(logits, uniforms)


@fused(least_rows=64, least_width=16_384)
def _draw_with_log_prob(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    if gpu_path.is_for_gpu(logits):
        return draw_by_groups(logits, uniforms)
    # One softmax serves both: `logsumexp` alone would cost three times as much.
    probabilities = logits.softmax(dim=-1)
    token_ids = draw_by_probability(probabilities, uniforms)
    return token_ids, probabilities.gather(1, token_ids[:, None])[:, 0].log()


def draw_by_groups(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw as `draw_with_log_prob` does: a compiler makes one pass over the logits, where softmax and sums are three.

    Each group's sum is relative to its own greatest logit, so that it needs no other group's.
    """
    groups = _in_groups(logits, -torch.inf)
    # Finite, also where all of a group are impossible.
    of_groups = groups.amax(dim=-1).clamp(min=torch.finfo(logits.dtype).min)  # (B, V / G)
    greatest = of_groups.amax(dim=-1, keepdim=True)
    totals = (groups - of_groups[:, :, None]).exp().sum(dim=-1) * (of_groups - greatest).exp()

    def members_of(group: Tensor) -> Tensor:
        return (_members(groups, group) - greatest).exp()

    token_ids = _drawn(totals, members_of, uniforms).clamp_(max=logits.shape[1] - 1)
    chosen = (logits.gather(1, token_ids[:, None]) - greatest)[:, 0]
    return token_ids, chosen - totals.sum(dim=-1, dtype=torch.float64).log().float()


def draw_by_probability(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token a row by inverting the cumulative distribution.

    First a group of neighbouring tokens, then a token of it: a float32 sum over 50,000 tokens loses the rarest, and so
    only sums of groups, and the tokens of one group, have to be added up in double precision. `torch.multinomial` draws
    V exponentials a row, which costs more than a small network does.

    Args:
        probabilities: Float32, shape (B, V).
        uniforms: Numbers in [0, 1), or such that were rounded to 1, shape (B,).

    Returns:
        Token ids, shape (B,). A token of probability 0 is never drawn; where there is NaN, the last token is.
    """
    groups = _in_groups(probabilities, 0.0)
    token_ids = _drawn(groups.sum(dim=-1), partial(_members, groups), uniforms)
    # NaN is behind every token: an index that would bring a CUDA device down, before anybody can say what is wrong.
    return token_ids.clamp_(max=probabilities.shape[1] - 1)


def _in_groups(entries: Tensor, filling: float) -> Tensor:
    """Return a vocabulary's entries, shape (B, V), group by group, filled up at the end, shape (B, V / G, G)."""
    n_rows, vocab_size = entries.shape
    n_missing = -vocab_size % GROUP
    padded = functional.pad(entries, (0, n_missing), value=filling) if n_missing else entries  # a pad of 0 would copy
    return padded.view(n_rows, -1, GROUP)


def _members(groups: Tensor, group: Tensor) -> Tensor:
    """Return the entries of a group of each row, shape (B, G), by their numbers, shape (B, 1)."""
    return groups.gather(1, group[:, :, None].expand(-1, -1, GROUP))[:, 0]


def _drawn(totals: Tensor, members_of: Callable[[Tensor], Tensor], uniforms: Tensor) -> Tensor:
    """Draw a group of each row, by the groups' weights, shape (B, V / G), and then a member by those of the group's."""
    cumulative = totals.cumsum(dim=-1, dtype=torch.float64)
    target = uniforms.double()[:, None] * cumulative[:, -1:]
    group = _passed(cumulative, target)  # (B, 1)
    before = functional.pad(cumulative, (1, 0)).gather(1, group)
    member = _passed(members_of(group).cumsum(dim=-1, dtype=torch.float64), target - before)
    return (group * GROUP + member)[:, 0]


def _passed(cumulative: Tensor, target: Tensor) -> Tensor:
    """Return where a cumulative sum, shape (B, N), passes a target, shape (B, 1): below N, and never at a step of 0."""
    # Rounding must not reach the total, beyond which there is nothing.
    below_total = torch.minimum(target, cumulative[:, -1:] * JUST_BELOW_ONE)
    return torch.searchsorted(cumulative, below_total, right=True).clamp_(max=cumulative.shape[-1] - 1)


def restrict_to_top(logits: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Forbid all but the most probable tokens.

    Args:
        logits: Unnormalised log-probabilities, shape (B, V).
        top_k: Keep this many tokens; None keeps all.
        top_p: Keep the smallest set of tokens that has at least this probability (Holtzman et al. 2020,
            arXiv:1904.09751); None keeps all.

    Returns:
        Logits with minus infinity at forbidden tokens, shape (B, V).

    Raises:
        ValueError: If `top_k` is below 1 or `top_p` is outside (0, 1].
        TypeError: If `top_k` is no integer or `top_p` no number.
    """
    if top_k is not None:
        if isinstance(top_k, bool) or not isinstance(top_k, int):
            raise TypeError(f"top_k must be an integer, got {top_k!r}.")
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and (isinstance(top_p, bool) or not isinstance(top_p, Real)):
        raise TypeError(f"top_p must be a number, got {top_p!r}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}.")
    # Rounded sums reach 1 before the rarest tokens.
    if top_p is not None and top_p < 1:
        logits = logits.masked_fill(~_nucleus(logits.softmax(dim=-1), top_p), -torch.inf)
    return logits


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Return the smallest sets of tokens that have at least a probability, True at their members, shape (B, V)."""
    # On a GPU sorting is cheap, and to ask whether a row needs more would make the host wait.
    n_sorted = MOST_OFTEN_ENOUGH if probabilities.device.type == "cpu" else probabilities.shape[-1]
    is_inside, is_whole = _nucleus_among(probabilities, top_p, min(n_sorted, probabilities.shape[-1]))
    if probabilities.device.type == "cpu" and not is_whole.all():
        rows = (~is_whole).nonzero()[:, 0]
        is_inside[rows] = _nucleus_among(probabilities[rows], top_p, probabilities.shape[-1])[0]
    return is_inside


def _nucleus_among(probabilities: Tensor, top_p: float, n_sorted: int) -> tuple[Tensor, Tensor]:
    """Return the sets as far as they lie among the most probable tokens, and which rows' do, shape (B,)."""
    vocab_size = probabilities.shape[-1]
    if n_sorted < vocab_size:
        ordered, order = probabilities.topk(n_sorted)
    else:
        ordered, order = probabilities.sort(descending=True)
    cumulative = ordered.cumsum(dim=-1)
    is_inside = torch.zeros_like(probabilities, dtype=torch.bool)
    is_inside.scatter_(1, order, cumulative - ordered < top_p)
    return is_inside, (cumulative[:, -1] >= top_p) | (n_sorted == vocab_size)
