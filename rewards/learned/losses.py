"""The losses that reward networks learn from; each is a weighted mean over its items."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid


def squared_loss(predictions: Tensor, ratings: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean squared error.

    Args:
        predictions: Predicted ratings, shape (N,).
        ratings: What they should be, shape (N,).
        weights: Weight of each item, shape (N,), not all 0.
    """
    return ((predictions - ratings).square() * weights).sum() / weights.sum()


def class_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean cross entropy, in nats.

    Args:
        logits: Shape (N, K).
        classes: The true class of each item, shape (N,), int64.
        weights: Weight of each item, shape (N,), not all 0; class weights are part of it.
    """
    return (cross_entropy(logits, classes, reduction="none") * weights).sum() / weights.sum()


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, margins: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of −log σ(r_chosen − r_rejected − margin), in nats.

    Args:
        chosen: Scores of the preferred texts, shape (N,).
        rejected: Scores of the others, shape (N,).
        margins: By how much the first should be above the second, shape (N,); 0 is Bradley and Terry's model.
        weights: Weight of each pair, shape (N,), not all 0.

    Reference:
        Bradley and Terry (1952); the margin is eq. 2 of Touvron et al. (2023), arXiv:2307.09288.
    """
    return -(logsigmoid(chosen - rejected - margins) * weights).sum() / weights.sum()


def expected_class(logits: Tensor) -> Tensor:
    """Return Σ k p_k of each row of logits: (N, K) gives (N,), between 0 and K − 1."""
    classes = torch.arange(logits.size(-1), dtype=logits.dtype, device=logits.device)
    return logits.softmax(-1) @ classes
