"""Log-probabilities of chosen tokens and the entropies of their distributions, with gradients worked out by hand.

With e = exp(logits − max) and s = Σ e, the probabilities are p = e / s, and

d log p(a) / d logits = 1_a − p,   d H / d logits = −p (log p + H).

Autograd of the usual formulas keeps and passes over several tensors of the size of the logits; here e alone is kept.
Inside, tokens come first and decisions second, (V, N), since the product that makes the logits is faster so.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

# On the CPU as many entries are worked on at a time as stay in its cache.
ENTRIES_PER_SLICE = 1 << 18


def token_statistics(logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return each token's log-probability and the entropy of the distribution that it comes from.

    Args:
        logits: Unnormalised log-probabilities with finite entries, float32, shape (N, V); a forbidden token has the
            least finite number.
        token_ids: Chosen tokens, shape (N,).

    Returns:
        log_prob and entropy in nats, shape (N,) each, differentiable once.
    """
    log_prob, entropy = _OfLogits.apply(logits, token_ids)  # type: ignore[no-untyped-call]
    return log_prob, entropy


def head_statistics(
    hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float, forbid: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what `token_statistics` does of the logits that a language head gives, from its input.

    The logits' gradient is never written down unless that of the entropy is asked for: what weighs a decision is
    multiplied into the narrow hidden states rather than into the wide distributions.

    Args:
        hidden: Hidden states, shape (N, D).
        weight: The head's weight, shape (V, D); it has no bias.
        token_ids: Chosen tokens, allowed ones, shape (N,).
        temperature: Divides the logits.
        forbid: Puts the least finite number in the place of forbidden tokens' logits, shape (N, V), in place.

    Returns:
        log_prob and entropy in nats, shape (N,) each, differentiable once.
    """
    log_prob, entropy = _OfHead.apply(hidden, weight, token_ids, temperature, forbid)  # type: ignore[no-untyped-call]
    return log_prob, entropy


class _OfLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        exponentials = logits.t().clone()
        total, log_prob, entropy = _exponentiate(exponentials, token_ids)
        ctx.save_for_backward(exponentials, total, entropy, token_ids)
        return log_prob, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_log_prob: Tensor, grad_entropy: Tensor) -> tuple[Tensor, None]:
        exponentials, total, entropy, token_ids = ctx.saved_tensors  # type: ignore[attr-defined]
        return _gradient(exponentials, total, entropy, token_ids, grad_log_prob, grad_entropy).t(), None


class _OfHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        token_ids: Tensor,
        temperature: float,
        forbid: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        exponentials = weight @ hidden.t()  # (V, N)
        if temperature != 1.0:
            exponentials /= temperature
        forbid(exponentials.t())
        total, log_prob, entropy = _exponentiate(exponentials, token_ids)
        ctx.save_for_backward(hidden, weight, exponentials, total, entropy, token_ids)
        ctx.temperature = temperature  # type: ignore[attr-defined]
        return log_prob, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, grad_log_prob: Tensor, grad_entropy: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, exponentials, total, entropy, token_ids = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        grad_log_prob = grad_log_prob / ctx.temperature  # type: ignore[attr-defined]
        grad_hidden = grad_weight = None
        if grad_entropy.any():
            grad_entropy = grad_entropy / ctx.temperature  # type: ignore[attr-defined]
            grad = _gradient(exponentials, total, entropy, token_ids, grad_log_prob, grad_entropy)  # (V, N)
            grad_hidden = grad.t() @ weight if needs_hidden else None
            grad_weight = grad @ hidden if needs_weight else None
            return grad_hidden, grad_weight, None, None, None
        scale = grad_log_prob[:, None]
        normalised = scale / total[:, None]
        if needs_hidden:
            grad_hidden = weight[token_ids] * scale - (exponentials.t() @ weight) * normalised
        if needs_weight:
            grad_weight = exponentials @ (hidden * -normalised)
            grad_weight.index_add_(0, token_ids, hidden * scale)
        return grad_hidden, grad_weight, None, None, None


def _exponentiate(logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn logits, shape (V, N), into e in place, and return s, log-probabilities and entropies, shape (N,) each."""
    greatest = logits.amax(dim=0)
    chosen = logits.gather(0, token_ids[None])[0] - greatest
    total, weighted = torch.zeros_like(greatest), torch.zeros_like(greatest)
    n_tokens = max(1, ENTRIES_PER_SLICE // len(greatest)) if logits.device.type == "cpu" else len(logits)
    for part in logits.split(n_tokens):
        part -= greatest
        exponentials = part.exp()
        total += exponentials.sum(dim=0)
        weighted += part.mul_(exponentials).sum(dim=0)
        part.copy_(exponentials)
    log_total = total.log()
    return total, chosen - log_total, log_total - weighted / total


def _gradient(
    exponentials: Tensor,
    total: Tensor,
    entropy: Tensor,
    token_ids: Tensor,
    grad_log_prob: Tensor,
    grad_entropy: Tensor,
) -> Tensor:
    """Return the logits' gradient, shape (V, N)."""
    probabilities = exponentials / total
    grad = probabilities * -grad_log_prob
    if grad_entropy.any():
        # A forbidden token has probability 0, and 0 log 0 is 0.
        grad -= grad_entropy * (torch.xlogy(probabilities, probabilities) + probabilities * entropy)
    return grad.scatter_add_(0, token_ids[None], grad_log_prob[None])
