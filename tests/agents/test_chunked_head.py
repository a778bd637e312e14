"""A head in chunks gives the log-probabilities, entropies and gradients of the usual formulas, whatever the chunks."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.agents.tiny import letter_policy, letter_task
from textgym.agents import chunked_head, language_head
from textgym.agents.candidates import pack_candidates
from textgym.agents.chunked_head import chunked_head_statistics

WIDTH, VOCAB_SIZE = 6, 37
FORBIDDEN = [3, 36]


def forbid(logits: Tensor, rows: slice) -> None:
    """Forbid two tokens everywhere, and token 5 at the first four decisions."""
    lowest = torch.finfo(logits.dtype).min
    logits.index_fill_(1, torch.tensor(FORBIDDEN, device=logits.device), lowest)
    numbers = torch.arange(rows.start, rows.start + len(logits), device=logits.device)
    logits[:, 5].masked_fill_(numbers < 4, lowest)


def usual_statistics(
    hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    is_forbidden = torch.zeros((len(hidden), len(weight)), dtype=torch.bool)
    is_forbidden[:, FORBIDDEN] = True
    is_forbidden[:4, 5] = True
    logits = (functional.linear(hidden, weight) / temperature).masked_fill(is_forbidden, -1e4)
    log_probs = logits.log_softmax(dim=-1)
    return log_probs.gather(1, token_ids[:, None])[:, 0], -(log_probs.exp() * log_probs).sum(dim=-1)


def inputs(
    dtype: torch.dtype, n_decisions: int = 11, vocab_size: int = VOCAB_SIZE, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n_decisions, WIDTH, generator=generator).to(device, dtype).requires_grad_()
    weight = torch.randn(vocab_size, WIDTH, generator=generator).to(device, dtype).requires_grad_()
    token_ids = torch.randint(6, 36, (n_decisions,), generator=generator).to(device)
    return hidden, weight, token_ids


def results(log_prob: Tensor, entropy: Tensor, *leaves: Tensor) -> list[Tensor]:
    """Values, and the gradients of a sum in which each of them has a weight of its own."""
    weights = torch.linspace(-1, 2, len(log_prob), device=log_prob.device, dtype=log_prob.dtype)
    (weights * log_prob + weights.flip(0) * entropy).sum().backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert len(gradients) == len(leaves)
    return [log_prob.detach(), entropy.detach(), *gradients]


@pytest.mark.parametrize("most_kept", [0, 11 * VOCAB_SIZE * torch.float64.itemsize])
@pytest.mark.parametrize("rows_per_chunk", [1, 4, 11, 100])
@pytest.mark.parametrize(("is_padded", "temperature"), [(False, 1.0), (True, 1.0), (True, 0.6)])
def test_values_and_gradients_are_those_of_the_usual_formulas(
    rows_per_chunk: int, most_kept: int, is_padded: bool, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_products = 0
    chunk_logits = chunked_head._chunk_logits

    def counted(*arguments: Any) -> Tensor:
        nonlocal n_products
        n_products += 1
        return chunk_logits(*arguments)

    monkeypatch.setattr(chunked_head, "_chunk_logits", counted)
    if is_padded:
        # As on a GPU.
        monkeypatch.setattr(chunked_head, "aligned_rows", lambda matrix: functional.pad(matrix, (0, 0, 0, 27)))
    hidden, weight, token_ids = inputs(torch.float64)
    theirs = results(*usual_statistics(hidden, weight, token_ids, temperature), hidden, weight)
    hidden, weight, token_ids = inputs(torch.float64)
    settings = temperature, forbid, torch.float64, rows_per_chunk, most_kept
    statistics = chunked_head_statistics(hidden, weight, token_ids, *settings)
    for ours, usual in zip(results(*statistics, hidden, weight), theirs, strict=True):
        torch.testing.assert_close(ours, usual)
    n_chunks = -(-11 // rows_per_chunk)
    assert n_products == (n_chunks if most_kept else 2 * n_chunks)


@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_only_gradients_that_are_asked_for_are_computed(needed: tuple[bool, bool]) -> None:
    hidden, weight, token_ids = inputs(torch.float64)
    whole = results(*chunked_head_statistics(hidden, weight, token_ids, 1.0, forbid, torch.float64, 4), hidden, weight)
    hidden, weight, token_ids = inputs(torch.float64)
    leaves = [leaf.requires_grad_(is_needed) for leaf, is_needed in zip((hidden, weight), needed, strict=True)]
    statistics = chunked_head_statistics(hidden, weight, token_ids, 1.0, forbid, torch.float64, 4)
    asked = [leaf for leaf in leaves if leaf.requires_grad]
    torch.testing.assert_close(results(*statistics, *asked)[-1], whole[2 if needed[0] else 3])


def test_products_in_bfloat16_are_near_those_of_float32() -> None:
    """Numbers come out in float32, and so do gradients, with about the three digits that bfloat16 has."""
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        hidden, weight, token_ids = inputs(torch.float32)
        statistics = chunked_head_statistics(hidden, weight, token_ids, 1.0, forbid, dtype, 4)
        found.append(results(*statistics, hidden, weight))
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_no_decisions_are_no_numbers() -> None:
    hidden, weight, token_ids = inputs(torch.float32)
    log_prob, entropy = chunked_head_statistics(
        hidden[:0], weight, token_ids[:0], 1.0, lambda logits, rows: None, torch.float32, 4
    )
    assert log_prob.shape == entropy.shape == (0,)


@pytest.mark.parametrize("candidates", [None, "half of the tokens"])
def test_a_policy_scores_as_it_does_without_chunks(candidates: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a temperature, with banned tokens, ends that are too early and tokens that were no candidates."""
    task = letter_task(banned_token_ids=[3], min_new_tokens=2)
    policy = letter_policy(task, temperature=0.7)
    monkeypatch.setattr(language_head, "MAX_LOGITS_PER_CHUNK", 5 * policy.vocab_size)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(12, policy.width, generator=generator)
    n_generated, token_ids = torch.arange(12), torch.full((12,), 6)
    allowed = None
    if candidates is not None:
        is_candidate = torch.rand(12, policy.vocab_size, generator=generator) < 0.5
        is_candidate[:, 6] = True
        allowed = pack_candidates(is_candidate)
    whole = policy.statistics_of(hidden, n_generated, token_ids, allowed)
    chunked = policy._chunked_statistics(hidden, n_generated, token_ids, allowed)
    for ours, theirs in zip(chunked, whole, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n_decisions", "vocab_size", "rows_per_chunk"), [(11, 37, 4), (150, 16_400, 70)])
def test_a_gpu_gives_the_numbers_of_the_cpu(
    n_decisions: int, vocab_size: int, rows_per_chunk: int, dtype: torch.dtype
) -> None:
    """The large ones by compiled functions."""
    found = []
    for device in ("cpu", "cuda"):
        hidden, weight, token_ids = inputs(torch.float32, n_decisions, vocab_size, device)
        statistics = chunked_head_statistics(hidden, weight, token_ids, 0.7, forbid, dtype, rows_per_chunk)
        found.append([tensor.cpu() for tensor in results(*statistics, hidden, weight)])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < (1e-5 if dtype == torch.float32 else 0.02) * ours.norm()
