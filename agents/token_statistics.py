"""Log-probabilities of chosen tokens and the entropies of their distributions, with gradients worked out by hand.

With e = exp(logits − max) and s = Σ e, the probabilities are p = e / s, and

d log p(a) / d logits = 1_a − p,   d H / d logits = −p (log p + H).

Autograd of the usual formulas keeps and passes over several tensors of the size of the logits; here e alone is kept.
Inside, tokens come first and decisions second, (V, N), since the product that makes the logits is faster so.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .choice_record import KnownChoices

# On the CPU as many entries are worked on at a time as stay in its cache.
ENTRIES_PER_SLICE = 1 << 18
# Probabilities whose gradients are worked out together, 128 MB.
MOST_ENTRIES = 1 << 25


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
    hidden: Tensor,
    weight: Tensor,
    token_ids: Tensor,
    temperature: float,
    forbid: Callable[[Tensor], Tensor],
    dtype: torch.dtype | None = None,
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
        dtype: Precision of the products, as autocast has it; None for that of the weight. All else is in this.

    Returns:
        log_prob and entropy in nats, shape (N,) each, differentiable once.
    """
    log_prob, entropy = _OfHead.apply(  # type: ignore[no-untyped-call]
        hidden, weight, token_ids, temperature, forbid, dtype or weight.dtype
    )
    return log_prob, entropy


@torch.no_grad()
def head_log_prob(
    hidden: Tensor,
    weight: Tensor,
    token_ids: Tensor,
    temperature: float,
    forbid: Callable[[Tensor], Tensor],
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the log-probabilities of `head_statistics` alone, shape (N,), without gradients."""
    dtype = dtype or weight.dtype
    logits = _logits_of(hidden.to(dtype), weight.to(dtype), temperature, forbid, weight.dtype)
    greatest = logits.amax(dim=0)
    chosen = logits.gather(0, token_ids[None])[0] - greatest
    total = torch.zeros_like(greatest)
    for part in logits.split(_tokens_per_slice(logits)):
        total += part.sub_(greatest).exp_().sum(dim=0)
    return chosen - total.log()


def known_statistics(
    hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float, known: KnownChoices
) -> tuple[Tensor, Tensor]:
    """Return what `head_statistics` does, of distributions that are known already.

    Args:
        hidden: Hidden states, shape (N, D).
        weight: The head's weight, shape (V, D); it has no bias.
        token_ids: Chosen tokens, allowed ones, shape (N,).
        temperature: What divides the logits.
        known: The distributions at these hidden states, by these weights and this temperature.
    """
    log_prob, entropy = _OfKnown.apply(hidden, weight, token_ids, temperature, known)  # type: ignore[no-untyped-call]
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
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        inputs, head = hidden.to(dtype), weight.to(dtype)
        exponentials = _logits_of(inputs, head, temperature, forbid, weight.dtype)
        total, log_prob, entropy = _exponentiate(exponentials, token_ids)
        ctx.save_for_backward(inputs, head, exponentials, total, entropy, token_ids)
        ctx.temperature = temperature  # type: ignore[attr-defined]
        return log_prob, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, grad_log_prob: Tensor, grad_entropy: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        hidden, weight, *distributions = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_log_prob, grad_entropy = (grad / ctx.temperature for grad in (grad_log_prob, grad_entropy))  # type: ignore[attr-defined]
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        given = hidden, weight, _Distributions(*distributions), grad_log_prob, grad_entropy
        return *_head_gradients(*given, needs_hidden, needs_weight), None, None, None, None


class _OfKnown(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float, known: KnownChoices
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, weight, token_ids, *known)
        ctx.temperature = temperature  # type: ignore[attr-defined]
        return known.probabilities[known.order, token_ids].log(), known.entropies[known.order]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, grad_log_prob: Tensor, grad_entropy: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, token_ids, *of_choices = ctx.saved_tensors  # type: ignore[attr-defined]
        known = KnownChoices(*of_choices)
        # Narrow tensors take the order of the wide one.
        at_choices = known.order.argsort()
        grad_log_prob, grad_entropy = (
            grad[at_choices] / ctx.temperature  # type: ignore[attr-defined]
            for grad in (grad_log_prob, grad_entropy)
        )
        narrow = (
            hidden.index_select(0, at_choices),
            torch.ones_like(known.entropies),
            known.entropies,
            token_ids[at_choices],
            grad_log_prob,
            grad_entropy,
        )
        n_rows = max(1, MOST_ENTRIES // known.probabilities.shape[1])
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        parts_of_hidden: list[Tensor] = []
        grad_weight: Tensor | None = None
        # The gradient of an entropy takes several tensors of a slice's size.
        parts = zip(*(tensor.split(n_rows) for tensor in (known.probabilities, *narrow)), strict=True)
        for probabilities, hidden_part, total, entropies, chosen, of_log_prob, of_entropy in parts:
            distributions = _Distributions(probabilities.t(), total, entropies, chosen)
            given = hidden_part, weight, distributions, of_log_prob, of_entropy
            of_hidden, of_weight = _head_gradients(*given, needs_hidden, needs_weight)
            parts_of_hidden += [] if of_hidden is None else [of_hidden]
            grad_weight = of_weight if grad_weight is None or of_weight is None else grad_weight.add_(of_weight)
        grad_hidden = torch.cat(parts_of_hidden).index_select(0, known.order) if needs_hidden else None
        return grad_hidden, grad_weight, None, None, None


class _Distributions(NamedTuple):
    """What a backward pass knows of N distributions, from which N tokens were chosen.

    Attributes:
        exponentials: e, shape (V, N).
        total: s, shape (N,).
        entropy: In nats, shape (N,).
        token_ids: The tokens, shape (N,).
    """

    exponentials: Tensor
    total: Tensor
    entropy: Tensor
    token_ids: Tensor


def _head_gradients(
    hidden: Tensor,
    weight: Tensor,
    distributions: _Distributions,
    grad_log_prob: Tensor,
    grad_entropy: Tensor,
    needs_hidden: bool,
    needs_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of a head's input and weight, as far as they are needed.

    Products are in the precision of these two, all else, results too, in that of the distributions.
    """
    grad_hidden = grad_weight = None
    exponentials, total, _, token_ids = distributions
    dtype, exact = weight.dtype, exponentials.dtype
    if grad_entropy.any():
        grad = _gradient(*distributions, grad_log_prob, grad_entropy).to(dtype)  # (V, N)
        grad_hidden = (grad.t() @ weight).to(exact) if needs_hidden else None
        grad_weight = (grad @ hidden).to(exact) if needs_weight else None
        return grad_hidden, grad_weight
    scale = grad_log_prob[:, None]
    normalised = scale / total[:, None]
    if dtype != exact:
        # Rounded before they are subtracted, what was chosen and what was likely would differ by the error of rounding.
        off = exponentials.gather(0, token_ids[None]) - total
        grad = exponentials.to(dtype).scatter_(0, token_ids[None], off.to(dtype))  # −s times the gradient, (V, N)
        grad_hidden = (grad.t() @ weight) * -normalised if needs_hidden else None
        grad_weight = (grad @ (hidden * -normalised).to(dtype)).to(exact) if needs_weight else None
        return grad_hidden, grad_weight
    if needs_hidden:
        grad_hidden = weight[token_ids] * scale - (exponentials.t() @ weight) * normalised
    if needs_weight:
        grad_weight = exponentials @ (hidden * -normalised)
        grad_weight.index_add_(0, token_ids, hidden * scale)
    return grad_hidden, grad_weight


def _logits_of(
    hidden: Tensor, weight: Tensor, temperature: float, forbid: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Tensor:
    """Return the logits of a head, divided by the temperature, in a precision, shape (V, N)."""
    logits = (weight @ hidden.t()).to(dtype)
    if temperature != 1.0:
        logits /= temperature
    forbid(logits.t())
    return logits


def _tokens_per_slice(logits: Tensor) -> int:
    """Return how many tokens of logits, shape (V, N), are worked on at a time."""
    return max(1, ENTRIES_PER_SLICE // logits.shape[1]) if logits.device.type == "cpu" else len(logits)


def _exponentiate(logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn logits, shape (V, N), into e in place, and return s, log-probabilities and entropies, shape (N,) each."""
    greatest = logits.amax(dim=0)
    chosen = logits.gather(0, token_ids[None])[0] - greatest
    total, weighted = torch.zeros_like(greatest), torch.zeros_like(greatest)
    for part in logits.split(_tokens_per_slice(logits)):
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
