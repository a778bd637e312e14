"""Muon for hidden matrices, AdamW for the rest, and the learning rate's rise and fall."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel


def orthogonalize(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Replace a matrix by a nearly semi-orthogonal one close to it, by a Newton-Schulz iteration.

    `torch.optim.Muon` does this in bfloat16, which processors without bfloat16 instructions emulate about 50 times
    slower than float32; this one works in the matrix's own precision.

    Args:
        matrix: Shape (M, N).
        iterations: Five bring every singular value between about 0.7 and 1.2.

    Returns:
        Shape (M, N).

    Reference:
        Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    is_tall = x.size(0) > x.size(1)
    if is_tall:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return torch.Tensor.t(x) if is_tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalized, for the weight matrices of hidden layers.

    A step is scaled to the size of AdamW's, so that both take the same learning rate and weight decay.

    Args:
        params: Matrices.
        lr: Learning rate.
        momentum: Share of the old momentum that stays.
        weight_decay: Decay a step, multiplied by the learning rate.

    Reference:
        Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/; the scale is eq. 4 of Liu et al. (2025),
        arXiv:2502.16982.
    """

    def __init__(self, params: Sequence[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step on all matrices."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(buffer, group["momentum"])
                # GPT-2 keeps query, key and value in one (D, 3 D) matrix; each is a matrix of its own.
                n_parts = 3 if parameter.size(1) == 3 * parameter.size(0) else 1
                parts = [orthogonalize(part) for part in update.chunk(n_parts, dim=1)]
                scale = 0.2 * math.sqrt(max(parts[0].shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(torch.cat(parts, dim=1), alpha=-group["lr"] * scale)


def make_optimizers(model: GPT2LMHeadModel, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Give Muon the hidden matrices and AdamW the rest; vectors do not decay."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    embeddings = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." not in name]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    adamw = torch.optim.AdamW(
        [{"params": embeddings, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.95),
    )
    return [Muon(matrices, lr=learning_rate, weight_decay=weight_decay), adamw]


def learning_rate_factor(step: int, steps: int, warmup: int, decay_fraction: float) -> float:
    """Return the share of the peak learning rate at a step: up, level, down to zero.

    Until the decay begins it does not depend on `steps`, so that a run whose `steps` is raised before then is the run
    that would have been longer from the start.
    """
    decay_steps = max(1, int(steps * decay_fraction))
    return min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / decay_steps))
