"""A minibatch in smaller forward passes: how many rows fit one, and how only one's activations are kept at a time."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .text_passes import PackedTexts

Results = tuple[Tensor, ...]


def row_slices(lengths: Sequence[int], most_positions: int) -> Iterator[slice]:
    """Cut rows into consecutive groups of about so many positions, padding to the group's longest row included.

    Args:
        lengths: Tokens of each row.
        most_positions: Positions of a group; a row that is longer is a group of its own.

    Yields:
        Slices of the rows, in order.
    """
    start, longest = 0, 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if row > start and (row + 1 - start) * longest > most_positions:
            yield slice(start, row)
            start, longest = row, length
    if lengths:
        yield slice(start, len(lengths))


def in_micro_batches(
    evaluate: Callable[[dict[str, Tensor], Tensor], Results], obs: dict[str, Tensor], actions: Tensor, size: int
) -> Results:
    """Evaluate a packed batch in micro-batches, whose activations are computed again in the backward pass.

    Stable-Baselines3 takes one step of the optimiser for each minibatch, so gradients cannot be accumulated over calls
    of `backward`. Within one call they are: the backward pass goes from micro-batch to micro-batch, for the price of
    one more forward pass, and its memory is that of one micro-batch.

    Args:
        evaluate: Gives results, of shape (N, …), of a packed batch and its N actions.
        obs: Packed batch, shape (B, L) or (B, L, D) each; but candidates, decision by decision.
        actions: The actions of all decisions, row by row.
        size: Positions of a micro-batch.

    Returns:
        What `evaluate` would give of the whole batch.
    """
    n_decisions = obs["is_decision"].sum(dim=1).tolist()
    lengths = obs["attention_mask"].sum(dim=1).tolist()
    parts, n_before = [], 0
    for rows in row_slices(lengths, size):
        longest, count = max(lengths[rows]), sum(n_decisions[rows])
        decisions = slice(n_before, n_before + count)
        part = PackedTexts(
            (key, tensor[decisions] if key == "candidates" else tensor[rows, :longest]) for key, tensor in obs.items()
        )
        # No random number is drawn in a forward pass, so none has to be drawn again.
        parts.append(
            torch.utils.checkpoint.checkpoint(
                evaluate, part, actions[decisions], use_reentrant=False, preserve_rng_state=False
            )
        )
        n_before += count
    return tuple(torch.cat(results) for results in zip(*parts, strict=True))
