"""Products by oneDNN: the numbers of the general product, their derivatives, and when the general one is taken."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from textgym.agents import onednn_products
from textgym.agents.onednn_products import linear


@pytest.fixture(autouse=True)
def _any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """OneDNN works without AVX-512 too, only not faster than the general product."""
    monkeypatch.setattr(onednn_products, "_has_avx512", lambda: True)
    monkeypatch.setattr(onednn_products, "MIN_MULTIPLICATIONS", 1)


@pytest.fixture
def n_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count calls of oneDNN, one entry each."""
    calls: list[int] = []
    multiply = onednn_products._multiply

    def counted(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(1)
        return multiply(rows, weight, bias)

    monkeypatch.setattr(onednn_products, "_multiply", counted)
    return calls


def _factors(n_in: int, n_out: int, is_transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(7, n_in, generator=generator)
    matrix = torch.randn((n_in, n_out) if is_transposed else (n_out, n_in), generator=generator)
    return rows, matrix, torch.randn(n_out, generator=generator)


@pytest.mark.parametrize(("n_in", "n_out"), [(5, 12), (12, 5)])
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_derivatives_are_those_of_the_general_product(
    n_in: int, n_out: int, is_transposed: bool, has_bias: bool, n_calls: list[int]
) -> None:
    factors = _factors(n_in, n_out, is_transposed)[: 3 if has_bias else 2]
    results = []
    for dtype in (torch.float32, torch.float64):
        rows, matrix, *bias = (factor.to(dtype).requires_grad_() for factor in factors)
        product = linear(rows, matrix.t() if is_transposed else matrix, *bias)
        leaves = (rows, matrix, *bias)
        first = torch.autograd.grad(product.pow(2).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(torch.stack([part.pow(2).sum() for part in first]).sum(), leaves)
        results.append([product, *first, *second])
        assert [part.stride() for part in first] == [leaf.stride() for leaf in leaves]
    assert n_calls
    for by_onednn, exact in zip(*results, strict=True):
        tolerance = 1e-6 * exact.abs().max().item()
        torch.testing.assert_close(by_onednn.double(), exact, rtol=0, atol=tolerance)


def test_without_gradients_no_graph_is_kept(n_calls: list[int]) -> None:
    rows, matrix, bias = _factors(5, 12, is_transposed=False)
    with torch.no_grad():
        product = linear(rows, matrix.requires_grad_(), bias)
    assert len(n_calls) == 1
    assert product.grad_fn is None
    torch.testing.assert_close(product, functional.linear(rows, matrix, bias))


def test_frozen_weights_get_no_gradient() -> None:
    rows, matrix, bias = _factors(5, 12, is_transposed=True)
    linear(rows.requires_grad_(), matrix.t(), bias.requires_grad_()).sum().backward()
    assert matrix.grad is None
    assert rows.grad is not None
    assert bias.grad is not None


@pytest.mark.parametrize("case", ["few", "no rows", "float64", "bfloat16", "three dimensions", "no AVX-512", "off"])
def test_elsewhere_the_general_product_is_taken(case: str, n_calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    rows, matrix, bias = _factors(5, 12, is_transposed=False)
    if case == "few":
        monkeypatch.setattr(onednn_products, "MIN_MULTIPLICATIONS", 7 * 5 * 12 + 1)
    elif case == "no rows":
        rows = rows[:0]
    elif case == "three dimensions":
        rows = rows[None]
    elif case == "no AVX-512":
        monkeypatch.setattr(onednn_products, "_has_avx512", lambda: False)
    elif case == "off":
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    else:
        rows, matrix, bias = (factor.to(getattr(torch, case)) for factor in (rows, matrix, bias))
    torch.testing.assert_close(linear(rows, matrix, bias), functional.linear(rows, matrix, bias))
    assert not n_calls
