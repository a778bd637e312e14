"""Log-probabilities and entropies from a language head on a GPU: logits in chunks, which are kept or made again.

With z the logits and p = exp(z − log Σ exp z), the gradients are those of `token_statistics`,

d log p(a) / d z = 1_a − p,   d H / d z = −p (log p + H).

A product of matrices takes a GPU less time than to write the logits down in float32 and to read them again, so that
they never leave the precision of products.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .fused import fused
from .precision import aligned_rows

# Changes a chunk's logits in place, given also the slice of the decisions that they belong to.
Forbid = Callable[[Tensor, slice], object]


def chunked_head_statistics(
    hidden: Tensor,
    weight: Tensor,
    token_ids: Tensor,
    temperature: float,
    forbid: Forbid,
    dtype: torch.dtype,
    rows_per_chunk: int,
    most_kept: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return each token's log-probability and the entropy of the distribution that it comes from.

    Args:
        hidden: Hidden states, shape (N, D).
        weight: The head's weight, shape (V, D); it has no bias.
        token_ids: Chosen tokens, allowed ones, shape (N,).
        temperature: Divides the logits, after the product, as where tokens are drawn.
        forbid: Puts the least finite number in the place of forbidden tokens' logits, shape (n, V).
        dtype: Precision of the products; all else is in float32, or more where this is more.
        rows_per_chunk: Decisions whose logits are worked on at once.
        most_kept: Logits of all decisions are kept for the backward pass where they take so many bytes at most.

    Returns:
        log_prob and entropy in nats, shape (N,) each, differentiable once.
    """
    has_gradients = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    keeps = has_gradients and len(hidden) * len(weight) * dtype.itemsize <= most_kept
    log_prob, entropy = _OfChunks.apply(  # type: ignore[no-untyped-call]
        hidden, weight, token_ids, temperature, forbid, dtype, rows_per_chunk, keeps
    )
    return log_prob, entropy


class _OfChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        token_ids: Tensor,
        temperature: float,
        forbid: Forbid,
        dtype: torch.dtype,
        rows_per_chunk: int,
        keeps: bool,
    ) -> tuple[Tensor, Tensor]:
        inputs, head = hidden.to(dtype), aligned_rows(weight.to(dtype))
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        kept: list[Tensor] = []
        for rows in _slices(len(hidden), rows_per_chunk):
            logits = _chunk_logits(inputs, head, len(weight), forbid, rows)
            parts.append(_statistics(logits, token_ids[rows], temperature))
            kept += [logits] if keeps else []
        log_total, log_prob, entropy = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(inputs, head, token_ids, log_total, entropy, *kept)
        ctx.settings = len(weight), temperature, forbid, rows_per_chunk  # type: ignore[attr-defined]
        return log_prob, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_log_prob: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        inputs, head, token_ids, log_total, entropy, *kept = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        vocab_size, temperature, forbid, rows_per_chunk = ctx.settings  # type: ignore[attr-defined]
        grad_hidden = torch.empty_like(inputs, dtype=torch.promote_types(inputs.dtype, torch.float32))
        grad_weight = torch.zeros_like(head, dtype=grad_hidden.dtype) if needs_weight else None
        for number, rows in enumerate(_slices(len(inputs), rows_per_chunk)):
            logits = kept[number] if kept else _chunk_logits(inputs, head, vocab_size, forbid, rows)
            grad = _gradient(
                logits,
                token_ids[rows],
                log_total[rows],
                entropy[rows],
                grad_log_prob[rows],
                grad_entropy[rows],
                temperature,
            )
            if needs_hidden:
                grad_hidden[rows] = grad @ head
            if grad_weight is not None:
                _add_product(grad_weight, grad.t(), inputs[rows])
        grad_weight = None if grad_weight is None else grad_weight[:vocab_size]
        return grad_hidden if needs_hidden else None, grad_weight, *(None,) * 6


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a product of matrices to a total, which may be of higher precision than they are."""
    if total.is_cuda and total.dtype != left.dtype:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total += left @ right


def _slices(n_rows: int, rows_per_chunk: int) -> Iterator[slice]:
    # No rows are a chunk too, whose results are empty.
    for start in range(0, max(1, n_rows), rows_per_chunk):
        yield slice(start, start + rows_per_chunk)


def _chunk_logits(inputs: Tensor, head: Tensor, vocab_size: int, forbid: Forbid, rows: slice) -> Tensor:
    """Return the logits of a chunk's decisions, shape (n, V'); what was added to the vocabulary is forbidden too."""
    logits = inputs[rows] @ head.t()
    forbid(logits[:, :vocab_size], rows)
    if logits.shape[1] > vocab_size:
        logits[:, vocab_size:] = torch.finfo(logits.dtype).min
    return logits


@fused(least_rows=64, least_width=16_384)
def _statistics(logits: Tensor, token_ids: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return log Σ exp z, log-probabilities and entropies, shape (n,) each, of logits z T, shape (n, V')."""
    exact = _divided(logits, temperature)
    greatest = exact.amax(dim=-1)
    shifted = exact - greatest[:, None]
    exponentials = shifted.exp()
    total = exponentials.sum(dim=-1)
    weighted = (exponentials * shifted).sum(dim=-1)
    log_total = total.log()
    chosen = exact.gather(1, token_ids[:, None])[:, 0] - greatest
    return greatest + log_total, chosen - log_total, log_total - weighted / total


@fused(least_rows=64, least_width=16_384)
def _gradient(
    logits: Tensor,
    token_ids: Tensor,
    log_total: Tensor,
    entropy: Tensor,
    grad_log_prob: Tensor,
    grad_entropy: Tensor,
    temperature: float,
) -> Tensor:
    """Return the gradient of logits z T in their precision, shape (n, V')."""
    log_prob = _divided(logits, temperature) - log_total[:, None]
    probability = log_prob.exp()
    is_chosen = torch.arange(logits.shape[1], device=logits.device) == token_ids[:, None]
    grad = (is_chosen.to(log_prob.dtype) - probability) * grad_log_prob[:, None]
    # A forbidden token's log-probability is finite, so that 0 times it is 0.
    grad = grad - probability * (log_prob + entropy[:, None]) * grad_entropy[:, None]
    return (grad / temperature).to(logits.dtype)


def _divided(logits: Tensor, temperature: float) -> Tensor:
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # A forbidden token's logit stays finite also at temperatures below 1.
    return (exact / temperature).clamp(min=torch.finfo(exact.dtype).min)
