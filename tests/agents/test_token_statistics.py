"""Log-probabilities and entropies have the values of the usual formulas, and the gradients that autograd gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textgym.agents import token_statistics as module
from textgym.agents.token_statistics import head_log_prob, head_statistics, token_statistics

FORBIDDEN = torch.finfo(torch.float32).min


def usual_statistics(logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """The usual formulas, in the second way."""
    log_probs = logits.log_softmax(dim=-1)
    return log_probs.gather(1, token_ids[:, None])[:, 0], -(log_probs.exp() * log_probs).sum(dim=-1)


WEIGHTS = [(1.0, 0.0), (0.0, 1.0), (-0.7, 0.3), (2.0, 300.0)]


@pytest.mark.parametrize(("weight", "entropy_weight"), WEIGHTS)
def test_statistics_and_gradients_are_those_of_the_usual_formulas(weight: float, entropy_weight: float) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(20, 50, generator=generator, dtype=torch.float64)
    token_ids = torch.randint(50, (20,), generator=generator)
    scale = torch.randn(20, generator=generator, dtype=torch.float64)
    gradients = []
    for statistics in (token_statistics, usual_statistics):
        leaf = logits.clone().requires_grad_()
        log_prob, entropy = statistics(leaf, token_ids)
        (scale * (weight * log_prob + entropy_weight * entropy)).sum().backward()
        gradients.append((log_prob.detach(), entropy.detach(), leaf.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    token_ids = torch.tensor([0, 5, 2, 2])
    functions: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda leaf: token_statistics(leaf, token_ids)[0],
        lambda leaf: token_statistics(leaf, token_ids)[1],
    )
    for function in functions:
        assert torch.autograd.gradcheck(function, (logits,))


@pytest.mark.parametrize(("weight", "entropy_weight"), WEIGHTS)
def test_forbidden_tokens_have_probability_0_and_no_gradient(weight: float, entropy_weight: float) -> None:
    """And everything else is as if they were not there."""
    generator = torch.Generator().manual_seed(4)
    raw = 3 * torch.randn(9, 30, generator=generator)
    is_forbidden = torch.zeros(30, dtype=torch.bool)
    is_forbidden[[0, 7, 8, 29]] = True
    allowed = (~is_forbidden).nonzero()[:, 0]
    chosen = torch.randint(len(allowed), (9,), generator=generator)
    leaf, smaller = raw.clone().requires_grad_(), raw[:, allowed].clone().requires_grad_()
    masked = leaf.masked_fill(is_forbidden, FORBIDDEN)
    results = [token_statistics(masked, allowed[chosen]), usual_statistics(smaller, chosen)]
    for log_prob, entropy in results:
        (weight * log_prob + entropy_weight * entropy).sum().backward()
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert leaf.grad is not None
    assert smaller.grad is not None
    assert torch.equal(leaf.grad[:, is_forbidden], torch.zeros(9, 4))
    torch.testing.assert_close(leaf.grad[:, allowed], smaller.grad, atol=1e-4, rtol=1e-4)
    assert torch.equal(masked.softmax(-1)[:, is_forbidden], torch.zeros(9, 4))


def test_a_certain_token_has_no_entropy_and_no_gradient() -> None:
    leaf = torch.zeros(2, 5, requires_grad=True)
    only = torch.tensor([False, True, False, False, False])
    log_prob, entropy = token_statistics(leaf.masked_fill(~only, FORBIDDEN), torch.tensor([1, 1]))
    assert log_prob.tolist() == entropy.tolist() == [0.0, 0.0]
    (log_prob + entropy).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, torch.zeros(2, 5))


Head = tuple[Tensor, Tensor, Tensor]


def head_inputs(dtype: torch.dtype = torch.float64) -> Head:
    """Return hidden states, a weight, and tokens none of which is token 3."""
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(7, 4, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(30, 4, generator=generator, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.tensor([0, 29, 2, 2, 4, 5, 6])


def without_token_3(logits: Tensor) -> Tensor:
    logits[:, 3] = torch.finfo(logits.dtype).min
    return logits


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("weight", "entropy_weight"), WEIGHTS)
def test_a_heads_statistics_and_gradients_are_those_of_its_logits(
    weight: float, entropy_weight: float, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that are allowed, and in as many slices as there are tokens, too."""
    hidden, matrix, token_ids = head_inputs()
    scale = torch.linspace(-1, 2, 7, dtype=torch.float64)
    logits = hidden @ matrix[torch.arange(30) != 3].t() / temperature
    expected = usual_statistics(logits, token_ids - (token_ids > 3).long())
    loss = (scale * (weight * expected[0] + entropy_weight * expected[1])).sum()
    gradients = torch.autograd.grad(loss, (hidden, matrix))
    for entries in (7, 1 << 18):
        monkeypatch.setattr(module, "ENTRIES_PER_SLICE", entries)
        log_prob, entropy = head_statistics(hidden, matrix, token_ids, temperature, without_token_3)
        loss = (scale * (weight * log_prob + entropy_weight * entropy)).sum()
        ours = torch.autograd.grad(loss, (hidden, matrix))
        torch.testing.assert_close((log_prob, entropy, *ours), (*expected, *gradients))
        alone = head_log_prob(hidden, matrix, token_ids, temperature, without_token_3)
        torch.testing.assert_close(alone, expected[0].detach())
        assert not alone.requires_grad


@pytest.mark.parametrize(("certainty", "most"), [(0.0, 0.01), (5.0, 0.05), (12.0, 0.1)])
@pytest.mark.parametrize(("weight", "entropy_weight"), WEIGHTS)
def test_a_heads_products_in_bfloat16_are_near_those_of_float32(
    weight: float, entropy_weight: float, certainty: float, most: float
) -> None:
    """Numbers come out in float32, and so do gradients, as near as logits are; of sure tokens, whose are small, too."""
    generator = torch.Generator().manual_seed(6)
    matrix = torch.randn((60, 64), generator=generator)
    token_ids = torch.randint(4, 60, (40,), generator=generator)
    noise = torch.randn((40, 64), generator=generator) / 64
    hidden = noise + certainty * matrix[token_ids] / matrix[token_ids].square().sum(dim=1, keepdim=True)
    # Exact in both precisions, so that what is left is the error of what follows.
    hidden, matrix = (leaf.bfloat16().float().requires_grad_() for leaf in (hidden, matrix))
    found = []
    for dtype in (None, torch.bfloat16):
        log_prob, entropy = head_statistics(hidden, matrix, token_ids, 0.7, without_token_3, dtype)
        alone = head_log_prob(hidden, matrix, token_ids, 0.7, without_token_3, dtype)
        torch.testing.assert_close(alone, log_prob.detach())
        loss = (torch.linspace(1, 2, 40) * (weight * log_prob + entropy_weight * entropy)).sum()
        found.append([log_prob.detach(), entropy.detach(), *torch.autograd.grad(loss, (hidden, matrix))])
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - exact).norm() < most * exact.norm()


def test_a_heads_gradients_are_those_of_finite_differences() -> None:
    hidden, matrix, token_ids = head_inputs()
    for index in (0, 1):
        assert torch.autograd.gradcheck(
            lambda hidden, matrix, index=index: head_statistics(hidden, matrix, token_ids, 0.7, without_token_3)[index],
            (hidden, matrix),
        )


@pytest.mark.parametrize("frozen", [0, 1], ids=["hidden states", "weight"])
def test_what_is_frozen_in_a_head_gets_no_gradient(frozen: int) -> None:
    hidden, matrix, token_ids = head_inputs()
    (hidden, matrix)[frozen].requires_grad_(False)
    head_statistics(hidden, matrix, token_ids, 1.0, without_token_3)[0].sum().backward()
    assert [leaf.grad is None for leaf in (hidden, matrix)] == [frozen == 0, frozen == 1]


def test_a_forbidden_token_has_no_gradient_in_a_head() -> None:
    hidden, matrix, token_ids = head_inputs(torch.float32)
    log_prob, entropy = head_statistics(hidden, matrix, token_ids, 1.0, without_token_3)
    (log_prob + 0.3 * entropy).sum().backward()
    assert matrix.grad is not None
    assert torch.equal(matrix.grad[3], torch.zeros(4))
    assert matrix.grad[4].count_nonzero() == 4
